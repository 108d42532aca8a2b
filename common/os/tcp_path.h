/* SPDX-License-Identifier: MIT */
/*
 * What the kernel knows of a TCP connection's path, where it tells (Linux's TCP_INFO), and how long
 * its segments may be.
 */
#ifndef COMMON_OS_TCP_PATH_H
#define COMMON_OS_TCP_PATH_H

#include <stdbool.h>
#include <stdint.h>

/* Bytes that fit into IPv6's least packet of 1,280 with either kind of headers; what fits
 * everywhere. */
enum { CBX_SEGMENT_SHORT = 1220, CBX_SEGMENT_LEAST = 536 };

struct cbx_tcp_path {
    uint64_t acked;       /* bytes that the far kernel has acknowledged */
    uint64_t received;    /* bytes in order that came from there */
    uint32_t unacked;     /* segments that wait for their acknowledgement */
    uint32_t retransmits; /* times in a row that the first of these had to be sent again */
    int segment;          /* bytes in a full segment now */
    int64_t round_trip_us;
};

/* False: no TCP socket, or this system does not tell. */
bool cbx_tcp_path(int fd, struct cbx_tcp_path *out);

/* Before a socket connects: no segment of the connection will have more bytes than this, headers
 * not counted, in either direction, as the far end is told so too. 0: as the system has it. */
void cbx_tcp_limit_segments(int fd, int bytes);

#endif
