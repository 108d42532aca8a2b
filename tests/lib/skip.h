/* SPDX-License-Identifier: MIT */
/* A test that does not fit where it runs is skipped with its reason, which collect.py counts. */
#ifndef TESTS_LIB_SKIP_H
#define TESTS_LIB_SKIP_H

/* cmocka.h comes first, as its own rules want it. In place of skip(). */
#define skip_because(reason)                                                                       \
    do {                                                                                           \
        print_message("# skipped: %s\n", reason);                                                  \
        skip();                                                                                    \
    } while (0)

#endif
