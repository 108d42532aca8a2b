/* SPDX-License-Identifier: MIT */
/*
 * The addresses that logged in lately, kept over a restart in STATE/lately: else all agents behind
 * one address would be strangers that share half of the slots, and come back in waves. Written when
 * somebody has logged in since, at most once a minute, and at the stop; a crash loses a minute. It
 * is a convenience: what is missing, damaged or of another version is left out with a warning.
 *
 *   magic 16 | per address, oldest first: family 1, prefix 8, Unix seconds 8 | BLAKE2b 16 of it all
 *
 * All numbers big-endian; at most SLOTS_RECENT_MAX addresses.
 */
#ifndef HUB_LATELY_H
#define HUB_LATELY_H

#include "err.h"
#include "slots.h"
#include <stddef.h>
#include <stdint.h>

struct cbx_store;
struct lately;

enum { LATELY_FILE_MAX = 16 + 17 * SLOTS_RECENT_MAX + 16 };

/* Reads STATE/lately into slots. slots and store are borrowed and must outlive it. NULL when memory
 * is short. */
struct lately *lately_new(const char *state_dir, struct slots *slots, struct cbx_store *store);
/* Hands what is new to the store. To be called once a minute, and at the stop. */
void lately_step(struct lately *lately);
void lately_free(struct lately *lately);

/* The file's bytes (malloc'd); NULL when memory is short. now_us and now_unix are one moment. */
uint8_t *lately_encode(const struct slots *slots, int64_t now_us, int64_t now_unix, size_t *length);
/* All of it or, with CBX_ERR_FORMAT, nothing. A moment in the future counts as now. */
int lately_decode(struct slots *slots, const uint8_t *bytes, size_t length, int64_t now_us,
                  int64_t now_unix);

#endif
