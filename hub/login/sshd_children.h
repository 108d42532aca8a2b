/* SPDX-License-Identifier: MIT */
/*
 * The helper's sshd processes. One is running, then ending (SIGTERM sent, SIGKILL when its timer
 * fires), and is freed when the kernel reports its exit. What they write to standard error becomes
 * log lines tagged `sshd[n]: `, at most so many a second.
 */
#ifndef HUB_LOGIN_SSHD_CHILDREN_H
#define HUB_LOGIN_SSHD_CHILDREN_H

#include "common/base/rate.h"
#include <ev.h>
#include <stdint.h>
#include <sys/resource.h>

struct child;

struct sshd_children {
    struct ev_loop *loop;      /* the default one: it reaps */
    const char *sshd, *config; /* as in struct spawner_config */
    struct rlimit files;       /* what each sshd gets */
    /* It is gone: status as of waitpid. May look at first. */
    void (*exited)(void *arg, uint64_t number, int status);
    void *arg;
    struct child *first; /* NULL: none runs */
    struct cbx_rate lines;
    unsigned long unsaid; /* lines over the limit since the last one that was printed */
};

/* Starts an sshd on a socket, which stays the caller's to close. -1 and errno. */
int sshd_children_start(struct sshd_children *set, uint64_t number, int socket);
/* SIGTERM to the sshd of that number and all of its group, SIGKILL after kill_after_s. One that is
 * ending already goes on as it was told. */
void sshd_children_end(struct sshd_children *set, uint64_t number, double kill_after_s);
void sshd_children_end_all(struct sshd_children *set, double kill_after_s);

#endif
