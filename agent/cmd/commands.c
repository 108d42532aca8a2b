/* SPDX-License-Identifier: MIT */
/* Tested by test_commands.py and test_damage.py. */
#include "agent/cmd/commands.h"

#include "common/base/log.h"
#include "common/command/state_dir.h"
#include "common/os/become.h"

enum { ANSWER_MS = 10 * 1000 };

/* `--timeout 0s`, tried once, is what scripts write; beyond a day it is no waiting. */
static const int64_t TIMEOUT_MIN_MS = 0, TIMEOUT_MAX_MS = 24 * 3600 * 1000;

int
agent_fail(const struct cbx_args *args, int result, const char *text)
{
    int status = cbx_exit_of(result);
    if (status == CBX_EXIT_USAGE)
        return cbx_usage(args, "%s", text);
    cbx_log_error("%s", text);
    return status;
}

int
agent_find_state(const struct cbx_args *args, char out[PATH_MAX])
{
    struct cbx_error error;
    int result = cbx_state_dir(cbx_arg(args, "state"), "agent", out, PATH_MAX, &error);
    if (result == CBX_OK)
        result = cbx_become_owner(out, &error);
    return result == CBX_OK ? CBX_EXIT_OK : agent_fail(args, result, error.text);
}

int
agent_call(const struct cbx_args *args, int64_t wait_ms, struct cbx_call **call)
{
    char state_dir[PATH_MAX];
    *call = NULL;
    int status = agent_find_state(args, state_dir);
    if (status != CBX_EXIT_OK)
        return status;
    struct cbx_error error;
    int result = cbx_call_open(call, state_dir, wait_ms, &error);
    if (result == CBX_OK)
        return CBX_EXIT_OK;
    if (result == CBX_ERR_NOTFOUND)
        cbx_log_error("no agent runs with the state folder %s: start it with \"cbx-agent run\" or "
                      "\"up\", or name another folder with --state",
                      state_dir);
    else
        cbx_log_error("%s", error.text);
    return CBX_EXIT_FAILURE;
}

int
agent_ask(const struct cbx_args *args, json_t *request, json_t **answer)
{
    struct cbx_call *call;
    *answer = NULL;
    int status = agent_call(args, 0, &call);
    if (status != CBX_EXIT_OK) {
        json_decref(request);
        return status;
    }
    struct cbx_error error;
    int result = cbx_call_send(call, request, -1, &error);
    if (result == CBX_OK)
        result = cbx_call_next(call, ANSWER_MS, answer, &error);
    cbx_call_close(call);
    if (result == CBX_OK)
        return CBX_EXIT_OK;
    cbx_log_error("%s", error.text);
    json_decref(*answer);
    *answer = NULL;
    return CBX_EXIT_FAILURE;
}

int
agent_read_address(const struct cbx_args *args, struct agent_address *out)
{
    out->text = cbx_operand(args, 0);
    if (cbx_host_port_parse(out->text, out->name, sizeof out->name, &out->port) != CBX_OK)
        return cbx_usage(args, "'%s' is not NAME:PORT, such as web.cbx:8080", out->text);
    return CBX_EXIT_OK;
}

int
agent_read_timeout(const struct cbx_args *args, int64_t *milliseconds)
{
    return cbx_arg_duration(args, "timeout", TIMEOUT_MIN_MS, TIMEOUT_MAX_MS, milliseconds);
}
