/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/front/conn.h"
#include "agent/front/http_connect.h"
#include <stdio.h>
#include <string.h>

static const char request[] = "CONNECT web.cbx:8080 HTTP/1.1\r\n"
                              "Host: web.cbx:8080\r\n"
                              "User-Agent: curl/7.88\r\n"
                              "Content-Length: 12\r\n"
                              "\r\n";
enum { REQUEST_LENGTH = sizeof request - 1 };

static size_t
feed(struct http_connect *http, const char *text)
{
    return http_connect_feed(http, text, strlen(text));
}

static void
check_refused(const char *text, int status)
{
    struct http_connect http;
    http_connect_init(&http);
    (void)feed(&http, text);
    assert_int_equal(http.state, HTTP_CONNECT_REFUSED);
    assert_int_equal(http.status, status);
}

/* A response must be complete, framed by its length, and say why in header and body. */
static void
check_response(const char *response, size_t length, int status, const char *error,
               const char *details)
{
    char line[200];
    (void)snprintf(line, sizeof line, "HTTP/1.1 %d ", status);
    assert_true(length > 0 && length <= CONN_WORDS_MAX);
    assert_int_equal(strlen(response), length);
    assert_memory_equal(response, line, strlen(line));
    (void)snprintf(line, sizeof line, "\r\nProxy-Status: cbx; error=%s; details=\"%s\"\r\n", error,
                   details);
    assert_non_null(strstr(response, line));
    const char *body = strstr(response, "\r\n\r\n") + 4;
    (void)snprintf(line, sizeof line, "\r\nContent-Length: %zu\r\n", strlen(body));
    assert_non_null(strstr(response, line));
    assert_non_null(strstr(body, details));
    assert_ptr_equal(strchr(body, '\n'), response + length - 1);
}

static void
request_is_taken(void **state)
{
    (void)state;
    struct http_connect http;
    http_connect_init(&http);
    assert_int_equal(feed(&http, request), REQUEST_LENGTH);
    assert_int_equal(http.state, HTTP_CONNECT_READY);
    assert_string_equal(http.host, "web.cbx");
    assert_int_equal(http.port, 8080);
}

static void
http_1_0_without_host_is_taken(void **state)
{
    (void)state;
    struct http_connect http;
    http_connect_init(&http);
    (void)feed(&http, "CONNECT web.demo.cbx:1 HTTP/1.0\r\n\r\n");
    assert_int_equal(http.state, HTTP_CONNECT_READY);
    assert_string_equal(http.host, "web.demo.cbx");
    assert_int_equal(http.port, 1);
}

static void
chopping_at_every_byte_changes_nothing(void **state)
{
    (void)state;
    for (size_t cut = 0; cut <= REQUEST_LENGTH; cut++) {
        struct http_connect http;
        http_connect_init(&http);
        assert_int_equal(http_connect_feed(&http, request, cut), cut);
        assert_int_equal(http.state, cut < REQUEST_LENGTH ? HTTP_CONNECT_MORE : HTTP_CONNECT_READY);
        assert_int_equal(feed(&http, request + cut), REQUEST_LENGTH - cut);
        assert_int_equal(http.state, HTTP_CONNECT_READY);
        assert_string_equal(http.host, "web.cbx");
        assert_int_equal(http.port, 8080);
    }
}

static void
byte_by_byte_changes_nothing(void **state)
{
    (void)state;
    struct http_connect http;
    http_connect_init(&http);
    for (size_t i = 0; i < REQUEST_LENGTH; i++) {
        assert_int_equal(http.state, HTTP_CONNECT_MORE);
        assert_int_equal(http_connect_feed(&http, request + i, 1), 1);
    }
    assert_int_equal(http.state, HTTP_CONNECT_READY);
    assert_string_equal(http.host, "web.cbx");
}

static void
bytes_behind_the_header_are_left(void **state)
{
    (void)state;
    char bytes[REQUEST_LENGTH + 6];
    memcpy(bytes, request, REQUEST_LENGTH);
    memcpy(bytes + REQUEST_LENGTH, "\026\003\001abc", 6);
    for (size_t cut = 0; cut <= REQUEST_LENGTH; cut++) {
        struct http_connect http;
        http_connect_init(&http);
        assert_int_equal(http_connect_feed(&http, bytes, cut), cut);
        assert_int_equal(http_connect_feed(&http, bytes + cut, sizeof bytes - cut),
                         REQUEST_LENGTH - cut);
        assert_int_equal(http.state, HTTP_CONNECT_READY);
    }
}

static void
other_methods_get_405_and_allow(void **state)
{
    (void)state;
    static const char *const requests[] = {
        "GET http://web.cbx:8080/ HTTP/1.1\r\nHost: web.cbx\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
        "OPTIONS * HTTP/1.1\r\n\r\n",
        "BREW / HTTP/1.1\r\n\r\n",
        "connect web.cbx:80 HTTP/1.1\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        struct http_connect http;
        char out[CONN_WORDS_MAX];
        http_connect_init(&http);
        (void)feed(&http, requests[i]);
        assert_int_equal(http.state, HTTP_CONNECT_REFUSED);
        size_t length = http_connect_rejection(&http, out, sizeof out);
        check_response(out, length, 405, "http_request_error", "this proxy supports only CONNECT");
        assert_non_null(strstr(out, "\r\nAllow: CONNECT\r\n"));
    }
}

static void
other_forms_of_address_get_400(void **state)
{
    (void)state;
    static const char *const addresses[] = {
        "web.cbx",  "web.cbx:",      "web.cbx:0",         "web.cbx:65536", "web.cbx:80x", ":80",
        "web.cbx/", "web.cbx:80/x",  "user@web.cbx:80",   "[::1:80",       "::1:80",      "/",
        "web.cbx:", "web.cbx:00080", "http://web.cbx:80", "web.cbx:-1",
    };
    for (size_t i = 0; i < sizeof addresses / sizeof addresses[0]; i++) {
        char text[100];
        (void)snprintf(text, sizeof text, "CONNECT %s HTTP/1.1\r\n\r\n", addresses[i]);
        check_refused(text, 400);
    }
}

static void
address_too_long_gets_400(void **state)
{
    (void)state;
    char text[600] = "CONNECT ";
    memset(text + 8, 'a', 400);
    memcpy(text + 408, ".cbx:80 HTTP/1.1\r\n\r\n", 21);
    check_refused(text, 400);
}

static void
garbage_is_refused(void **state)
{
    (void)state;
    check_refused("CONNECT web.cbx:80 FTP/1.1\r\n\r\n", 400);
    check_refused("CONNECT web.cbx:80 HTTP/1.1\r\nbad header\r\n\r\n", 400);
    check_refused("CONNECT web.cbx:80 HTTP/1.1\r\nA: b\001\r\n\r\n", 400);
    check_refused("CONNECT web.cbx:80 HTTP/2.0\r\n\r\n", 505);
    check_refused("hello\r\n", 405);
}

static void
header_of_more_than_16_kib_gets_431(void **state)
{
    (void)state;
    static char text[40000];
    size_t length = (size_t)snprintf(text, sizeof text, "CONNECT web.cbx:80 HTTP/1.1\r\n");
    while (length < 20000)
        length += (size_t)snprintf(text + length, sizeof text - length, "A: %0100d\r\n", 0);
    for (size_t chunk = 1; chunk <= length; chunk = chunk * 3 + 1) {
        struct http_connect http;
        http_connect_init(&http);
        size_t at = 0;
        while (http.state == HTTP_CONNECT_MORE) {
            size_t give = chunk < length - at ? chunk : length - at;
            at += http_connect_feed(&http, text + at, give);
        }
        assert_int_equal(at, HTTP_CONNECT_HEADER_MAX);
        assert_int_equal(http.status, 431);
    }
}

static void
header_of_16_kib_is_taken(void **state)
{
    (void)state;
    static char text[HTTP_CONNECT_HEADER_MAX + 1];
    int length = snprintf(text, sizeof text, "CONNECT web.cbx:80 HTTP/1.1\r\nA: ");
    memset(text + length, 'a', sizeof text - 5 - (size_t)length);
    memcpy(text + sizeof text - 5, "\r\n\r\n", 5);
    struct http_connect http;
    http_connect_init(&http);
    assert_int_equal(feed(&http, text), HTTP_CONNECT_HEADER_MAX);
    assert_int_equal(http.state, HTTP_CONNECT_READY);
}

static void
late_header_gets_408(void **state)
{
    (void)state;
    struct http_connect http;
    char out[CONN_WORDS_MAX];
    http_connect_init(&http);
    (void)feed(&http, "CONNECT web");
    http_connect_timed_out(&http);
    size_t length = http_connect_rejection(&http, out, sizeof out);
    check_response(out, length, 408, "http_request_error", http.why);
}

static void
each_reason_has_its_status(void **state)
{
    (void)state;
    static const struct {
        enum cbx_reason reason;
        int status;
        const char *error;
    } cases[] = {
        {CBX_REASON_UNKNOWN_NAME, 502, "destination_not_found"},
        {CBX_REASON_PEER_AWAY, 503, "destination_unavailable"},
        {CBX_REASON_NOT_EXPOSED, 403, "http_request_denied"},
        {CBX_REASON_DENIED, 403, "http_request_denied"},
        {CBX_REASON_REFUSED, 502, "connection_refused"},
        {CBX_REASON_TIMED_OUT, 504, "connection_timeout"},
        {CBX_REASON_OVERLOADED, 503, "connection_limit_reached"},
        {CBX_REASON_GOING_AWAY, 503, "destination_unavailable"},
        {CBX_REASON_UNREACHABLE, 502, "destination_ip_unroutable"},
        {CBX_REASON_STORAGE, 503, "proxy_internal_error"},
        {CBX_REASON_LOST, 502, "connection_terminated"},
        {CBX_REASON_EXPIRED, 502, "proxy_configuration_error"},
        {CBX_REASON_INTEGRITY, 502, "proxy_internal_error"},
        {CBX_REASON_NO_SESSION, 502, "proxy_internal_error"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char out[CONN_WORDS_MAX];
        struct conn_refusal refusal = {cases[i].reason, "web.cbx:81", "do this"};
        size_t length = http_connect_refusal(&refusal, out, sizeof out);
        check_response(out, length, cases[i].status, cases[i].error,
                       cbx_reason_text(cases[i].reason));
        assert_non_null(strstr(out, "\r\n\r\ncbx: web.cbx:81: "));
        assert_non_null(strstr(out, "; do this\n"));
        assert_int_equal(http_connect_refusal(&refusal, out, 40), 0);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(request_is_taken),
        cmocka_unit_test(http_1_0_without_host_is_taken),
        cmocka_unit_test(chopping_at_every_byte_changes_nothing),
        cmocka_unit_test(byte_by_byte_changes_nothing),
        cmocka_unit_test(bytes_behind_the_header_are_left),
        cmocka_unit_test(other_methods_get_405_and_allow),
        cmocka_unit_test(other_forms_of_address_get_400),
        cmocka_unit_test(address_too_long_gets_400),
        cmocka_unit_test(garbage_is_refused),
        cmocka_unit_test(header_of_more_than_16_kib_gets_431),
        cmocka_unit_test(header_of_16_kib_is_taken),
        cmocka_unit_test(late_header_gets_408),
        cmocka_unit_test(each_reason_has_its_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
