/* SPDX-License-Identifier: MIT */
/*
 * The head is collected first and parsed in one piece, so that all that is found in it points into
 * one buffer, however it was chopped on its way. Lines that are folded (obs-fold) are joined before
 * that, as RFC 9112 (5.2) wants it. What libhttp-parser lets pass and two programs could understand
 * in two ways is refused here: other transfer codings than chunked, spaces in names, NUL.
 */
#include "agent/front/http_message.h"

#include "common/base/states.h"

#include <string.h>
#include <strings.h>

static const struct cbx_states states = {
    .what = "http message",
    .state =
        {
            [HTTP_MESSAGE_HEAD] = {"head",
                                   CBX_STATE(HTTP_MESSAGE_READY) | CBX_STATE(HTTP_MESSAGE_BAD)},
            [HTTP_MESSAGE_READY] = {"ready",
                                    CBX_STATE(HTTP_MESSAGE_BODY) | CBX_STATE(HTTP_MESSAGE_DONE)},
            [HTTP_MESSAGE_BODY] = {"body",
                                   CBX_STATE(HTTP_MESSAGE_DONE) | CBX_STATE(HTTP_MESSAGE_BAD)},
            [HTTP_MESSAGE_DONE] = {"done", 0},
            [HTTP_MESSAGE_BAD] = {"bad", 0},
        },
};

static void
set_state(struct http_message *message, enum http_message_state state)
{
    if (cbx_states_allow_number(&states, "http", message->parser.type, message->state, state))
        message->state = state;
}

static void
bad(struct http_message *message, int status, const char *why)
{
    message->status = message->parser.type == HTTP_RESPONSE ? HTTP_STATUS_BAD_GATEWAY : status;
    message->why = why;
    set_state(message, HTTP_MESSAGE_BAD);
}

/* ---- what the parser finds ---- */

static int
on_target(struct http_parser *parser, const char *at, size_t length)
{
    struct http_message *message = parser->data;
    message->target = (struct http_text){at, length};
    return 0;
}

static int
on_phrase(struct http_parser *parser, const char *at, size_t length)
{
    struct http_message *message = parser->data;
    message->phrase = (struct http_text){at, length};
    return 0;
}

/* Trailers come the same way, behind the head: they are dropped. */
static int
on_name(struct http_parser *parser, const char *at, size_t length)
{
    struct http_message *message = parser->data;
    if (message->state != HTTP_MESSAGE_HEAD)
        return 0;
    if (message->fields == HTTP_FIELDS_MAX) {
        bad(message, HTTP_STATUS_REQUEST_HEADER_FIELDS_TOO_LARGE,
            "the header has more than 128 fields");
        return -1;
    }
    if (memchr(at, ' ', length)) {
        bad(message, HTTP_STATUS_BAD_REQUEST, "a field's name has a space in it");
        return -1;
    }
    message->field[message->fields++] = (struct http_field){{at, length}, {at + length, 0}};
    return 0;
}

static int
on_value(struct http_parser *parser, const char *at, size_t length)
{
    struct http_message *message = parser->data;
    if (message->state != HTTP_MESSAGE_HEAD)
        return 0;
    while (length > 0 && (at[length - 1] == ' ' || at[length - 1] == '\t'))
        length--;
    message->field[message->fields - 1].value = (struct http_text){at, length};
    return 0;
}

static int
on_head(struct http_parser *parser)
{
    struct http_message *message = parser->data;
    message->has_length = (parser->flags & F_CONTENTLENGTH) != 0;
    message->length = message->has_length ? parser->content_length : 0;
    message->keep_alive = http_should_keep_alive(parser) != 0;
    return message->bodiless ? 1 : 0;
}

static int
on_body(struct http_parser *parser, const char *at, size_t length)
{
    struct http_message *message = parser->data;
    if (!message->body)
        return -1; /* the parser and we do not agree where the head ends */
    http_bytes_add(message->body, at, length);
    return 0;
}

/* What stands behind it is another message's. */
static int
on_complete(struct http_parser *parser)
{
    http_parser_pause(parser, 1);
    return 0;
}

static const struct http_parser_settings settings = {
    .on_url = on_target,
    .on_status = on_phrase,
    .on_header_field = on_name,
    .on_header_value = on_value,
    .on_headers_complete = on_head,
    .on_body = on_body,
    .on_message_complete = on_complete,
};

/* ---- the head ---- */

void
http_message_begin(struct http_message *message, enum http_parser_type type, bool bodiless)
{
    memset(message, 0, sizeof *message);
    http_parser_init(&message->parser, type);
    message->parser.data = message;
    message->bodiless = bodiless;
}

/* Up to and with the empty line, which is the last one collected when true. */
static bool
collect(struct http_message *message, const char *data, size_t length, size_t *taken)
{
    struct http_bytes *head = &message->head;
    /* Empty lines before a message are none of it (RFC 9112, 2.2). */
    while (head->length == 0 && *taken < length && (data[*taken] == '\r' || data[*taken] == '\n'))
        ++*taken;
    while (*taken < length) {
        const char *line = data + *taken, *end = memchr(line, '\n', length - *taken);
        size_t piece = end ? (size_t)(end + 1 - line) : length - *taken;
        if (piece > HTTP_HEAD_MAX - head->length)
            piece = HTTP_HEAD_MAX - head->length;
        http_bytes_add(head, line, piece);
        *taken += piece;
        const char *last = head->at + head->length;
        if (head->failed || head->length < 3 || last[-1] != '\n')
            end = NULL;
        if (end && (last[-2] == '\n' || (last[-2] == '\r' && last[-3] == '\n')))
            return true;
        if (head->failed || head->length == HTTP_HEAD_MAX)
            return false;
    }
    return false;
}

/* CR alone: the parser would take it for the end of a line, whatever stands behind it. */
static bool
has_lone_cr(const struct http_bytes *head)
{
    const char *at = head->at, *end = at + head->length;
    while ((at = memchr(at, '\r', (size_t)(end - at)))) {
        if (*++at != '\n') /* there is one: the head ends with LF */
            return true;
    }
    return false;
}

static void
unfold(struct http_bytes *head)
{
    for (size_t i = 1; i + 1 < head->length; i++) {
        if (head->at[i] != '\n' || (head->at[i + 1] != ' ' && head->at[i + 1] != '\t'))
            continue;
        head->at[i] = ' ';
        if (head->at[i - 1] == '\r')
            head->at[i - 1] = ' ';
    }
}

static enum http_framing
framing_of(const struct http_message *message)
{
    const struct http_parser *parser = &message->parser;
    bool request = parser->type == HTTP_REQUEST;
    bool never = !request && (parser->status_code / 100 == 1 || parser->status_code == 204 ||
                              parser->status_code == 304);
    if (message->bodiless || never || (request && parser->method == HTTP_CONNECT))
        return HTTP_NO_BODY;
    if (parser->flags & F_CHUNKED)
        return HTTP_CHUNKED;
    if (message->has_length)
        return message->length > 0 ? HTTP_LENGTH : HTTP_NO_BODY;
    return request ? HTTP_NO_BODY : HTTP_TO_END;
}

/* "Transfer-Encoding: chunked", once, or none. The parser takes any name that begins like this one
 * for it, but in a request that may change the protocol. */
static bool
coding_is_known(const struct http_message *message)
{
    const struct http_parser *parser = &message->parser;
    if (parser->uses_transfer_encoding && !(parser->flags & F_CHUNKED))
        return false;
    size_t count;
    const struct http_text *coding = http_message_field(message, "Transfer-Encoding", &count);
    return count == 0 || (count == 1 && http_text_is(coding, "chunked"));
}

static void
parse_head(struct http_message *message)
{
    struct http_bytes *head = &message->head;
    if (has_lone_cr(head)) {
        bad(message, HTTP_STATUS_BAD_REQUEST, "the header has a CR without LF");
        return;
    }
    unfold(head);
    size_t taken = http_parser_execute(&message->parser, &settings, head->at, head->length);
    enum http_errno error = HTTP_PARSER_ERRNO(&message->parser);
    if (message->state == HTTP_MESSAGE_BAD)
        return;
    if (error != HPE_OK && error != HPE_PAUSED)
        bad(message, HTTP_STATUS_BAD_REQUEST, http_errno_description(error));
    else if (taken != head->length || memchr(head->at, '\0', head->length))
        bad(message, HTTP_STATUS_BAD_REQUEST, "the header has a byte that does not belong there");
    else if (message->parser.http_major != 1)
        bad(message, HTTP_STATUS_HTTP_VERSION_NOT_SUPPORTED, "this proxy supports only HTTP/1.1");
    else if (message->parser.type == HTTP_RESPONSE && message->parser.status_code < 100)
        bad(message, HTTP_STATUS_BAD_GATEWAY, "the response has no valid status");
    else if (message->parser.http_minor == 0 && message->parser.flags & F_CHUNKED)
        bad(message, HTTP_STATUS_BAD_REQUEST, "HTTP/1.0 has no transfer codings");
    else if (!coding_is_known(message))
        bad(message, HTTP_STATUS_NOT_IMPLEMENTED,
            "the only transfer coding that this proxy knows is chunked");
    else {
        message->framing = framing_of(message);
        set_state(message, HTTP_MESSAGE_READY);
    }
}

static size_t
feed_head(struct http_message *message, const char *data, size_t length)
{
    size_t taken = 0;
    if (collect(message, data, length, &taken))
        parse_head(message);
    else if (message->head.failed)
        bad(message, HTTP_STATUS_INTERNAL_SERVER_ERROR, "out of memory");
    else if (message->head.length == HTTP_HEAD_MAX)
        bad(message, HTTP_STATUS_REQUEST_HEADER_FIELDS_TOO_LARGE,
            "the header is longer than 64 KiB");
    return taken;
}

void
http_message_go_on(struct http_message *message)
{
    bool ended = message->framing == HTTP_NO_BODY;
    http_bytes_clear(&message->head);
    message->fields = 0;
    message->target = message->phrase = (struct http_text){0};
    set_state(message, ended ? HTTP_MESSAGE_DONE : HTTP_MESSAGE_BODY);
}

/* ---- the body ---- */

static size_t
feed_body(struct http_message *message, const char *data, size_t length, struct http_bytes *body)
{
    message->body = body;
    size_t taken = http_parser_execute(&message->parser, &settings, data, length);
    message->body = NULL;
    enum http_errno error = HTTP_PARSER_ERRNO(&message->parser);
    if (error == HPE_PAUSED)
        set_state(message, HTTP_MESSAGE_DONE);
    else if (error != HPE_OK)
        bad(message, HTTP_STATUS_BAD_REQUEST, http_errno_description(error));
    return taken;
}

size_t
http_message_feed(struct http_message *message, const char *data, size_t length,
                  struct http_bytes *body)
{
    /* No bytes would mean the end of input to the parser. */
    if (length == 0)
        return 0;
    if (message->state == HTTP_MESSAGE_HEAD)
        return feed_head(message, data, length);
    if (message->state == HTTP_MESSAGE_BODY)
        return feed_body(message, data, length, body);
    return 0;
}

void
http_message_end(struct http_message *message)
{
    if (message->state == HTTP_MESSAGE_BODY && message->framing == HTTP_TO_END)
        set_state(message, HTTP_MESSAGE_DONE);
    else if (message->state == HTTP_MESSAGE_HEAD || message->state == HTTP_MESSAGE_BODY)
        bad(message, HTTP_STATUS_BAD_REQUEST, "the connection ended inside a message");
}

void
http_message_clear(struct http_message *message)
{
    http_bytes_clear(&message->head);
}

/* ---- fields ---- */

bool
http_text_is(const struct http_text *text, const char *word)
{
    return text->length == strlen(word) && strncasecmp(text->at, word, text->length) == 0;
}

const struct http_text *
http_message_field(const struct http_message *message, const char *name, size_t *count)
{
    const struct http_text *found = NULL;
    size_t n = 0;
    for (size_t i = 0; i < message->fields; i++) {
        if (!http_text_is(&message->field[i].name, name))
            continue;
        found = &message->field[i].value;
        n++;
    }
    if (count)
        *count = n;
    return found;
}

static bool
list_has(const struct http_text *list, const struct http_text *token)
{
    const char *at = list->at, *end = at + list->length;
    while (at < end) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        const char *stop = comma ? comma : end, *next = comma ? comma + 1 : end;
        while (at < stop && (*at == ' ' || *at == '\t'))
            at++;
        while (stop > at && (stop[-1] == ' ' || stop[-1] == '\t'))
            stop--;
        if ((size_t)(stop - at) == token->length && strncasecmp(at, token->at, token->length) == 0)
            return true;
        at = next;
    }
    return false;
}

bool
http_message_lists(const struct http_message *message, const char *name,
                   const struct http_text *token)
{
    for (size_t i = 0; i < message->fields; i++) {
        if (http_text_is(&message->field[i].name, name) &&
            list_has(&message->field[i].value, token))
            return true;
    }
    return false;
}
