/* SPDX-License-Identifier: MIT */
/*
 * A libssh2 session over a tcp_buffer. The buffer is libssh2's only way out: its send callback
 * takes whole packets, its receive callback says EAGAIN when nothing was received, and also while
 * there is no room for the replies that reading may cause. A partial write, after which libssh2 may
 * hang in a key exchange, cannot occur.
 */
#ifndef AGENT_UPLINK_SSH_SESSION_H
#define AGENT_UPLINK_SSH_SESSION_H

#include "agent/uplink/tcp_buffer.h"
#include <libssh2.h>

enum {
    /* libssh2 takes at most this much payload at a time ... */
    SSH_WRITE_MAX = 32700,
    /* ... and makes at most this of it. */
    SSH_PACKET_MAX = 35000,
    /* Room kept for what libssh2 writes by itself while it reads: replies, window adjustments and
     * key exchange. It reads 16 KiB at a time, and each packet causes a reply of its own size at
     * most. */
    SSH_REPLY_ROOM = 40000,
};

/* Without blocking, with our algorithms; it reads from and writes to tcp, which stays the caller's.
 * NULL when memory is short. */
LIBSSH2_SESSION *ssh_session_new(struct tcp_buffer *tcp);
/* Ends session (NULL is fine) and buffer without waiting for the far side. */
void ssh_session_end(LIBSSH2_SESSION *session, struct tcp_buffer *tcp);

#endif
