/* SPDX-License-Identifier: MIT */
/*
 * An attempt goes through the hub's addresses in turn, beginning with the one that worked last:
 *
 *     STOPPED ── start ──▶ CONNECTING ─▶ LOGIN ─▶ UP ── lost ──▶ WAITING ─▶ CONNECTING ...
 *                              ▲            │
 *                              └── next ────┴─ no address left: failed(), WAITING
 *
 * One timer serves them all: zero wait before CONNECTING (so that uplink_start never calls back
 * inside), the limit of LOGIN, the wait of WAITING. Connector and login exist in the state of their
 * name only; the carrier belongs to the callee of up() and is not known here afterwards.
 *
 * When all addresses failed, the most telling failure is reported: a wrong host key before a
 * refused login before a broken protocol before an unreachable address.
 *
 * With an ssh-command, COMMAND stands in place of CONNECTING and LOGIN; it has its own limit.
 *
 * A network change starts a waiting uplink at once, unless the hub itself asked for the wait.
 */
#include "agent/uplink/uplink.h"

#include "agent/uplink/backoff.h"
#include "agent/uplink/connector.h"
#include "agent/uplink/ssh_login.h"
#include "agent/uplink/ssh_command.h"
#include "common/base/clock.h"
#include "common/os/netwatch.h"

#include <ev.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_CONNECT_TIMEOUT_MS = 15000, STABLE_LINK_MS = 10000, STATE_TEXT_MAX = 320 };

enum state {
    STOPPED,
    STARTING, /* the attempt begins at the next turn of the loop */
    CONNECTING,
    LOGIN,
    COMMAND, /* in place of CONNECTING and LOGIN */
    UP,
    WAITING,
};

struct uplink {
    struct ev_loop *loop;
    const struct uplink_ops *ops;
    void *arg;
    enum state state;
    ev_timer timer;
    struct connector *connector;
    struct ssh_login *login;
    struct ssh_command *command;
    struct netwatch *netwatch;
    struct backoff backoff;
    int64_t connect_timeout_ms;
    int64_t up_since_us;
    uint32_t address_count;
    uint32_t address; /* tried now */
    uint32_t tried;   /* addresses in this attempt, the current one included */
    bool by_hub;      /* the wait is the hub's wish */
    bool any_refused; /* in this attempt */
    bool any_failed;  /* in this attempt: error and text below hold */
    bool has_key;
    enum uplink_error error;
    struct cbx_error text;
    struct cbx_keypair key;
    uint8_t host_key_sha256[32];
    char *via;
    char *ssh_command, *folder;
    char user[CBX_USER_MAX + 1];
    char addresses[CBX_TOKEN_ADDRESSES_MAX][CBX_ADDRESS_TEXT_MAX];
    char state_text[STATE_TEXT_MAX];
};

static void next_address(struct uplink *uplink);

static void
set_state(struct uplink *uplink, enum state state)
{
    static const char *const names[] = {
        [STOPPED] = "stopped",
        [STARTING] = "connecting",
        [CONNECTING] = "connecting to ",
        [LOGIN] = "logging in",
        [COMMAND] = "running ssh-command to ",
        [UP] = "up",
        [WAITING] = "waiting",
    };
    uplink->state = state;
    (void)snprintf(uplink->state_text, sizeof uplink->state_text, "%s%s", names[state],
                   state == CONNECTING || state == COMMAND ? uplink->addresses[uplink->address]
                                                           : "");
}

static void
set_timer(struct uplink *uplink, int64_t milliseconds)
{
    ev_timer_stop(uplink->loop, &uplink->timer);
    ev_now_update(uplink->loop); /* a handshake's arithmetic may have taken a while */
    ev_timer_set(&uplink->timer, (double)milliseconds / 1000., 0.);
    ev_timer_start(uplink->loop, &uplink->timer);
}

static void
drop_attempt(struct uplink *uplink)
{
    connector_free(uplink->connector);
    ssh_login_free(uplink->login);
    ssh_command_free(uplink->command);
    uplink->connector = NULL;
    uplink->login = NULL;
    uplink->command = NULL;
    ev_timer_stop(uplink->loop, &uplink->timer);
}

static void
wait_for(struct uplink *uplink, int64_t milliseconds)
{
    set_state(uplink, WAITING);
    (void)snprintf(uplink->state_text, sizeof uplink->state_text, "waiting %.3g s",
                   (double)milliseconds / 1000.);
    set_timer(uplink, milliseconds);
}

/* ---- the end of one address, and of all ---------------------------------------------------- */

static unsigned
weight(enum uplink_error error)
{
    static const unsigned weights[] = {
        [UPLINK_UNREACHABLE] = 0,
        [UPLINK_PROTOCOL] = 1,
        [UPLINK_LOGIN_DENIED] = 2,
        [UPLINK_HOST_KEY] = 3,
    };
    return weights[error];
}

static void
note_failure(struct uplink *uplink, enum uplink_error error, const char *text)
{
    if (uplink->any_failed && weight(error) < weight(uplink->error))
        return;
    uplink->any_failed = true;
    uplink->error = error;
    cbx_fail(&uplink->text, 0, "%s", text);
}

/* The last thing that its callers do: the callee may stop or free the uplink. */
static void
attempt_failed(struct uplink *uplink)
{
    enum backoff_kind kind = uplink->any_refused ? BACKOFF_REFUSED : BACKOFF_OTHER;
    int64_t retry_ms = backoff_next(&uplink->backoff, kind, randombytes_uniform);
    /* No restart heals a wrong key: a steady, slow pace. */
    if (uplink->error == UPLINK_HOST_KEY)
        retry_ms = uplink->backoff.max_ms;
    uplink->by_hub = false;
    wait_for(uplink, retry_ms);
    struct cbx_error text = uplink->text;
    if (uplink->address_count > 1)
        cbx_fail(&text, 0, "%s (%u addresses tried)", uplink->text.text, uplink->address_count);
    uplink->ops->failed(uplink->arg, uplink->error, retry_ms, text.text);
}

static void
address_failed(struct uplink *uplink, enum uplink_error error, const char *text)
{
    drop_attempt(uplink);
    note_failure(uplink, error, text);
    next_address(uplink);
}

/* ---- the login ----------------------------------------------------------------------------- */

static void
login_up(void *arg, struct cbx_carrier *carrier)
{
    struct uplink *uplink = arg;
    drop_attempt(uplink);
    uplink->up_since_us = cbx_clock_us();
    set_state(uplink, UP);
    uplink->ops->up(uplink->arg, carrier);
}

static void
login_failed(void *arg, enum ssh_error error, const char *text)
{
    enum uplink_error as = error == SSH_HOST_KEY ? UPLINK_HOST_KEY
                           : error == SSH_DENIED ? UPLINK_LOGIN_DENIED
                                                 : UPLINK_PROTOCOL;
    struct uplink *uplink = arg;
    if (error == SSH_REFUSED)
        uplink->any_refused = true;
    address_failed(uplink, as, text);
}

static const struct ssh_login_ops login_ops = {.up = login_up, .failed = login_failed};

static struct ssh_config
login_config(const struct uplink *uplink)
{
    return (struct ssh_config){
        .address = uplink->addresses[uplink->address],
        .user = uplink->user,
        .host_key_sha256 = uplink->host_key_sha256,
        .key = &uplink->key,
    };
}

/* ---- the connection ------------------------------------------------------------------------ */

static void
connected(void *arg, struct tcp_buffer *tcp)
{
    struct uplink *uplink = arg;
    drop_attempt(uplink);
    const struct ssh_config config = login_config(uplink);
    uplink->login = ssh_login_new(uplink->loop, tcp, &config, &login_ops, uplink);
    if (uplink->login == NULL) {
        address_failed(uplink, UPLINK_UNREACHABLE, "out of memory");
        return;
    }
    set_state(uplink, LOGIN);
    set_timer(uplink, uplink->connect_timeout_ms);
}

static void
connect_failed(void *arg, enum connector_error error, const char *text)
{
    struct uplink *uplink = arg;
    if (error == CONNECTOR_REFUSED)
        uplink->any_refused = true;
    address_failed(uplink, UPLINK_UNREACHABLE, text);
}

static const struct connector_ops connector_ops = {.connected = connected,
                                                   .failed = connect_failed};

/* False: memory is short. */
static bool
begin_connection(struct uplink *uplink)
{
    uplink->connector = connector_new(uplink->loop, uplink->addresses[uplink->address], uplink->via,
                                      uplink->connect_timeout_ms, &connector_ops, uplink);
    set_state(uplink, CONNECTING);
    return uplink->connector != NULL;
}

/* The same for a program that makes connection and login; it has a limit of its own. */
static bool
begin_command(struct uplink *uplink)
{
    const struct ssh_command_config config = {
        .command = uplink->ssh_command,
        .folder = uplink->folder,
        .to = login_config(uplink),
    };
    uplink->command = ssh_command_new(uplink->loop, &config, &login_ops, uplink);
    set_state(uplink, COMMAND);
    return uplink->command != NULL;
}

static void
next_address(struct uplink *uplink)
{
    while (uplink->tried < uplink->address_count) {
        if (uplink->tried++ > 0)
            uplink->address = (uplink->address + 1) % uplink->address_count;
        if (uplink->ssh_command != NULL ? begin_command(uplink) : begin_connection(uplink))
            return;
        note_failure(uplink, UPLINK_UNREACHABLE, "out of memory");
    }
    attempt_failed(uplink);
}

static void
begin_attempt(struct uplink *uplink)
{
    uplink->tried = 0;
    uplink->any_refused = false;
    uplink->any_failed = false;
    uplink->error = UPLINK_PROTOCOL;
    cbx_fail(&uplink->text, 0, "no address of the hub, or no key to log in with");
    if (!uplink->has_key)
        uplink->tried = uplink->address_count;
    next_address(uplink);
}

static void
on_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop;
    (void)events;
    struct uplink *uplink = timer->data;
    if (uplink->state != LOGIN) {
        begin_attempt(uplink);
        return;
    }
    struct cbx_error text;
    cbx_fail(&text, 0, "%s: the SSH login did not end within %.3g s: is that the hub's port?",
             uplink->addresses[uplink->address], (double)uplink->connect_timeout_ms / 1000.);
    address_failed(uplink, UPLINK_PROTOCOL, text.text);
}

static void
network_changed(void *arg)
{
    struct uplink *uplink = arg;
    if (uplink->state == WAITING && !uplink->by_hub)
        uplink_start(uplink);
}

/* ---- what the header promises -------------------------------------------------------------- */

static void
copy_token(struct uplink *uplink, const struct cbx_token *where)
{
    uplink->address_count = where->address_count < CBX_TOKEN_ADDRESSES_MAX
                                ? where->address_count
                                : CBX_TOKEN_ADDRESSES_MAX;
    memcpy(uplink->addresses, where->address, sizeof uplink->addresses);
    memcpy(uplink->host_key_sha256, where->host_key_sha256, sizeof uplink->host_key_sha256);
    memcpy(uplink->user, where->user, sizeof uplink->user);
}

struct uplink *
uplink_new(struct ev_loop *loop, const struct uplink_config *config, const struct uplink_ops *ops,
           void *arg)
{
    struct uplink *uplink = calloc(1, sizeof *uplink);
    if (uplink == NULL || sodium_init() < 0) {
        free(uplink);
        return NULL;
    }
    uplink->loop = loop;
    uplink->ops = ops;
    uplink->arg = arg;
    uplink->connect_timeout_ms =
        config->connect_timeout_ms > 0 ? config->connect_timeout_ms : DEFAULT_CONNECT_TIMEOUT_MS;
    backoff_init(&uplink->backoff, config->backoff_min_ms, config->backoff_refused_max_ms,
                 config->backoff_max_ms);
    copy_token(uplink, config->where);
    ev_init(&uplink->timer, on_timer);
    uplink->timer.data = uplink;
    set_state(uplink, STOPPED);
    uplink->via = config->via != NULL ? strdup(config->via) : NULL;
    uplink->netwatch = netwatch_new(loop, 0, network_changed, uplink);
    bool whole = uplink->netwatch != NULL && (config->via == NULL || uplink->via != NULL);
    if (config->ssh_command != NULL) {
        uplink->ssh_command = strdup(config->ssh_command);
        uplink->folder = strdup(config->folder);
        whole = whole && uplink->ssh_command != NULL && uplink->folder != NULL;
    }
    if (!whole) {
        uplink_free(uplink);
        return NULL;
    }
    return uplink;
}

void
uplink_login(struct uplink *uplink, const struct cbx_keypair *key)
{
    uplink->key = *key;
    uplink->has_key = true;
}

void
uplink_start(struct uplink *uplink)
{
    if (uplink->state != STOPPED && uplink->state != WAITING)
        return;
    set_state(uplink, STARTING);
    set_timer(uplink, 0);
}

void
uplink_lost(struct uplink *uplink, int64_t retry_ms)
{
    if (uplink->state != UP)
        return;
    if (cbx_clock_us() - uplink->up_since_us >= (int64_t)STABLE_LINK_MS * 1000)
        backoff_reset(&uplink->backoff);
    uplink->by_hub = retry_ms > 0;
    if (retry_ms <= 0)
        retry_ms = backoff_next(&uplink->backoff, BACKOFF_OTHER, randombytes_uniform);
    wait_for(uplink, retry_ms);
}

void
uplink_stop(struct uplink *uplink)
{
    drop_attempt(uplink);
    set_state(uplink, STOPPED);
}

void
uplink_free(struct uplink *uplink)
{
    if (uplink == NULL)
        return;
    drop_attempt(uplink);
    netwatch_free(uplink->netwatch);
    if (uplink->via != NULL)
        sodium_memzero(uplink->via, strlen(uplink->via)); /* it may hold a password */
    free(uplink->via);
    free(uplink->ssh_command);
    free(uplink->folder);
    sodium_memzero(&uplink->key, sizeof uplink->key);
    free(uplink);
}

const char *
uplink_state(const struct uplink *uplink)
{
    return uplink->state_text;
}

const char *
uplink_address(const struct uplink *uplink)
{
    return uplink->addresses[uplink->address];
}
