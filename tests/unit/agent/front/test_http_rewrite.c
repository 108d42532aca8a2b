/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/front/http_rewrite.h"
#include <stdio.h>
#include <string.h>

static void
read_head(struct http_message *message, enum http_parser_type type, const char *text)
{
    http_message_begin(message, type, false);
    assert_int_equal(http_message_feed(message, text, strlen(text), NULL), strlen(text));
    assert_int_equal(message->state, HTTP_MESSAGE_READY);
}

/* What a server is sent for this head. */
static void
check_request(const char *text, const char *host, uint16_t port, const char *wanted)
{
    struct http_message request;
    struct http_wish wish;
    struct http_bytes out = {0};
    int status;
    const char *why;
    read_head(&request, HTTP_REQUEST, text);
    assert_true(http_wish_read(&request, &wish, &status, &why));
    assert_string_equal(wish.host, host);
    assert_int_equal(wish.port, port);
    http_request_head(&request, &wish, &out);
    http_bytes_add(&out, "", 1);
    assert_false(out.failed);
    assert_string_equal(out.at, wanted);
    http_bytes_clear(&out);
    http_message_clear(&request);
}

static void
targets_come_in_the_servers_form(void **state)
{
    (void)state;
    static const struct {
        const char *url, *host;
        uint16_t port;
        const char *target, *authority;
    } cases[] = {
        {"http://web.cbx/", "web.cbx", 80, "/", "web.cbx"},
        {"http://web.cbx", "web.cbx", 80, "/", "web.cbx"},
        {"HTTP://WEB.cbx:8080/a/b?c=d#e", "WEB.cbx", 8080, "/a/b?c=d", "WEB.cbx:8080"},
        {"http://u:p@web.cbx:1/x", "web.cbx", 1, "/x", "web.cbx:1"},
        {"http://web.cbx?q", "web.cbx", 80, "/?q", "web.cbx"},
        {"http://[::1]:8/x", "::1", 8, "/x", "[::1]:8"},
        {"http://[::1]/x", "::1", 80, "/x", "[::1]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[200], wanted[200];
        (void)snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", cases[i].url);
        (void)snprintf(wanted, sizeof wanted, "GET %s HTTP/1.1\r\nHost: %s\r\nVia: 1.1 cbx\r\n\r\n",
                       cases[i].target, cases[i].authority);
        check_request(text, cases[i].host, cases[i].port, wanted);
    }
    check_request("OPTIONS http://web.cbx HTTP/1.1\r\nHost: x\r\nMax-Forwards: 3\r\n\r\n",
                  "web.cbx", 80,
                  "OPTIONS * HTTP/1.1\r\nHost: web.cbx\r\nMax-Forwards: 2\r\nVia: 1.1 cbx\r\n\r\n");
    check_request("GET http://web.cbx/ HTTP/1.0\r\nExpect: 100-continue\r\n\r\n", "web.cbx", 80,
                  "GET / HTTP/1.1\r\nHost: web.cbx\r\nVia: 1.0 cbx\r\n\r\n");
}

static void
fields_of_one_hop_are_taken_out(void **state)
{
    (void)state;
    check_request("POST http://web.cbx/ HTTP/1.1\r\nHost: x\r\nConnection: close, X-Mine,host\r\n"
                  "x-mine: 1\r\nX-Mine2: 2\r\nKeep-Alive: 1\r\nProxy-Connection: x\r\nTE: x\r\n"
                  "Trailer: x\r\nProxy-Authorization: x\r\nUpgrade: x\r\nCookie: c\r\n"
                  "Transfer-Encoding: chunked\r\n\r\n",
                  "web.cbx", 80,
                  "POST / HTTP/1.1\r\nHost: web.cbx\r\nX-Mine2: 2\r\nCookie: c\r\n"
                  "Transfer-Encoding: chunked\r\nVia: 1.1 cbx\r\n\r\n");
    check_request("POST http://web.cbx/ HTTP/1.1\r\nHost: x\r\nConnection: Content-Length\r\n"
                  "Content-Length: 007\r\n\r\n",
                  "web.cbx", 80,
                  "POST / HTTP/1.1\r\nHost: web.cbx\r\nContent-Length: 7\r\nVia: 1.1 cbx\r\n\r\n");
}

static void
upgrades_are_passed_on_but_h2c(void **state)
{
    (void)state;
    check_request("GET http://web.cbx/ HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\n"
                  "Upgrade: websocket\r\n\r\n",
                  "web.cbx", 80,
                  "GET / HTTP/1.1\r\nHost: web.cbx\r\nVia: 1.1 cbx\r\nConnection: Upgrade\r\n"
                  "Upgrade: websocket\r\n\r\n");
    check_request("GET http://web.cbx/ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, "
                  "HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n",
                  "web.cbx", 80, "GET / HTTP/1.1\r\nHost: web.cbx\r\nVia: 1.1 cbx\r\n\r\n");
}

/* Whose body could still be on its way, in chunks, when the other protocol begins. */
static void
upgrades_with_a_body_are_plain_requests(void **state)
{
    (void)state;
    check_request("POST http://web.cbx/ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
                  "Upgrade: x\r\nTransfer-Encoding: chunked\r\n\r\n",
                  "web.cbx", 80,
                  "POST / HTTP/1.1\r\nHost: web.cbx\r\nTransfer-Encoding: chunked\r\n"
                  "Via: 1.1 cbx\r\n\r\n");
}

static void
tunnels_name_host_and_port(void **state)
{
    (void)state;
    struct http_message request;
    struct http_wish wish;
    int status;
    const char *why;
    read_head(&request, HTTP_REQUEST,
              "CONNECT web.demo.cbx:1 HTTP/1.0\r\nContent-Length: 12\r\n\r\n");
    assert_int_equal(request.framing, HTTP_NO_BODY);
    assert_true(http_wish_read(&request, &wish, &status, &why));
    assert_true(wish.tunnel);
    assert_string_equal(wish.host, "web.demo.cbx");
    assert_int_equal(wish.port, 1);
    http_message_clear(&request);
}

static void
check_refused(const char *line, const char *fields, int wanted)
{
    struct http_message request;
    struct http_wish wish;
    int status = 0;
    const char *why = NULL;
    char text[1000];
    (void)snprintf(text, sizeof text, "%s HTTP/1.1\r\n%s\r\n", line, fields);
    http_message_begin(&request, HTTP_REQUEST, false);
    (void)http_message_feed(&request, text, strlen(text), NULL);
    if (request.state == HTTP_MESSAGE_BAD) {
        assert_int_equal(request.status, wanted);
    } else {
        assert_false(http_wish_read(&request, &wish, &status, &why));
        assert_int_equal(status, wanted);
        assert_non_null(why);
    }
    http_message_clear(&request);
}

static void
other_targets_are_refused(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "GET /",
        "OPTIONS *",
        "GET https://web.cbx/",
        "GET ftp://web.cbx/",
        "GET http:///x",
        "GET http://web.cbx:0/",
        "GET http://web.cbx:65536/",
        "GET http://web.cbx:80x/",
        "GET http://web.cbx:/",
        "GET http://a@b@web.cbx/",
        "GET web.cbx",
        "CONNECT web.cbx",
        "CONNECT web.cbx:",
        "CONNECT web.cbx:0",
        "CONNECT web.cbx:65536",
        "CONNECT web.cbx:80x",
        "CONNECT :80",
        "CONNECT web.cbx:80/x",
        "CONNECT user@web.cbx:80",
        "CONNECT [::1:80",
        "CONNECT ::1:80",
        "CONNECT /",
        "CONNECT web.cbx:00080",
        "CONNECT http://web.cbx:80",
        "CONNECT web.cbx:-1",
        "connect web.cbx:80",
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        check_refused(lines[i], "Host: x\r\n", 400);
    check_refused("GET http://web.cbx/", "", 400);
    check_refused("GET http://web.cbx/", "Host: a\r\nHost: a\r\n", 400);
    check_refused("OPTIONS http://web.cbx/", "Host: a\r\nMax-Forwards: 0\r\n", 501);
    char line[600] = "CONNECT ";
    memset(line + 8, 'a', 400);
    memcpy(line + 408, ".cbx:80", 8);
    check_refused(line, "Host: a\r\n", 400);
    memcpy(line, "GET http://", 11);
    check_refused(line, "Host: a\r\n", 400);
}

static void
check_response(const char *text, struct http_reply reply, const char *wanted)
{
    struct http_message response;
    struct http_bytes out = {0};
    read_head(&response, HTTP_RESPONSE, text);
    http_response_head(&response, &reply, &out);
    http_bytes_add(&out, "", 1);
    assert_false(out.failed);
    assert_string_equal(out.at, wanted);
    http_bytes_clear(&out);
    http_message_clear(&response);
}

static void
responses_are_framed_for_their_client(void **state)
{
    (void)state;
    static const char chunked[] = "HTTP/1.1 200 Fine so\r\nTransfer-Encoding: chunked\r\nA: "
                                  "b\r\nConnection: keep-alive, x\r\nX: y\r\n\r\n";
    check_response(
        chunked, (struct http_reply){0},
        "HTTP/1.1 200 Fine so\r\nA: b\r\nTransfer-Encoding: chunked\r\nVia: 1.1 cbx\r\n\r\n");
    check_response(chunked, (struct http_reply){.one_zero = true, .close = true},
                   "HTTP/1.1 200 Fine so\r\nA: b\r\nVia: 1.1 cbx\r\nConnection: close\r\n\r\n");
    check_response("HTTP/1.0 404 \r\nContent-Length: 5\r\nServer: x\r\n\r\n",
                   (struct http_reply){0},
                   "HTTP/1.1 404 \r\nServer: x\r\nContent-Length: 5\r\nVia: 1.0 cbx\r\n\r\n");
    check_response("HTTP/1.1 204 None\r\nContent-Length: 0\r\n\r\n", (struct http_reply){0},
                   "HTTP/1.1 204 None\r\nVia: 1.1 cbx\r\n\r\n");
    check_response("HTTP/1.1 101 Switch\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
                   (struct http_reply){.upgrade = true},
                   "HTTP/1.1 101 Switch\r\nVia: 1.1 cbx\r\nConnection: Upgrade\r\nUpgrade: "
                   "websocket\r\n\r\n");
}

static void
bodies_are_framed(void **state)
{
    (void)state;
    struct http_bytes out = {0}, body = {0};
    http_bytes_add(&body, "abc", 3);
    http_body_add(true, &body, false, &out);
    http_body_add(true, &(struct http_bytes){0}, false, &out);
    http_body_add(true, &body, true, &out);
    http_body_add(false, &body, true, &out);
    assert_int_equal(out.length, 24);
    assert_false(out.failed);
    assert_memory_equal(out.at, "3\r\nabc\r\n3\r\nabc\r\n0\r\n\r\nabc", 24);
    http_bytes_clear(&out);
    http_bytes_clear(&body);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(targets_come_in_the_servers_form),
        cmocka_unit_test(fields_of_one_hop_are_taken_out),
        cmocka_unit_test(upgrades_are_passed_on_but_h2c),
        cmocka_unit_test(upgrades_with_a_body_are_plain_requests),
        cmocka_unit_test(tunnels_name_host_and_port),
        cmocka_unit_test(other_targets_are_refused),
        cmocka_unit_test(responses_are_framed_for_their_client),
        cmocka_unit_test(bodies_are_framed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
