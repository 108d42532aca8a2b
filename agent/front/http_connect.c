/* SPDX-License-Identifier: MIT */
#include "agent/front/http_connect.h"

#include "common/base/names.h"

#include <stdio.h>
#include <string.h>

const char http_connect_opened[] = "HTTP/1.1 200 Connection established\r\n\r\n";
_Static_assert(sizeof http_connect_opened == HTTP_CONNECT_OPENED_LENGTH + 1, "length of the 200");

static void
reject(struct http_connect *http, int status, const char *why)
{
    http->state = HTTP_CONNECT_REFUSED;
    http->status = status;
    http->why = why;
}

static int
on_url(struct http_parser *parser, const char *at, size_t length)
{
    struct http_connect *http = parser->data;
    /* Other methods are told so, however long their URL. */
    if (parser->method != HTTP_CONNECT)
        return 0;
    if (length > HTTP_CONNECT_AUTHORITY_MAX - http->authority_length) {
        reject(http, HTTP_STATUS_BAD_REQUEST, "the address is too long");
        return -1;
    }
    memcpy(http->authority + http->authority_length, at, length);
    http->authority_length += length;
    return 0;
}

static int
on_headers_complete(struct http_parser *parser)
{
    struct http_connect *http = parser->data;
    http->authority[http->authority_length] = '\0';
    if (parser->method != HTTP_CONNECT)
        reject(http, HTTP_STATUS_METHOD_NOT_ALLOWED, "this proxy supports only CONNECT");
    else if (parser->http_major != 1)
        reject(http, HTTP_STATUS_HTTP_VERSION_NOT_SUPPORTED, "this proxy supports only HTTP/1.1");
    else if (strlen(http->authority) != http->authority_length ||
             cbx_host_port_parse(http->authority, http->host, sizeof http->host, &http->port) != 0)
        reject(http, HTTP_STATUS_BAD_REQUEST, "CONNECT needs an address of the form host:port");
    return http->state == HTTP_CONNECT_REFUSED ? -1 : 0;
}

static int
on_message_complete(struct http_parser *parser)
{
    struct http_connect *http = parser->data;
    http->complete = true;
    return 0;
}

static const struct http_parser_settings settings = {
    .on_url = on_url,
    .on_headers_complete = on_headers_complete,
    .on_message_complete = on_message_complete,
};

void
http_connect_init(struct http_connect *http)
{
    memset(http, 0, sizeof *http);
    http_parser_init(&http->parser, HTTP_REQUEST);
    http->parser.data = http;
}

size_t
http_connect_feed(struct http_connect *http, const char *data, size_t length)
{
    size_t room = HTTP_CONNECT_HEADER_MAX - http->taken;
    if (length > room)
        length = room;
    /* No bytes would mean the end of input to the parser. */
    if (http->state != HTTP_CONNECT_MORE || length == 0)
        return 0;
    size_t taken = http_parser_execute(&http->parser, &settings, data, length);
    http->taken += taken;
    enum http_errno error = HTTP_PARSER_ERRNO(&http->parser);
    if (http->state == HTTP_CONNECT_REFUSED)
        return taken;
    if (error == HPE_INVALID_METHOD)
        reject(http, HTTP_STATUS_METHOD_NOT_ALLOWED, "this proxy supports only CONNECT");
    else if (error != HPE_OK)
        reject(http, HTTP_STATUS_BAD_REQUEST, http_errno_description(error));
    else if (http->complete)
        http->state = HTTP_CONNECT_READY;
    else if (http->taken == HTTP_CONNECT_HEADER_MAX)
        reject(http, HTTP_STATUS_REQUEST_HEADER_FIELDS_TOO_LARGE,
               "the request header is longer than 16 KiB");
    return taken;
}

void
http_connect_timed_out(struct http_connect *http)
{
    reject(http, HTTP_STATUS_REQUEST_TIMEOUT, "the request header was not received in time");
}

/* error is a name registered by RFC 9209; details must need no escapes in a quoted string. */
static size_t
format(char *out, size_t size, int status, const char *error, const char *details,
       const char *body_begin, const char *body_end)
{
    const char *allow = status == HTTP_STATUS_METHOD_NOT_ALLOWED ? "Allow: CONNECT\r\n" : "";
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
                          status, http_status_str((enum http_status)status), error, details, allow,
                          body_length, body_begin, body_end);
    return length < 0 || (size_t)length >= size ? 0 : (size_t)length;
}

size_t
http_connect_rejection(const struct http_connect *http, char *out, size_t size)
{
    return format(out, size, http->status, "http_request_error", http->why, http->why, "");
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
    case CBX_REASON_STORAGE:
        return (struct mapping){503, "proxy_internal_error"};
    case CBX_REASON_UNREACHABLE:
        return (struct mapping){502, "destination_ip_unroutable"};
    case CBX_REASON_EXPIRED:
        return (struct mapping){502, "proxy_configuration_error"};
    case CBX_REASON_RESTARTED:
    case CBX_REASON_RESET:
    case CBX_REASON_LOST:
        return (struct mapping){502, "connection_terminated"};
    default:
        return (struct mapping){502, "proxy_internal_error"};
    }
}

size_t
http_connect_refusal(const struct conn_refusal *refusal, char *out, size_t size)
{
    struct mapping mapping = map(refusal->reason);
    const char *text = cbx_reason_text(refusal->reason), *remedy = refusal->remedy;
    char begin[160], end[CONN_REMEDY_MAX + 64];
    (void)snprintf(begin, sizeof begin, "%s: ", refusal->what);
    (void)snprintf(end, sizeof end, "%s%s%s", text, remedy[0] ? "; " : "", remedy);
    return format(out, size, mapping.status, mapping.error, text, begin, end);
}
