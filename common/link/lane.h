/* SPDX-License-Identifier: MIT */
/*
 * A lane: the frames of a link over a plain TCP connection (rule 28; PROTOCOL.md, "Lanes"). Heads
 * and control frames are sealed for the next hop; the payload of DATA, sealed end to end already,
 * passes as it is. Sans-I/O: the link seals and opens with it, the shells move the preface.
 *
 * On the wire each frame begins with one block of fixed size: length of the head (1 byte), the
 * first bytes of the frame, zeros; sealed. What is left of the frame follows: a payload as it is,
 * else sealed with a tag. Counters begin at 0 in each direction and grow by one with each seal, so
 * a block that was dropped, repeated, moved or changed does not open.
 */
#ifndef COMMON_LINK_LANE_H
#define COMMON_LINK_LANE_H

#include "common/base/err.h"
#include "common/base/slab.h"
#include "common/crypto/aead.h"
#include <stdbool.h>
#include <stdint.h>

enum {
    CBX_LANE_MAGIC = 16,
    CBX_LANE_ID = 16,
    CBX_LANE_SECRET = 32,
    CBX_LANE_MAC = 32,
    CBX_LANE_PREFACE = CBX_LANE_MAGIC + CBX_LANE_ID + CBX_LANE_MAC,
    CBX_LANE_HEAD_TEXT = 72,
    CBX_LANE_HEAD_MAX = CBX_LANE_HEAD_TEXT - 1, /* bytes of a frame in one block */
    CBX_LANE_BLOCK = CBX_LANE_HEAD_TEXT + CBX_AEAD_TAG,
};
extern const uint8_t cbx_lane_magic[CBX_LANE_MAGIC];

/* Whether lanes are asked for and given. REQUIRE: a link carries no stream before it is on one. */
enum cbx_lanes { CBX_LANES_AUTO, CBX_LANES_OFF, CBX_LANES_REQUIRE };
extern const char *const cbx_lanes_names[]; /* by that number; the last entry is NULL */

/* What both ends know of a lane before it exists: good once. */
struct cbx_lane_ticket {
    uint8_t id[CBX_LANE_ID];
    uint8_t secret[CBX_LANE_SECRET];
    enum cbx_cipher cipher;
};
void cbx_lane_ticket_make(struct cbx_lane_ticket *ticket, enum cbx_cipher cipher);

/* The first bytes of whoever connects, and the answer of whoever listens. Nothing else is said
 * before both. */
void cbx_lane_preface(const struct cbx_lane_ticket *ticket, uint8_t out[CBX_LANE_PREFACE]);
bool cbx_lane_preface_holds(const struct cbx_lane_ticket *ticket,
                            const uint8_t preface[CBX_LANE_PREFACE]);
void cbx_lane_answer(const struct cbx_lane_ticket *ticket, uint8_t out[CBX_LANE_MAC]);
bool cbx_lane_answer_holds(const struct cbx_lane_ticket *ticket,
                           const uint8_t answer[CBX_LANE_MAC]);

struct cbx_lane_direction {
    uint8_t key[CBX_AEAD_KEY];
    uint64_t next;
};

struct cbx_lane {
    uint8_t id[CBX_LANE_ID];
    enum cbx_cipher cipher;
    struct cbx_aead *aead;
    struct cbx_lane_direction in, out;
    struct cbx_slab *heads; /* where blocks go that have no room before their payload */
    uint32_t heads_used;
};

/* listener: this end took the connection. NULL when memory is short. */
struct cbx_lane *cbx_lane_new(const struct cbx_lane_ticket *ticket, bool listener);
void cbx_lane_free(struct cbx_lane *lane); /* NULL is fine */

/*
 * Turns a frame into what goes over the wire: one or two slices. Takes the frame's reference over,
 * also on failure. The number of slices, or CBX_ERR_NOMEM. The bytes of the frame may be
 * overwritten: nobody else may hold them.
 */
int cbx_lane_seal(struct cbx_lane *lane, struct cbx_slice frame, struct cbx_slice out[2]);

/*
 * Opens the block at bytes in place. The frame's head is then at *head (the last bytes of the
 * block, so that what follows on the wire continues it), *head_length bytes of it; *body are the
 * bytes that follow (a tag included when *sealed). CBX_ERR_AUTH when it does not open,
 * CBX_ERR_FORMAT when what it says is out of bounds.
 */
int cbx_lane_open_head(struct cbx_lane *lane, uint8_t *block, uint8_t **head, uint32_t *head_length,
                       uint32_t *body, bool *sealed);
/* Opens a sealed rest in place; length with the tag. CBX_ERR_AUTH. */
int cbx_lane_open_body(struct cbx_lane *lane, uint8_t *body, uint32_t length);

#endif
