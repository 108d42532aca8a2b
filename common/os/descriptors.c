/* SPDX-License-Identifier: MIT */
/* Closed standard descriptors, the process's limit, and how near to it the last free number is. */
#include "common/os/descriptors.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

enum { LOOK_AT_ONCE = 256 };

static bool output_closed;

bool
cbx_descriptors_output_closed(void)
{
    return output_closed;
}

void
cbx_descriptors_fill_standard(void)
{
    int fd;
    output_closed = fcntl(STDOUT_FILENO, F_GETFD) < 0;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO)
        (void)close(fd);
}

void
cbx_descriptors_raise(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

/* The first number that is kept back. */
static uint64_t
first_reserved(enum cbx_descriptors_use use)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return UINT64_MAX;
    uint64_t all = limit.rlim_cur;
    uint64_t reserve = all / 4 < CBX_DESCRIPTORS_RESERVE ? all / 4 : CBX_DESCRIPTORS_RESERVE;
    switch (use) {
    case CBX_DESCRIPTORS_CLIENTS:
        return all - reserve;
    case CBX_DESCRIPTORS_COMMANDS:
        return all - reserve / 2;
    case CBX_DESCRIPTORS_PROMISED:
        break;
    }
    return all;
}

bool
cbx_descriptor_is_reserved(int fd)
{
    return (uint64_t)fd >= first_reserved(CBX_DESCRIPTORS_CLIENTS);
}

/* How many of the numbers from..to-1 are free: poll says it of many at once. */
static uint32_t
free_among(uint64_t from, uint64_t to)
{
    struct pollfd look[LOOK_AT_ONCE];
    nfds_t count = (nfds_t)(to - from);
    uint32_t free_ones = 0;
    for (nfds_t i = 0; i < count; i++)
        look[i] = (struct pollfd){.fd = (int)(from + i)};
    if (poll(look, count, 0) < 0)
        return 0;
    for (nfds_t i = 0; i < count; i++)
        free_ones += (look[i].revents & POLLNVAL) != 0;
    return free_ones;
}

/*
 * A new descriptor gets the lowest free number. What is promised gets the next ones, which are
 * counted from above, where most are free: when low ones were closed and higher ones are in use,
 * the lowest says nothing of the others.
 */
bool
cbx_descriptors_scarce(enum cbx_descriptors_use use, int open, uint32_t promised)
{
    uint64_t first = first_reserved(use), found = 0;
    int next = fcntl(open, F_DUPFD_CLOEXEC, 0);
    if (next < 0)
        return true;
    uint64_t lowest = (uint64_t)next, to = first < INT_MAX ? first : INT_MAX;
    (void)close(next);
    if (lowest >= first)
        return true;
    while (found <= promised && to > lowest) {
        uint64_t from = to - lowest > LOOK_AT_ONCE ? to - LOOK_AT_ONCE : lowest;
        found += free_among(from, to);
        to = from;
    }
    return found <= promised;
}
