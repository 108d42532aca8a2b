/* SPDX-License-Identifier: MIT */
/* Options of TCP sockets: no pacing on loopback, keepalive probes, an abrupt close. */
#include "common/os/socket.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

bool
cbx_socket_is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *four = (const struct sockaddr_in *)(const void *)address;
        return ntohl(four->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    }
    if (address->sa_family != AF_INET6)
        return false;
    const struct in6_addr *six = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(six) ||
           (IN6_IS_ADDR_V4MAPPED(six) && six->s6_addr[12] == IN_LOOPBACKNET);
}

void
cbx_socket_unpace(int fd, const struct sockaddr *address)
{
#ifdef TCP_CONGESTION
    static const char paced[] = "bbr",
                      unpaced[] = "reno"; /* bbr2 and bbr3 too; reno is always there */
    char name[16] = "";
    socklen_t length = sizeof name;
    if (!cbx_socket_is_loopback(address) ||
        getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &length) != 0 ||
        strncmp(name, paced, sizeof paced - 1) != 0)
        return;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, unpaced, sizeof unpaced - 1);
#else
    (void)fd;
    (void)address;
#endif
}

void
cbx_socket_keepalive(int fd, int64_t idle_ms)
{
    int on = idle_ms > 0;
    if (setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on) != 0 || !on)
        return;
    enum { PROBES = 4 };
    int count = PROBES, idle = (int)((idle_ms + 999) / 1000);
    int interval = idle < PROBES ? 1 : idle / PROBES;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
#ifdef TCP_KEEPIDLE
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
#elif defined(TCP_KEEPALIVE) /* macOS */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPALIVE, &idle, sizeof idle);
#endif
}

void
cbx_socket_reset_on_close(int fd, bool reset)
{
    struct linger linger = {.l_onoff = reset, .l_linger = 0};
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
}
