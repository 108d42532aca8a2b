/* SPDX-License-Identifier: MIT */
/* Tested by test_uplink. */
#include "agent/uplink/attempt.h"

#include "agent/uplink/connector.h"
#include "agent/uplink/ssh_command.h"
#include "common/base/states.h"
#include "common/trust/token.h"

#include <ev.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum state {
    CONNECTING, /* the connector works */
    LOGIN,      /* the login works, for timeout_ms at most */
    COMMAND,    /* the ssh-command works, in place of both */
    OVER,       /* the owner was told */
};

static const struct cbx_states states = {
    .what = "attempt at",
    .state =
        {
            [CONNECTING] = {"connecting", CBX_STATE(LOGIN) | CBX_STATE(OVER)},
            [LOGIN] = {"login", CBX_STATE(OVER)},
            [COMMAND] = {"command", CBX_STATE(OVER)},
            [OVER] = {"over", 0},
        },
};

struct attempt {
    struct ev_loop *loop;
    const struct attempt_ops *ops;
    void *arg;
    enum state state;
    struct connector *connector; /* in CONNECTING */
    struct ssh_login *login;     /* in LOGIN */
    struct ssh_command *command; /* in COMMAND */
    ev_timer limit;              /* of LOGIN */
    int64_t timeout_ms;
    struct cbx_keypair key;
    int64_t keepalive_ms;
    uint8_t host_key_sha256[32];
    char user[CBX_USER_MAX + 1];
    char address[CBX_ADDRESS_TEXT_MAX];
    char text[CBX_ADDRESS_TEXT_MAX + 32]; /* of CONNECTING and COMMAND, for people */
};

static void
set_state(struct attempt *attempt, enum state state)
{
    if (cbx_states_allow(&states, attempt->address, attempt->state, state))
        attempt->state = state;
}

static void
drop_parts(struct attempt *attempt)
{
    connector_free(attempt->connector);
    ssh_login_free(attempt->login);
    ssh_command_free(attempt->command);
    attempt->connector = NULL;
    attempt->login = NULL;
    attempt->command = NULL;
    ev_timer_stop(attempt->loop, &attempt->limit);
}

static void
fail(struct attempt *attempt, enum uplink_error error, bool refused, const char *text)
{
    drop_parts(attempt);
    set_state(attempt, OVER);
    attempt->ops->failed(attempt->arg, error, refused, text);
}

static struct ssh_config
login_config(const struct attempt *attempt)
{
    return (struct ssh_config){
        .address = attempt->address,
        .user = attempt->user,
        .host_key_sha256 = attempt->host_key_sha256,
        .key = &attempt->key,
        .keepalive_ms = attempt->keepalive_ms,
    };
}

/* ---- the login ---- */

static void
login_up(void *arg, struct cbx_carrier *carrier)
{
    struct attempt *attempt = arg;
    drop_parts(attempt);
    set_state(attempt, OVER);
    attempt->ops->up(attempt->arg, carrier);
}

static void
login_failed(void *arg, enum ssh_error error, const char *text)
{
    enum uplink_error as = error == SSH_HOST_KEY ? UPLINK_HOST_KEY
                           : error == SSH_DENIED ? UPLINK_LOGIN_DENIED
                                                 : UPLINK_PROTOCOL;
    fail(arg, as, error == SSH_REFUSED, text);
}

static const struct ssh_login_ops login_ops = {.up = login_up, .failed = login_failed};

static void
on_limit(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop;
    (void)events;
    struct attempt *attempt = timer->data;
    struct cbx_error text;
    cbx_fail(&text, 0, "%s: the SSH login did not finish within %.3g s: is that the hub's port?",
             attempt->address, (double)attempt->timeout_ms / 1000.);
    fail(attempt, UPLINK_PROTOCOL, false, text.text);
}

/* ---- the connection ---- */

static void
connected(void *arg, struct tcp_buffer *tcp)
{
    struct attempt *attempt = arg;
    connector_free(attempt->connector);
    attempt->connector = NULL;
    const struct ssh_config config = login_config(attempt);
    attempt->login = ssh_login_new(attempt->loop, tcp, &config, &login_ops, attempt);
    if (!attempt->login) {
        fail(attempt, UPLINK_UNREACHABLE, false, "out of memory");
        return;
    }
    set_state(attempt, LOGIN);
    ev_now_update(attempt->loop); /* a handshake's arithmetic may have taken a while */
    ev_timer_set(&attempt->limit, (double)attempt->timeout_ms / 1000., 0.);
    ev_timer_start(attempt->loop, &attempt->limit);
}

static void
connect_failed(void *arg, enum connector_error error, const char *text)
{
    fail(arg, UPLINK_UNREACHABLE, error == CONNECTOR_REFUSED, text);
}

static const struct connector_ops connector_ops = {.connected = connected,
                                                   .failed = connect_failed};

/* ---- begin and end ---- */

/* False: memory is short. */
static bool
begin(struct attempt *attempt, const struct attempt_config *config)
{
    if (!config->ssh_command) {
        attempt->connector =
            connector_new(attempt->loop, attempt->address, config->via, attempt->timeout_ms,
                          config->segment_max, &connector_ops, attempt);
        return attempt->connector != NULL;
    }
    const struct ssh_command_config command = {
        .command = config->ssh_command,
        .folder = config->folder,
        .to = login_config(attempt),
    };
    attempt->state = COMMAND;
    attempt->command = ssh_command_new(attempt->loop, &command, &login_ops, attempt);
    return attempt->command != NULL;
}

struct attempt *
attempt_new(struct ev_loop *loop, const struct attempt_config *config,
            const struct attempt_ops *ops, void *arg)
{
    struct attempt *attempt = calloc(1, sizeof *attempt);
    if (!attempt)
        return NULL;
    attempt->loop = loop;
    attempt->ops = ops;
    attempt->arg = arg;
    attempt->timeout_ms = config->timeout_ms;
    attempt->key = *config->to.key;
    attempt->keepalive_ms = config->to.keepalive_ms;
    memcpy(attempt->host_key_sha256, config->to.host_key_sha256, sizeof attempt->host_key_sha256);
    (void)snprintf(attempt->user, sizeof attempt->user, "%s", config->to.user);
    (void)snprintf(attempt->address, sizeof attempt->address, "%s", config->to.address);
    (void)snprintf(attempt->text, sizeof attempt->text, "%s to %s",
                   config->ssh_command != NULL ? "running ssh-command" : "connecting",
                   attempt->address);
    ev_init(&attempt->limit, on_limit);
    attempt->limit.data = attempt;
    if (!begin(attempt, config)) {
        attempt_free(attempt);
        return NULL;
    }
    return attempt;
}

void
attempt_free(struct attempt *attempt)
{
    if (!attempt)
        return;
    drop_parts(attempt);
    cbx_keypair_wipe(&attempt->key);
    free(attempt);
}

const char *
attempt_state(const struct attempt *attempt)
{
    return attempt->state == LOGIN ? "logging in" : attempt->text;
}
