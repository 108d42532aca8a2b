/* SPDX-License-Identifier: MIT */
#include "agent/front/socks.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <string.h>

enum { METHOD_NONE = 0x00, METHOD_UNACCEPTABLE = 0xff };
enum { COMMAND_CONNECT = 1 };
enum { ADDRESS_IPV4 = 1, ADDRESS_NAME = 3, ADDRESS_IPV6 = 4 };
enum {
    REPLY_FAILURE = 1,
    REPLY_NOT_ALLOWED = 2,
    REPLY_NETWORK_UNREACHABLE = 3,
    REPLY_HOST_UNREACHABLE = 4,
    REPLY_REFUSED = 5,
    REPLY_TTL_EXPIRED = 6,
    REPLY_COMMAND = 7,
    REPLY_ADDRESS_TYPE = 8,
};
enum { REQUEST_HEAD = 4, PORT_SIZE = 2 };

const char socks_opened[SOCKS_REPLY_SIZE] = {SOCKS_VERSION, 0, 0, ADDRESS_IPV4};
const char socks4_rejected[SOCKS4_REPLY_SIZE] = {0, 0x5b};

void
socks_init(struct socks *socks)
{
    memset(socks, 0, sizeof *socks);
}

static void
answer_byte(struct socks *socks, uint8_t byte)
{
    if (socks->answer_length < sizeof socks->answer)
        socks->answer[socks->answer_length++] = byte;
}

static void
refuse(struct socks *socks, uint8_t code)
{
    socks->state = SOCKS_REFUSED;
    answer_byte(socks, SOCKS_VERSION);
    answer_byte(socks, code);
    answer_byte(socks, 0);
    answer_byte(socks, ADDRESS_IPV4);
    for (int i = REQUEST_HEAD; i < SOCKS_REPLY_SIZE; i++)
        answer_byte(socks, 0);
}

/* How long the message is, as far as its bytes tell; more than used until it is complete. 0: the
 * address type is unknown, and so is the length. */
static size_t
message_length(const struct socks *socks)
{
    const uint8_t *message = socks->message;
    if (socks->state == SOCKS_GREETING)
        return socks->used < 2 ? 2 : (size_t)2 + message[1];
    if (socks->used < REQUEST_HEAD)
        return REQUEST_HEAD;
    switch (message[3]) {
    case ADDRESS_IPV4:
        return REQUEST_HEAD + 4 + PORT_SIZE;
    case ADDRESS_IPV6:
        return REQUEST_HEAD + 16 + PORT_SIZE;
    case ADDRESS_NAME:
        if (socks->used == REQUEST_HEAD)
            return REQUEST_HEAD + 1;
        return (size_t)REQUEST_HEAD + 1 + message[REQUEST_HEAD] + PORT_SIZE;
    default:
        return 0;
    }
}

static void
take_greeting(struct socks *socks)
{
    if (!memchr(socks->message + 2, METHOD_NONE, socks->message[1])) {
        answer_byte(socks, SOCKS_VERSION);
        answer_byte(socks, METHOD_UNACCEPTABLE);
        socks->state = SOCKS_REFUSED;
        return;
    }
    answer_byte(socks, SOCKS_VERSION);
    answer_byte(socks, METHOD_NONE);
    socks->state = SOCKS_REQUEST;
    socks->used = 0;
}

static void
take_address(struct socks *socks)
{
    const uint8_t *address = socks->message + REQUEST_HEAD;
    uint8_t type = socks->message[3];
    if (type == ADDRESS_NAME) {
        socks->host_length = address[0];
        memcpy(socks->host, address + 1, socks->host_length);
    } else {
        int family = type == ADDRESS_IPV4 ? AF_INET : AF_INET6;
        (void)inet_ntop(family, address, socks->host, sizeof socks->host);
        socks->host_length = strlen(socks->host);
    }
    socks->host[socks->host_length] = '\0';
    const uint8_t *port = socks->message + socks->used - PORT_SIZE;
    socks->port = (uint16_t)(port[0] << 8 | port[1]);
}

static void
take_request(struct socks *socks)
{
    if (socks->message[2] != 0) {
        refuse(socks, REPLY_FAILURE);
    } else if (socks->message[1] != COMMAND_CONNECT) {
        refuse(socks, REPLY_COMMAND);
    } else {
        take_address(socks);
        socks->state = SOCKS_READY;
    }
}

/* What the bytes so far already rule out; true when the message is to go on. */
static bool
plausible(struct socks *socks)
{
    if (socks->used > 0 && socks->message[0] != SOCKS_VERSION)
        refuse(socks, REPLY_FAILURE);
    else if (message_length(socks) == 0)
        refuse(socks, REPLY_ADDRESS_TYPE);
    else
        return true;
    return false;
}

size_t
socks_feed(struct socks *socks, const uint8_t *data, size_t length)
{
    size_t taken = 0;
    while (socks->state == SOCKS_GREETING || socks->state == SOCKS_REQUEST) {
        /* Byte by byte: a handshake is short, and how it is chopped cannot matter then. */
        if (taken == length)
            break;
        socks->message[socks->used++] = data[taken++];
        if (!plausible(socks) || socks->used < message_length(socks))
            continue;
        if (socks->state == SOCKS_GREETING)
            take_greeting(socks);
        else
            take_request(socks);
    }
    return taken;
}

uint8_t
socks_reply_code(enum cbx_reason reason)
{
    switch (reason) {
    case CBX_REASON_UNKNOWN_NAME:
        return REPLY_HOST_UNREACHABLE;
    case CBX_REASON_PEER_AWAY:
        return REPLY_NETWORK_UNREACHABLE;
    case CBX_REASON_NOT_EXPOSED:
    case CBX_REASON_DENIED:
        return REPLY_NOT_ALLOWED;
    case CBX_REASON_REFUSED:
        return REPLY_REFUSED;
    case CBX_REASON_TIMED_OUT:
        return REPLY_TTL_EXPIRED;
    default:
        return REPLY_FAILURE;
    }
}

size_t
socks_refusal(enum cbx_reason reason, const char *what, char *out, size_t size)
{
    (void)what;
    if (size < SOCKS_REPLY_SIZE)
        return 0;
    memcpy(out, socks_opened, SOCKS_REPLY_SIZE);
    out[1] = (char)socks_reply_code(reason);
    return SOCKS_REPLY_SIZE;
}
