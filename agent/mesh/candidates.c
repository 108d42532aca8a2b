/* SPDX-License-Identifier: MIT */
/* Sorts addresses by kind, reads those of the interfaces, and adds the one that the hub saw. */
#include "agent/mesh/candidates.h"
#include "common/base/names.h"
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

enum { LOOPBACK_PLACES = 2 };

enum kind { NOT_USABLE, LOOPBACK, ELSEWHERE };

/* What is looked for among the interfaces' addresses. */
struct wish {
    uint16_t port;
    bool four_only;
    enum kind kind;
    uint32_t most; /* places in the list */
};

static enum kind
kind_of_four(uint32_t address)
{
    uint8_t first = (uint8_t)(address >> 24);
    if (first == 0 || first >= 224 || address >> 16 == 0xa9fe) /* 169.254/16 */
        return NOT_USABLE;
    return first == 127 ? LOOPBACK : ELSEWHERE;
}

static enum kind
kind_of_six(const struct in6_addr *six)
{
    if (IN6_IS_ADDR_LOOPBACK(six))
        return LOOPBACK;
    if (IN6_IS_ADDR_V4MAPPED(six)) {
        uint32_t four;
        memcpy(&four, six->s6_addr + 12, 4);
        return kind_of_four(ntohl(four));
    }
    bool no = IN6_IS_ADDR_UNSPECIFIED(six) || IN6_IS_ADDR_MULTICAST(six) ||
              IN6_IS_ADDR_LINKLOCAL(six) || IN6_IS_ADDR_V4COMPAT(six);
    return no ? NOT_USABLE : ELSEWHERE;
}

static enum kind
kind_of_text(const char *host)
{
    struct in_addr four;
    struct in6_addr six;
    if (inet_pton(AF_INET, host, &four) == 1)
        return kind_of_four(ntohl(four.s_addr));
    return inet_pton(AF_INET6, host, &six) == 1 ? kind_of_six(&six) : NOT_USABLE;
}

static void
add(struct candidates *out, const struct wish *wish, const char *host)
{
    char text[CANDIDATE_TEXT_MAX];
    bool six = strchr(host, ':') != NULL;
    if (out->count >= wish->most || kind_of_text(host) != wish->kind || (six && wish->four_only))
        return;
    (void)snprintf(text, sizeof text, six ? "[%s]:%u" : "%s:%u", host, wish->port);
    for (uint32_t i = 0; i < out->count; i++) {
        if (strcmp(out->item[i], text) == 0)
            return;
    }
    memcpy(out->item[out->count++], text, sizeof text);
}

static void
add_interfaces(struct candidates *out, const struct wish *wish)
{
    struct ifaddrs *list = NULL;
    if (getifaddrs(&list) != 0)
        return;
    for (const struct ifaddrs *at = list; at; at = at->ifa_next) {
        char host[INET6_ADDRSTRLEN] = "";
        if (!at->ifa_addr || !(at->ifa_flags & IFF_UP) || !(at->ifa_flags & IFF_RUNNING))
            continue;
        if (at->ifa_addr->sa_family == AF_INET)
            (void)inet_ntop(AF_INET, &((struct sockaddr_in *)(void *)at->ifa_addr)->sin_addr, host,
                            sizeof host);
        else if (at->ifa_addr->sa_family == AF_INET6)
            (void)inet_ntop(AF_INET6, &((struct sockaddr_in6 *)(void *)at->ifa_addr)->sin6_addr,
                            host, sizeof host);
        add(out, wish, host);
    }
    freeifaddrs(list);
}

/* Behind a NAT that forwards the port, or with an address of its own that no interface shows. */
static void
add_seen(struct candidates *out, const struct wish *wish, const char *seen)
{
    char host[CANDIDATE_TEXT_MAX];
    uint16_t its_port;
    if (cbx_listen_parse(seen, host, sizeof host, &its_port) == 0)
        add(out, wish, host);
}

void
candidates_own(struct candidates *out, uint16_t port, const char *bound, const char *seen)
{
    bool four = !strchr(bound, ':');
    struct wish wish = {port, four, ELSEWHERE, CANDIDATES_MAX - LOOPBACK_PLACES};
    out->count = 0;
    if (port < CANDIDATE_PORT_MIN)
        return;
    if (strcmp(bound, "::") != 0 && strcmp(bound, "0.0.0.0") != 0) {
        wish.kind = kind_of_text(bound);
        if (wish.kind == NOT_USABLE)
            return;
        add(out, &wish, bound);
        if (wish.kind == ELSEWHERE)
            add_seen(out, &wish, seen);
        return;
    }
    add_seen(out, &wish, seen);
    add_interfaces(out, &wish);
    wish.kind = LOOPBACK;
    wish.most = CANDIDATES_MAX;
    add_interfaces(out, &wish);
}

bool
candidate_usable(const char *text, size_t length, bool same_host)
{
    char copy[CANDIDATE_TEXT_MAX], host[CANDIDATE_TEXT_MAX];
    uint16_t port;
    if (length == 0 || length >= sizeof copy || memchr(text, '\0', length))
        return false;
    memcpy(copy, text, length);
    copy[length] = '\0';
    if (cbx_host_port_parse(copy, host, sizeof host, &port) != 0 || port < CANDIDATE_PORT_MIN)
        return false;
    enum kind kind = kind_of_text(host);
    return kind == ELSEWHERE || (kind == LOOPBACK && same_host);
}
