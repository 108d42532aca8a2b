/* SPDX-License-Identifier: MIT */
/*
 * The carrier of a login: sshd's two pipes, and the connection of attach beside them, which it
 * owns; closing it ends all three. A carrier outlives the server if its owner wants; it then only
 * forgets to report.
 */
#ifndef HUB_LOGIN_ATTACH_CARRIER_H
#define HUB_LOGIN_ATTACH_CARRIER_H

#include "common/link/carrier.h"
#include <stdint.h>

enum {
    ATTACH_PIPE_BYTES = 256 * 1024,      /* what a busy pipe is enlarged to */
    ATTACH_PIPES_SUM = 16 * 1024 * 1024, /* all enlarged pipes together */
    ATTACH_BUSY_BYTES = 1024 * 1024,     /* moved one way before its pipe is enlarged */
};

struct attach_carrier;
struct ev_loop;

/* All carriers of one server. */
struct attach_carriers {
    struct ev_loop *loop;
    void (*detached)(void *arg, uint64_t connection); /* one was closed */
    void *arg;
    struct attach_carrier *first;
    uint32_t enlarged; /* bytes of enlarged pipes, at most ATTACH_PIPES_SUM */
};

/* Takes the socket and the pipes (to read, to write) over, or leaves all three alone and returns
 * NULL. */
struct cbx_carrier *attach_carrier_new(struct attach_carriers *set, uint64_t connection, int socket,
                                       const int pipes[2]);
/* The server goes: nothing is reported any more. */
void attach_carriers_abandon(struct attach_carriers *set);

#endif
