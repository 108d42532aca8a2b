/* SPDX-License-Identifier: MIT */
/*
 * The server's side of a SOCKS handshake, CONNECT only: SOCKS5 (RFC 1928) without authentication or
 * with any user name and password (RFC 1929: who can reach the port may use it, but some programs
 * offer nothing else), and SOCKS4a, whose names are resolved here. Where a password is set, it must
 * be the one, and SOCKS4, which knows none, is refused. Sans-I/O: the client's bytes go in, in
 * pieces of any size; answers to send and the wanted address come out.
 */
#ifndef AGENT_FRONT_SOCKS_H
#define AGENT_FRONT_SOCKS_H

#include "agent/front/conn_state.h"
#include "agent/front/proxy_password.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SOCKS_VERSION = 5,
    SOCKS4_VERSION = 4,
    SOCKS_HOST_MAX = 255,
    SOCKS_MESSAGE_MAX = 528, /* SOCKS4a with the longest user and name; RFC 1929 needs 513 */
    SOCKS_REPLY_SIZE = 10,
    SOCKS4_REPLY_SIZE = 8,
    SOCKS_ANSWER_MAX = 14, /* method, login and reply */
};

enum socks_state {
    SOCKS_GREETING, /* version and methods are awaited, or a request of SOCKS4 */
    SOCKS_LOGIN,    /* user name and password are awaited */
    SOCKS_REQUEST,  /* the request is awaited */
    SOCKS_READY,    /* host and port are known; the caller dials, then replies */
    SOCKS_REFUSED,  /* send the answer, then close */
};

struct socks {
    enum socks_state state;
    const struct proxy_password *password;
    bool four; /* the client speaks SOCKS4: its answers have that form */
    size_t used;
    uint8_t message[SOCKS_MESSAGE_MAX];
    /* To send now; the caller sets the length to 0 when it has. */
    size_t answer_length;
    uint8_t answer[SOCKS_ANSWER_MAX];
    /* When READY. A literal address is given as text. host is NUL-terminated, and may hold any
     * other byte before that, NUL too. */
    char host[SOCKS_HOST_MAX + 1];
    size_t host_length;
    uint16_t port;
};

/* password: what a client must know; borrowed. */
void socks_init(struct socks *socks, const struct proxy_password *password);
/* Returns how many bytes were taken. What stands behind a complete request is left: it is for the
 * far side. */
size_t socks_feed(struct socks *socks, const uint8_t *data, size_t length);

/* "Connected", SOCKS_REPLY_SIZE bytes. */
extern const char socks_opened[SOCKS_REPLY_SIZE];
extern const char socks4_opened[SOCKS4_REPLY_SIZE];
/* RFC 1928's number for a reason. */
uint8_t socks_reply_code(enum cbx_reason reason);
/* A failure reply; as conn_speech.refused. */
size_t socks_refusal(const struct conn_refusal *refusal, char *out, size_t size);
/* The same for a client that speaks SOCKS4, which has one number for all reasons. */
size_t socks4_refusal(const struct conn_refusal *refusal, char *out, size_t size);

#endif
