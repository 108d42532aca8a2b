/* SPDX-License-Identifier: MIT */
/* Tested by test_uplink. */
#include "agent/uplink/ssh_session.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

enum { FREE_TRIES_MAX = 16 };

/* ---- libssh2's callbacks ---- */

static LIBSSH2_RECV_FUNC(receive_from_tcp)
{
    (void)socket;
    (void)flags;
    struct tcp_buffer *tcp = *abstract;
    if (tcp_buffer_room(tcp) < SSH_REPLY_ROOM)
        return -EAGAIN;
    size_t count = tcp_buffer_take(tcp, buffer, length);
    /* The end of the connection is ours to see: told of it, libssh2 would forget what it holds. */
    return count > 0 ? (ssize_t)count : -EAGAIN;
}

static LIBSSH2_SEND_FUNC(send_to_tcp)
{
    (void)socket;
    (void)flags;
    /* No room is no EAGAIN: it cannot happen but to a hostile server, whose session then ends. */
    return tcp_buffer_put(*abstract, buffer, length) ? (ssize_t)length : -EPIPE;
}

static LIBSSH2_RECV_FUNC(receive_nothing)
{
    (void)socket;
    (void)buffer;
    (void)length;
    (void)flags;
    (void)abstract;
    return -EPIPE;
}

static LIBSSH2_SEND_FUNC(send_nowhere)
{
    (void)socket;
    (void)buffer;
    (void)flags;
    (void)abstract;
    return (ssize_t)length;
}

static void
set_callbacks(LIBSSH2_SESSION *session, ssize_t (*receive)(int, void *, size_t, int, void **),
              ssize_t (*transmit)(int, const void *, size_t, int, void **))
{
    /* libssh2 stores every callback as an object pointer; POSIX lets a function pointer pass. */
    void *pointer;
    memcpy(&pointer, &receive, sizeof pointer);
    (void)libssh2_session_callback_set(session, LIBSSH2_CALLBACK_RECV, pointer);
    memcpy(&pointer, &transmit, sizeof pointer);
    (void)libssh2_session_callback_set(session, LIBSSH2_CALLBACK_SEND, pointer);
}

/* Makes libssh2 read from and write to tcp. */
static void
install_tcp(LIBSSH2_SESSION *session, struct tcp_buffer *tcp)
{
    *libssh2_session_abstract(session) = tcp;
    set_callbacks(session, receive_from_tcp, send_to_tcp);
}

void
ssh_session_end(LIBSSH2_SESSION *session, struct tcp_buffer *tcp)
{
    if (session) {
        /* Freeing closes the channel and waits for the answer, unless reading fails. */
        set_callbacks(session, receive_nothing, send_nowhere);
        for (int i = 0; i < FREE_TRIES_MAX; i++) {
            if (libssh2_session_free(session) != LIBSSH2_ERROR_EAGAIN)
                break;
        }
    }
    tcp_buffer_free(tcp);
}

/* ---- setting up ---- */

/* libssh2 strikes out of these lists what it does not know. AES in counter mode first, because
 * libssh2 makes one cipher call per block and this is the cheapest; with it neither kind of MAC
 * order is open to cut packets (Terrapin). */
static int
prefer_methods(LIBSSH2_SESSION *session)
{
    static const struct {
        int method;
        const char *list;
    } preferences[] = {
        {LIBSSH2_METHOD_KEX, "curve25519-sha256,curve25519-sha256@libssh.org"},
        {LIBSSH2_METHOD_HOSTKEY, "ssh-ed25519"},
        {LIBSSH2_METHOD_CRYPT_CS, "aes128-ctr,aes256-ctr,aes128-gcm@openssh.com"},
        {LIBSSH2_METHOD_CRYPT_SC, "aes128-ctr,aes256-ctr,aes128-gcm@openssh.com"},
        {LIBSSH2_METHOD_MAC_CS, "hmac-sha2-256-etm@openssh.com,hmac-sha2-256,hmac-sha2-512"},
        {LIBSSH2_METHOD_MAC_SC, "hmac-sha2-256-etm@openssh.com,hmac-sha2-256,hmac-sha2-512"},
        {LIBSSH2_METHOD_COMP_CS, "none"},
        {LIBSSH2_METHOD_COMP_SC, "none"},
    };
    for (size_t i = 0; i < sizeof preferences / sizeof preferences[0]; i++) {
        int code = libssh2_session_method_pref(session, preferences[i].method, preferences[i].list);
        if (code != 0)
            return code;
    }
    return 0;
}

LIBSSH2_SESSION *
ssh_session_new(struct tcp_buffer *tcp)
{
    static bool libssh2_ready;
    if (!libssh2_ready && libssh2_init(0) != 0)
        return NULL;
    libssh2_ready = true;
    LIBSSH2_SESSION *session = libssh2_session_init_ex(NULL, NULL, NULL, tcp);
    if (!session)
        return NULL;
    libssh2_session_set_blocking(session, 0);
    install_tcp(session, tcp);
    if (prefer_methods(session) == 0)
        return session;
    (void)libssh2_session_free(session);
    return NULL;
}
