/* SPDX-License-Identifier: MIT */
/* Tested by test_direct.py and test_loads.py. */
#include "hub/daemon/addresses.h"
#include "common/base/names.h"
#include "hub/login/bind.h"
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static void
add(struct addresses *out, const char *text)
{
    for (uint32_t i = 0; i < out->count; i++)
        if (strcmp(out->text[i], text) == 0)
            return;
    if (out->count < CBX_TOKEN_ADDRESSES_MAX)
        (void)snprintf(out->text[out->count++], CBX_ADDRESS_TEXT_MAX, "%s", text);
}

static bool
is_wildcard(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return ((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr == INADDR_ANY;
    return IN6_IS_ADDR_UNSPECIFIED(
        &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr);
}

enum reach { REACH_NONE, REACH_PRIVATE, REACH_PUBLIC };

static enum reach
reach_of_v4(uint32_t a)
{
    if (a >> 24 == 127 || a >> 16 == 0xa9fe || a >> 24 == 0 || a >> 28 >= 0xe)
        return REACH_NONE;
    if (a >> 24 == 10 || a >> 20 == 0xac1 || a >> 16 == 0xc0a8 || a >> 22 == 0x191)
        return REACH_PRIVATE; /* 10/8, 172.16/12, 192.168/16, 100.64/10 */
    return REACH_PUBLIC;
}

static enum reach
reach_of_v6(const struct in6_addr *a)
{
    if (IN6_IS_ADDR_LOOPBACK(a) || IN6_IS_ADDR_LINKLOCAL(a) || IN6_IS_ADDR_UNSPECIFIED(a) ||
        IN6_IS_ADDR_MULTICAST(a) || IN6_IS_ADDR_V4MAPPED(a))
        return REACH_NONE;
    return (a->s6_addr[0] & 0xfe) == 0xfc ? REACH_PRIVATE : REACH_PUBLIC;
}

static enum reach
reach_of(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return reach_of_v4(
            ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr));
    return reach_of_v6(&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr);
}

static void
add_with_port(struct addresses *out, const struct sockaddr *address, uint16_t port_be)
{
    struct sockaddr_storage copy = {0};
    char text[LISTEN_TEXT_MAX];

    if (address->sa_family == AF_INET) {
        memcpy(&copy, address, sizeof(struct sockaddr_in));
        ((struct sockaddr_in *)&copy)->sin_port = port_be;
    } else {
        memcpy(&copy, address, sizeof(struct sockaddr_in6));
        ((struct sockaddr_in6 *)&copy)->sin6_port = port_be;
    }
    listen_format((const struct sockaddr *)&copy, text);
    add(out, text);
}

static void
add_reach(struct addresses *out, const struct ifaddrs *all, sa_family_t family, uint16_t port_be,
          enum reach reach)
{
    for (const struct ifaddrs *at = all; at != NULL; at = at->ifa_next)
        if (at->ifa_addr != NULL && at->ifa_addr->sa_family == family &&
            (at->ifa_flags & IFF_UP) != 0 && reach_of(at->ifa_addr) == reach)
            add_with_port(out, at->ifa_addr, port_be);
}

static int
add_interfaces(struct addresses *out, const struct sockaddr *wildcard, struct cbx_error *error)
{
    struct ifaddrs *all = NULL;
    sa_family_t family = wildcard->sa_family;
    uint16_t port_be = family == AF_INET
                           ? ((const struct sockaddr_in *)(const void *)wildcard)->sin_port
                           : ((const struct sockaddr_in6 *)(const void *)wildcard)->sin6_port;

    if (getifaddrs(&all) != 0)
        return cbx_fail(error, CBX_ERR_IO,
                        "cannot list this machine's addresses (%s): give one with --public",
                        strerror(errno));
    add_reach(out, all, family, port_be, REACH_PUBLIC);
    add_reach(out, all, family, port_be, REACH_PRIVATE);
    freeifaddrs(all);
    out->source = ADDRESSES_INTERFACES;
    return 0;
}

static int
none_at_all(struct cbx_error *error)
{
    return cbx_fail(error, CBX_ERR_NOTFOUND,
                    "this machine has no address that others can reach: give the address of "
                    "the hub with run --public HOST:PORT");
}

int
addresses_look(const int *bound, uint32_t bound_count, size_t public_count, struct cbx_error *error)
{
    struct addresses found = {0};

    for (uint32_t i = 0; public_count == 0 && i < bound_count; i++) {
        union {
            struct sockaddr any;
            struct sockaddr_storage room;
        } at = {0};
        socklen_t length = sizeof at;
        if (getsockname(bound[i], &at.any, &length) != 0)
            return cbx_fail(error, CBX_ERR_IO, "cannot look at a socket: %s", strerror(errno));
        const struct sockaddr *address = &at.any;
        if (!is_wildcard(address))
            return 0;
        int result = add_interfaces(&found, address, error);
        if (result != 0)
            return result;
    }
    return public_count > 0 || found.count > 0 ? 0 : none_at_all(error);
}

int
addresses_of(const struct listen *listen, const char *const *public_addresses, size_t count,
             struct addresses *out, struct cbx_error *error)
{
    *out = (struct addresses){.source = count > 0 ? ADDRESSES_PUBLIC : ADDRESSES_LISTEN};
    for (size_t i = 0; i < count; i++)
        add(out, public_addresses[i]);
    for (uint32_t i = 0; count == 0 && i < listen_count(listen); i++) {
        const struct sockaddr *address = listen_address(listen, i);
        int result = 0;

        if (is_wildcard(address))
            result = add_interfaces(out, address, error);
        else
            add(out, listen_text(listen, i));
        if (result != 0)
            return result;
    }
    return out->count > 0 ? 0 : none_at_all(error);
}

const char *
addresses_source_text(enum addresses_source source)
{
    static const char *const text[] = {"public", "listen", "interfaces"};

    return text[source];
}

int
addresses_parse_public(const char *text, char out[CBX_ADDRESS_TEXT_MAX], struct cbx_error *error)
{
    char host[256];
    uint16_t port;

    if (cbx_host_port_parse(text, host, sizeof host, &port) != 0)
        return cbx_fail(error, CBX_ERR_USAGE,
                        "'%s' is not HOST:PORT, such as hub.example.org:7000 or [2001:db8::1]:7000",
                        text);
    (void)snprintf(out, CBX_ADDRESS_TEXT_MAX, strchr(host, ':') != NULL ? "[%s]:%u" : "%s:%u", host,
                   (unsigned)port);
    return 0;
}
