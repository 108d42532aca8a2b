/* SPDX-License-Identifier: MIT */
/*
 * The header of a load balancer, as it comes in pieces of any size; and the option that names load
 * balancers, when the first byte is odd. What is taken is legal; a header is found at the same byte
 * however it is cut, and no more than its own bytes are ever waited for.
 */
#include "check.h"
#include "hub/login/proxy_protocol.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A copy of its own, so that a byte too far is seen. */
static int
parse(const uint8_t *bytes, size_t length, struct proxy_header *out, size_t *wanted)
{
    uint8_t *copy = malloc(length > 0 ? length : 1);
    check(copy != NULL);
    if (length > 0)
        memcpy(copy, bytes, length);
    int result = proxy_header_parse(copy, length, out, wanted);
    free(copy);
    check(result == 1 || result == 0 || result == CBX_ERR_FORMAT || result == CBX_ERR_LIMIT);
    check(result != 0 || (*wanted > length && *wanted <= PROXY_HEADER_MAX));
    return result;
}

/* Version 1 once more, in other words: the line that such an address would have. */
static void
check_v1(const uint8_t *bytes, const struct proxy_header *header)
{
    char line[PROXY_HEADER_MAX + 1], address[INET6_ADDRSTRLEN], expected[PROXY_HEADER_V1_MAX + 1];
    const struct sockaddr_in *four = (const struct sockaddr_in *)(const void *)&header->address;
    check(header->length <= PROXY_HEADER_V1_MAX && header->length >= PROXY_HEADER_FIRST);
    memcpy(line, bytes, header->length);
    line[header->length] = '\0';
    check(strcmp(line + header->length - 2, "\r\n") == 0);
    if (!header->has_address) {
        check(strncmp(line, "PROXY UNKNOWN", 13) == 0);
    } else if (header->address.ss_family == AF_INET) {
        check(inet_ntop(AF_INET, &four->sin_addr, address, sizeof address) != NULL);
        snprintf(expected, sizeof expected, "PROXY TCP4 %s ", address);
        check(strncmp(line, expected, strlen(expected)) == 0);
    } else {
        check(strncmp(line, "PROXY TCP6 ", 11) == 0);
    }
}

static void
try_header(const uint8_t *bytes, size_t size)
{
    struct proxy_header whole, piece;
    size_t wanted = 0;
    int verdict = parse(bytes, size, &whole, &wanted);
    size_t most = size < 200 ? size : 200;
    for (size_t length = 0; length < most; length++) {
        int result = parse(bytes, length, &piece, &wanted);
        if (verdict == 1 && length < whole.length)
            check(result == 0 && wanted <= whole.length);
        else if (verdict == 1)
            check(result == 1 && piece.length == whole.length);
        else if (verdict == 0)
            check(result == 0);
    }
    if (verdict != 1)
        return;
    check(whole.length <= size && whole.length <= PROXY_HEADER_MAX);
    check(proxy_header_looks_like(bytes, size) == (bytes[0] == 'P' ? 1 : 2));
    if (whole.has_address)
        check(whole.address.ss_family == AF_INET || whole.address.ss_family == AF_INET6);
    if (bytes[0] == 'P')
        check_v1(bytes, &whole);
}

static void
try_prefix(const uint8_t *bytes, size_t size)
{
    char text[128];
    struct proxy_prefix prefix;
    struct cbx_error error = {""};
    struct sockaddr_in four = {.sin_family = AF_INET};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6};
    if (size >= sizeof text)
        size = sizeof text - 1;
    memcpy(text, bytes, size);
    text[size] = '\0';
    if (proxy_prefix_parse(text, &prefix, &error) != 0) {
        check(error.text[0] != '\0');
        return;
    }
    check(prefix.bits <= (prefix.family == 4 ? 32 : 128));
    memcpy(&four.sin_addr, prefix.address, 4);
    memcpy(&six.sin6_addr, prefix.address, 16);
    bool is_four = prefix.family == 4, mapped = IN6_IS_ADDR_V4MAPPED(&six.sin6_addr);
    check(proxy_prefix_holds(&prefix, (struct sockaddr *)&four) == is_four);
    check(is_four || mapped || proxy_prefix_holds(&prefix, (struct sockaddr *)&six));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    if (data[0] & 1)
        try_prefix(data + 1, size - 1);
    else
        try_header(data + 1, size - 1);
    return 0;
}
