/* SPDX-License-Identifier: MIT */
/* Reads TCP_INFO (Linux; elsewhere nothing is known) and sets the greatest segment of a socket. */
#include "common/os/tcp_path.h"

#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>
#ifdef __linux__
#include <linux/tcp.h> /* the C library's is shorter */
#else
#include <netinet/tcp.h>
#endif

bool
cbx_tcp_path(int fd, struct cbx_tcp_path *out)
{
    *out = (struct cbx_tcp_path){0};
#ifdef __linux__
    struct tcp_info info = {0};
    socklen_t length = sizeof info;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) != 0 ||
        length < offsetof(struct tcp_info, tcpi_bytes_received) + sizeof info.tcpi_bytes_received)
        return false;
    out->acked = info.tcpi_bytes_acked;
    out->received = info.tcpi_bytes_received;
    out->unacked = info.tcpi_unacked;
    out->retransmits = info.tcpi_retransmits;
    out->segment = (int)info.tcpi_snd_mss;
    out->round_trip_us = info.tcpi_rtt;
    return true;
#else
    (void)fd;
    return false;
#endif
}

void
cbx_tcp_limit_segments(int fd, int bytes)
{
    if (bytes > 0)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &bytes, sizeof bytes);
}
