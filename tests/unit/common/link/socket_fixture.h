/* SPDX-License-Identifier: MIT */
/* What the tests of carriers over descriptors share: one loop for the group, and socket pairs. */
#ifndef TESTS_SOCKET_FIXTURE_H
#define TESTS_SOCKET_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ev.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

static struct ev_loop *loop;

static inline int
loop_begin(void **state)
{
    (void)state;
    (void)signal(SIGPIPE, SIG_IGN);
    loop = ev_loop_new(EVFLAG_AUTO);
    return loop ? 0 : -1;
}

static inline int
loop_end(void **state)
{
    (void)state;
    ev_loop_destroy(loop);
    return 0;
}

/* Each end sends at most about so many bytes ahead of its reader; 0: as the system has it. */
static inline bool
socket_pair(int fd[2], int send_buffer)
{
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd) < 0)
        return false;
    for (int i = 0; i < 2 && send_buffer; i++)
        (void)setsockopt(fd[i], SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof send_buffer);
    return true;
}

#endif
