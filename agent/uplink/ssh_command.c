/* SPDX-License-Identifier: MIT */
/*
 * One try: the program is started at the next turn of the loop, what it prints is searched for the
 * hub's magic, and then it is a carrier. It fails when it exits, closes its output, prints too much
 * that is no magic, or takes too long; the socket for the key is there that long and no longer.
 *
 * What the failure is, is not guessed from its words alone, which a server on the way can make it
 * say. A wrong host key and the start of the login are what the socket saw; "denied" (which ends
 * a join) is a login that began at the pinned host, where no signature was asked for, and which
 * ssh itself calls a denial.
 */
#include "agent/uplink/ssh_command.h"

#include "agent/uplink/child.h"
#include "agent/uplink/ssh_agent_socket.h"
#include "agent/uplink/ssh_command_argv.h"
#include "agent/uplink/stdio_carrier.h"
#include "common/base/states.h"
#include "common/link/link.h"

#include <errno.h>
#include <ev.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OUTPUT_GRACE_MS = 1000, SHOWN_MAX = 60 };

enum command_state {
    COMMAND_NEW,     /* the program is started at the next turn of the loop */
    COMMAND_RUNNING, /* the magic is awaited */
    COMMAND_SILENT,  /* its output has ended; its exit is awaited */
    COMMAND_OVER,    /* the owner was told */
};

static const struct cbx_states command_states = {
    .what = "ssh-command",
    .state =
        {
            [COMMAND_NEW] = {"new", CBX_STATE(COMMAND_RUNNING) | CBX_STATE(COMMAND_OVER)},
            [COMMAND_RUNNING] = {"running", CBX_STATE(COMMAND_SILENT) | CBX_STATE(COMMAND_OVER)},
            [COMMAND_SILENT] = {"silent", CBX_STATE(COMMAND_OVER)},
            [COMMAND_OVER] = {"over", 0},
        },
};

struct ssh_command {
    struct ev_loop *loop;
    const struct ssh_login_ops *ops;
    void *arg;
    enum command_state state;
    struct argv_split argv;
    char *folder;
    int64_t timeout_ms;
    bool pins; /* ssh_command_pins */
    struct ssh_agent agent;
    struct ssh_agent_socket *socket;
    struct child *child;
    int input, output; /* of the child, -1 when there are none */
    ev_io readable;
    ev_timer timer; /* NEW: the start; RUNNING: the limit; SILENT: how long the exit is awaited */
    char address[CBX_ADDRESS_TEXT_MAX];
    size_t used;
    uint8_t bytes[CBX_LINK_JUNK_MAX + CBX_LINK_MAGIC_SIZE];
    int64_t keepalive_ms;
};

static void
set_state(struct ssh_command *command, enum command_state state)
{
    if (cbx_states_allow(&command_states, command->address, command->state, state))
        command->state = state;
}

/* ---- failures ------------------------------------------------------------------------------ */

static void
close_pipes(struct ssh_command *command)
{
    ev_io_stop(command->loop, &command->readable);
    if (command->input >= 0)
        (void)close(command->input);
    if (command->output >= 0)
        (void)close(command->output);
    command->input = command->output = -1;
}

/* Stops all of it; the owner is told last. */
static void
fail(struct ssh_command *command, enum ssh_error error, const char *text)
{
    set_state(command, COMMAND_OVER);
    ev_timer_stop(command->loop, &command->timer);
    close_pipes(command);
    child_end(command->child);
    command->child = NULL;
    ssh_agent_close(command->socket);
    command->socket = NULL;
    command->ops->failed(command->arg, error, text);
}

/* Why it did not become a link, as the user should hear it: what the socket saw, else what
 * happened with what the program said. */
static void
fail_program(struct ssh_command *command, bool denies, const char *what)
{
    const struct ssh_agent *agent = &command->agent;
    const char *said = command->child != NULL ? child_tail(command->child) : "";
    struct cbx_error text;
    enum ssh_error error = SSH_PROTOCOL;
    if (agent->host_key_wrong) {
        char seen[CBX_FINGERPRINT_TEXT_MAX], pinned[CBX_FINGERPRINT_TEXT_MAX];
        error = SSH_HOST_KEY;
        cbx_fingerprint_text(agent->host_key_seen, seen);
        cbx_fingerprint_text(agent->host_key_sha256, pinned);
        cbx_fail(&text, 0,
                 "%s presented the host key %s, but this lease's token pins %s: another machine "
                 "answers there, or the hub was set up anew (then ask for a new invite)",
                 command->address, seen, pinned);
    } else if (denies && agent->listed && !agent->signed_once &&
               strstr(said, "Permission denied")) {
        error = SSH_DENIED;
        cbx_fail(&text, 0,
                 "%s refused the login as %s: this key is unknown, expired or revoked there; ask "
                 "the operator for a new invite",
                 command->address, agent->user);
    } else {
        if (strstr(said, "Connection refused"))
            error = SSH_REFUSED;
        cbx_fail(&text, 0, "ssh-command (%s) %s%s%s", command->address, what,
                 said[0] != '\0' ? ": " : "", said);
    }
    fail(command, error, text.text);
}

static void
on_exit_of_program(void *arg, int status)
{
    struct ssh_command *command = arg;
    char text[40], what[80];
    child_status_text(status, text, sizeof text);
    (void)snprintf(what, sizeof what, "%s before the hub answered", text);
    fail_program(command, true, what);
}

/* ---- the hub's magic ----------------------------------------------------------------------- */

static void
hand_over(struct ssh_command *command, const uint8_t *magic)
{
    if (command->pins && !command->agent.host_key_right) {
        fail_program(command, false, "connected without verifying the host key");
        return;
    }
    ev_timer_stop(command->loop, &command->timer);
    ev_io_stop(command->loop, &command->readable);
    ssh_agent_close(command->socket);
    command->socket = NULL;
    struct cbx_carrier *carrier =
        stdio_carrier_new(command->loop, command->child, command->input, command->output, magic,
                          (size_t)(command->bytes + command->used - magic));
    if (!carrier) {
        fail(command, SSH_PROTOCOL, "out of memory");
        return;
    }
    child_watch(command->child, NULL, NULL);
    command->child = NULL;
    command->input = command->output = -1;
    set_state(command, COMMAND_OVER);
    command->ops->up(command->arg, carrier);
}

/* The beginning of what it printed, for people. */
static void
fail_junk(struct ssh_command *command)
{
    char shown[SHOWN_MAX + 1], what[SHOWN_MAX + 64];
    size_t used = 0;
    for (; used < SHOWN_MAX && used < command->used && command->bytes[used] != '\n'; used++)
        shown[used] = (char)(command->bytes[used] >= 0x20 && command->bytes[used] < 0x7f
                                 ? command->bytes[used]
                                 : '?');
    shown[used] = '\0';
    (void)snprintf(what, sizeof what, "printed something that is not a hub's link (\"%s\")", shown);
    fail_program(command, false, what);
}

/* Output that ended is followed by the exit, which says more; some programs linger. */
static void
note_end_of_output(struct ssh_command *command)
{
    ev_io_stop(command->loop, &command->readable);
    set_state(command, COMMAND_SILENT);
    ev_now_update(command->loop);
    ev_timer_stop(command->loop, &command->timer);
    ev_timer_set(&command->timer, OUTPUT_GRACE_MS / 1e3, 0.);
    ev_timer_start(command->loop, &command->timer);
}

static void
on_readable(struct ev_loop *loop, ev_io *io, int events)
{
    (void)loop;
    (void)events;
    struct ssh_command *command = io->data;
    ssize_t got = read(command->output, command->bytes + command->used,
                       sizeof command->bytes - command->used);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        note_end_of_output(command);
        return;
    }
    command->used += (size_t)got;
    const uint8_t *magic =
        memmem(command->bytes, command->used, cbx_link_magic, CBX_LINK_MAGIC_SIZE);
    if (magic)
        hand_over(command, magic);
    else if (command->used == sizeof command->bytes)
        fail_junk(command);
}

/* ---- its course ------------------------------------------------------------------------------ */

static int
start(struct ssh_command *command, struct cbx_error *error)
{
    struct argv_split argv = {0};
    struct ssh_command_target target = {.keepalive_ms = command->keepalive_ms};
    int result = ssh_command_target_set(&target, command->address, command->agent.user, error);
    if (result == CBX_OK)
        result = ssh_command_fill(&argv, &command->argv, &target);
    if (result == CBX_ERR_LIMIT || result == CBX_ERR_NOMEM)
        cbx_fail(error, result, result == CBX_ERR_LIMIT ? "too many words" : "out of memory");
    if (result == CBX_OK && command->pins) {
        command->socket = ssh_agent_listen(command->loop, command->folder, &command->agent, error);
        result = command->socket != NULL ? CBX_OK : CBX_ERR_IO;
    }
    if (result == CBX_OK) {
        command->child =
            child_start(command->loop, argv.word, command->pins ? SSH_AGENT_ENVIRONMENT : NULL,
                        command->pins ? ssh_agent_path(command->socket) : NULL, "ssh-command",
                        &command->input, &command->output, error);
        result = command->child != NULL ? CBX_OK : CBX_ERR_IO;
    }
    argv_split_dispose(&argv);
    return result;
}

static void
begin(struct ssh_command *command)
{
    struct cbx_error cause, text;
    if (start(command, &cause) != CBX_OK) {
        cbx_fail(&text, 0, "ssh-command: %s", cause.text);
        fail(command, SSH_PROTOCOL, text.text);
        return;
    }
    set_state(command, COMMAND_RUNNING);
    child_watch(command->child, on_exit_of_program, command);
    ev_io_set(&command->readable, command->output, EV_READ);
    ev_io_start(command->loop, &command->readable);
    ev_now_update(command->loop);
    ev_timer_set(&command->timer, (double)command->timeout_ms / 1e3, 0.);
    ev_timer_start(command->loop, &command->timer);
}

static void
on_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop;
    (void)events;
    struct ssh_command *command = timer->data;
    char what[64];
    switch (command->state) {
    case COMMAND_NEW:
        begin(command);
        break;
    case COMMAND_RUNNING:
        (void)snprintf(what, sizeof what, "did not reach a hub within %.3g s",
                       (double)command->timeout_ms / 1e3);
        fail_program(command, false, what);
        break;
    case COMMAND_SILENT:
        fail_program(command, false, "closed its output before the hub answered");
        break;
    case COMMAND_OVER:
        break;
    }
}

struct ssh_command *
ssh_command_new(struct ev_loop *loop, const struct ssh_command_config *config,
                const struct ssh_login_ops *ops, void *arg)
{
    struct ssh_command *command = calloc(1, sizeof *command);
    if (!command)
        return NULL;
    command->keepalive_ms = config->to.keepalive_ms;
    command->loop = loop;
    command->ops = ops;
    command->arg = arg;
    command->input = command->output = -1;
    command->timeout_ms = config->timeout_ms > 0 ? config->timeout_ms : SSH_COMMAND_TIMEOUT_MS;
    command->agent.key = *config->to.key;
    memcpy(command->agent.host_key_sha256, config->to.host_key_sha256,
           sizeof command->agent.host_key_sha256);
    (void)snprintf(command->agent.user, sizeof command->agent.user, "%s", config->to.user);
    (void)snprintf(command->address, sizeof command->address, "%s", config->to.address);
    ev_init(&command->readable, on_readable);
    ev_init(&command->timer, on_timer); /* no wait: the first turn starts the program */
    command->readable.data = command->timer.data = command;
    command->folder = strdup(config->folder);
    if (!command->folder || ssh_command_parse(&command->argv, config->command, NULL) != CBX_OK) {
        ssh_command_free(command);
        return NULL;
    }
    command->pins = ssh_command_pins(&command->argv);
    ev_timer_start(loop, &command->timer);
    return command;
}

void
ssh_command_free(struct ssh_command *command)
{
    if (!command)
        return;
    ev_timer_stop(command->loop, &command->timer);
    close_pipes(command);
    child_end(command->child);
    ssh_agent_close(command->socket);
    argv_split_dispose(&command->argv);
    cbx_keypair_wipe(&command->agent.key);
    free(command->folder);
    free(command);
}
