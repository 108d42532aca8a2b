/* SPDX-License-Identifier: MIT */
/*
 * Sealed records of a stream (rule 14; PROTOCOL.md, "Records"): keys of one direction and epoch,
 * and the additional data that binds every header field but the label. Sans-I/O.
 */
#ifndef COMMON_STREAM_RECORD_H
#define COMMON_STREAM_RECORD_H

#include "common/crypto/aead.h"
#include "common/link/frame.h"
#include "common/session/session.h"
#include <stdint.h>

enum {
    CBX_RECORD_HEAD = 96, /* room for prefix and header before a payload sealed in place */
};

/* One direction in one epoch. Each class counts from 0 and takes exactly the next (rule 14). */
struct cbx_record_keys {
    uint64_t epoch;
    uint8_t data[CBX_AEAD_KEY];
    uint8_t control[CBX_AEAD_KEY];
    uint64_t data_next;
    uint64_t control_next;
    enum cbx_cipher cipher;
};

void cbx_record_keys_derive(struct cbx_record_keys *keys, const uint8_t root[32],
                            const uint8_t stream_id[CBX_STREAM_ID_SIZE], uint64_t epoch,
                            enum cbx_cipher cipher);
void cbx_record_keys_wipe(struct cbx_record_keys *keys);

/*
 * Seals a DATA record whose n bytes of text lie at slab->bytes + CBX_RECORD_HEAD (room
 * for the tag behind) and writes the header before them. The slice takes the slab's reference over,
 * also on failure (then .slab is NULL).
 */
struct cbx_slice cbx_record_data(struct cbx_aead *aead, struct cbx_record_keys *keys,
                                 uint32_t label, uint64_t offset, struct cbx_slab *slab,
                                 uint32_t n);
struct cbx_slice cbx_record_fin(struct cbx_aead *aead, struct cbx_record_keys *keys, uint32_t label,
                                uint64_t offset);
struct cbx_slice cbx_record_credit(struct cbx_aead *aead, struct cbx_record_keys *keys,
                                   uint32_t label, uint64_t acked, uint64_t limit);
struct cbx_slice cbx_record_reset(struct cbx_aead *aead, struct cbx_record_keys *keys,
                                  uint32_t label, enum cbx_reason reason);
/* Says that data from `offset` on and all later control is in epoch `next` of session. */
struct cbx_slice cbx_record_epoch(struct cbx_aead *aead, struct cbx_record_keys *keys,
                                  uint32_t label, const uint8_t session[CBX_SESSION_ID_SIZE],
                                  uint64_t next, uint64_t offset);

/*
 * Opens the record in frame in place: epoch and counter must be the next of keys. 0, CBX_ERR_AUTH.
 * DATA: the payload field holds the text afterwards (n without the tag). RESET: *reason. EPOCH:
 * *next, *offset.
 */
int cbx_record_open(struct cbx_aead *aead, struct cbx_record_keys *keys, struct cbx_frame *frame);
int cbx_record_open_reset(struct cbx_aead *aead, struct cbx_record_keys *keys,
                          struct cbx_frame *frame, enum cbx_reason *reason);
int cbx_record_open_epoch(struct cbx_aead *aead, struct cbx_record_keys *keys,
                          struct cbx_frame *frame, uint64_t *next, uint64_t *offset);

/*
 * Opens a DATA record of our own again, to seal it anew for another epoch (rule 18): n bytes of
 * text and the tag at text, sealed under the data key of `keys`. 0, CBX_ERR_AUTH.
 */
int cbx_record_reopen(struct cbx_aead *aead, const struct cbx_record_keys *keys, uint64_t counter,
                      uint64_t offset, uint8_t *text, uint32_t n);

#endif
