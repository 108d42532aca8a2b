/* SPDX-License-Identifier: MIT */
/*
 * join, run and up: the commands that run an agent. Tested by test_damage.py and
 * test_ssh_command.py.
 */
#include "agent/cmd/commands.h"

#include "agent/cmd/token_input.h"
#include "common/base/log.h"

#include <stdio.h>

enum { FIRST_ATTACH_MS = 60 * 1000 };

/* Reads settings and, when source names one or CBX_TOKEN held one, the token. */
struct prepared {
    struct agent_settings settings;
    struct cbx_token token;
    struct cbx_error missing;
    struct agent_start start;
};

static int
prepare_settings(struct prepared *p, const struct cbx_args *args)
{
    struct cbx_error error;
    int result = agent_settings_init(&p->settings, args, &error);
    p->start = (struct agent_start){.settings = &p->settings, .report_fd = -1};
    return result == CBX_OK ? CBX_EXIT_OK : agent_fail(args, result, error.text);
}

/* A token that is not there is left to the state: it may have joined already. */
static int
prepare_token(struct prepared *p, const struct cbx_args *args)
{
    const char *source = cbx_operand(args, 0);
    int result = agent_token_read(source, &p->token, &p->missing);
    if (result == CBX_OK) {
        p->start.token = &p->token;
        return CBX_EXIT_OK;
    }
    if (result == CBX_ERR_NOTFOUND) {
        p->start.token_missing = source != NULL ? p->missing.text : NULL;
        return CBX_EXIT_OK;
    }
    return agent_fail(args, result, p->missing.text);
}

/* Not in the background: who keeps what we say may want to know when. */
static int
run_here(struct prepared *p)
{
    enum agent_log_times times = p->settings.log_times;
    cbx_log_times(times == AGENT_LOG_TIMES_AUTO ? cbx_log_wants_times()
                                                : times == AGENT_LOG_TIMES_YES);
    return agent_run(&p->start);
}

static void
dispose(struct prepared *p)
{
    cbx_token_wipe(&p->token);
    agent_token_forget();
    agent_settings_dispose(&p->settings);
}

int
agent_cmd_join(const struct cbx_command *command, void *parsed)
{
    (void)command;
    struct prepared p = {0};
    int status = prepare_settings(&p, parsed);
    if (status == CBX_EXIT_OK)
        status = prepare_token(&p, parsed);
    p.start.goal = AGENT_GOAL_JOIN;
    p.start.timeout_ms = FIRST_ATTACH_MS;
    if (status == CBX_EXIT_OK)
        status = agent_read_timeout(parsed, &p.start.timeout_ms);
    if (status == CBX_EXIT_OK)
        status = agent_run(&p.start);
    dispose(&p);
    return status;
}

int
agent_cmd_run(const struct cbx_command *command, void *parsed)
{
    (void)command;
    struct prepared p = {0};
    int status = prepare_settings(&p, parsed);
    if (status == CBX_EXIT_OK)
        status = run_here(&p);
    dispose(&p);
    return status;
}

int
agent_cmd_up(const struct cbx_command *command, void *parsed)
{
    (void)command;
    struct prepared p = {0};
    bool detach = cbx_arg(parsed, "detach") != NULL;
    int status = prepare_settings(&p, parsed);
    if (status == CBX_EXIT_OK)
        status = prepare_token(&p, parsed);
    p.start.timeout_ms = detach ? FIRST_ATTACH_MS : 0;
    if (status == CBX_EXIT_OK)
        status = agent_read_timeout(parsed, &p.start.timeout_ms);
    if (status == CBX_EXIT_OK)
        status = detach ? agent_detach(&p.start) : run_here(&p);
    dispose(&p);
    return status;
}
