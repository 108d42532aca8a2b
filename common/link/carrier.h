/* SPDX-License-Identifier: MIT */
/*
 * A carrier is a reliable byte pipe to a neighbour: sshd's pipes (hub), an SSH channel (agent), a
 * socket, memory (tests). The owner, a pump, drives it:
 *
 *   - read and writev never block;
 *   - ready(arg) is called from the event loop, never from inside an operation, when something the
 *     owner asked for by want() may now go on. A carrier that holds bytes of its own (libssh2 does)
 *     calls ready again until a read has returned CBX_ERR_AGAIN;
 *   - close frees the carrier and may be called inside ready: a carrier touches nothing of its own
 *     after ready has returned.
 */
#ifndef COMMON_LINK_CARRIER_H
#define COMMON_LINK_CARRIER_H

#include "common/base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

struct cbx_carrier;

struct cbx_carrier_ops {
    /* Bytes read (> 0), CBX_ERR_AGAIN, CBX_ERR_CLOSED at the end, or CBX_ERR_IO. */
    ssize_t (*read)(struct cbx_carrier *carrier, void *buffer, size_t length);
    /* Bytes taken (> 0), CBX_ERR_AGAIN, CBX_ERR_CLOSED or CBX_ERR_IO. What is taken is copied. */
    ssize_t (*writev)(struct cbx_carrier *carrier, const struct iovec *vector, int count);
    /* Which of the two the owner waits for. Called often: cheap when nothing changes. */
    void (*want)(struct cbx_carrier *carrier, bool read, bool write);
    void (*close)(struct cbx_carrier *carrier);
    /* The socket below, for a look at its path; -1: there is none. May be NULL: none. */
    int (*socket)(const struct cbx_carrier *carrier);
};

struct cbx_carrier {
    const struct cbx_carrier_ops *ops;
    void (*ready)(void *arg);
    void *arg;
};

struct ev_loop;

/* Over descriptors of the kernel (the same one twice for a socket); both are made non-blocking and
 * owned. NULL when memory is short (the descriptors then stay the caller's). */
struct cbx_carrier *cbx_carrier_fd(struct ev_loop *loop, int read_fd, int write_fd);

#endif
