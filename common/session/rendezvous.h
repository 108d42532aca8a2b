/* SPDX-License-Identifier: MIT */
/*
 * RENDEZVOUS: what two agents say to each other through the hub before a lane between them (rule
 * 29; PROTOCOL.md, "Rendezvous"): its sealed text, its seal, and what both derive from their
 * session for the lane. Sans-I/O and without policy: who says what when is in
 * agent/mesh/rendezvous.c.
 */
#ifndef COMMON_SESSION_RENDEZVOUS_H
#define COMMON_SESSION_RENDEZVOUS_H

#include "common/crypto/aead.h"
#include "common/link/frame.h"
#include "common/link/lane.h"
#include "common/session/session.h"
#include <stdint.h>

enum {
    CBX_RENDEZVOUS_MARK = 16,
    CBX_RENDEZVOUS_CANDIDATES_MAX = 8,
    CBX_RENDEZVOUS_CANDIDATE_MAX = 63, /* bytes of its text */
    CBX_RENDEZVOUS_TEXT_MAX = 1 + CBX_LANE_ID + CBX_RENDEZVOUS_MARK + 1 +
                              CBX_RENDEZVOUS_CANDIDATES_MAX * (1 + CBX_RENDEZVOUS_CANDIDATE_MAX)
};

enum cbx_rendezvous_step { /* wire numbers */
                           CBX_RENDEZVOUS_OFFER = 1,
                           CBX_RENDEZVOUS_ANSWER = 2,
                           CBX_RENDEZVOUS_TURN = 3,
                           CBX_RENDEZVOUS_FAIL = 4,
                           CBX_RENDEZVOUS_REFUSE = 5,
                           CBX_RENDEZVOUS_LOST = 6,
};

/* One message. Mark and candidates are those of OFFER and ANSWER, else zeros. */
struct cbx_rendezvous {
    enum cbx_rendezvous_step step;
    uint8_t id[CBX_LANE_ID];
    uint8_t mark[CBX_RENDEZVOUS_MARK];
    uint32_t count;
    char candidate[CBX_RENDEZVOUS_CANDIDATES_MAX][CBX_RENDEZVOUS_CANDIDATE_MAX + 1];
};

/* The text's length. Candidates beyond what fits are not the caller's to give. */
uint32_t cbx_rendezvous_write(const struct cbx_rendezvous *rendezvous,
                              uint8_t out[CBX_RENDEZVOUS_TEXT_MAX]);
/* CBX_ERR_FORMAT for anything but exactly one legal message; candidates are printable, no more is
 * known of them. */
int cbx_rendezvous_read(const uint8_t *text, size_t length, struct cbx_rendezvous *out);

/* A whole frame; .slab is NULL when memory is short. A counter is used once. */
struct cbx_slice cbx_rendezvous_seal(struct cbx_aead *aead, const struct cbx_session *session,
                                     const char *from, const char *to, uint64_t counter,
                                     const struct cbx_rendezvous *rendezvous);
/* The frame's names and counter are the caller's to look at. CBX_ERR_AUTH, CBX_ERR_FORMAT. */
int cbx_rendezvous_open(struct cbx_aead *aead, const struct cbx_session *session,
                        const struct cbx_frame *frame, struct cbx_rendezvous *out);

/* The lane's ticket for the case that we listen, or that the peer does: they share nothing, so a
 * preface that somebody recorded opens nothing at its sender. Wipe it. */
void cbx_rendezvous_ticket(const struct cbx_session *session, bool we_listen,
                           const uint8_t id[CBX_LANE_ID], struct cbx_lane_ticket *out);
/* The key of the host mark that we, or the peer, show. Wipe it. */
void cbx_rendezvous_mark_key(const struct cbx_session *session, bool ours, uint8_t out[32]);

#endif
