/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/front/http_answer.h"
#include <stdio.h>
#include <string.h>

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
rejections_say_why(void **state)
{
    (void)state;
    char out[CONN_WORDS_MAX];
    size_t length = http_answer_rejection(408, "too late", out, sizeof out);
    check_response(out, length, 408, "http_request_error", "too late");
    assert_null(strstr(out, "Proxy-Authenticate"));
    length = http_answer_rejection(502, "garbage", out, sizeof out);
    check_response(out, length, 502, "http_protocol_error", "garbage");
    length = http_answer_rejection(407, "a password", out, sizeof out);
    check_response(out, length, 407, "http_request_error", "a password");
    assert_non_null(strstr(out, "\r\nProxy-Authenticate: Basic realm=\"cbx\"\r\n"));
    assert_int_equal(http_answer_rejection(400, "why", out, 40), 0);
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
        {CBX_REASON_LOST, 502, "connection_terminated"},
        {CBX_REASON_EXPIRED, 502, "proxy_configuration_error"},
        {CBX_REASON_STORAGE, 503, "proxy_internal_error"},
        {CBX_REASON_INTEGRITY, 502, "proxy_internal_error"},
        {CBX_REASON_NO_SESSION, 502, "proxy_internal_error"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char out[CONN_WORDS_MAX];
        struct conn_refusal refusal = {cases[i].reason, "web.cbx:81", "do this"};
        size_t length = http_answer_refusal(&refusal, out, sizeof out);
        check_response(out, length, cases[i].status, cases[i].error,
                       cbx_reason_text(cases[i].reason));
        assert_non_null(strstr(out, "\r\n\r\ncbx: web.cbx:81: "));
        assert_non_null(strstr(out, "; do this\n"));
        assert_int_equal(http_answer_refusal(&refusal, out, 40), 0);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rejections_say_why),
        cmocka_unit_test(each_reason_has_its_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
