/* SPDX-License-Identifier: MIT */
/*
 * The login. libssh2 is used without blocking: each stage is one call, repeated with the same
 * arguments until it no longer says EAGAIN, each time after more was received. After EXEC session,
 * channel and buffer move into a carrier. Tested by test_uplink.
 */
#include "agent/uplink/ssh_login.h"

#include "agent/uplink/ssh_carrier.h"
#include "agent/uplink/ssh_session.h"
#include "common/base/err.h"
#include "common/base/states.h"
#include "common/trust/token.h"

#include <ev.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* STRANGER_MAX: libssh2 queues whatever packets come during the exchange of keys. Who has not shown
 * the pinned host key yet may have it queue no more than this; an exchange takes some 3 KB. */
enum { CHANNEL_WINDOW = 16 * 1024 * 1024, STRANGER_MAX = 64 * 1024 };

enum stage {
    STAGE_HANDSHAKE, /* banner, algorithms, keys; then the host key, before anything is signed */
    STAGE_AUTH,      /* public key login; libsodium signs, so that no key file is needed */
    STAGE_OPEN,      /* one session channel with a receive window of 16 MiB */
    STAGE_QUIET,     /* what the far side writes to standard error is dropped */
    STAGE_EXEC,      /* any command: the key's forced command replaces it */
    STAGE_OVER,      /* the owner was told */
};

static const struct cbx_states stages = {
    .what = "ssh login",
    .state =
        {
            [STAGE_HANDSHAKE] = {"handshake", CBX_STATE(STAGE_AUTH) | CBX_STATE(STAGE_OVER)},
            [STAGE_AUTH] = {"auth", CBX_STATE(STAGE_OPEN) | CBX_STATE(STAGE_OVER)},
            [STAGE_OPEN] = {"open", CBX_STATE(STAGE_QUIET) | CBX_STATE(STAGE_OVER)},
            [STAGE_QUIET] = {"quiet", CBX_STATE(STAGE_EXEC) | CBX_STATE(STAGE_OVER)},
            [STAGE_EXEC] = {"exec", CBX_STATE(STAGE_OVER)},
            [STAGE_OVER] = {"over", 0},
        },
};

struct ssh_login {
    struct ev_loop *loop;
    struct tcp_buffer *tcp; /* NULL, as is session, once they moved into the carrier */
    LIBSSH2_SESSION *session;
    LIBSSH2_CHANNEL *channel; /* freed with the session */
    const struct ssh_login_ops *ops;
    void *arg;
    ev_timer kick; /* the first step, from the loop */
    enum stage stage;
    size_t received;
    bool login_only;
    int64_t keepalive_ms;
    struct cbx_keypair key;
    uint8_t blob[CBX_SSH_BLOB_SIZE];
    uint8_t host_key_sha256[32];
    char user[CBX_USER_MAX + 1];
    char address[CBX_ADDRESS_TEXT_MAX];
};

static LIBSSH2_USERAUTH_PUBLICKEY_SIGN_FUNC(sign)
{
    (void)session;
    const struct ssh_login *login = *abstract;
    /* libssh2 frees it with the allocator of the session, which is malloc's. */
    unsigned char *signature = malloc(crypto_sign_BYTES);
    if (!signature)
        return -1;
    (void)crypto_sign_detached(signature, NULL, data, data_len, login->key.secret_key);
    *sig = signature;
    *sig_len = crypto_sign_BYTES;
    return 0;
}

static void
set_stage(struct ssh_login *login, enum stage stage)
{
    if (cbx_states_allow(&stages, login->address, login->stage, stage))
        login->stage = stage;
}

/* ---- failures ------------------------------------------------------------------------------ */

static void
fail(struct ssh_login *login, enum ssh_error error, const struct cbx_error *text)
{
    set_stage(login, STAGE_OVER);
    tcp_buffer_watch(login->tcp, false, false);
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
    if (!message || message[0] == '\0')
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
    if (blob)
        (void)crypto_hash_sha256(digest, (const unsigned char *)blob, length);
    if (blob && type == LIBSSH2_HOSTKEY_TYPE_ED25519 &&
        sodium_memcmp(digest, login->host_key_sha256, sizeof digest) == 0)
        return 0;
    char seen[CBX_FINGERPRINT_TEXT_MAX], pinned[CBX_FINGERPRINT_TEXT_MAX];
    cbx_fingerprint_text(digest, seen);
    cbx_fingerprint_text(login->host_key_sha256, pinned);
    return cbx_fail(text, CBX_ERR_AUTH,
                    "%s presented the host key %s, but this lease's token pins %s: another machine "
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
        return libssh2_session_handshake(login->session, tcp_buffer_fd(login->tcp));
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
        return libssh2_channel_process_startup(login->channel, "exec", 4, "cbx", 3);
    case STAGE_OVER:
        break;
    }
    return LIBSSH2_ERROR_BAD_USE;
}

static void
hand_over(struct ssh_login *login)
{
    ev_timer_stop(login->loop, &login->kick);
    tcp_buffer_listen(login->tcp, NULL, NULL);
    struct cbx_carrier *carrier = ssh_carrier_new(login->loop, login->tcp, login->session,
                                                  login->channel, login->keepalive_ms);
    if (!carrier) {
        struct cbx_error text;
        cbx_fail(&text, 0, "%s: out of memory", login->address);
        fail(login, SSH_PROTOCOL, &text);
        return;
    }
    login->tcp = NULL;
    login->session = NULL;
    login->channel = NULL;
    set_stage(login, STAGE_OVER);
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
        /* Not right after AUTH: sshd still writes then, and would log that it cannot. */
        if (login->stage == STAGE_OPEN && login->login_only) {
            set_stage(login, STAGE_OVER);
            tcp_buffer_watch(login->tcp, false, false);
            login->ops->up(login->arg, NULL);
            return;
        }
        set_stage(login, login->stage + 1);
        code = call_stage(login);
    }
    int flushed = tcp_buffer_flush(login->tcp);
    bool over = tcp_buffer_ended(login->tcp) != 0 && tcp_buffer_held(login->tcp) == 0;
    if (code != LIBSSH2_ERROR_EAGAIN)
        fail_stage(login, code);
    else if (over || (flushed != 0 && flushed != CBX_ERR_AGAIN))
        fail_closed(login);
    else
        tcp_buffer_watch(login->tcp, true, tcp_buffer_pending(login->tcp));
}

static void
on_tcp(void *arg, int events)
{
    struct ssh_login *login = arg;
    if ((events & EV_READ) != 0) {
        /* A login is a few kilobytes: filling on until there is no more cannot take long. */
        do {
            ssize_t got = tcp_buffer_fill(login->tcp);
            login->received += got > 0 ? (size_t)got : 0;
        } while (tcp_buffer_more(login->tcp) && tcp_buffer_held(login->tcp) < TCP_BUFFER_IN_SIZE);
    }
    if (login->stage == STAGE_HANDSHAKE && login->received > STRANGER_MAX) {
        struct cbx_error text;
        cbx_fail(&text, 0, "%s sent more than %d KiB before its host key: it is no hub of ours",
                 login->address, STRANGER_MAX / 1024);
        fail(login, SSH_PROTOCOL, &text);
        return;
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

struct ssh_login *
ssh_login_new(struct ev_loop *loop, struct tcp_buffer *tcp, const struct ssh_config *config,
              const struct ssh_login_ops *ops, void *arg)
{
    struct ssh_login *login = calloc(1, sizeof *login);
    LIBSSH2_SESSION *session = login != NULL ? ssh_session_new(tcp) : NULL;
    if (!session) {
        tcp_buffer_free(tcp);
        free(login);
        return NULL;
    }
    login->loop = loop;
    login->tcp = tcp;
    login->session = session;
    login->ops = ops;
    login->arg = arg;
    login->keepalive_ms = config->keepalive_ms;
    login->key = *config->key;
    login->login_only = config->login_only;
    cbx_ssh_blob(login->key.public_key, login->blob);
    memcpy(login->host_key_sha256, config->host_key_sha256, sizeof login->host_key_sha256);
    (void)snprintf(login->user, sizeof login->user, "%s", config->user);
    (void)snprintf(login->address, sizeof login->address, "%s", config->address);
    tcp_buffer_listen(tcp, on_tcp, login);
    ev_timer_init(&login->kick, on_kick, 0., 0.);
    login->kick.data = login;
    ev_timer_start(loop, &login->kick);
    return login;
}

const char *
ssh_login_banner(const struct ssh_login *login)
{
    const char *banner = login->session != NULL ? libssh2_session_banner_get(login->session) : NULL;
    return banner != NULL ? banner : "";
}

void
ssh_login_free(struct ssh_login *login)
{
    if (!login)
        return;
    ev_timer_stop(login->loop, &login->kick);
    ssh_session_end(login->session, login->tcp);
    sodium_memzero(&login->key, sizeof login->key);
    free(login);
}
