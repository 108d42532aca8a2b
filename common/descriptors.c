/* SPDX-License-Identifier: MIT */
#include "descriptors.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

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
    return all - (use == CBX_DESCRIPTORS_COMMANDS ? reserve / 2 : reserve);
}

bool
cbx_descriptor_is_reserved(int fd)
{
    return (uint64_t)fd >= first_reserved(CBX_DESCRIPTORS_CLIENTS);
}

/* A new descriptor gets the lowest free number, so that number says how full it is. */
bool
cbx_descriptors_scarce(enum cbx_descriptors_use use, int open, uint32_t promised)
{
    int next = fcntl(open, F_DUPFD_CLOEXEC, 0);
    if (next < 0)
        return true;
    uint64_t number = (uint64_t)next;
    (void)close(next);
    return number + promised >= first_reserved(use);
}
