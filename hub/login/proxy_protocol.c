/* SPDX-License-Identifier: MIT */
/* Version 1 is a line of text, version 2 a block of bytes; then which senders are believed. */
#include "hub/login/proxy_protocol.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { V1_START = 6, V2_SIGNATURE = 12, V2_START = 16, V4_BYTES = 12, V6_BYTES = 36 };
enum { V2_LOCAL = 0, V2_PROXY = 1, V2_STREAM = 1, V2_TRANSPORT_MAX = 2 };
enum { V2_INET = 1, V2_INET6 = 2, V2_FAMILY_MAX = 3 };

static const char v1_start[] = "PROXY ";
static const uint8_t v2_signature[V2_SIGNATURE] = "\r\n\r\n\0\r\nQUIT\n";

static bool
begins(const uint8_t *bytes, size_t length, const void *with, size_t with_length)
{
    return memcmp(bytes, with, length < with_length ? length : with_length) == 0;
}

int
proxy_header_looks_like(const uint8_t *bytes, size_t length)
{
    if (length < 4)
        return 0;
    if (begins(bytes, length, v1_start, V1_START))
        return 1;
    return begins(bytes, length, v2_signature, V2_SIGNATURE) ? 2 : 0;
}

static void
set_v4(struct sockaddr_storage *out, const void *address, uint16_t port)
{
    struct sockaddr_in *in = (struct sockaddr_in *)(void *)out;

    *out = (struct sockaddr_storage){0};
    in->sin_family = AF_INET;
    in->sin_port = htons(port);
    memcpy(&in->sin_addr, address, sizeof in->sin_addr);
}

static void
set_v6(struct sockaddr_storage *out, const void *address, uint16_t port)
{
    struct sockaddr_in6 *in = (struct sockaddr_in6 *)(void *)out;

    *out = (struct sockaddr_storage){0};
    in->sin6_family = AF_INET6;
    in->sin6_port = htons(port);
    memcpy(&in->sin6_addr, address, sizeof in->sin6_addr);
}

/* ---- version 1: one line ---- */

/* The next word of a line that ends at its NUL; words have exactly one space between them. */
static char *
word(char **line)
{
    char *start = *line, *end = strchr(start, ' ');

    if (end)
        *end = '\0';
    *line = end ? end + 1 : start + strlen(start);
    return start;
}

/* 0 to 65535 without a leading zero. */
static bool
port_of(const char *text, uint16_t *port)
{
    size_t digits = strspn(text, "0123456789");

    if (digits == 0 || digits > 5 || text[digits] != '\0' || (text[0] == '0' && digits > 1))
        return false;
    long value = strtol(text, NULL, 10);
    *port = (uint16_t)value;
    return value <= UINT16_MAX;
}

/* "TCP4 1.2.3.4 5.6.7.8 9 10"; both ends must be legal, though only one is used. */
static int
read_v1(char *line, struct proxy_header *out)
{
    uint8_t from[sizeof(struct in6_addr)], to[sizeof(struct in6_addr)];
    uint16_t from_port, to_port;
    const char *kind = word(&line);
    int family = strcmp(kind, "TCP6") == 0 ? AF_INET6 : AF_INET;

    if (strcmp(kind, "UNKNOWN") == 0)
        return 1;
    if (family == AF_INET && strcmp(kind, "TCP4") != 0)
        return CBX_ERR_FORMAT;
    if (inet_pton(family, word(&line), from) != 1 || inet_pton(family, word(&line), to) != 1 ||
        !port_of(word(&line), &from_port) || !port_of(line, &to_port))
        return CBX_ERR_FORMAT;
    out->has_address = true;
    if (family == AF_INET6)
        set_v6(&out->address, from, from_port);
    else
        set_v4(&out->address, from, from_port);
    return 1;
}

static int
parse_v1(const uint8_t *bytes, size_t length, struct proxy_header *out, size_t *wanted)
{
    char line[PROXY_HEADER_V1_MAX + 1];
    size_t most = length < PROXY_HEADER_V1_MAX ? length : PROXY_HEADER_V1_MAX;
    const uint8_t *end = memmem(bytes, most, "\r\n", 2);

    if (!end && most == PROXY_HEADER_V1_MAX)
        return CBX_ERR_LIMIT;
    if (length >= PROXY_HEADER_FIRST)
        *wanted = length + 1;
    if (!end)
        return 0;
    size_t text = (size_t)(end - bytes) - V1_START;
    memcpy(line, bytes + V1_START, text);
    line[text] = '\0';
    out->length = V1_START + text + 2;
    return strlen(line) == text ? read_v1(line, out) : CBX_ERR_FORMAT;
}

/* ---- version 2: binary ---- */

static uint16_t
be16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

/* What stands behind the addresses (TLVs) is of no use here. */
static int
read_v2(const uint8_t *bytes, size_t body, struct proxy_header *out)
{
    unsigned command = bytes[V2_SIGNATURE] & 15, family = bytes[13] >> 4,
             transport = bytes[13] & 15;

    if (command == V2_LOCAL)
        return 1; /* whatever the rest says */
    if (command > V2_PROXY || family > V2_FAMILY_MAX || transport > V2_TRANSPORT_MAX)
        return CBX_ERR_FORMAT;
    if (transport != V2_STREAM)
        return 1;
    if ((family == V2_INET && body < V4_BYTES) || (family == V2_INET6 && body < V6_BYTES))
        return CBX_ERR_FORMAT;
    out->has_address = family == V2_INET || family == V2_INET6;
    if (family == V2_INET)
        set_v4(&out->address, bytes + V2_START, be16(bytes + V2_START + 8));
    else if (family == V2_INET6)
        set_v6(&out->address, bytes + V2_START, be16(bytes + V2_START + 32));
    return 1;
}

static int
parse_v2(const uint8_t *bytes, size_t length, struct proxy_header *out, size_t *wanted)
{
    *wanted = V2_START;
    if (length < V2_START)
        return 0;
    if (bytes[V2_SIGNATURE] >> 4 != 2)
        return CBX_ERR_FORMAT;
    size_t body = be16(bytes + 14);
    if (V2_START + body > PROXY_HEADER_MAX)
        return CBX_ERR_LIMIT;
    *wanted = out->length = V2_START + body;
    return length < out->length ? 0 : read_v2(bytes, body, out);
}

int
proxy_header_parse(const uint8_t *bytes, size_t length, struct proxy_header *out, size_t *wanted)
{
    *out = (struct proxy_header){0};
    *wanted = PROXY_HEADER_FIRST;
    if (length == 0)
        return 0;
    if (begins(bytes, length, v2_signature, V2_SIGNATURE))
        return parse_v2(bytes, length, out, wanted);
    if (!begins(bytes, length, v1_start, V1_START))
        return CBX_ERR_FORMAT;
    if (length < V1_START)
        return 0;
    return parse_v1(bytes, length, out, wanted);
}

/* ---- who is asked ---- */

static bool
host_bits_are_zero(const struct proxy_prefix *prefix)
{
    unsigned all = prefix->family == 4 ? 32 : 128;

    for (unsigned bit = prefix->bits; bit < all; bit++)
        if (prefix->address[bit / 8] & (0x80 >> bit % 8))
            return false;
    return true;
}

int
proxy_prefix_parse(const char *text, struct proxy_prefix *out, struct cbx_error *error)
{
    char host[INET6_ADDRSTRLEN];
    const char *slash = strchr(text, '/');
    size_t length = slash ? (size_t)(slash - text) : strlen(text);
    uint16_t bits = 0;

    *out = (struct proxy_prefix){0};
    if (length < sizeof host) {
        memcpy(host, text, length);
        host[length] = '\0';
        out->family = inet_pton(AF_INET, host, out->address) == 1    ? 4
                      : inet_pton(AF_INET6, host, out->address) == 1 ? 6
                                                                     : 0;
    }
    uint8_t most = out->family == 4 ? 32 : 128;
    if (out->family == 0 || (slash && (!port_of(slash + 1, &bits) || bits > most)))
        return cbx_fail(error, CBX_ERR_USAGE,
                        "'%s' is not ADDR or ADDR/PREFIX, such as 10.0.0.7, 10.0.0.0/8 or fd00::/8",
                        text);
    out->bits = slash ? (uint8_t)bits : most;
    if (!host_bits_are_zero(out))
        return cbx_fail(error, CBX_ERR_USAGE,
                        "'%s' has bits behind its prefix: is it %s, or the network around it?",
                        text, host);
    return 0;
}

bool
proxy_prefix_holds(const struct proxy_prefix *prefix, const struct sockaddr *address)
{
    const struct sockaddr_in *four = (const struct sockaddr_in *)(const void *)address;
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)(const void *)address;
    const uint8_t *bytes;
    uint8_t family = 4;

    if (address->sa_family == AF_INET) {
        bytes = (const uint8_t *)&four->sin_addr;
    } else if (address->sa_family == AF_INET6) {
        bool mapped = IN6_IS_ADDR_V4MAPPED(&six->sin6_addr);
        bytes = six->sin6_addr.s6_addr + (mapped ? 12 : 0);
        family = mapped ? 4 : 6;
    } else {
        return false;
    }
    size_t whole = prefix->bits / 8, rest = prefix->bits % 8;
    return family == prefix->family && memcmp(bytes, prefix->address, whole) == 0 &&
           (rest == 0 || (bytes[whole] ^ prefix->address[whole]) >> (8 - rest) == 0);
}
