/* SPDX-License-Identifier: MIT */
/*
 * The helper process of spawner.h, and how the two talk: over a SOCK_SEQPACKET pair, one struct
 * spawner_message each way.
 *
 *   LAUNCH n + socket   the helper starts `sshd -i` on it
 *   KILL n              SIGTERM to the sshd of n and all of its group, SIGKILL 2 s later
 *   EXITED n, status    that sshd is gone (or could not be started: status -1)
 */
#ifndef HUB_LOGIN_SPAWNER_HELPER_H
#define HUB_LOGIN_SPAWNER_HELPER_H

#include <stdint.h>

struct spawner_config {
    const char *sshd;   /* absolute path */
    const char *config; /* its configuration file; may be written later */
};

enum spawner_op { SPAWNER_LAUNCH = 1, SPAWNER_KILL = 2, SPAWNER_EXITED = 3 };

struct spawner_message {
    uint32_t op;
    int32_t status;
    uint64_t number;
};

/* The helper's life, in the forked process; fd is its end of the pair. */
_Noreturn void spawner_helper(int fd, const struct spawner_config *config);

#endif
