/* SPDX-License-Identifier: MIT */
/* One header field after the other: left out, changed or copied. */
#include "agent/front/http_rewrite.h"

#include "common/base/names.h"

#include <inttypes.h>
#include <string.h>
#include <strings.h>

/* ---- the target ---- */

static bool
refuse(int code, const char *text, int *status, const char **why)
{
    *status = code;
    *why = text;
    return false;
}

static bool
copy_host(struct http_wish *wish, const char *at, size_t length)
{
    if (length == 0 || length > HTTP_HOST_MAX)
        return false;
    memcpy(wish->host, at, length);
    wish->host[length] = '\0';
    return true;
}

static bool
read_tunnel(const struct http_text *target, struct http_wish *wish)
{
    char authority[HTTP_HOST_MAX + 9]; /* "[host]:65535" */
    wish->tunnel = true;
    if (target->length >= sizeof authority || memchr(target->at, '\0', target->length))
        return false;
    memcpy(authority, target->at, target->length);
    authority[target->length] = '\0';
    return cbx_host_port_parse(authority, wish->host, sizeof wish->host, &wish->port) == 0;
}

static struct http_text
part(const struct http_text *target, const struct http_parser_url *url,
     enum http_parser_url_fields which)
{
    if (!(url->field_set & (1 << which)))
        return (struct http_text){target->at, 0};
    return (struct http_text){target->at + url->field_data[which].off, url->field_data[which].len};
}

/* "http://user@web.cbx:8080/path?query#fragment": user and fragment are not for the server. */
static bool
read_absolute(const struct http_text *target, struct http_wish *wish, int *status, const char **why)
{
    struct http_parser_url url;
    http_parser_url_init(&url);
    if (http_parser_parse_url(target->at, target->length, 0, &url) != 0)
        return refuse(HTTP_STATUS_BAD_REQUEST, "the URL is malformed", status, why);
    struct http_text scheme = part(target, &url, UF_SCHEMA), host = part(target, &url, UF_HOST);
    struct http_text port = part(target, &url, UF_PORT), path = part(target, &url, UF_PATH);
    struct http_text query = part(target, &url, UF_QUERY);
    if (http_text_is(&scheme, "https"))
        return refuse(HTTP_STATUS_BAD_REQUEST, "https goes through a proxy by CONNECT", status,
                      why);
    if (!http_text_is(&scheme, "http"))
        return refuse(HTTP_STATUS_BAD_REQUEST, "this proxy takes http:// URLs and CONNECT", status,
                      why);
    wish->port = 80;
    if (!copy_host(wish, host.at, host.length) ||
        (port.length > 0 && cbx_port_parse(port.at, port.length, &wish->port) != 0))
        return refuse(HTTP_STATUS_BAD_REQUEST, "the URL's host or port is not valid", status, why);
    /* Of a literal IPv6 address the brackets are none of the host. */
    const char *begin = host.at,
               *end = port.length > 0 ? port.at + port.length : host.at + host.length;
    if (begin[-1] == '[') {
        begin--;
        end += port.length > 0 ? 0 : 1;
    }
    wish->authority = (struct http_text){begin, (size_t)(end - begin)};
    wish->path = path;
    if (query.length > 0) {
        wish->query_only = path.length == 0;
        const char *from = wish->query_only ? query.at - 1 : path.at;
        wish->path = (struct http_text){from, (size_t)(query.at + query.length - from)};
    }
    return true;
}

static bool
method_is(const struct http_message *request, enum http_method method)
{
    return request->parser.method == (unsigned)method;
}

/* An upgrade that this proxy tunnels, behind a request that has ended: its bytes are for that one
 * server. Over h2c requests for others could come; a server that is not asked simply goes on with
 * HTTP/1.1 (RFC 9110, 7.8). */
static bool
wants_upgrade(const struct http_message *request)
{
    static const struct http_text token = {"upgrade", 7}, h2c = {"h2c", 3};
    size_t count;
    (void)http_message_field(request, "Upgrade", &count);
    return count > 0 && request->parser.http_minor > 0 && request->framing == HTTP_NO_BODY &&
           http_message_lists(request, "Connection", &token) &&
           !http_message_lists(request, "Upgrade", &h2c);
}

bool
http_wish_read(const struct http_message *request, struct http_wish *wish, int *status,
               const char **why)
{
    const struct http_text *target = &request->target;
    size_t hosts;
    memset(wish, 0, sizeof *wish);
    if (method_is(request, HTTP_CONNECT))
        return read_tunnel(target, wish) ||
               refuse(HTTP_STATUS_BAD_REQUEST, "CONNECT needs an address of the form host:port",
                      status, why);
    if (target->length == 0 || target->at[0] == '/' || target->at[0] == '*')
        return refuse(HTTP_STATUS_BAD_REQUEST,
                      "this is a proxy: set it as http_proxy, and ask for http://NAME.cbx/", status,
                      why);
    (void)http_message_field(request, "Host", &hosts);
    if (hosts > 1 || (hosts == 0 && request->parser.http_minor > 0))
        return refuse(HTTP_STATUS_BAD_REQUEST, "the request needs one Host field", status, why);
    const struct http_text *hops = http_message_field(request, "Max-Forwards", NULL);
    if (hops && http_text_is(hops, "0") &&
        (method_is(request, HTTP_TRACE) || method_is(request, HTTP_OPTIONS)))
        return refuse(HTTP_STATUS_NOT_IMPLEMENTED, "this proxy has no options of its own", status,
                      why);
    wish->upgrade = wants_upgrade(request);
    return read_absolute(target, wish, status, why);
}

/* ---- fields ---- */

/* Of one hop (RFC 9110, 7.6.1), or written anew for each. */
static bool
is_of_one_hop(const struct http_message *message, const struct http_text *name)
{
    static const char *const names[] = {
        "Connection",
        "Keep-Alive",
        "Proxy-Connection",
        "TE",
        "Trailer",
        "Upgrade",
        "Transfer-Encoding",
        "Content-Length",
        "Proxy-Authorization",
        "Proxy-Authenticate",
        "Proxy-Authentication-Info",
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (http_text_is(name, names[i]))
            return true;
    }
    return http_message_lists(message, "Connection", name);
}

static void
add_text(struct http_bytes *out, const struct http_text *text)
{
    http_bytes_add(out, text->at, text->length);
}

static void
add_word(struct http_bytes *out, const char *word)
{
    http_bytes_add(out, word, strlen(word));
}

static void
add_field(struct http_bytes *out, const struct http_field *field)
{
    add_text(out, &field->name);
    add_word(out, ": ");
    add_text(out, &field->value);
    add_word(out, "\r\n");
}

/* One hop less (RFC 9110, 7.6.2); what is no number stays as it is. */
static bool
add_hops(const struct http_message *message, const struct http_field *field, struct http_bytes *out)
{
    unsigned hops = 0;
    if (!http_text_is(&field->name, "Max-Forwards") || field->value.length == 0 ||
        field->value.length > 9 ||
        !(method_is(message, HTTP_OPTIONS) || method_is(message, HTTP_TRACE)))
        return false;
    for (size_t i = 0; i < field->value.length; i++) {
        char digit = field->value.at[i];
        if (digit < '0' || digit > '9')
            return false;
        hops = 10 * hops + (unsigned)(digit - '0');
    }
    http_bytes_add_format(out, "Max-Forwards: %u\r\n", hops > 0 ? hops - 1 : 0);
    return true;
}

/* A request has its Host already; and whoever speaks 1.0 does not know of 100 (RFC 9110, 10.1.1).
 */
static bool
is_of_the_client(const struct http_message *message, const struct http_field *field)
{
    return http_text_is(&field->name, "Host") ||
           (message->parser.http_minor == 0 && http_text_is(&field->name, "Expect"));
}

/* As received, in their order. */
static void
add_fields(const struct http_message *message, bool request, struct http_bytes *out)
{
    for (size_t i = 0; i < message->fields; i++) {
        const struct http_field *field = &message->field[i];
        if (is_of_one_hop(message, &field->name) || (request && is_of_the_client(message, field)))
            continue;
        if (!request || !add_hops(message, field, out))
            add_field(out, field);
    }
}

static void
add_upgrade(const struct http_message *message, struct http_bytes *out)
{
    add_word(out, "Connection: Upgrade\r\n");
    for (size_t i = 0; i < message->fields; i++) {
        if (http_text_is(&message->field[i].name, "Upgrade"))
            add_field(out, &message->field[i]);
    }
}

static void
add_framing(const struct http_message *message, bool chunked, struct http_bytes *out)
{
    if (chunked)
        add_word(out, "Transfer-Encoding: chunked\r\n");
    else if (message->has_length && message->framing != HTTP_CHUNKED)
        http_bytes_add_format(out, "Content-Length: %" PRIu64 "\r\n", message->length);
}

static void
add_via(const struct http_message *message, struct http_bytes *out)
{
    http_bytes_add_format(out, "Via: 1.%u cbx\r\n", (unsigned)message->parser.http_minor);
}

/* ---- heads ---- */

bool
http_request_is_chunked(const struct http_message *request)
{
    return request->framing == HTTP_CHUNKED;
}

void
http_request_head(const struct http_message *request, const struct http_wish *wish,
                  struct http_bytes *out)
{
    add_word(out, http_method_str((enum http_method)request->parser.method));
    add_word(out, " ");
    if (wish->path.length == 0 && method_is(request, HTTP_OPTIONS))
        add_word(out, "*");
    else if (wish->path.length == 0 || wish->query_only)
        add_word(out, "/");
    add_text(out, &wish->path);
    add_word(out, " HTTP/1.1\r\nHost: ");
    add_text(out, &wish->authority);
    add_word(out, "\r\n");
    add_fields(request, true, out);
    add_framing(request, http_request_is_chunked(request), out);
    add_via(request, out);
    if (wish->upgrade)
        add_upgrade(request, out);
    add_word(out, "\r\n");
}

bool
http_response_is_chunked(const struct http_message *response, const struct http_reply *reply)
{
    return response->framing == HTTP_CHUNKED && !reply->one_zero;
}

void
http_response_head(const struct http_message *response, const struct http_reply *reply,
                   struct http_bytes *out)
{
    unsigned status = response->parser.status_code;
    bool no_length = status / 100 == 1 || status == 204;
    http_bytes_add_format(out, "HTTP/1.1 %03u ", status);
    add_text(out, &response->phrase);
    add_word(out, "\r\n");
    add_fields(response, false, out);
    if (!no_length)
        add_framing(response, http_response_is_chunked(response, reply), out);
    add_via(response, out);
    if (reply->upgrade)
        add_upgrade(response, out);
    else if (reply->close)
        add_word(out, "Connection: close\r\n");
    add_word(out, "\r\n");
}

void
http_body_add(bool chunked, const struct http_bytes *body, bool end, struct http_bytes *out)
{
    if (chunked && body->length > 0)
        http_bytes_add_format(out, "%zx\r\n", body->length);
    http_bytes_add(out, body->at, body->length);
    if (chunked && body->length > 0)
        add_word(out, "\r\n");
    if (chunked && end)
        add_word(out, "0\r\n\r\n");
    out->failed = out->failed || body->failed;
}
