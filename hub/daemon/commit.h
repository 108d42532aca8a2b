/* SPDX-License-Identifier: MIT */
/*
 * Puts registry changes on disk: the sealed registry and, when login keys changed, sshd's
 * authorized_keys. One round at a time; tickets that come meanwhile wait for the next one, so a
 * storm of joins is few writes. A ticket is told only when both files are there.
 */
#ifndef HUB_DAEMON_COMMIT_H
#define HUB_DAEMON_COMMIT_H

#include "common/disk/store.h"
#include "hub/registry/registry.h"
#include <stdbool.h>
#include <stdint.h>

struct commit;

struct commit_config {
    struct registry *registry; /* all borrowed */
    struct cbx_store *store;
    const char *program; /* absolute: what authorized_keys runs */
    const char *state_dir;
    const char *authorized_keys; /* path */
};

/* All tickets up to this one are on disk, or failed. From the loop, or from commit_step. */
typedef void commit_done(void *arg, uint64_t ticket, int result, const char *text);

struct commit *commit_new(const struct commit_config *config, commit_done *done, void *arg);
void commit_free(struct commit *commit);
/* Writes authorized_keys at once, blocking: before sshd serves anybody. */
int commit_first_keys(struct commit *commit, struct cbx_error *error);
/* Ticket is wanted on disk. Nothing happens before commit_step. */
void commit_want(struct commit *commit, uint64_t ticket);
/* When the last round failed: makes another one due. */
void commit_retry(struct commit *commit);
/* Begins a round if one is due. Call before the loop sleeps. */
void commit_step(struct commit *commit);
/* At the end, before cbx_store_free: gives the store all that is not on its way. Nobody is told. */
void commit_flush(struct commit *commit);
bool commit_idle(const struct commit *commit);

#endif
