/* SPDX-License-Identifier: MIT */
/*
 * What a running agent answers on its control socket. Requests and answers are one JSON object a
 * line (common/command/control.h); a failure is {"ok":false,"error":"one line"}.
 *
 *   {"cmd":"status"}  ->  agent_status_json (status.h)
 *   {"cmd":"peers", "streams":true}   ->  agent_peers_json
 *   {"cmd":"down"}    ->  {"ok":true, "pid":17}; the agent ends, then the connection closes
 *   {"cmd":"wait", "name":"web.cbx", "port":8080, "timeout_ms":30000}
 *       ->  {"ok":true} once the port accepts; dials again and again until then
 *   {"cmd":"dial", "name":"web.cbx", "port":22}, with one end of a socket pair
 *       ->  {"ok":true, "event":"opened"}, then {"ok":true, "event":"closed"} when both directions
 *           have ended cleanly and all is acknowledged; a reset is a failure with its reason
 *
 *   {"cmd":"netcheck", "timeout_ms":10000}   ->  {"ok":true, "agent":"running", "checks":[...]}
 *
 * A dial or a wait lives as long as its client: a command that is killed takes its dial with it.
 * Tested by test_commands.py and test_refusals.py.
 */
#include "agent/daemon/control.h"

#include "agent/daemon/netcheck.h"
#include "agent/daemon/status.h"
#include "agent/front/front.h"
#include "common/base/clock.h"
#include "common/base/names.h"
#include "common/command/control.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Between two tries of a wait, and for one of them. */
enum { WAIT_PAUSE_MS = 200, WAIT_DIAL_MS = 10000, WAIT_MAX_MS = 24 * 3600 * 1000 };

struct agent_request {
    LIST_ENTRY(agent_request) entry;
    struct agent *agent;
    struct cbx_control_client *client;
    struct front_dial *dial; /* NULL: none runs */
    struct agent_netcheck *check;
    bool waits;    /* a wait, else a dial */
    bool answered; /* the client has its last word */
    char name[CBX_NAME_MAX + 1];
    uint16_t port;
    int64_t deadline_us; /* of a wait */
    ev_timer again;
};

static void
request_free(struct agent_request *request)
{
    if (request->dial)
        front_dial_cancel(request->dial);
    agent_netcheck_free(request->check);
    ev_timer_stop(request->agent->loop, &request->again);
    LIST_REMOVE(request, entry);
    cbx_control_set_user(request->client, NULL);
    free(request);
}

/* Why it failed; a peer is "away" also when we are. */
static void
refuse(struct agent_request *request, enum cbx_reason reason, const char *remedy)
{
    const struct agent *agent = request->agent;
    bool ours =
        agent->attached_at == 0 && (reason == CBX_REASON_PEER_AWAY ||
                                    reason == CBX_REASON_TIMED_OUT || reason == CBX_REASON_LOST);
    if (ours)
        cbx_control_reply_error(request->client, "%s (this agent is not attached to the hub%s%s)",
                                cbx_reason_text(reason), agent->trouble[0] != '\0' ? ": " : "",
                                agent->trouble);
    else
        cbx_control_reply_error(request->client, "%s%s%s", cbx_reason_text(reason),
                                remedy[0] ? "; " : "", remedy);
    cbx_control_finish(request->client);
    request->answered = true;
}

static void
answer_ok(struct agent_request *request, const char *event, bool last)
{
    json_t *answer = json_pack("{s:b}", "ok", 1);
    if (event && json_object_set_new(answer, "event", json_string(event)) != 0) {
        json_decref(answer);
        answer = NULL;
    }
    cbx_control_reply(request->client, answer);
    if (!last)
        return;
    cbx_control_finish(request->client);
    request->answered = true;
}

/* ---- dial ---- */

static void
dial_opened(void *arg)
{
    struct agent_request *request = arg;
    answer_ok(request, "opened", false);
}

static void
dial_closed(void *arg, enum cbx_reason reason, bool by_target, const char *remedy)
{
    struct agent_request *request = arg;
    (void)by_target;
    request->dial = NULL;
    if (reason == CBX_REASON_NONE)
        answer_ok(request, "closed", true);
    else
        refuse(request, reason, remedy);
}

static const struct front_dial_ops dial_ops = {.opened = dial_opened, .closed = dial_closed};

/* ---- wait ---- */

static void
wait_opened(void *arg)
{
    struct agent_request *request = arg;
    if (!request->answered)
        answer_ok(request, NULL, true);
}

static void
wait_closed(void *arg, enum cbx_reason reason, bool by_target, const char *remedy)
{
    struct agent_request *request = arg;
    (void)by_target;
    request->dial = NULL;
    if (request->answered)
        return;
    if (cbx_clock_us() + WAIT_PAUSE_MS * 1000 >= request->deadline_us) {
        refuse(request, reason, remedy);
        return;
    }
    ev_now_update(request->agent->loop);
    ev_timer_set(&request->again, WAIT_PAUSE_MS / 1e3, 0.);
    ev_timer_start(request->agent->loop, &request->again);
}

static const struct front_dial_ops wait_ops = {.opened = wait_opened, .closed = wait_closed};

static void
wait_dial(struct agent_request *request)
{
    int64_t left_ms = (request->deadline_us - cbx_clock_us()) / 1000;
    if (left_ms > WAIT_DIAL_MS)
        left_ms = WAIT_DIAL_MS;
    if (left_ms < 1)
        left_ms = 1;
    request->dial = front_dial(request->agent->front, request->name, request->port, -1, left_ms,
                               &wait_ops, request);
    if (!request->dial)
        refuse(request, CBX_REASON_OVERLOADED, cbx_reason_remedy(CBX_REASON_OVERLOADED));
}

static void
on_again(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop;
    (void)events;
    struct agent_request *request = timer->data;
    wait_dial(request);
}

/* ---- requests ---- */

/* NULL after it has answered why not. */
static struct agent_request *
request_add(struct agent *agent, struct cbx_control_client *client)
{
    struct agent_request *request = calloc(1, sizeof *request);
    if (!request) {
        cbx_control_reply_error(client, "out of memory");
        cbx_control_finish(client);
        return NULL;
    }
    request->agent = agent;
    request->client = client;
    ev_init(&request->again, on_again);
    request->again.data = request;
    LIST_INSERT_HEAD(&agent->requests, request, entry);
    cbx_control_set_user(client, request);
    return request;
}

/* Reads name and port too. */
static struct agent_request *
request_new(struct agent *agent, struct cbx_control_client *client, json_t *object)
{
    const char *name = NULL;
    json_int_t port = 0;
    if (json_unpack(object, "{s:s, s:I}", "name", &name, "port", &port) != 0 || port < 1 ||
        port > UINT16_MAX || strlen(name) > CBX_NAME_MAX) {
        cbx_control_reply_error(client, "a name and a port are expected");
        cbx_control_finish(client);
        return NULL;
    }
    struct agent_request *request = request_add(agent, client);
    if (request) {
        memcpy(request->name, name, strlen(name) + 1);
        request->port = (uint16_t)port;
    }
    return request;
}

static void
on_dial(struct agent *agent, struct cbx_control_client *client, json_t *object, int *fd)
{
    if (*fd < 0) {
        cbx_control_reply_error(client, "a dial needs a descriptor");
        cbx_control_finish(client);
        return;
    }
    struct agent_request *request = request_new(agent, client, object);
    if (!request)
        return;
    request->dial =
        front_dial(agent->front, request->name, request->port, *fd, 0, &dial_ops, request);
    *fd = -1;
    if (!request->dial)
        refuse(request, CBX_REASON_OVERLOADED, cbx_reason_remedy(CBX_REASON_OVERLOADED));
}

static void
on_wait(struct agent *agent, struct cbx_control_client *client, json_t *object)
{
    json_int_t timeout_ms = json_integer_value(json_object_get(object, "timeout_ms"));
    if (timeout_ms < 0 || timeout_ms > WAIT_MAX_MS)
        timeout_ms = WAIT_MAX_MS;
    struct agent_request *request = request_new(agent, client, object);
    if (!request)
        return;
    request->waits = true;
    request->deadline_us = cbx_clock_us() + timeout_ms * 1000;
    wait_dial(request);
}

static void
netcheck_done(void *arg, json_t *document)
{
    struct agent_request *request = arg;
    agent_netcheck_free(request->check);
    request->check = NULL;
    if (document)
        json_object_set_new(document, "ok", json_true());
    if (document)
        cbx_control_reply(request->client, document);
    else
        cbx_control_reply_error(request->client, "out of memory");
    cbx_control_finish(request->client);
    request->answered = true;
}

static void
on_netcheck(struct agent *agent, struct cbx_control_client *client, json_t *object)
{
    json_int_t timeout_ms = json_integer_value(json_object_get(object, "timeout_ms"));
    if (timeout_ms < 1 || timeout_ms > WAIT_MAX_MS)
        timeout_ms = 0;
    struct agent_request *request = request_add(agent, client);
    if (!request)
        return;
    request->check = agent_netcheck_new(agent, timeout_ms, netcheck_done, request);
    if (!request->check)
        refuse(request, CBX_REASON_OVERLOADED, cbx_reason_remedy(CBX_REASON_OVERLOADED));
}

static void
on_request(void *arg, struct cbx_control_client *client, json_t *object, int fd)
{
    struct agent *agent = arg;
    const char *command = json_string_value(json_object_get(object, "cmd"));
    if (cbx_control_user(client)) {
        cbx_control_reply_error(client, "one request at a time");
        cbx_control_finish(client);
    } else if (strcmp(command, "status") == 0) {
        cbx_control_reply(client, agent_status_json(agent));
        cbx_control_finish(client);
    } else if (strcmp(command, "peers") == 0) {
        cbx_control_reply(
            client, agent_peers_json(agent, json_is_true(json_object_get(object, "streams"))));
        cbx_control_finish(client);
    } else if (strcmp(command, "down") == 0) {
        cbx_control_reply(client, json_pack("{s:b, s:I}", "ok", 1, "pid", (json_int_t)getpid()));
        agent_stop(agent, 0, NULL);
    } else if (!agent->front) {
        cbx_control_reply_error(client, "%s", cbx_reason_text(CBX_REASON_GOING_AWAY));
        cbx_control_finish(client);
    } else if (strcmp(command, "dial") == 0) {
        on_dial(agent, client, object, &fd);
    } else if (strcmp(command, "wait") == 0) {
        on_wait(agent, client, object);
    } else if (strcmp(command, "netcheck") == 0) {
        on_netcheck(agent, client, object);
    } else {
        cbx_control_reply_error(client,
                                "the running agent does not know this request: is it older than "
                                "this command?");
        cbx_control_finish(client);
    }
    if (fd >= 0)
        close(fd);
}

static void
on_gone(void *arg, struct cbx_control_client *client)
{
    (void)arg;
    struct agent_request *request = cbx_control_user(client);
    if (request)
        request_free(request);
}

int
agent_control_start(struct agent *agent, struct cbx_error *error)
{
    static const struct cbx_control_ops ops = {.request = on_request, .gone = on_gone};
    agent->control =
        cbx_control_listen(agent->loop, agent->settings->state_dir, &ops, agent, error);
    return agent->control != NULL ? CBX_OK : CBX_ERR_IO;
}

void
agent_control_abandon(struct agent *agent)
{
    struct agent_request *request;
    while ((request = LIST_FIRST(&agent->requests))) {
        if (!request->answered)
            refuse(request, CBX_REASON_GOING_AWAY, cbx_reason_remedy(CBX_REASON_GOING_AWAY));
        request_free(request);
    }
}
