/* SPDX-License-Identifier: MIT */
/* Names, addresses, ports, durations, expose lists: what is taken is legal and reads back the same.
 */
#include "check.h"
#include "common/base/names.h"
#include "common/trust/expose.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The rule once more, in other words. */
static bool
slug_by_the_rule(const char *text, size_t length)
{
    if (length < 1 || length > 41 || text[0] == '-' || text[length - 1] == '-')
        return false;
    for (size_t i = 0; i < length; i++) {
        if (!text[i] || !strchr("abcdefghijklmnopqrstuvwxyz0123456789-", text[i]))
            return false;
    }
    return true;
}

static void
try_name(const char *text, size_t length)
{
    struct cbx_dial_name name, again;
    char full[2 * CBX_SLUG_MAX + 8];
    if (cbx_dial_name_parse(text, length, &name) < 0)
        return;
    check(slug_by_the_rule(name.slug, strlen(name.slug)));
    check(!name.pond[0] || slug_by_the_rule(name.pond, strlen(name.pond)));
    snprintf(full, sizeof full, "%s%s%s.cbx", name.slug, name.pond[0] ? "." : "", name.pond);
    check(cbx_dial_name_parse(full, strlen(full), &again) == 0);
    check(strcmp(name.slug, again.slug) == 0 && strcmp(name.pond, again.pond) == 0);
}

static void
try_numbers(const char *text)
{
    char host[64];
    uint16_t port = 0;
    int64_t duration = 0;
    if (cbx_host_port_parse(text, host, sizeof host, &port) == 0)
        check(port > 0 && strlen(host) < sizeof host);
    if (cbx_listen_parse(text, host, sizeof host, &port) == 0)
        check(strlen(host) < sizeof host);
    if (cbx_port_parse(text, strlen(text), &port) == 0)
        check(port > 0 && atoi(text) == port);
    if (cbx_duration_parse(text, &duration) == 0)
        check(duration >= 0);
}

static void
try_expose(const char *text)
{
    static struct cbx_expose list, again;
    char first[8192], second[8192];
    memset(&list, 0, sizeof list);
    memset(&again, 0, sizeof again);
    if (cbx_expose_add(&list, text, NULL) < 0)
        return;
    check(list.count <= CBX_EXPOSE_MAX);
    for (uint32_t i = 0; i < list.count; i++) {
        check(list.item[i].port > 0 && list.item[i].target_port > 0);
        check(i == 0 || list.item[i - 1].port < list.item[i].port);
        check(cbx_expose_find(&list, list.item[i].port) == &list.item[i]);
    }
    check(cbx_expose_within(&list, &list));
    if (cbx_expose_format(&list, first, sizeof first) < 0)
        return;
    check(cbx_expose_add(&again, first, NULL) == 0);
    check(cbx_expose_format(&again, second, sizeof second) >= 0 && strcmp(first, second) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    check(text != NULL);
    if (size)
        memcpy(text, data, size);
    text[size] = '\0';
    check(cbx_slug_valid(text, size) == slug_by_the_rule(text, size));
    try_name(text, size);
    try_numbers(text);
    try_expose(text);
    free(text);
    return 0;
}
