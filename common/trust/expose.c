/* SPDX-License-Identifier: MIT */
/* Parses an item to its canonical target, keeps the list by port, and writes it again. */
#include "common/trust/expose.h"

#include "common/base/names.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

static const char loopback[] = "127.0.0.1";

/* Longest item: "65535=[" + 45 + "]:65535". */
enum { ITEM_TEXT_MAX = 64 };

/* A numeric address in its canonical spelling, so that equal targets are equal texts. */
static int
canonical_target(const char *host, char out[CBX_EXPOSE_HOST_MAX])
{
    struct in_addr v4;
    struct in6_addr v6;
    if (strcmp(host, "localhost") == 0)
        host = loopback;
    if (inet_pton(AF_INET, host, &v4) == 1) {
        if (v4.s_addr == INADDR_ANY)
            return CBX_ERR_FORMAT;
        return inet_ntop(AF_INET, &v4, out, CBX_EXPOSE_HOST_MAX) != NULL ? 0 : CBX_ERR_FORMAT;
    }
    if (inet_pton(AF_INET6, host, &v6) != 1 || IN6_IS_ADDR_UNSPECIFIED(&v6))
        return CBX_ERR_FORMAT;
    return inet_ntop(AF_INET6, &v6, out, CBX_EXPOSE_HOST_MAX) != NULL ? 0 : CBX_ERR_FORMAT;
}

static int
parse_item(const char *text, size_t length, struct cbx_expose_item *item, struct cbx_error *error)
{
    int shown = length > ITEM_TEXT_MAX ? ITEM_TEXT_MAX : (int)length;
    const char *equals = memchr(text, '=', length);
    size_t port_length = equals != NULL ? (size_t)(equals - text) : length;
    memset(item, 0, sizeof *item);
    if (cbx_port_parse(text, port_length, &item->port) != 0)
        return cbx_fail(error, CBX_ERR_FORMAT, "expose \"%.*s\": not a port from 1 to 65535", shown,
                        text);
    if (!equals) {
        item->target_port = item->port;
        memcpy(item->target, loopback, sizeof loopback);
        return 0;
    }
    char target[ITEM_TEXT_MAX];
    char host[ITEM_TEXT_MAX];
    size_t target_length = length - port_length - 1;
    if (target_length >= sizeof target)
        return cbx_fail(error, CBX_ERR_FORMAT, "expose \"%.*s\": the target is too long", shown,
                        text);
    memcpy(target, equals + 1, target_length);
    target[target_length] = '\0';
    if (cbx_host_port_parse(target, host, sizeof host, &item->target_port) != 0 ||
        canonical_target(host, item->target) != 0)
        return cbx_fail(error, CBX_ERR_FORMAT,
                        "expose \"%.*s\": the target must be ADDRESS:PORT with a numeric address "
                        "or localhost ([v6]:PORT)",
                        shown, text);
    return 0;
}

static bool
same_target(const struct cbx_expose_item *a, const struct cbx_expose_item *b)
{
    return a->target_port == b->target_port && strcmp(a->target, b->target) == 0;
}

static int
insert_item(struct cbx_expose *list, const struct cbx_expose_item *item, struct cbx_error *error)
{
    uint32_t at = 0;
    while (at < list->count && list->item[at].port < item->port)
        at++;
    if (at < list->count && list->item[at].port == item->port) {
        if (same_target(&list->item[at], item))
            return 0;
        return cbx_fail(error, CBX_ERR_EXISTS, "expose: port %u is listed with two targets",
                        (unsigned)item->port);
    }
    if (list->count >= CBX_EXPOSE_MAX)
        return cbx_fail(error, CBX_ERR_LIMIT, "expose: more than %d ports", CBX_EXPOSE_MAX);
    memmove(&list->item[at + 1], &list->item[at], (list->count - at) * sizeof list->item[0]);
    list->item[at] = *item;
    list->count++;
    return 0;
}

int
cbx_expose_add(struct cbx_expose *list, const char *spec, struct cbx_error *error)
{
    if (spec[0] == '\0')
        return 0;
    struct cbx_expose next = *list; /* all of a spec or nothing of it */
    for (const char *at = spec;; at++) {
        size_t length = strcspn(at, ",");
        struct cbx_expose_item item;
        int result = parse_item(at, length, &item, error);
        if (result == 0)
            result = insert_item(&next, &item, error);
        if (result != 0)
            return result;
        at += length;
        if (*at == '\0')
            break;
    }
    char text[CBX_EXPOSE_TEXT_MAX];
    if (cbx_expose_format(&next, text, sizeof text) < 0)
        return cbx_fail(error, CBX_ERR_LIMIT, "expose: the list is longer than %d characters",
                        CBX_EXPOSE_TEXT_MAX - 1);
    *list = next;
    return 0;
}

static int
format_item(const struct cbx_expose_item *item, char out[ITEM_TEXT_MAX])
{
    if (item->target_port == item->port && strcmp(item->target, loopback) == 0)
        return snprintf(out, ITEM_TEXT_MAX, "%u", (unsigned)item->port);
    bool v6 = strchr(item->target, ':') != NULL;
    return snprintf(out, ITEM_TEXT_MAX, "%u=%s%s%s:%u", (unsigned)item->port, v6 ? "[" : "",
                    item->target, v6 ? "]" : "", (unsigned)item->target_port);
}

static int
format_list(const struct cbx_expose *list, bool targets, char *out, size_t size)
{
    if (size < 1)
        return CBX_ERR_LIMIT;
    size_t used = 0;
    out[0] = '\0';
    for (uint32_t i = 0; i < list->count; i++) {
        char item[ITEM_TEXT_MAX];
        int length = targets ? format_item(&list->item[i], item)
                             : snprintf(item, sizeof item, "%u", (unsigned)list->item[i].port);
        if (length < 0 || (size_t)length >= sizeof item)
            return CBX_ERR_LIMIT;
        if (used + (i > 0) + (size_t)length >= size)
            return CBX_ERR_LIMIT;
        if (i > 0)
            out[used++] = ',';
        memcpy(out + used, item, (size_t)length + 1);
        used += (size_t)length;
    }
    return (int)used;
}

int
cbx_expose_format(const struct cbx_expose *list, char *out, size_t size)
{
    return format_list(list, true, out, size);
}

int
cbx_expose_ports(const struct cbx_expose *list, char *out, size_t size)
{
    return format_list(list, false, out, size);
}

const struct cbx_expose_item *
cbx_expose_find(const struct cbx_expose *list, uint16_t port)
{
    for (uint32_t i = 0; i < list->count; i++) {
        if (list->item[i].port == port)
            return &list->item[i];
    }
    return NULL;
}

bool
cbx_expose_within(const struct cbx_expose *inner, const struct cbx_expose *outer)
{
    for (uint32_t i = 0; i < inner->count; i++) {
        const struct cbx_expose_item *match = cbx_expose_find(outer, inner->item[i].port);
        if (!match || !same_target(match, &inner->item[i]))
            return false;
    }
    return true;
}
