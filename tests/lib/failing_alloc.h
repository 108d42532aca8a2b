/* SPDX-License-Identifier: MIT */
/*
 * An allocator that fails when told to, for the product's own code alone: the objects of common/,
 * hub/ and agent/ are copied with each call of NAME renamed to failing_NAME (objcopy; the Makefile
 * takes the names from failing_alloc.o), while tests, cmocka and libraries keep the true functions.
 * Beside malloc and its kin these are the library functions that allocate for the product (msgpack,
 * jansson, libcrypto, libsodium, libcurl, libssh2, libc): each fails as its manual says it does
 * without memory. What a library does inside other calls cannot fail here, nor can libev, which
 * ends the process by design.
 */
#ifndef TESTS_FAILING_ALLOC_H
#define TESTS_FAILING_ALLOC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { FAILING_NEAR = 4, FAILING_DEPTH = 12, FAILING_TRAIL_MAX = 1 << 15 };

/* Lies in memory shared by the runner and the process that runs one test. */
struct failing {
    _Atomic uint32_t count; /* allocations asked for so far */
    uint32_t at;            /* the one that fails, from 1; 0: none does */
    bool forever;           /* and each one after it */
    bool draws_trail;       /* writes down who asked */
    _Atomic bool fired;
    int depth; /* who asked for the one that failed */
    void *stack[FAILING_DEPTH];
    uint32_t hash[2];                     /* of the nearest of these, and of all */
    uint32_t trail[FAILING_TRAIL_MAX][2]; /* near and far callers of each */
};

/* NULL: nothing is counted. */
extern struct failing *failing;

#endif
