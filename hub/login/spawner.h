/* SPDX-License-Identifier: MIT */
/*
 * Starts sshd for accepted sockets, from a small helper process that is forked before anything else
 * in the hub: no secret is in its memory, and what the hub later forbids itself does not reach
 * sshd.
 *
 * When the hub is gone, in whatever way, the helper ends every sshd and then itself. When the
 * helper is gone, the kernel ends every sshd. What sshd writes to standard error becomes log lines
 * tagged `sshd[n]: `, at most so many a second.
 */
#ifndef HUB_LOGIN_SPAWNER_H
#define HUB_LOGIN_SPAWNER_H

#include "common/base/err.h"
#include "hub/login/spawner_helper.h"
#include <stdint.h>

struct spawner;
struct ev_loop;

struct spawner_ops {
    void (*exited)(void *arg, uint64_t number, int status); /* status as of waitpid */
    void (*lost)(void *arg); /* the helper is gone: logins are over */
};

/* Forks the helper. Call before any loop, thread or secret exists. */
int spawner_start(struct spawner **out, const struct spawner_config *config,
                  struct cbx_error *error);
/* From here on exits are reported. */
void spawner_watch(struct spawner *spawner, struct ev_loop *loop, const struct spawner_ops *ops,
                   void *arg);
/* Starts an sshd on a socket, which stays the caller's to close. 0, CBX_ERR_AGAIN (the helper is
 * behind: try again later) or CBX_ERR_CLOSED. */
int spawner_launch(struct spawner *spawner, uint64_t number, int fd);
int spawner_kill(struct spawner *spawner, uint64_t number);
/* Lets go of the helper, waits for its end for up to wait_ms, and frees. NULL is fine. */
/* The helper opens the log file again, too (log_file.h). */
void spawner_reopen_log(const struct spawner *spawner);
void spawner_stop(struct spawner *spawner, int64_t wait_ms);

#endif
