/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/front/socks.h"
#include <string.h>

/* A greeting with no-auth, and a request for a name. */
static const struct proxy_password no_password;

static const uint8_t greeting[] = {5, 2, 2, 0};
static const uint8_t name_request[] = {5,   1,   0,   3,   7,   'w',  'e',
                                       'b', '.', 'c', 'b', 'x', 0x1f, 0x90};

static void
feed_all(struct socks *socks, const void *data, size_t length)
{
    assert_int_equal(socks_feed(socks, data, length), length);
}

static void
start(struct socks *socks)
{
    socks_init(socks, &no_password);
    feed_all(socks, greeting, sizeof greeting);
    assert_int_equal(socks->state, SOCKS_REQUEST);
    assert_int_equal(socks->answer_length, 2);
    assert_memory_equal(socks->answer, "\5\0", 2);
    socks->answer_length = 0;
}

static void
check_reply(const struct socks *socks, uint8_t code)
{
    const uint8_t reply[SOCKS_REPLY_SIZE] = {5, code, 0, 1};
    assert_int_equal(socks->state, SOCKS_REFUSED);
    assert_int_equal(socks->answer_length, sizeof reply);
    assert_memory_equal(socks->answer, reply, sizeof reply);
}

static void
domain_name_is_taken(void **state)
{
    (void)state;
    struct socks socks;
    start(&socks);
    feed_all(&socks, name_request, sizeof name_request);
    assert_int_equal(socks.state, SOCKS_READY);
    assert_string_equal(socks.host, "web.cbx");
    assert_int_equal(socks.host_length, 7);
    assert_int_equal(socks.port, 8080);
    assert_int_equal(socks.answer_length, 0);
}

static void
ipv4_address_is_taken_as_text(void **state)
{
    (void)state;
    struct socks socks;
    start(&socks);
    feed_all(&socks, (uint8_t[]){5, 1, 0, 1, 10, 1, 2, 3, 0, 80}, 10);
    assert_int_equal(socks.state, SOCKS_READY);
    assert_string_equal(socks.host, "10.1.2.3");
    assert_int_equal(socks.port, 80);
}

static void
ipv6_address_is_taken_as_text(void **state)
{
    (void)state;
    struct socks socks;
    uint8_t request[22] = {5, 1, 0, 4, [19] = 1, 1, 187};
    start(&socks);
    feed_all(&socks, request, sizeof request);
    assert_int_equal(socks.state, SOCKS_READY);
    assert_string_equal(socks.host, "::1");
    assert_int_equal(socks.port, 443);
}

static void
longest_name_is_taken(void **state)
{
    (void)state;
    struct socks socks;
    uint8_t request[5 + 255 + 2] = {5, 1, 0, 3, 255};
    memset(request + 5, 'a', 255);
    start(&socks);
    feed_all(&socks, request, sizeof request);
    assert_int_equal(socks.state, SOCKS_READY);
    assert_int_equal(socks.host_length, 255);
    assert_int_equal(strlen(socks.host), 255);
}

static void
bytes_behind_the_request_are_left(void **state)
{
    (void)state;
    struct socks socks;
    uint8_t bytes[sizeof greeting + sizeof name_request + 5];
    memcpy(bytes, greeting, sizeof greeting);
    memcpy(bytes + sizeof greeting, name_request, sizeof name_request);
    memcpy(bytes + sizeof greeting + sizeof name_request, "early", 5);
    socks_init(&socks, &no_password);
    assert_int_equal(socks_feed(&socks, bytes, sizeof bytes), sizeof bytes - 5);
    assert_int_equal(socks.state, SOCKS_READY);
    assert_int_equal(socks.answer_length, 2);
    assert_int_equal(socks_feed(&socks, bytes, sizeof bytes), 0);
}

static void
chopping_at_every_byte_changes_nothing(void **state)
{
    (void)state;
    uint8_t bytes[sizeof greeting + sizeof name_request];
    memcpy(bytes, greeting, sizeof greeting);
    memcpy(bytes + sizeof greeting, name_request, sizeof name_request);
    for (size_t cut = 0; cut <= sizeof bytes; cut++) {
        struct socks socks;
        socks_init(&socks, &no_password);
        feed_all(&socks, bytes, cut);
        if (cut < sizeof bytes)
            assert_int_not_equal(socks.state, SOCKS_READY);
        feed_all(&socks, bytes + cut, sizeof bytes - cut);
        assert_int_equal(socks.state, SOCKS_READY);
        assert_string_equal(socks.host, "web.cbx");
        assert_int_equal(socks.answer_length, 2);
    }
}

static void
other_methods_are_refused(void **state)
{
    (void)state;
    static const struct {
        uint8_t bytes[5];
        size_t length;
    } cases[] = {{{5, 0}, 2}, {{5, 1, 1}, 3}, {{5, 3, 1, 3, 255}, 5}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct socks socks;
        socks_init(&socks, &no_password);
        feed_all(&socks, cases[i].bytes, cases[i].length);
        assert_int_equal(socks.state, SOCKS_REFUSED);
        assert_int_equal(socks.answer_length, 2);
        assert_memory_equal(socks.answer, "\5\377", 2);
    }
}

static void
bind_and_udp_get_reply_7(void **state)
{
    (void)state;
    for (uint8_t command = 0; command < 5; command++) {
        if (command == 1)
            continue;
        struct socks socks;
        start(&socks);
        feed_all(&socks, (uint8_t[]){5, command, 0, 1, 10, 1, 2, 3, 0, 80}, 10);
        check_reply(&socks, 7);
    }
}

static void
unknown_address_type_gets_reply_8(void **state)
{
    (void)state;
    struct socks socks;
    start(&socks);
    feed_all(&socks, (uint8_t[]){5, 1, 0, 2}, 4);
    check_reply(&socks, 8);
}

static void
wrong_version_and_reserved_byte_are_refused(void **state)
{
    (void)state;
    struct socks socks;
    start(&socks);
    assert_int_equal(socks_feed(&socks, (const uint8_t *)"GET / HTTP/1.1", 14), 1);
    check_reply(&socks, 1);
    start(&socks);
    feed_all(&socks, (uint8_t[]){5, 1, 9, 1, 10, 1, 2, 3, 0, 80}, 10);
    check_reply(&socks, 1);
}

static void
each_reason_has_its_reply(void **state)
{
    (void)state;
    static const struct {
        enum cbx_reason reason;
        uint8_t code;
    } cases[] = {
        {CBX_REASON_UNKNOWN_NAME, 4}, {CBX_REASON_PEER_AWAY, 3},  {CBX_REASON_NOT_EXPOSED, 2},
        {CBX_REASON_DENIED, 2},       {CBX_REASON_REFUSED, 5},    {CBX_REASON_TIMED_OUT, 6},
        {CBX_REASON_OVERLOADED, 1},   {CBX_REASON_GOING_AWAY, 1}, {CBX_REASON_UNREACHABLE, 1},
        {CBX_REASON_INTEGRITY, 1},    {CBX_REASON_LOST, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char reply[16];
        assert_int_equal(socks_reply_code(cases[i].reason), cases[i].code);
        assert_int_equal(socks_refusal(&(struct conn_refusal){cases[i].reason, "web.cbx:80", ""},
                                       reply, sizeof reply),
                         SOCKS_REPLY_SIZE);
        const char wanted[SOCKS_REPLY_SIZE] = {5, (char)cases[i].code, 0, 1};
        assert_memory_equal(reply, wanted, sizeof wanted);
        assert_int_equal(socks_refusal(&(struct conn_refusal){cases[i].reason, "", ""}, reply,
                                       SOCKS_REPLY_SIZE - 1),
                         0);
    }
}

static void
a_name_by_socks4a_is_taken(void **state)
{
    (void)state;
    static const char request[] = "\4\1\x1f\x90\0\0\0\1me\0web.cbx\0early";
    size_t length = sizeof request - 1;
    for (size_t cut = 0; cut <= length; cut++) {
        struct socks socks;
        socks_init(&socks, &no_password);
        size_t taken = socks_feed(&socks, (const uint8_t *)request, cut);
        taken += socks_feed(&socks, (const uint8_t *)request + cut, length - cut);
        assert_int_equal(socks.state, SOCKS_READY);
        assert_true(socks.four);
        assert_string_equal(socks.host, "web.cbx");
        assert_int_equal(socks.port, 8080);
        assert_int_equal(socks.answer_length, 0);
        assert_true(taken == length - 5 || cut > length - 5);
    }
}

static void
an_address_by_socks4_is_taken_as_text(void **state)
{
    (void)state;
    struct socks socks;
    socks_init(&socks, &no_password);
    feed_all(&socks, "\4\1\0\x50\x0a\1\2\3\0", 9);
    assert_int_equal(socks.state, SOCKS_READY);
    assert_string_equal(socks.host, "10.1.2.3");
    assert_int_equal(socks.port, 80);
}

static void
socks4_refusals_have_its_form(void **state)
{
    (void)state;
    struct socks socks;
    uint8_t endless[600];
    memset(endless, 'a', sizeof endless);
    memcpy(endless, "\4\1\0\x50\0\0\0\1", 8);
    socks_init(&socks, &no_password);
    (void)socks_feed(&socks, endless, sizeof endless);
    assert_int_equal(socks.state, SOCKS_REFUSED);
    assert_int_equal(socks.answer_length, SOCKS4_REPLY_SIZE);
    assert_memory_equal(socks.answer, "\0\x5b\0\0\0\0\0\0", SOCKS4_REPLY_SIZE);
    socks_init(&socks, &no_password);
    feed_all(&socks, "\4\2\0\x50\x0a\1\2\3\0", 9); /* BIND */
    assert_int_equal(socks.state, SOCKS_REFUSED);
    char reply[SOCKS4_REPLY_SIZE];
    assert_int_equal(
        socks4_refusal(&(struct conn_refusal){CBX_REASON_PEER_AWAY, "x", ""}, reply, sizeof reply),
        sizeof reply);
    assert_memory_equal(reply, "\0\x5b\0\0\0\0\0\0", sizeof reply);
}

static void
any_user_and_password_are_taken(void **state)
{
    (void)state;
    static const char bytes[] = "\5\1\2\1\3bob\6secret\5\1\0\3\7web.cbx\x1f\x90";
    size_t length = sizeof bytes - 1;
    for (size_t cut = 0; cut <= length; cut++) {
        struct socks socks;
        socks_init(&socks, &no_password);
        (void)socks_feed(&socks, (const uint8_t *)bytes, cut);
        (void)socks_feed(&socks, (const uint8_t *)bytes + cut, length - cut);
        assert_int_equal(socks.state, SOCKS_READY);
        assert_string_equal(socks.host, "web.cbx");
        assert_int_equal(socks.answer_length, 4);
        assert_memory_equal(socks.answer, "\5\2\1\0", 4);
    }
}

static void
answers_to_all_that_was_sent_at_once_are_whole(void **state)
{
    (void)state;
    static const uint8_t bytes[] = "\5\1\2\1\1a\1b\5\2\0\1\x7f\0\0\1\0\x50"; /* a bind */
    static const uint8_t answers[] = {5, 2, 1, 0, 5, 7, 0, 1, 0, 0, 0, 0, 0, 0};
    struct socks socks;
    socks_init(&socks, &no_password);
    assert_int_equal(socks_feed(&socks, bytes, sizeof bytes - 1), sizeof bytes - 1);
    assert_int_equal(socks.state, SOCKS_REFUSED);
    assert_int_equal(socks.answer_length, sizeof answers);
    assert_memory_equal(socks.answer, answers, sizeof answers);
}

static void
set_password_must_be_given(void **state)
{
    (void)state;
    struct proxy_password password;
    struct socks socks;
    proxy_password_init(&password, "secret");
    socks_init(&socks, &password);
    (void)socks_feed(&socks, (const uint8_t *)"\5\2\0\2\1\3any\6secret\5\1\0\3\7web.cbx\0\x50", 31);
    assert_int_equal(socks.state, SOCKS_READY);
    assert_int_equal(socks.answer_length, 4);
    assert_memory_equal(socks.answer, "\5\2\1\0", 4);
    socks_init(&socks, &password);
    (void)socks_feed(&socks, (const uint8_t *)"\5\1\2\1\3any\5wrong", 14);
    assert_int_equal(socks.state, SOCKS_REFUSED);
    assert_memory_equal(socks.answer, "\5\2\1\1", 4);
    socks_init(&socks, &password);
    (void)socks_feed(&socks, (const uint8_t *)"\5\1\0", 3);
    assert_int_equal(socks.state, SOCKS_REFUSED);
    assert_memory_equal(socks.answer, "\5\xff", 2);
    socks_init(&socks, &password);
    (void)socks_feed(&socks, (const uint8_t *)"\4\1\0\x50\0\0\0\1secret\0web.cbx\0", 23);
    assert_int_equal(socks.state, SOCKS_REFUSED);
    assert_memory_equal(socks.answer, "\0\x5b", 2);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_by_socks4a_is_taken),
        cmocka_unit_test(an_address_by_socks4_is_taken_as_text),
        cmocka_unit_test(socks4_refusals_have_its_form),
        cmocka_unit_test(set_password_must_be_given),
        cmocka_unit_test(any_user_and_password_are_taken),
        cmocka_unit_test(answers_to_all_that_was_sent_at_once_are_whole),
        cmocka_unit_test(domain_name_is_taken),
        cmocka_unit_test(ipv4_address_is_taken_as_text),
        cmocka_unit_test(ipv6_address_is_taken_as_text),
        cmocka_unit_test(longest_name_is_taken),
        cmocka_unit_test(bytes_behind_the_request_are_left),
        cmocka_unit_test(chopping_at_every_byte_changes_nothing),
        cmocka_unit_test(other_methods_are_refused),
        cmocka_unit_test(bind_and_udp_get_reply_7),
        cmocka_unit_test(unknown_address_type_gets_reply_8),
        cmocka_unit_test(wrong_version_and_reserved_byte_are_refused),
        cmocka_unit_test(each_reason_has_its_reply),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
