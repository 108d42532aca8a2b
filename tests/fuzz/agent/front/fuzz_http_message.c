/* SPDX-License-Identifier: MIT */
/*
 * An HTTP message to or through the proxy: however it is chopped, what comes of it is the same and
 * within bounds; and what is forwarded is read back as the same message, with one framing and
 * nothing of the last hop.
 */
#include "agent/front/http_message.h"
#include "agent/front/http_rewrite.h"
#include "check.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
    struct http_message message;
    bool forwarded, chunked;
    size_t taken;
    struct http_bytes out; /* what is sent on */
};

static void
forward_head(struct outcome *outcome, enum http_parser_type type)
{
    struct http_message *message = &outcome->message;
    struct http_wish wish;
    struct http_reply reply = {0};
    int status = 0;
    const char *why = NULL;
    if (type == HTTP_RESPONSE) {
        outcome->chunked = http_response_is_chunked(message, &reply);
        outcome->forwarded = true;
        http_response_head(message, &reply, &outcome->out);
    } else if (!http_wish_read(message, &wish, &status, &why)) {
        check(status >= 400 && status <= 505 && why);
    } else {
        check(wish.port != 0 && wish.host[0] != '\0');
        outcome->chunked = http_request_is_chunked(message);
        outcome->forwarded = !wish.tunnel;
        if (outcome->forwarded)
            http_request_head(message, &wish, &outcome->out);
    }
    http_message_go_on(message);
}

static void
run(struct outcome *outcome, enum http_parser_type type, const char *data, size_t size,
    size_t chunk)
{
    struct http_message *message = &outcome->message;
    memset(outcome, 0, sizeof *outcome);
    http_message_begin(message, type, false);
    while (outcome->taken < size && message->state < HTTP_MESSAGE_DONE) {
        struct http_bytes body = {0};
        bool head = message->state == HTTP_MESSAGE_HEAD;
        size_t give = size - outcome->taken < chunk ? size - outcome->taken : chunk;
        size_t taken = http_message_feed(message, data + outcome->taken, give, &body);
        check(taken <= give);
        check(taken == give || message->state != (head ? HTTP_MESSAGE_HEAD : HTTP_MESSAGE_BODY));
        outcome->taken += taken;
        if (message->state == HTTP_MESSAGE_READY)
            forward_head(outcome, type);
        else if (!head && outcome->forwarded)
            http_body_add(outcome->chunked, &body, message->state == HTTP_MESSAGE_DONE,
                          &outcome->out);
        http_bytes_clear(&body);
    }
    if (message->state == HTTP_MESSAGE_BAD)
        check(message->status >= 400 && message->why);
    check(message->head.length <= HTTP_HEAD_MAX);
}

/* A next proxy or server reads one message, and takes all of it. */
static void
check_forwarded(struct outcome *outcome, enum http_parser_type type)
{
    static const char *const hop[] = {"Keep-Alive", "Proxy-Connection", "TE",
                                      "Proxy-Authorization"};
    struct http_message message;
    struct http_bytes body = {0};
    size_t hosts, at;
    http_message_begin(&message, type, false);
    at = http_message_feed(&message, outcome->out.at, outcome->out.length, &body);
    if (message.state == HTTP_MESSAGE_BAD)
        check(message.status == 431 || type == HTTP_RESPONSE); /* Via was one too many */
    if (message.state == HTTP_MESSAGE_READY) {
        for (size_t i = 0; i < sizeof hop / sizeof hop[0]; i++)
            check(!http_message_field(&message, hop[i], NULL));
        (void)http_message_field(&message, "Host", &hosts);
        check(type == HTTP_RESPONSE || hosts == 1);
        http_message_go_on(&message);
        if (message.state == HTTP_MESSAGE_BODY && at < outcome->out.length)
            at +=
                http_message_feed(&message, outcome->out.at + at, outcome->out.length - at, &body);
        check(message.state != HTTP_MESSAGE_BAD && at == outcome->out.length);
        check(type == HTTP_RESPONSE || outcome->message.state != HTTP_MESSAGE_DONE ||
              message.state == HTTP_MESSAGE_DONE);
    }
    http_message_clear(&message);
    http_bytes_clear(&body);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    enum http_parser_type type = data[0] & 0x80 ? HTTP_RESPONSE : HTTP_REQUEST;
    size_t chunk = (size_t)1 + data[0] % 64;
    const char *text = (const char *)data + 1;
    struct outcome whole, chopped;
    run(&whole, type, text, size - 1, SIZE_MAX);
    run(&chopped, type, text, size - 1, chunk);
    check(whole.message.state == chopped.message.state);
    check(whole.forwarded == chopped.forwarded && whole.message.framing == chopped.message.framing);
    if (whole.message.state == HTTP_MESSAGE_BAD)
        check(whole.message.status == chopped.message.status);
    else
        check(whole.taken == chopped.taken);
    if (whole.forwarded && whole.message.state != HTTP_MESSAGE_BAD) {
        check_forwarded(&whole, type);
        check_forwarded(&chopped, type);
    }
    for (struct outcome *one = &whole; one; one = one == &whole ? &chopped : NULL) {
        http_message_clear(&one->message);
        http_bytes_clear(&one->out);
    }
    return 0;
}
