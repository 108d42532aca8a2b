/* SPDX-License-Identifier: MIT */
/* Tested by test_strangers.py. */
#include "hub/login/bind.h"
#include "common/base/names.h"
#include "common/os/socket.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 512, HOST_MAX = 256 };

static int
bind_socket(const struct addrinfo *info)
{
    const int one = 1;
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    /* So that 0.0.0.0 and [::] can be listened on side by side. */
    if (info->ai_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    cbx_socket_unpace(fd, info->ai_addr);
    if (bind(fd, info->ai_addr, info->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
        int code = errno;
        (void)close(fd);
        errno = code;
        return -1;
    }
    return fd;
}

static int
resolve(const char *text, struct addrinfo **out, struct cbx_error *error)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC,
                                   .ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    char host[HOST_MAX], port[8];
    uint16_t number;

    if (cbx_listen_parse(text, host, sizeof host, &number) != 0)
        return cbx_fail(error, CBX_ERR_USAGE,
                        "--listen %s: not ADDR:PORT, as 127.0.0.1:7000, 0.0.0.0:7000 or [::]:7000",
                        text);
    (void)snprintf(port, sizeof port, "%u", (unsigned)number);
    int code = getaddrinfo(host, port, &hints, out);
    if (code != 0)
        return cbx_fail(error, CBX_ERR_USAGE, "--listen %s: %s", text, gai_strerror(code));
    return 0;
}

int
listen_bind(const char *address, struct cbx_error *error)
{
    struct addrinfo *info = NULL;
    int result = resolve(address, &info, error);

    if (result != 0 || !info)
        return result != 0 ? result : CBX_ERR_IO;
    int fd = bind_socket(info);
    int code = errno;
    freeaddrinfo(info);
    if (fd < 0)
        return cbx_fail(error, CBX_ERR_IO, "cannot listen on %s: %s%s", address, strerror(code),
                        code == EACCES ? " (ports below 1024 need CAP_NET_BIND_SERVICE)" : "");
    return fd;
}

void
listen_format(const struct sockaddr *address, char out[LISTEN_TEXT_MAX])
{
    char host[INET6_ADDRSTRLEN] = "?";

    if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)(const void *)address;
        (void)inet_ntop(AF_INET6, &six->sin6_addr, host, sizeof host);
        (void)snprintf(out, LISTEN_TEXT_MAX, "[%s]:%u", host, (unsigned)ntohs(six->sin6_port));
    } else {
        const struct sockaddr_in *four = (const struct sockaddr_in *)(const void *)address;
        (void)inet_ntop(AF_INET, &four->sin_addr, host, sizeof host);
        (void)snprintf(out, LISTEN_TEXT_MAX, "%s:%u", host, (unsigned)ntohs(four->sin_port));
    }
}
