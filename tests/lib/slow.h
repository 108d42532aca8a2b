/* SPDX-License-Identifier: MIT */
#ifndef TESTS_SLOW_H
#define TESTS_SLOW_H

#include <stdbool.h>
#include <stdlib.h>

/* All runs dozens of times slower (under valgrind): the largest transfers are made smaller. */
static inline bool
runs_slowly(void)
{
    return getenv("CBX_SLOW") != NULL;
}

#endif
