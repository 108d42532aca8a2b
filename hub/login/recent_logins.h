/* SPDX-License-Identifier: MIT */
/*
 * The addresses that logged in recently, kept over a restart in STATE/lately: else all agents
 * behind one address would be strangers that share half of the slots, and come back in waves.
 * Written when somebody has logged in since, at most once a minute, and at the stop; a crash loses
 * a minute. It is a convenience: what is missing, damaged or of another version is left out with a
 * warning.
 *
 *   magic 16 | per address, oldest first: family 1, prefix 8, Unix seconds 8 | BLAKE2b 16 of it all
 *
 * All numbers big-endian; at most ADMISSION_RECENT_MAX addresses.
 */
#ifndef HUB_LOGIN_RECENT_LOGINS_H
#define HUB_LOGIN_RECENT_LOGINS_H

#include "common/base/err.h"
#include "hub/login/admission.h"
#include <stddef.h>
#include <stdint.h>

struct cbx_store;
struct recent_logins;

enum { RECENT_LOGINS_FILE_MAX = 16 + 17 * ADMISSION_RECENT_MAX + 16 };

/* Reads STATE/lately into admission. admission and store are borrowed and must outlive it. NULL
 * when memory is short. */
struct recent_logins *recent_logins_new(const char *state_dir, struct admission *admission,
                                        struct cbx_store *store);
/* Hands what is new to the store. To be called once a minute, and at the stop. */
void recent_logins_step(struct recent_logins *recent_logins);
void recent_logins_free(struct recent_logins *recent_logins);

/* The file's bytes (malloc'd); NULL when memory is short. now_us and now_unix are one moment. */
uint8_t *recent_logins_encode(const struct admission *admission, int64_t now_us, int64_t now_unix,
                              size_t *length);
/* All of it or, with CBX_ERR_FORMAT, nothing. A moment in the future counts as now. */
int recent_logins_decode(struct admission *admission, const uint8_t *bytes, size_t length,
                         int64_t now_us, int64_t now_unix);

#endif
