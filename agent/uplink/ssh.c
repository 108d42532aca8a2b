/* SPDX-License-Identifier: MIT */
/*
 * The login. libssh2 is used without blocking: each stage is one call, repeated with the same
 * arguments until it no longer says EAGAIN, each time after the wire has received more.
 *
 *     HANDSHAKE  banner, algorithms, keys; then the host key is compared, before anything is signed
 *     AUTH       public key login; libsodium signs, so that no key file is needed
 *     OPEN       one session channel with a receive window of 16 MiB
 *     QUIET      what the far side writes to standard error is dropped
 *     EXEC       any command: the key's forced command replaces it
 *
 * After EXEC session, channel and wire move into a carrier. The wire is libssh2's only way out: its
 * send callback takes whole packets, its receive callback says EAGAIN when the buffer is empty, and
 * also while there is no room for the replies that reading may cause. A partial write, after which
 * libssh2 may hang in a key exchange, cannot occur.
 */
#include "agent/uplink/ssh.h"

#include "common/base/err.h"
#include "common/trust/token.h"

#include <errno.h>
#include <ev.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHANNEL_WINDOW = 16 * 1024 * 1024, FREE_TRIES_MAX = 16 };

enum stage { STAGE_HANDSHAKE, STAGE_AUTH, STAGE_OPEN, STAGE_QUIET, STAGE_EXEC };

struct ssh_login {
    struct ev_loop *loop;
    struct wire *wire; /* NULL, as is session, once they moved into the carrier */
    LIBSSH2_SESSION *session;
    LIBSSH2_CHANNEL *channel; /* freed with the session */
    const struct ssh_login_ops *ops;
    void *arg;
    ev_timer kick; /* the first step, from the loop */
    enum stage stage;
    bool login_only;
    struct cbx_keypair key;
    uint8_t blob[CBX_SSH_BLOB_SIZE];
    uint8_t host_key_sha256[32];
    char user[CBX_USER_MAX + 1];
    char address[CBX_ADDRESS_TEXT_MAX];
};

/* ---- libssh2's callbacks ------------------------------------------------------------------- */

static LIBSSH2_RECV_FUNC(receive_from_wire)
{
    (void)socket;
    (void)flags;
    struct wire *wire = *abstract;
    if (wire_room(wire) < SSH_REPLY_ROOM)
        return -EAGAIN;
    size_t count = wire_take(wire, buffer, length);
    /* The end of the connection is ours to see: told of it, libssh2 would forget what it holds. */
    return count > 0 ? (ssize_t)count : -EAGAIN;
}

static LIBSSH2_SEND_FUNC(send_to_wire)
{
    (void)socket;
    (void)flags;
    /* No room is no EAGAIN: it cannot happen but to a hostile server, whose session then ends. */
    return wire_put(*abstract, buffer, length) ? (ssize_t)length : -EPIPE;
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

/* Makes libssh2 read from and write to the wire. */
static void
install_wire(LIBSSH2_SESSION *session, struct wire *wire)
{
    *libssh2_session_abstract(session) = wire;
    set_callbacks(session, receive_from_wire, send_to_wire);
}

void
ssh_teardown(LIBSSH2_SESSION *session, struct wire *wire)
{
    if (session != NULL) {
        /* Freeing closes the channel and waits for the answer, unless reading fails. */
        set_callbacks(session, receive_nothing, send_nowhere);
        for (int i = 0; i < FREE_TRIES_MAX; i++) {
            if (libssh2_session_free(session) != LIBSSH2_ERROR_EAGAIN)
                break;
        }
    }
    wire_free(wire);
}

static LIBSSH2_USERAUTH_PUBLICKEY_SIGN_FUNC(sign)
{
    (void)session;
    const struct ssh_login *login = *abstract;
    /* libssh2 frees it with the allocator of the session, which is malloc's. */
    unsigned char *signature = malloc(crypto_sign_BYTES);
    if (signature == NULL)
        return -1;
    (void)crypto_sign_detached(signature, NULL, data, data_len, login->key.secret_key);
    *sig = signature;
    *sig_len = crypto_sign_BYTES;
    return 0;
}

/* ---- failures ------------------------------------------------------------------------------ */

static void
fail(struct ssh_login *login, enum ssh_error error, const struct cbx_error *text)
{
    wire_watch(login->wire, false, false);
    ev_timer_stop(login->loop, &login->kick);
    login->ops->failed(login->arg, error, text->text);
}

static void
fail_closed(struct ssh_login *login)
{
    const char *during =
        login->stage == STAGE_HANDSHAKE
            ? "before it spoke SSH: the hub is stopping or overloaded, or it is no cbx hub"
        : login->stage == STAGE_AUTH ? "during the login: see the hub's log"
                                     : "after the login: see the hub's log";
    struct cbx_error text;
    cbx_fail(&text, 0, "%s closed the connection %s", login->address, during);
    fail(login, SSH_CLOSED, &text);
}

static void
fail_stage(struct ssh_login *login, int code)
{
    char *message = NULL;
    (void)libssh2_session_last_error(login->session, &message, NULL, 0);
    if (message == NULL || message[0] == '\0')
        message = "unknown error";
    struct cbx_error text;
    enum ssh_error error = SSH_PROTOCOL;
    if (login->stage == STAGE_HANDSHAKE && code == LIBSSH2_ERROR_BANNER_RECV) {
        cbx_fail(&text, 0, "%s does not answer as an SSH server: is that the hub's port?",
                 login->address);
    } else if (login->stage == STAGE_HANDSHAKE) {
        cbx_fail(&text, 0, "%s: SSH handshake failed: %s (libssh2 %d)", login->address, message,
                 code);
    } else if (login->stage == STAGE_AUTH && (code == LIBSSH2_ERROR_AUTHENTICATION_FAILED ||
                                              code == LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED)) {
        error = SSH_DENIED;
        cbx_fail(&text, 0,
                 "%s refused the login as %s: this key is unknown, expired or revoked there; ask "
                 "the operator for a new invite",
                 login->address, login->user);
    } else {
        cbx_fail(&text, 0, "%s: SSH failed %s: %s (libssh2 %d)", login->address,
                 login->stage == STAGE_AUTH ? "at the login" : "to open the channel", message,
                 code);
    }
    fail(login, error, &text);
}

/* 0 when the server's key is the pinned one. Compared whole and in constant time. */
static int
check_host_key(struct ssh_login *login, struct cbx_error *text)
{
    size_t length = 0;
    int type = LIBSSH2_HOSTKEY_TYPE_UNKNOWN;
    const char *blob = libssh2_session_hostkey(login->session, &length, &type);
    uint8_t digest[crypto_hash_sha256_BYTES] = {0};
    if (blob != NULL)
        (void)crypto_hash_sha256(digest, (const unsigned char *)blob, length);
    if (blob != NULL && type == LIBSSH2_HOSTKEY_TYPE_ED25519 &&
        sodium_memcmp(digest, login->host_key_sha256, sizeof digest) == 0)
        return 0;
    char seen[CBX_FINGERPRINT_TEXT_MAX], pinned[CBX_FINGERPRINT_TEXT_MAX];
    cbx_fingerprint_text(digest, seen);
    cbx_fingerprint_text(login->host_key_sha256, pinned);
    return cbx_fail(text, CBX_ERR_AUTH,
                    "%s shows the host key %s, but this lease's token pins %s: another machine "
                    "answers there, or the hub was set up anew (then ask for a new invite)",
                    login->address, seen, pinned);
}

/* ---- the stages ---------------------------------------------------------------------------- */

/* One call of the stage's function: 0 or libssh2's code. */
static int
call_stage(struct ssh_login *login)
{
    void *self = login;
    switch (login->stage) {
    case STAGE_HANDSHAKE:
        return libssh2_session_handshake(login->session, wire_fd(login->wire));
    case STAGE_AUTH:
        return libssh2_userauth_publickey(login->session, login->user, login->blob,
                                          sizeof login->blob, sign, &self);
    case STAGE_OPEN:
        login->channel = libssh2_channel_open_ex(login->session, "session", 7, CHANNEL_WINDOW,
                                                 LIBSSH2_CHANNEL_PACKET_DEFAULT, NULL, 0);
        return login->channel != NULL ? 0 : libssh2_session_last_errno(login->session);
    case STAGE_QUIET:
        return libssh2_channel_handle_extended_data2(login->channel,
                                                     LIBSSH2_CHANNEL_EXTENDED_DATA_IGNORE);
    case STAGE_EXEC:
        break;
    }
    return libssh2_channel_process_startup(login->channel, "exec", 4, "cbx", 3);
}

static void
hand_over(struct ssh_login *login)
{
    ev_timer_stop(login->loop, &login->kick);
    wire_listen(login->wire, NULL, NULL);
    struct cbx_carrier *carrier =
        ssh_carrier_new(login->loop, login->wire, login->session, login->channel);
    if (carrier == NULL) {
        struct cbx_error text;
        cbx_fail(&text, 0, "%s: out of memory", login->address);
        fail(login, SSH_PROTOCOL, &text);
        return;
    }
    login->wire = NULL;
    login->session = NULL;
    login->channel = NULL;
    login->ops->up(login->arg, carrier);
}

/* Goes as far as the received bytes allow. The caller touches nothing afterwards. */
static void
step(struct ssh_login *login)
{
    struct cbx_error text;
    int code = call_stage(login);
    while (code == 0) {
        if (login->stage == STAGE_EXEC) {
            hand_over(login);
            return;
        }
        if (login->stage == STAGE_HANDSHAKE && check_host_key(login, &text) != 0) {
            fail(login, SSH_HOST_KEY, &text);
            return;
        }
        if (login->stage == STAGE_AUTH && login->login_only) {
            wire_watch(login->wire, false, false);
            login->ops->up(login->arg, NULL);
            return;
        }
        login->stage++;
        code = call_stage(login);
    }
    int flushed = wire_flush(login->wire);
    bool over = wire_ended(login->wire) != 0 && wire_held(login->wire) == 0;
    if (code != LIBSSH2_ERROR_EAGAIN)
        fail_stage(login, code);
    else if (over || (flushed != 0 && flushed != CBX_ERR_AGAIN))
        fail_closed(login);
    else
        wire_watch(login->wire, true, wire_pending(login->wire));
}

static void
on_wire(void *arg, int events)
{
    struct ssh_login *login = arg;
    if ((events & EV_READ) != 0) {
        /* A login is a few kilobytes: filling on until there is no more cannot take long. */
        do
            (void)wire_fill(login->wire);
        while (wire_more(login->wire) && wire_held(login->wire) < WIRE_IN_SIZE);
    }
    step(login);
}

static void
on_kick(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop;
    (void)events;
    step(timer->data);
}

/* ---- setting up and tearing down ----------------------------------------------------------- */

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

static LIBSSH2_SESSION *
new_session(struct wire *wire)
{
    static bool libssh2_ready;
    if (!libssh2_ready && libssh2_init(0) != 0)
        return NULL;
    libssh2_ready = true;
    LIBSSH2_SESSION *session = libssh2_session_init_ex(NULL, NULL, NULL, wire);
    if (session == NULL)
        return NULL;
    libssh2_session_set_blocking(session, 0);
    install_wire(session, wire);
    if (prefer_methods(session) == 0)
        return session;
    (void)libssh2_session_free(session);
    return NULL;
}

struct ssh_login *
ssh_login_new(struct ev_loop *loop, struct wire *wire, const struct ssh_config *config,
              const struct ssh_login_ops *ops, void *arg)
{
    struct ssh_login *login = calloc(1, sizeof *login);
    LIBSSH2_SESSION *session = login != NULL ? new_session(wire) : NULL;
    if (session == NULL) {
        wire_free(wire);
        free(login);
        return NULL;
    }
    login->loop = loop;
    login->wire = wire;
    login->session = session;
    login->ops = ops;
    login->arg = arg;
    login->key = *config->key;
    login->login_only = config->login_only;
    cbx_ssh_blob(login->key.public_key, login->blob);
    memcpy(login->host_key_sha256, config->host_key_sha256, sizeof login->host_key_sha256);
    (void)snprintf(login->user, sizeof login->user, "%s", config->user);
    (void)snprintf(login->address, sizeof login->address, "%s", config->address);
    wire_listen(wire, on_wire, login);
    ev_timer_init(&login->kick, on_kick, 0., 0.);
    login->kick.data = login;
    ev_timer_start(loop, &login->kick);
    return login;
}

const char *
ssh_login_banner(const struct ssh_login *login)
{
    const char *banner = login->session ? libssh2_session_banner_get(login->session) : NULL;
    return banner ? banner : "";
}

void
ssh_login_free(struct ssh_login *login)
{
    if (login == NULL)
        return;
    ev_timer_stop(login->loop, &login->kick);
    ssh_teardown(login->session, login->wire);
    sodium_memzero(&login->key, sizeof login->key);
    free(login);
}
