/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hub/login/bind.h"
#include "hub/login/proxy_protocol.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
enum { V2_FIXED = 16 };

static struct proxy_header header;
static size_t wanted;

static int
parse(const void *bytes, size_t length)
{
    return proxy_header_parse(bytes, length, &header, &wanted);
}

static int
parse_line(const char *line)
{
    return parse(line, strlen(line));
}

static void
expect_address(const char *expected)
{
    char text[LISTEN_TEXT_MAX];

    assert_true(header.has_address);
    listen_format((const struct sockaddr *)&header.address, text);
    assert_string_equal(text, expected);
}

/* ---- version 1 ---- */

static void
lines_name_their_client(void **state)
{
    const char *four = "PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n";
    const char *six = "PROXY TCP6 2001:db8::7 ::1 1 65535\r\nSSH-2.0-x\r\n";

    (void)state;
    assert_int_equal(parse_line(four), 1);
    assert_int_equal(header.length, strlen(four));
    expect_address("192.0.2.7:56324");
    assert_int_equal(parse_line(six), 1);
    assert_int_equal(header.length, strlen(six) - strlen("SSH-2.0-x\r\n"));
    expect_address("[2001:db8::7]:1");
}

static void
unknown_lines_name_nobody(void **state)
{
    (void)state;
    assert_int_equal(parse_line("PROXY UNKNOWN\r\n"), 1);
    assert_int_equal(header.length, PROXY_HEADER_FIRST);
    assert_false(header.has_address);
    assert_int_equal(parse_line("PROXY UNKNOWN 192.0.2.7 10.0.0.1 1 2\r\n"), 1);
    assert_false(header.has_address);
}

static void
illegal_lines_are_refused(void **state)
{
    static const char *const line[] = {
        "PROXY TCP4 192.0.2.7 10.0.0.1 56324\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 56324 443 \r\n",
        "PROXY TCP4  192.0.2.7 10.0.0.1 56324 443\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 65536 443\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 056 443\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 -1 443\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 +1 443\r\n",
        "PROXY TCP4 192.0.2.256 10.0.0.1 1 443\r\n",
        "PROXY TCP4 2001:db8::7 ::1 1 443\r\n",
        "PROXY TCP6 192.0.2.7 10.0.0.1 1 443\r\n",
        "PROXY TCP5 192.0.2.7 10.0.0.1 1 443\r\n",
        "PROXY UDP4 192.0.2.7 10.0.0.1 1 443\r\n",
        "PROXY tcp4 192.0.2.7 10.0.0.1 1 443\r\n",
        "PROXY TCP4 192.0.2.7\n10.0.0.1 1 443\r\n",
        "PROXY  UNKNOWN\r\n",
        "PROXY \r\n",
        "PROXX TCP4 192.0.2.7 10.0.0.1 1 443\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof line / sizeof *line; i++)
        assert_int_equal(parse_line(line[i]), CBX_ERR_FORMAT);
    assert_int_equal(parse("PROXY UNKNOWN\0\r\n", 16), CBX_ERR_FORMAT);
}

static void
a_line_without_its_end_is_waited_for_up_to_107_bytes(void **state)
{
    char line[200];
    const char *start = "PROXY UNKNOWN ";

    (void)state;
    memset(line, 'x', sizeof line);
    memcpy(line, start, strlen(start));
    assert_int_equal(parse(line, 3), 0);
    assert_int_equal(wanted, PROXY_HEADER_FIRST);
    for (size_t length = PROXY_HEADER_FIRST; length < PROXY_HEADER_V1_MAX; length++) {
        assert_int_equal(parse(line, length), 0);
        assert_int_equal(wanted, length + 1);
    }
    assert_int_equal(parse(line, PROXY_HEADER_V1_MAX), CBX_ERR_LIMIT);
    memcpy(line + PROXY_HEADER_V1_MAX - 1, "\r\n", 2);
    assert_int_equal(parse(line, sizeof line), CBX_ERR_LIMIT);
    memcpy(line + PROXY_HEADER_V1_MAX - 2, "\r\n", 2);
    assert_int_equal(parse(line, PROXY_HEADER_V1_MAX), 1);
}

/* ---- version 2 ---- */

/* A header of these fields, with body bytes of a counting pattern. */
static size_t
binary(uint8_t *out, uint8_t command, uint8_t family, uint16_t body)
{
    memcpy(out, SIGNATURE, 12);
    out[12] = command;
    out[13] = family;
    out[14] = (uint8_t)(body >> 8);
    out[15] = (uint8_t)body;
    for (unsigned i = 0; i < body; i++)
        out[V2_FIXED + i] = (uint8_t)(i + 1);
    return V2_FIXED + (size_t)body;
}

static void
binary_headers_name_their_client(void **state)
{
    uint8_t bytes[512];

    (void)state;
    assert_int_equal(parse(bytes, binary(bytes, 0x21, 0x11, 12)), 1);
    assert_int_equal(header.length, 28);
    expect_address("1.2.3.4:2314"); /* 9 << 8 | 10 */
    assert_int_equal(parse(bytes, binary(bytes, 0x21, 0x21, 36)), 1);
    expect_address("[102:304:506:708:90a:b0c:d0e:f10]:8482");
    assert_int_equal(parse(bytes, binary(bytes, 0x21, 0x11, 300) + 50), 1); /* TLVs, the client */
    assert_int_equal(header.length, 316);
    expect_address("1.2.3.4:2314");
}

static void
local_and_unspecified_headers_name_nobody(void **state)
{
    static const uint8_t fields[][2] = {{0x20, 0x00}, {0x20, 0x11}, {0x20, 0xff}, {0x21, 0x00},
                                        {0x21, 0x31}, {0x21, 0x12}, {0x21, 0x22}};
    uint8_t bytes[512];

    (void)state;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        assert_int_equal(parse(bytes, binary(bytes, fields[i][0], fields[i][1], 216)), 1);
        assert_false(header.has_address);
    }
    assert_int_equal(parse(bytes, binary(bytes, 0x20, 0x00, 0)), 1);
    assert_int_equal(header.length, V2_FIXED);
}

static void
illegal_binary_headers_are_refused(void **state)
{
    static const uint8_t fields[][2] = {{0x11, 0x11}, {0x31, 0x11}, {0x22, 0x11},
                                        {0x2f, 0x11}, {0x21, 0x41}, {0x21, 0x13}};
    uint8_t bytes[512];

    (void)state;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        assert_int_equal(parse(bytes, binary(bytes, fields[i][0], fields[i][1], 36)),
                         CBX_ERR_FORMAT);
    assert_int_equal(parse(bytes, binary(bytes, 0x21, 0x11, 11)), CBX_ERR_FORMAT);
    assert_int_equal(parse(bytes, binary(bytes, 0x21, 0x21, 35)), CBX_ERR_FORMAT);
    size_t length = binary(bytes, 0x21, 0x11, 12);
    bytes[11] = '\r';
    assert_int_equal(parse(bytes, length), CBX_ERR_FORMAT);
}

static void
binary_headers_are_waited_for_up_to_their_limit(void **state)
{
    static uint8_t bytes[PROXY_HEADER_MAX + 1];
    size_t length = binary(bytes, 0x21, 0x11, PROXY_HEADER_MAX - V2_FIXED);

    (void)state;
    assert_int_equal(parse(bytes, 0), 0);
    for (size_t i = 1; i < V2_FIXED; i++) {
        assert_int_equal(parse(bytes, i), 0);
        assert_int_equal(wanted, V2_FIXED);
    }
    for (size_t i = V2_FIXED; i < length; i++) {
        assert_int_equal(parse(bytes, i), 0);
        assert_int_equal(wanted, length);
    }
    assert_int_equal(parse(bytes, length), 1);
    bytes[15]++;
    assert_int_equal(parse(bytes, V2_FIXED), CBX_ERR_LIMIT);
}

static void
first_bytes_tell_the_version(void **state)
{
    (void)state;
    assert_int_equal(proxy_header_looks_like((const uint8_t *)"PROX", 4), 1);
    assert_int_equal(proxy_header_looks_like((const uint8_t *)"PROXY TCP4 1.2.", 15), 1);
    assert_int_equal(proxy_header_looks_like((const uint8_t *)SIGNATURE, 4), 2);
    assert_int_equal(proxy_header_looks_like((const uint8_t *)SIGNATURE "!\x11\0\f", 16), 2);
    assert_int_equal(proxy_header_looks_like((const uint8_t *)"PROPFIND / HTTP/1.1", 15), 0);
    assert_int_equal(proxy_header_looks_like((const uint8_t *)"\r\n\r\nGET /", 9), 0);
    assert_int_equal(proxy_header_looks_like((const uint8_t *)"PRO", 3), 0);
}

/* ---- who is asked ---- */

static bool
holds(const char *prefix, const char *address)
{
    struct sockaddr_in four = {.sin_family = AF_INET};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6};
    struct proxy_prefix parsed;

    assert_int_equal(proxy_prefix_parse(prefix, &parsed, NULL), 0);
    if (inet_pton(AF_INET, address, &four.sin_addr) == 1)
        return proxy_prefix_holds(&parsed, (const struct sockaddr *)(const void *)&four);
    assert_int_equal(inet_pton(AF_INET6, address, &six.sin6_addr), 1);
    return proxy_prefix_holds(&parsed, (const struct sockaddr *)(const void *)&six);
}

static void
prefixes_hold_their_addresses_only(void **state)
{
    (void)state;
    assert_true(holds("10.0.0.7", "10.0.0.7"));
    assert_false(holds("10.0.0.7", "10.0.0.6"));
    assert_true(holds("10.0.0.0/8", "10.255.255.255"));
    assert_false(holds("10.0.0.0/8", "11.0.0.0"));
    assert_true(holds("192.0.2.64/26", "192.0.2.127"));
    assert_false(holds("192.0.2.64/26", "192.0.2.128"));
    assert_true(holds("0.0.0.0/0", "203.0.113.9"));
    assert_false(holds("0.0.0.0/0", "2001:db8::1"));
    assert_true(holds("10.0.0.0/8", "::ffff:10.1.2.3"));
    assert_true(holds("fd00::/8", "fdff::1"));
    assert_false(holds("fd00::/8", "fe00::1"));
    assert_false(holds("fd00::/8", "253.0.0.1"));
    assert_true(holds("2001:db8::/33", "2001:db8:7fff::"));
    assert_false(holds("2001:db8::/33", "2001:db8:8000::"));
    assert_false(holds("::/0", "::ffff:10.1.2.3"));
    struct proxy_prefix all = {.family = 4};
    assert_false(proxy_prefix_holds(&all, &(struct sockaddr){.sa_family = AF_UNIX}));
}

static void
other_prefixes_are_refused(void **state)
{
    static const char *const text[] = {
        "",
        "10.0.0.0/33",
        "10.0.0.0/",
        "10.0.0.0/-1",
        "10.0.0.0/08",
        "10.0.0.0/8x",
        "10.0.0.1/8",
        "::1/129",
        "10.0.0",
        "localhost",
        "10.0.0.0/8/8",
        "fd00::1/8",
        "/8",
        " 10.0.0.1",
        "10.0.0.1:700",
        "10.0.0.0,10.0.0.1",
        "1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111"};
    struct proxy_prefix parsed;
    struct cbx_error error;

    (void)state;
    for (size_t i = 0; i < sizeof text / sizeof *text; i++) {
        assert_int_equal(proxy_prefix_parse(text[i], &parsed, &error), CBX_ERR_USAGE);
        assert_non_null(strstr(error.text, text[i]));
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_name_their_client),
        cmocka_unit_test(unknown_lines_name_nobody),
        cmocka_unit_test(illegal_lines_are_refused),
        cmocka_unit_test(a_line_without_its_end_is_waited_for_up_to_107_bytes),
        cmocka_unit_test(binary_headers_name_their_client),
        cmocka_unit_test(local_and_unspecified_headers_name_nobody),
        cmocka_unit_test(illegal_binary_headers_are_refused),
        cmocka_unit_test(binary_headers_are_waited_for_up_to_their_limit),
        cmocka_unit_test(first_bytes_tell_the_version),
        cmocka_unit_test(prefixes_hold_their_addresses_only),
        cmocka_unit_test(other_prefixes_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
