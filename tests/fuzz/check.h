/* SPDX-License-Identifier: MIT */
/* What a fuzzer finds: it says what does not hold, and ends there. */
#ifndef FUZZ_CHECK_H
#define FUZZ_CHECK_H

#include <stdio.h>
#include <stdlib.h>

#define check(holds) ((holds) ? (void)0 : check_failed(#holds, __FILE__, __LINE__))

_Noreturn static inline void
check_failed(const char *what, const char *file, int line)
{
    (void)fprintf(stderr, "%s:%d: this does not hold: %s\n", file, line, what);
    abort();
}

#endif
