/* SPDX-License-Identifier: MIT */
/*
 * One HTTP/1 message as it comes in, a request or a response: first its whole head is collected and
 * taken apart, then its body is passed on in pieces without the framing that it came with. The
 * parser is libhttp-parser. Sans-I/O: bytes go in, in pieces of any size.
 */
#ifndef AGENT_FRONT_HTTP_MESSAGE_H
#define AGENT_FRONT_HTTP_MESSAGE_H

#include "agent/front/http_bytes.h"
#include <http_parser.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    HTTP_HEAD_MAX = 64 * 1024, /* first line and fields */
    HTTP_FIELDS_MAX = 128,
};

struct http_text {
    const char *at; /* not NUL-terminated */
    size_t length;
};

struct http_field {
    struct http_text name, value;
};

enum http_message_state {
    HTTP_MESSAGE_HEAD,  /* its end is awaited */
    HTTP_MESSAGE_READY, /* the head may be read; then http_message_go_on */
    HTTP_MESSAGE_BODY,
    HTTP_MESSAGE_DONE, /* what comes next belongs to another message */
    HTTP_MESSAGE_BAD,  /* status and why say what is wrong */
};

/* How the end of the body is told, as it came in. */
enum http_framing {
    HTTP_NO_BODY,
    HTTP_LENGTH,  /* length bytes in all */
    HTTP_CHUNKED, /* trailers are dropped */
    HTTP_TO_END,  /* of the connection; responses only */
};

struct http_message {
    enum http_message_state state;
    bool bodiless; /* a response to HEAD: whatever it says, no body comes */
    struct http_parser parser;
    struct http_bytes head;
    /* From READY until http_message_go_on. */
    struct http_text target; /* of a request */
    struct http_text phrase; /* of a response */
    struct http_field field[HTTP_FIELDS_MAX];
    size_t fields;
    /* From READY on. */
    enum http_framing framing;
    bool has_length; /* also where framing says that no body comes: HEAD, 304 */
    uint64_t length;
    bool keep_alive; /* as the message says */
    /* When BAD: a response to it. */
    int status;
    const char *why;
    struct http_bytes *body; /* only inside http_message_feed */
};

/* Begins a message; one that was there before must be cleared. */
void http_message_begin(struct http_message *message, enum http_parser_type type, bool bodiless);
/* Returns how many bytes were taken: all, unless the state becomes READY, DONE or BAD. What came of
 * the body is added to *body. */
size_t http_message_feed(struct http_message *message, const char *data, size_t length,
                         struct http_bytes *body);
/* The head was read. */
void http_message_go_on(struct http_message *message);
/* The connection ended here: DONE where that is the body's end, else BAD. */
void http_message_end(struct http_message *message);
void http_message_clear(struct http_message *message);

/* The one field of that name; NULL when there is none. count (may be NULL): how many there are. */
const struct http_text *http_message_field(const struct http_message *message, const char *name,
                                           size_t *count);
/* Whether a field of that name lists the token, as in "close, TE". */
bool http_message_lists(const struct http_message *message, const char *name,
                        const struct http_text *token);
bool http_text_is(const struct http_text *text, const char *word); /* any letter case */

#endif
