/* SPDX-License-Identifier: MIT */
/*
 * TCP sockets, where systems differ.
 *
 * Loopback has no bottleneck to find. Where the system's congestion control is BBR, the kernel
 * paces each connection with a timer of its own, which between two processes of one machine costs a
 * fifth of the speed and brings nothing. So connections over loopback take one that does not pace.
 */
#ifndef COMMON_OS_SOCKET_H
#define COMMON_OS_SOCKET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

/* 127.0.0.0/8, also as mapped into IPv6, or ::1. */
bool cbx_socket_is_loopback(const struct sockaddr *address);

/*
 * Before a TCP socket connects to address, or listens on it: what it accepts inherits. Still helps
 * in part once a connection stands. Only a hint: nothing changes unless address is loopback and the
 * socket would pace.
 */
void cbx_socket_unpace(int fd, const struct sockaddr *address);

/* The kernel asks a silent far end for a sign of life after idle_ms, then four times in as long
 * again, and ends the connection when none comes. 0 and less: never. For TCP; else no effect. */
void cbx_socket_keepalive(int fd, int64_t idle_ms);

/* Whether closing, also by the end of the process, resets the connection: what the far side then
 * sees is an error, never an end of input. */
void cbx_socket_reset_on_close(int fd, bool reset);

#endif
