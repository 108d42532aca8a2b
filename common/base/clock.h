/* SPDX-License-Identifier: MIT */
/* The two clocks. The sans-I/O core never calls these: it gets the time as an argument. */
#ifndef COMMON_BASE_CLOCK_H
#define COMMON_BASE_CLOCK_H

#include <stdint.h>

/* Microseconds of a clock that never jumps (CLOCK_MONOTONIC). */
int64_t cbx_clock_us(void);
/* Wall clock, Unix seconds and milliseconds. For certificates and what people read. */
int64_t cbx_clock_unix(void);
int64_t cbx_clock_unix_ms(void);

#endif
