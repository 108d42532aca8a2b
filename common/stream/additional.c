/* SPDX-License-Identifier: MIT */
/* Tested by test_record. */
#include "common/stream/additional.h"

size_t
cbx_ad_begin(uint8_t out[CBX_AD_MAX], enum cbx_frame_type type, uint64_t epoch, uint64_t counter,
             uint64_t a, uint64_t b)
{
    uint8_t *at = out;
    *at++ = (uint8_t)type;
    at = cbx_ad_put64(at, epoch);
    at = cbx_ad_put64(at, counter);
    at = cbx_ad_put64(at, a);
    at = cbx_ad_put64(at, b);
    return (size_t)(at - out);
}
