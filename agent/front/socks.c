/* SPDX-License-Identifier: MIT */
/* SOCKS 4, 4a and 5, byte by byte as they come. */
#include "agent/front/socks.h"

#include "common/base/states.h"

#include <arpa/inet.h>
#include <sodium.h>
#include <stdbool.h>
#include <string.h>

enum { METHOD_NONE = 0x00, METHOD_LOGIN = 0x02, METHOD_UNACCEPTABLE = 0xff };
enum { LOGIN_VERSION = 1, LOGIN_TAKEN = 0, LOGIN_WRONG = 1 };
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
enum { HEAD_4 = 8, REJECTED_4 = 0x5b, GRANTED_4 = 0x5a };

const char socks_opened[SOCKS_REPLY_SIZE] = {SOCKS_VERSION, 0, 0, ADDRESS_IPV4};
const char socks4_opened[SOCKS4_REPLY_SIZE] = {0, GRANTED_4};

static const struct cbx_states states = {
    .what = "socks",
    .state =
        {
            [SOCKS_GREETING] = {"greeting", CBX_STATE(SOCKS_LOGIN) | CBX_STATE(SOCKS_REQUEST) |
                                                CBX_STATE(SOCKS_READY) | CBX_STATE(SOCKS_REFUSED)},
            [SOCKS_LOGIN] = {"login", CBX_STATE(SOCKS_REQUEST) | CBX_STATE(SOCKS_REFUSED)},
            [SOCKS_REQUEST] = {"request", CBX_STATE(SOCKS_READY) | CBX_STATE(SOCKS_REFUSED)},
            [SOCKS_READY] = {"ready", 0},
            [SOCKS_REFUSED] = {"refused", 0},
        },
};

static void
set_state(struct socks *socks, enum socks_state state)
{
    if (cbx_states_allow_number(&states, "socks", socks->four ? SOCKS4_VERSION : SOCKS_VERSION,
                                socks->state, state))
        socks->state = state;
}

void
socks_init(struct socks *socks, const struct proxy_password *password)
{
    memset(socks, 0, sizeof *socks);
    socks->password = password;
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
    set_state(socks, SOCKS_REFUSED);
    if (socks->four) {
        answer_byte(socks, 0);
        answer_byte(socks, REJECTED_4);
        for (int i = 2; i < SOCKS4_REPLY_SIZE; i++)
            answer_byte(socks, 0);
        return;
    }
    answer_byte(socks, SOCKS_VERSION);
    answer_byte(socks, code);
    answer_byte(socks, 0);
    answer_byte(socks, ADDRESS_IPV4);
    for (int i = REQUEST_HEAD; i < SOCKS_REPLY_SIZE; i++)
        answer_byte(socks, 0);
}

/* ---- SOCKS4a ---- */

/* 0.0.0.x, x not 0: a name stands behind the user. */
static bool
has_name(const uint8_t *message)
{
    return message[4] == 0 && message[5] == 0 && message[6] == 0 && message[7] != 0;
}

/* As message_length; 0: a text is too long. */
static size_t
length_of_four(const struct socks *socks)
{
    const uint8_t *message = socks->message, *end = message + socks->used;
    if (socks->used <= HEAD_4)
        return HEAD_4 + 1;
    const uint8_t *user_end = memchr(message + HEAD_4, 0, socks->used - HEAD_4);
    const uint8_t *name = user_end ? user_end + 1 : NULL;
    const uint8_t *name_end = name ? memchr(name, 0, (size_t)(end - name)) : NULL;
    if ((!user_end && socks->used > HEAD_4 + SOCKS_HOST_MAX) ||
        (name && !name_end && end - name > SOCKS_HOST_MAX))
        return 0;
    if (!user_end)
        return socks->used + 1;
    if (!has_name(message))
        return (size_t)(name - message);
    return name_end ? (size_t)(name_end + 1 - message) : socks->used + 1;
}

static void
take_four(struct socks *socks)
{
    const uint8_t *message = socks->message;
    if (message[1] != COMMAND_CONNECT || socks->password->set) {
        refuse(socks, REPLY_COMMAND);
        return;
    }
    socks->port = (uint16_t)(message[2] << 8 | message[3]);
    if (has_name(message)) {
        const uint8_t *name = message + HEAD_4 + strlen((const char *)message + HEAD_4) + 1;
        socks->host_length = socks->used - 1 - (size_t)(name - message);
        memcpy(socks->host, name, socks->host_length);
        socks->host[socks->host_length] = '\0';
    } else {
        (void)inet_ntop(AF_INET, message + 4, socks->host, sizeof socks->host);
        socks->host_length = strlen(socks->host);
    }
    set_state(socks, SOCKS_READY);
}

/* ---- messages ---- */

/* How long the message is, as far as its bytes tell; more than used until it is complete. 0: the
 * address type is unknown, and so is the length. */
static size_t
message_length(const struct socks *socks)
{
    const uint8_t *message = socks->message;
    if (socks->four)
        return length_of_four(socks);
    if (socks->state == SOCKS_GREETING)
        return socks->used < 2 ? 2 : (size_t)2 + message[1];
    if (socks->state == SOCKS_LOGIN) {
        size_t user = socks->used < 2 ? 0 : message[1];
        size_t password = socks->used < 3 + user ? 0 : message[2 + user];
        return 3 + user + password;
    }
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
    const uint8_t *methods = socks->message + 2;
    answer_byte(socks, SOCKS_VERSION);
    if (!socks->password->set && memchr(methods, METHOD_NONE, socks->message[1])) {
        answer_byte(socks, METHOD_NONE);
        set_state(socks, SOCKS_REQUEST);
    } else if (memchr(methods, METHOD_LOGIN, socks->message[1])) {
        answer_byte(socks, METHOD_LOGIN);
        set_state(socks, SOCKS_LOGIN);
    } else {
        answer_byte(socks, METHOD_UNACCEPTABLE);
        set_state(socks, SOCKS_REFUSED);
    }
    socks->used = 0;
}

static void
take_login(struct socks *socks)
{
    const uint8_t *length = socks->message + 2 + socks->message[1];
    bool right = proxy_password_is(socks->password, length + 1, *length);
    answer_byte(socks, LOGIN_VERSION);
    answer_byte(socks, right ? LOGIN_TAKEN : LOGIN_WRONG);
    sodium_memzero(socks->message, sizeof socks->message); /* it is somebody's password, maybe */
    set_state(socks, right ? SOCKS_REQUEST : SOCKS_REFUSED);
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
        set_state(socks, SOCKS_READY);
    }
}

/* What the bytes so far already rule out; true when the message is to go on. */
static bool
plausible(struct socks *socks)
{
    uint8_t version = socks->state == SOCKS_LOGIN ? LOGIN_VERSION
                      : socks->four               ? SOCKS4_VERSION
                                                  : SOCKS_VERSION;
    if (socks->used > 0 && socks->message[0] != version)
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
    while (socks->state < SOCKS_READY) {
        /* Byte by byte: a handshake is short, and how it is chopped cannot matter then. */
        if (taken == length)
            break;
        socks->message[socks->used++] = data[taken++];
        if (socks->state == SOCKS_GREETING && socks->used == 1)
            socks->four = socks->message[0] == SOCKS4_VERSION;
        if (!plausible(socks) || socks->used < message_length(socks))
            continue;
        if (socks->four)
            take_four(socks);
        else if (socks->state == SOCKS_GREETING)
            take_greeting(socks);
        else if (socks->state == SOCKS_LOGIN)
            take_login(socks);
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
socks_refusal(const struct conn_refusal *refusal, char *out, size_t size)
{
    if (size < SOCKS_REPLY_SIZE)
        return 0;
    memcpy(out, socks_opened, SOCKS_REPLY_SIZE);
    out[1] = (char)socks_reply_code(refusal->reason);
    return SOCKS_REPLY_SIZE;
}

size_t
socks4_refusal(const struct conn_refusal *refusal, char *out, size_t size)
{
    (void)refusal;
    if (size < SOCKS4_REPLY_SIZE)
        return 0;
    memcpy(out, socks4_opened, SOCKS4_REPLY_SIZE);
    out[1] = REJECTED_4;
    return SOCKS4_REPLY_SIZE;
}
