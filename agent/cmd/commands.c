/* SPDX-License-Identifier: MIT */
/* Tested by test_commands.py and test_damage.py. */
#include "agent/cmd/commands.h"

#include "common/base/log.h"
#include "common/command/state_dir.h"

bool
agent_find_state(const struct cbx_args *args, char out[PATH_MAX])
{
    struct cbx_error error;
    if (cbx_state_dir(cbx_arg(args, "state"), "agent", out, PATH_MAX, &error) == CBX_OK)
        return true;
    cbx_log_error("%s", error.text);
    return false;
}

struct cbx_call *
agent_call(const struct cbx_args *args, int64_t wait_ms)
{
    char state_dir[PATH_MAX];
    if (!agent_find_state(args, state_dir))
        return NULL;
    struct cbx_error error;
    struct cbx_call *call;
    int result = cbx_call_open(&call, state_dir, wait_ms, &error);
    if (result == CBX_OK)
        return call;
    if (result == CBX_ERR_NOTFOUND)
        cbx_log_error("no agent runs with the state folder %s: start it with \"cbx-agent run\" or "
                      "\"up\", or name another folder with --state",
                      state_dir);
    else
        cbx_log_error("%s", error.text);
    return NULL;
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
    const char *text = cbx_arg(args, "timeout");
    if (text && cbx_duration_parse(text, milliseconds) != CBX_OK)
        return cbx_usage(args, "--timeout '%s' is not a duration with a unit, such as 30s", text);
    return CBX_EXIT_OK;
}
