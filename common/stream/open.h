/* SPDX-License-Identifier: MIT */
/*
 * The records that open a circuit: OPEN and RESUME with their answers (rules 17 to 19), and
 * CONFIRM, the record of no stream (rule 13). Sans-I/O.
 */
#ifndef COMMON_STREAM_OPEN_H
#define COMMON_STREAM_OPEN_H

#include "common/base/names.h"
#include "common/stream/record.h"

enum { CBX_OPEN_TEXT_MAX = 2 * (1 + CBX_SLUG_MAX) + 2 + 4 };

/* Both halves of OPEN: what the hub reads, and the same sealed (rule 17). */
struct cbx_open {
    char source[CBX_SLUG_MAX + 1];
    char target[CBX_SLUG_MAX + 1];
    uint16_t port;
    uint8_t session[CBX_SESSION_ID_SIZE];
    uint8_t stream_id[CBX_STREAM_ID_SIZE];
    uint64_t epoch;
    uint64_t limit; /* first credit for the direction to the dialer */
};
struct cbx_slice cbx_record_dial(struct cbx_aead *aead, struct cbx_record_keys *keys,
                                 uint32_t label, const struct cbx_open *open);
/* Reads the clear half. */
void cbx_open_read(const struct cbx_frame *frame, struct cbx_open *open);
/* Opens the sealed half and compares it with the clear one. CBX_ERR_AUTH when they differ. */
int cbx_record_open_dial(struct cbx_aead *aead, struct cbx_record_keys *keys,
                         struct cbx_frame *frame, const struct cbx_open *open);

/*
 * What each end has when a stream goes on over another path: RESUME of the dialer, RESUMED of the
 * target, each the record 0 of its direction's data class in the new epoch.
 */
struct cbx_resume {
    uint64_t received; /* next offset that is lacking; a FIN took one */
    uint64_t acked;    /* of it, delivered to the program */
    uint64_t limit;    /* granted */
    bool ended;        /* the FIN is among what was received */
};
/* open: names, port, session, identity, epoch; its limit is not looked at. */
struct cbx_slice cbx_record_resume(struct cbx_aead *aead, struct cbx_record_keys *keys,
                                   uint32_t label, const struct cbx_open *open,
                                   const struct cbx_resume *resume);
struct cbx_slice cbx_record_resumed(struct cbx_aead *aead, struct cbx_record_keys *keys,
                                    uint32_t label, const struct cbx_resume *resume);
/* Reads the clear fields. */
void cbx_resume_read(const struct cbx_frame *frame, struct cbx_open *open,
                     struct cbx_resume *resume);
/* Whether the tag holds. CBX_ERR_AUTH. */
int cbx_record_open_resume(struct cbx_aead *aead, struct cbx_record_keys *keys,
                           struct cbx_frame *frame, const struct cbx_open *open,
                           const struct cbx_resume *resume);
/* The answer, read and checked. CBX_ERR_AUTH. */
int cbx_record_open_resumed(struct cbx_aead *aead, struct cbx_record_keys *keys,
                            struct cbx_frame *frame, struct cbx_resume *resume);

/* The record that confirms a session when there is nothing to dial (rule 13). */
struct cbx_slice cbx_record_confirm(struct cbx_aead *aead, const struct cbx_session *session,
                                    const char *source, const char *target);
int cbx_record_open_confirm(struct cbx_aead *aead, const struct cbx_session *session,
                            struct cbx_frame *frame);

#endif
