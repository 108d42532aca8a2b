/* SPDX-License-Identifier: MIT */
/*
 * MEET: what two agents say to each other through the hub before a lane between them (rule 29;
 * PROTOCOL.md, "Meeting"): its sealed text, its seal, and what both derive from their session for
 * the lane. Sans-I/O and without policy: who says what when is agent/mesh_meet.
 */
#ifndef CBX_MEET_H
#define CBX_MEET_H

#include "aead.h"
#include "frame.h"
#include "lane.h"
#include "session.h"
#include <stdint.h>

enum {
    CBX_MEET_MARK = 16,
    CBX_MEET_CANDIDATES_MAX = 8,
    CBX_MEET_CANDIDATE_MAX = 63, /* bytes of its text */
    CBX_MEET_TEXT_MAX =
        1 + CBX_LANE_ID + CBX_MEET_MARK + 1 + CBX_MEET_CANDIDATES_MAX * (1 + CBX_MEET_CANDIDATE_MAX)
};

enum cbx_meet_step { /* wire numbers */
                     CBX_MEET_OFFER = 1,
                     CBX_MEET_ANSWER = 2,
                     CBX_MEET_TURN = 3,
                     CBX_MEET_FAIL = 4,
                     CBX_MEET_REFUSE = 5,
                     CBX_MEET_LOST = 6,
};

/* One message. Mark and candidates are those of OFFER and ANSWER, else zeros. */
struct cbx_meet {
    enum cbx_meet_step step;
    uint8_t id[CBX_LANE_ID];
    uint8_t mark[CBX_MEET_MARK];
    uint32_t count;
    char candidate[CBX_MEET_CANDIDATES_MAX][CBX_MEET_CANDIDATE_MAX + 1];
};

/* The text's length. Candidates beyond what fits are not the caller's to give. */
uint32_t cbx_meet_write(const struct cbx_meet *meet, uint8_t out[CBX_MEET_TEXT_MAX]);
/* CBX_ERR_FORMAT for anything but exactly one legal message; candidates are printable, no more is
 * known of them. */
int cbx_meet_read(const uint8_t *text, size_t length, struct cbx_meet *out);

/* A whole frame; .slab is NULL when memory is short. A counter is used once. */
struct cbx_slice cbx_meet_seal(struct cbx_aead *aead, const struct cbx_session *session,
                               const char *from, const char *to, uint64_t counter,
                               const struct cbx_meet *meet);
/* The frame's names and counter are the caller's to look at. CBX_ERR_AUTH, CBX_ERR_FORMAT. */
int cbx_meet_open(struct cbx_aead *aead, const struct cbx_session *session,
                  const struct cbx_frame *frame, struct cbx_meet *out);

/* The lane's ticket for the case that we listen, or that the peer does: they share nothing, so a
 * preface that somebody recorded opens nothing at its sender. Wipe it. */
void cbx_meet_ticket(const struct cbx_session *session, bool we_listen,
                     const uint8_t id[CBX_LANE_ID], struct cbx_lane_ticket *out);
/* The key of the host mark that we, or the peer, show. Wipe it. */
void cbx_meet_mark_key(const struct cbx_session *session, bool ours, uint8_t out[32]);

#endif
