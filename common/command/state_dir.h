/* SPDX-License-Identifier: MIT */
/* The state folder: where it is, its lock, and the addresses of the sockets in it. */
#ifndef COMMON_COMMAND_STATE_DIR_H
#define COMMON_COMMAND_STATE_DIR_H

#include "common/base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct sockaddr_un;

/*
 * The address of a unix socket at path, however long: one that does not fit into an address leads
 * through /proc/self/fd and a descriptor of the folder. *folder is that descriptor, or -1: close it
 * after bind or connect.
 */
int cbx_unix_address(const char *path, struct sockaddr_un *address, int *folder,
                     struct cbx_error *error);

/* Whether the process at the other end of a unix socket runs as uid (SO_PEERCRED). */
bool cbx_peer_is_uid(int fd, uid_t uid);

/* Makes the folder (0700, parents too) and takes its lock, kept until the process ends. Returns the
 * lock's descriptor, or CBX_ERR_BUSY with *pid set to the holder, or CBX_ERR_IO. */
int cbx_state_lock(const char *state_dir, long *pid, struct cbx_error *error);

/* Whether the folder, if it is there, can be ours: what cbx_state_lock would say. Makes nothing. */
int cbx_state_look(const char *state_dir, struct cbx_error *error);

/* The pid of the process that holds the lock, 0 when none does or it cannot be told. Makes nothing.
 */
long cbx_state_holder(const char *state_dir);

/* --state, CBX_STATE, $STATE_DIRECTORY, $XDG_STATE_HOME/cbx/<kind>, ~/.local/state/cbx/<kind>.
 * Absolute path into out. 0 or CBX_ERR_*. */
int cbx_state_dir(const char *option, const char *kind, char *out, size_t size,
                  struct cbx_error *error);

#endif
