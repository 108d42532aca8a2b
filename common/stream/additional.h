/* SPDX-License-Identifier: MIT */
/*
 * Additional data of records: what a seal binds beside its text (rule 14; PROTOCOL.md, "Records").
 * Written piece by piece into a buffer of CBX_AD_MAX; each function returns where the next goes.
 */
#ifndef COMMON_STREAM_ADDITIONAL_H
#define COMMON_STREAM_ADDITIONAL_H

#include "common/base/bytes.h"
#include "common/base/names.h"
#include "common/link/frame.h"
#include "common/session/session.h"
#include <string.h>

enum {
    CBX_AD_BASE = 1 + 4 * 8,   /* type, epoch, counter, two more */
    CBX_AD_RESUME = 2 * 8 + 1, /* received, acknowledged, ended */
    CBX_AD_MAX = CBX_AD_BASE + CBX_SESSION_ID_SIZE + CBX_STREAM_ID_SIZE + 2 * (1 + CBX_SLUG_MAX) +
                 CBX_AD_RESUME,
};

static inline uint8_t *
cbx_ad_put64(uint8_t *at, uint64_t value)
{
    cbx_put_be64(at, value);
    return at + 8;
}

static inline uint8_t *
cbx_ad_put_bytes(uint8_t *at, const void *bytes, size_t length)
{
    memcpy(at, bytes, length);
    return at + length;
}

static inline uint8_t *
cbx_ad_put_name(uint8_t *at, const char *name, size_t length)
{
    *at++ = (uint8_t)length;
    return cbx_ad_put_bytes(at, name, length);
}

/* type || epoch || counter || a || b: every header field but the label, in fixed form. Returns how
 * many bytes that is. Not inline: by itself it is five stores, inside its callers each byte is one.
 */
size_t cbx_ad_begin(uint8_t out[CBX_AD_MAX], enum cbx_frame_type type, uint64_t epoch,
                    uint64_t counter, uint64_t a, uint64_t b);

#endif
