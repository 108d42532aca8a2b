/* SPDX-License-Identifier: MIT */
/* The registry to disk (snapshot.h). */
#ifndef HUB_REGISTRY_COMMIT_H
#define HUB_REGISTRY_COMMIT_H

#include "common/disk/store.h"

struct registry;

/* Seals a snapshot and gives it to the store. done runs from the loop when it is on disk (or
 * failed). While one is being written, the next is not made: it will hold all that changed until
 * then. CBX_ERR_STATE unless registry_load succeeded: an unread file is not written over. Free the
 * store before the registry. */
int registry_commit(struct registry *registry, struct cbx_store *store, cbx_store_done *done,
                    void *arg);
/* Before cbx_store_free: gives the store at once what still waits for its snapshot. */
int registry_flush(struct registry *registry);
/* Frees callbacks that have not run, without running them. */
void registry_drop_waiters(struct registry *registry);

#endif
