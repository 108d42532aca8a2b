/* SPDX-License-Identifier: MIT */
/*
 * Accepting connections, with one policy for every listener that strangers or programs reach:
 *
 *   the client's fault     ended before it was accepted, refused by a firewall, no route to it any
 *                          more: the next one has its turn
 *   nothing more there     until the loop reports it
 *   no room                the owner's limit, or descriptors or memory are short: accepting pauses
 *                          for a moment and looks again; clients wait in the kernel's queue.
 * Polling on would spin.
 *
 * Descriptors are short when only those that descriptors.h keeps back are left. An owner whose
 * clients had better hear an end than wait has `turned_away`: then they are accepted and closed at
 * once, at the very last with the one descriptor that the acceptor keeps for it.
 */
#ifndef COMMON_OS_ACCEPT_H
#define COMMON_OS_ACCEPT_H

#include "common/os/descriptors.h"
#include <ev.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

/* Why accepting paused: the owner is full, or an errno. */
enum { CBX_ACCEPT_FULL = 0 };

/* None of them may stop the acceptor. */
struct cbx_acceptor_ops {
    enum cbx_descriptors_use use;
    /* A connection, non-blocking; the descriptor belongs to the callee. */
    void (*take)(void *arg, int fd, const struct sockaddr *from);
    /* Has the owner as many as it may have? NULL: it has no limit. */
    bool (*full)(void *arg);
    /* Descriptors that those taken before are going to need. NULL: none. */
    uint32_t (*promised)(void *arg);
    /* Accepting pauses. say: to be logged, which is at most once a minute for each of the two kinds
     * of cause. NULL: nobody needs to know. */
    void (*paused)(void *arg, int cause, bool say);
    /* A connection was closed for want of a descriptor. NULL: they wait. */
    void (*turned_away)(void *arg);
};

/* Embedded in its owner; nothing in it is for others. */
struct cbx_acceptor {
    struct ev_loop *loop;
    const struct cbx_acceptor_ops *ops;
    void *arg;
    ev_io readable; /* its fd is the listening socket; -1: none */
    ev_timer resume;
    int spare;          /* to turn away with; -1: none */
    int64_t said_us[2]; /* when paused was last told to log: full, short; 0: never */
};

/* Begins to accept on a listening, non-blocking socket, which belongs to the acceptor from here on.
 * -1: no socket, there is nothing to accept. */
void cbx_acceptor_start(struct cbx_acceptor *acceptor, struct ev_loop *loop, int fd,
                        const struct cbx_acceptor_ops *ops, void *arg);
/* Closes the socket. Again: no effect. Only after cbx_acceptor_start. */
void cbx_acceptor_stop(struct cbx_acceptor *acceptor);

#endif
