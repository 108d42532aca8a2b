/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/front/http_message.h"
#include <stdio.h>
#include <string.h>

/* The message from text in pieces of that size, to its end or fault; returns what was taken. body
 * gets its body. */
static size_t
read_chopped(struct http_message *message, enum http_parser_type type, const char *text,
             size_t length, size_t piece, struct http_bytes *body)
{
    size_t at = 0;
    http_message_begin(message, type, false);
    while (message->state < HTTP_MESSAGE_DONE && at < length) {
        size_t give = piece < length - at ? piece : length - at;
        at += http_message_feed(message, text + at, give, body);
        if (message->state == HTTP_MESSAGE_READY)
            http_message_go_on(message);
    }
    http_message_clear(message);
    return at;
}

static void
check_body(enum http_parser_type type, const char *text, const char *wanted, const char *rest)
{
    for (size_t piece = 1; piece <= strlen(text); piece++) {
        struct http_message message;
        struct http_bytes body = {0};
        size_t taken = read_chopped(&message, type, text, strlen(text), piece, &body);
        assert_int_equal(message.state, HTTP_MESSAGE_DONE);
        assert_string_equal(text + taken, rest);
        assert_int_equal(body.length, strlen(wanted));
        assert_memory_equal(body.at ? body.at : "", wanted, body.length);
        http_bytes_clear(&body);
    }
}

static void
bodies_are_the_same_however_chopped(void **state)
{
    (void)state;
    check_body(HTTP_REQUEST, "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\nGET", "", "GET");
    check_body(HTTP_REQUEST, "\r\n\nPUT / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcPUT", "abc",
               "PUT");
    check_body(HTTP_REQUEST,
               "PUT / HTTP/1.1\nTransfer-Encoding: Chunked\n\n3;x=y\r\nabc\r\n1\r\nd\r\n0\r\nSum: "
               "1\r\n\r\nPUT",
               "abcd", "PUT");
    check_body(HTTP_RESPONSE, "HTTP/1.1 204 No Content\r\n\r\nHTTP", "", "HTTP");
    check_body(HTTP_RESPONSE, "HTTP/1.0 304 \r\nContent-Length: 5\r\n\r\nHTTP", "", "HTTP");
    check_body(HTTP_RESPONSE, "HTTP/1.1 100 Continue\r\n\r\nHTTP", "", "HTTP");
}

static void
response_to_head_has_no_body(void **state)
{
    (void)state;
    struct http_message message;
    const char *text = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    http_message_begin(&message, HTTP_RESPONSE, true);
    assert_int_equal(http_message_feed(&message, text, strlen(text), NULL), strlen(text));
    assert_true(message.has_length && message.length == 5 && message.framing == HTTP_NO_BODY);
    http_message_go_on(&message);
    assert_int_equal(message.state, HTTP_MESSAGE_DONE);
}

static void
end_of_connection_ends_only_what_ends_with_it(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum http_message_state state;
    } cases[] = {
        {"HTTP/1.1 200 OK\r\n\r\nabc", HTTP_MESSAGE_DONE},
        {"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc", HTTP_MESSAGE_BAD},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", HTTP_MESSAGE_BAD},
        {"HTTP/1.1 200 OK\r\n", HTTP_MESSAGE_BAD},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct http_message message;
        struct http_bytes body = {0};
        (void)read_chopped(&message, HTTP_RESPONSE, cases[i].text, strlen(cases[i].text), 7, &body);
        http_message_end(&message);
        assert_int_equal(message.state, cases[i].state);
        http_bytes_clear(&body);
    }
}

static void
fields_are_found(void **state)
{
    (void)state;
    struct http_message message;
    size_t count;
    const char *text = "GET http://a/ HTTP/1.1\r\nA: 1  \r\nB: x,\t Y ,,z\r\nb:\r\nLong: one\r\n "
                       "two\r\n\tthree\r\n\r\n";
    http_message_begin(&message, HTTP_REQUEST, false);
    (void)http_message_feed(&message, text, strlen(text), NULL);
    assert_int_equal(message.state, HTTP_MESSAGE_READY);
    assert_int_equal(message.fields, 4);
    assert_true(http_text_is(http_message_field(&message, "a", &count), "1"));
    assert_int_equal(count, 1);
    assert_true(http_text_is(http_message_field(&message, "B", &count), ""));
    assert_int_equal(count, 2);
    assert_null(http_message_field(&message, "C", &count));
    struct http_text y = {"y", 1}, xy = {"x,", 2};
    assert_true(http_message_lists(&message, "b", &y));
    assert_false(http_message_lists(&message, "b", &xy));
    const struct http_text *folded = http_message_field(&message, "Long", NULL);
    assert_memory_equal(folded->at, "one   two  \tthree", 17);
    http_message_clear(&message);
}

static void
check_bad(enum http_parser_type type, const char *text, size_t length, int status)
{
    for (size_t piece = 1; piece <= length; piece = piece * 3 + 1) {
        struct http_message message;
        struct http_bytes body = {0};
        (void)read_chopped(&message, type, text, length, piece, &body);
        assert_int_equal(message.state, HTTP_MESSAGE_BAD);
        assert_int_equal(message.status, status);
        assert_non_null(message.why);
        http_bytes_clear(&body);
    }
}

static void
what_two_programs_could_read_in_two_ways_is_bad(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int status;
    } cases[] = {
        {"PUT / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
        {"PUT / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", 400},
        {"PUT / HTTP/1.1\r\nContent-Length: 3, 3\r\n\r\n", 400},
        {"PUT / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400},
        {"PUT / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", 400},
        {"PUT / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501},
        {"GET / HTTP/1.1\r\nTransfer-Encodings: x\r\nConnection: upgrade\r\nUpgrade: y\r\n\r\n",
         501},
        {"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 501},
        {"PUT / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
        {"PUT / HTTP/1.1\r\nContent-Length : 3\r\n\r\n", 400},
        {"PUT / HTTP/1.1\r\nTransfer-Encoding : chunked\r\n\r\n", 400},
        {"PUT / HTTP/1.1\r\nTransfer Encoding: chunked\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n folded: 1\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nA: b\001\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nbad field\r\n\r\n", 400},
        {"GET / FTP/1.1\r\n\r\n", 400},
        {"hello\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nA: b\rc\r\n\r\n", 400},
        {"PUT / HTTP/1.1\r\nContent-Length: 9\r\n\rabc\nB: c\r\n\r\n", 400},
        {"GET / HTTP/2.0\r\n\r\n", 505},
        {"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", 400},
        {"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", 400},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check_bad(HTTP_REQUEST, cases[i].text, strlen(cases[i].text), cases[i].status);
    check_bad(HTTP_REQUEST, "GET /a\0b HTTP/1.1\r\n\r\n", 21, 400);
    check_bad(HTTP_REQUEST, "GET / HTTP/1.1\r\nA: a\0b\r\n\r\n", 26, 400);
    check_bad(HTTP_RESPONSE, "garbage\r\n\r\n", 11, 502);
    check_bad(HTTP_RESPONSE, "HTTP/1.1 099 X\r\n\r\n", 18, 502);
    check_bad(HTTP_RESPONSE, "HTTP/1.1 000 X\r\n\r\n", 18, 502);
    check_bad(HTTP_RESPONSE, "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 47, 502);
}

static void
long_heads_are_bad(void **state)
{
    (void)state;
    static char text[100000];
    size_t length = (size_t)snprintf(text, sizeof text, "GET http://a/ HTTP/1.1\r\n");
    while (length < 70000)
        length += (size_t)snprintf(text + length, sizeof text - length, "A: %01000d\r\n", 0);
    check_bad(HTTP_REQUEST, text, length, 431);
    length = (size_t)snprintf(text, sizeof text, "GET http://a/ HTTP/1.1\r\n");
    for (int i = 0; i <= HTTP_FIELDS_MAX; i++)
        length += (size_t)snprintf(text + length, sizeof text - length, "A: b\r\n");
    length += (size_t)snprintf(text + length, sizeof text - length, "\r\n");
    check_bad(HTTP_REQUEST, text, length, 431);
}

static void
head_of_64_kib_is_taken(void **state)
{
    (void)state;
    static char text[HTTP_HEAD_MAX + 1];
    struct http_message message;
    int length = snprintf(text, sizeof text, "GET http://a/ HTTP/1.1\r\nA: ");
    memset(text + length, 'a', sizeof text - 5 - (size_t)length);
    memcpy(text + sizeof text - 5, "\r\n\r\n", 5);
    (void)read_chopped(&message, HTTP_REQUEST, text, HTTP_HEAD_MAX, 1000, NULL);
    assert_int_equal(message.state, HTTP_MESSAGE_DONE);
}

static void
bytes_leave_in_their_order(void **state)
{
    (void)state;
    struct http_bytes bytes = {0};
    char wanted[20000];
    for (size_t i = 0; i < sizeof wanted; i++)
        wanted[i] = (char)(i * 7 % 251);
    size_t in = 0, out = 0;
    while (out < sizeof wanted) {
        size_t give = in + 700 <= sizeof wanted ? 700 : sizeof wanted - in;
        http_bytes_add(&bytes, wanted + in, give);
        assert_false(bytes.failed);
        in += give;
        size_t take = bytes.length > 600 ? 600 : bytes.length;
        assert_memory_equal(bytes.at, wanted + out, take);
        http_bytes_drop(&bytes, take);
        out += take;
    }
    assert_int_equal(bytes.length, 0);
    assert_null(bytes.base);
    http_bytes_add_format(&bytes, "%0300d", 1);
    assert_true(bytes.failed);
    http_bytes_clear(&bytes);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies_are_the_same_however_chopped),
        cmocka_unit_test(response_to_head_has_no_body),
        cmocka_unit_test(end_of_connection_ends_only_what_ends_with_it),
        cmocka_unit_test(fields_are_found),
        cmocka_unit_test(what_two_programs_could_read_in_two_ways_is_bad),
        cmocka_unit_test(long_heads_are_bad),
        cmocka_unit_test(head_of_64_kib_is_taken),
        cmocka_unit_test(bytes_leave_in_their_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
