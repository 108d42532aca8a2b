/* SPDX-License-Identifier: MIT */
/*
 * Writes files without blocking the event loop. One thread, fed and answered through pipes (no
 * locks: a job belongs to one side at a time), does cbx_file_save: temporary, fsync, rename. Jobs
 * are done in order; of several waiting jobs for one path only the newest is written, and all their
 * callbacks run once it is on disk.
 */
#ifndef COMMON_DISK_STORE_H
#define COMMON_DISK_STORE_H

#include "common/base/err.h"
#include <stddef.h>
#include <stdint.h>

struct cbx_store;
struct ev_loop;

/* Signals are blocked in the thread. NULL on failure. */
struct cbx_store *cbx_store_new(struct ev_loop *loop);

/* result: 0 or a cbx_err with text. Runs from the loop, never inside cbx_store_put. */
typedef void cbx_store_done(void *arg, int result, const char *text);

/* Takes bytes over (malloc'd; wiped and freed afterwards, on failure too). done may be NULL. */
int cbx_store_put(struct cbx_store *store, const char *path, uint8_t *bytes, size_t length,
                  unsigned mode, cbx_store_done *done, void *arg);

/* Waits until all is written, stops the thread, drops callbacks that have not run. */
void cbx_store_free(struct cbx_store *store);

#endif
