/* SPDX-License-Identifier: MIT */
/*
 * Parsers of what people type: names, ports, host:port, durations, sizes. ASCII, whatever the
 * locale.
 */
#include "common/base/names.h"

#include "common/base/err.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

static const char suffix[] = ".cbx";
enum { SUFFIX_LENGTH = sizeof suffix - 1 };

/* The C library's isalnum() and tolower() depend on the locale. */
static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool
is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

static char
to_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

bool
cbx_slug_valid(const char *text, size_t length)
{
    if (length < 1 || length > CBX_SLUG_MAX)
        return false;
    for (size_t i = 0; i < length; i++) {
        bool inner = i > 0 && i + 1 < length;
        if (!is_digit(text[i]) && !is_lower(text[i]) && !(inner && text[i] == '-'))
            return false;
    }
    return true;
}

/* Copies a slug in lower case; false when it is not one. */
static bool
take_slug(const char *text, size_t length, char out[CBX_SLUG_MAX + 1])
{
    if (length > CBX_SLUG_MAX)
        return false;
    for (size_t i = 0; i < length; i++)
        out[i] = to_lower(text[i]);
    out[length] = '\0';
    return cbx_slug_valid(out, length);
}

int
cbx_dial_name_parse(const char *name, size_t length, struct cbx_dial_name *out)
{
    memset(out, 0, sizeof *out);
    if (length > 0 && name[length - 1] == '.')
        length--;
    if (length < SUFFIX_LENGTH ||
        strncasecmp(name + length - SUFFIX_LENGTH, suffix, SUFFIX_LENGTH) != 0)
        return CBX_ERR_NOTFOUND;
    length -= SUFFIX_LENGTH;
    const char *dot = memchr(name, '.', length);
    size_t slug_length = dot != NULL ? (size_t)(dot - name) : length;
    bool legal = take_slug(name, slug_length, out->slug);
    if (legal && dot)
        legal = take_slug(dot + 1, length - slug_length - 1, out->pond);
    if (!legal) {
        memset(out, 0, sizeof *out);
        return CBX_ERR_FORMAT;
    }
    return 0;
}

static int
parse_port(const char *text, size_t length, bool zero_ok, uint16_t *port)
{
    if (length < 1 || length > 5 || (text[0] == '0' && length > 1))
        return CBX_ERR_FORMAT;
    uint32_t value = 0;
    for (size_t i = 0; i < length; i++) {
        if (!is_digit(text[i]))
            return CBX_ERR_FORMAT;
        value = value * 10 + (uint32_t)(text[i] - '0');
    }
    if (value > UINT16_MAX || (value == 0 && !zero_ok))
        return CBX_ERR_FORMAT;
    *port = (uint16_t)value;
    return 0;
}

int
cbx_port_parse(const char *text, size_t length, uint16_t *port)
{
    return parse_port(text, length, false, port);
}

/* Letters of host names and of IPv4 addresses. A colon outside brackets would be ambiguous. */
static bool
host_name_valid(const char *host)
{
    for (; *host != '\0'; host++) {
        char c = to_lower(*host);
        if (!is_digit(c) && !is_lower(c) && c != '.' && c != '-' && c != '_')
            return false;
    }
    return true;
}

static int
parse_host_port(const char *text, char *host, size_t host_size, bool zero_ok, uint16_t *port)
{
    bool bracketed = text[0] == '[';
    const char *begin = bracketed ? text + 1 : text;
    const char *end = strchr(begin, bracketed ? ']' : ':');
    if (!end || end == begin || (bracketed && end[1] != ':'))
        return CBX_ERR_FORMAT;
    size_t length = (size_t)(end - begin);
    const char *digits = bracketed ? end + 2 : end + 1;
    uint16_t value;
    if (length >= host_size || parse_port(digits, strlen(digits), zero_ok, &value) != 0)
        return CBX_ERR_FORMAT;
    memcpy(host, begin, length);
    host[length] = '\0';
    struct in6_addr address;
    bool valid = bracketed ? inet_pton(AF_INET6, host, &address) == 1 : host_name_valid(host);
    if (!valid) {
        host[0] = '\0';
        return CBX_ERR_FORMAT;
    }
    *port = value;
    return 0;
}

int
cbx_host_port_parse(const char *text, char *host, size_t host_size, uint16_t *port)
{
    return parse_host_port(text, host, host_size, false, port);
}

int
cbx_listen_parse(const char *text, char *host, size_t host_size, uint16_t *port)
{
    return parse_host_port(text, host, host_size, true, port);
}

int
cbx_duration_parse(const char *text, int64_t *milliseconds)
{
    static const struct {
        const char *name;
        int64_t milliseconds;
    } units[] = {
        {"ms", 1}, {"s", 1000}, {"m", 60 * 1000}, {"h", 3600 * 1000}, {"d", 24 * 3600 * 1000}};
    int64_t value = 0;
    const char *at = text;
    for (; is_digit(*at); at++) {
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, *at - '0', &value))
            return CBX_ERR_FORMAT;
    }
    if (at == text)
        return CBX_ERR_FORMAT;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(at, units[i].name) != 0)
            continue;
        if (__builtin_mul_overflow(value, units[i].milliseconds, &value))
            return CBX_ERR_FORMAT;
        *milliseconds = value;
        return 0;
    }
    return CBX_ERR_FORMAT;
}

int
cbx_size_parse(const char *text, uint64_t *bytes)
{
    static const char units[] = "KMGT";
    uint64_t value = 0;
    const char *at = text;
    for (; is_digit(*at); at++) {
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*at - '0'), &value))
            return CBX_ERR_FORMAT;
    }
    if (at == text)
        return CBX_ERR_FORMAT;
    const char *unit = *at != '\0' ? strchr(units, *at) : NULL;
    unsigned shift = unit != NULL ? 10 * (unsigned)(unit - units + 1) : 0;
    if (unit)
        at++;
    if (unit && strcmp(at, "iB") == 0)
        at += 2;
    if (*at != '\0' || value > UINT64_MAX >> shift)
        return CBX_ERR_FORMAT;
    *bytes = value << shift;
    return 0;
}
