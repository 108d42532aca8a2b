/* SPDX-License-Identifier: MIT */
/* The text of each answer of our own, and what it adds to the heads of others. */
#include "agent/front/http_answer.h"

#include <http_parser.h>

#include <stdio.h>
#include <string.h>

const char http_answer_opened[] = "HTTP/1.1 200 Connection established\r\n\r\n";
_Static_assert(sizeof http_answer_opened == HTTP_ANSWER_OPENED_LENGTH + 1, "length of the 200");

/* error is a name registered by RFC 9209; details must need no escapes in a quoted string. */
static size_t
format(char *out, size_t size, int status, const char *error, const char *details,
       const char *body_begin, const char *body_end)
{
    const char *login = status == HTTP_STATUS_PROXY_AUTHENTICATION_REQUIRED
                            ? "Proxy-Authenticate: Basic realm=\"cbx\"\r\n"
                            : "";
    size_t body_length = strlen("cbx: \n") + strlen(body_begin) + strlen(body_end);
    int length = snprintf(out, size,
                          "HTTP/1.1 %d %s\r\n"
                          "Proxy-Status: cbx; error=%s; details=\"%s\"\r\n"
                          "%s"
                          "Content-Type: text/plain; charset=utf-8\r\n"
                          "Content-Length: %zu\r\n"
                          "Connection: close\r\n"
                          "\r\n"
                          "cbx: %s%s\n",
                          status, http_status_str((enum http_status)status), error, details, login,
                          body_length, body_begin, body_end);
    return length < 0 || (size_t)length >= size ? 0 : (size_t)length;
}

size_t
http_answer_rejection(int status, const char *why, char *out, size_t size)
{
    const char *error =
        status == HTTP_STATUS_BAD_GATEWAY ? "http_protocol_error" : "http_request_error";
    return format(out, size, status, error, why, why, "");
}

/* The table of README and issue, and the error types of RFC 9209, section 2.3. */
struct mapping {
    int status;
    const char *error;
};

static struct mapping
map(enum cbx_reason reason)
{
    switch (reason) {
    case CBX_REASON_UNKNOWN_NAME:
        return (struct mapping){502, "destination_not_found"};
    case CBX_REASON_PEER_AWAY:
    case CBX_REASON_GOING_AWAY:
        return (struct mapping){503, "destination_unavailable"};
    case CBX_REASON_NOT_EXPOSED:
    case CBX_REASON_DENIED:
        return (struct mapping){403, "http_request_denied"};
    case CBX_REASON_REFUSED:
        return (struct mapping){502, "connection_refused"};
    case CBX_REASON_TIMED_OUT:
        return (struct mapping){504, "connection_timeout"};
    case CBX_REASON_OVERLOADED:
        return (struct mapping){503, "connection_limit_reached"};
    case CBX_REASON_UNREACHABLE:
        return (struct mapping){502, "destination_ip_unroutable"};
    case CBX_REASON_EXPIRED:
        return (struct mapping){502, "proxy_configuration_error"};
    case CBX_REASON_STORAGE:
        return (struct mapping){503, "proxy_internal_error"};
    case CBX_REASON_RESTARTED:
    case CBX_REASON_RESET:
    case CBX_REASON_LOST:
        return (struct mapping){502, "connection_terminated"};
    default:
        return (struct mapping){502, "proxy_internal_error"};
    }
}

size_t
http_answer_refusal(const struct conn_refusal *refusal, char *out, size_t size)
{
    struct mapping mapping = map(refusal->reason);
    const char *text = cbx_reason_text(refusal->reason), *remedy = refusal->remedy;
    char begin[160], end[CONN_REMEDY_MAX + 64];
    (void)snprintf(begin, sizeof begin, "%s: ", refusal->what);
    (void)snprintf(end, sizeof end, "%s%s%s", text, remedy[0] ? "; " : "", remedy);
    return format(out, size, mapping.status, mapping.error, text, begin, end);
}
