/* SPDX-License-Identifier: MIT */
/*
 * What the commands share, declared in cmd.h: finding the hub, asking it, printing. Tested by
 * test_commands.py and test_damage.py.
 */
#include "common/base/names.h"
#include "common/command/control_call.h"
#include "common/command/state_dir.h"
#include "common/os/become.h"
#include "hub/cmd/cmd.h"
#include <poll.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int
cmd_fail(const struct cbx_command *command, const char *text)
{
    (void)fflush(stdout);
    (void)fprintf(stderr, "cbx-hub %s: %s\n", command->name, text);
    return CBX_EXIT_FAILURE;
}

int
cmd_exit(const struct cbx_command *command, const struct cbx_args *args, int result,
         const char *text)
{
    int status = cbx_exit_of(result);

    if (status == CBX_EXIT_USAGE)
        return cbx_usage(args, "%s", text);
    return status == CBX_EXIT_OK ? status : cmd_fail(command, text);
}

/* A hub that starts as another account makes the folder first, then the socket: before that, root
 * cannot know whom to become. */
static bool
await_hub(const char *state_dir, int64_t wait_ms)
{
    char path[CMD_STATE_MAX + 16];

    (void)snprintf(path, sizeof path, "%s/control.sock", state_dir);
    for (int64_t ms = 0; ms < wait_ms && access(path, F_OK) != 0; ms += 20)
        (void)poll(NULL, 0, 20);
    return wait_ms == 0 || access(path, F_OK) == 0;
}

static int
call_fail(const struct cbx_command *command, const char *state_dir, int result,
          const struct cbx_error *error)
{
    char text[CBX_ERROR_TEXT_MAX + CMD_STATE_MAX];

    if (result != CBX_ERR_NOTFOUND)
        return cmd_fail(command, error->text);
    (void)snprintf(text, sizeof text, "no hub is running on %s (start it: cbx-hub --state %s run)",
                   state_dir, state_dir);
    return cmd_fail(command, text);
}

int
cmd_begin(const struct cbx_command *command, const struct cbx_args *args, int64_t wait_ms,
          char state_dir[CMD_STATE_MAX])
{
    struct cbx_error error;

    if (sodium_init() < 0)
        return cmd_fail(command, "libsodium cannot start");
    int result = cbx_state_dir(cbx_arg(args, "state"), "hub", state_dir, CMD_STATE_MAX, &error);
    if (result == 0 && geteuid() == 0 && !await_hub(state_dir, wait_ms))
        return call_fail(command, state_dir, CBX_ERR_NOTFOUND, &error);
    if (result == 0)
        result = cbx_become_owner(state_dir, &error);
    return cmd_exit(command, args, result, error.text);
}

int
cmd_call(const struct cbx_command *command, const char *state_dir, int64_t wait_ms, json_t *request,
         json_t **answer)
{
    struct cbx_call *call = NULL;
    json_t *got = NULL;
    struct cbx_error error = {""};

    if (!request)
        return cmd_fail(command, "out of memory");
    int result = cbx_call_open(&call, state_dir, wait_ms, &error);
    if (result != 0) {
        json_decref(request);
        return call_fail(command, state_dir, result, &error);
    }
    result = cbx_call_send(call, request, -1, &error);
    if (result == 0)
        result = cbx_call_next(call, CMD_ANSWER_MS, &got, &error);
    cbx_call_close(call);
    if (result != 0) {
        json_decref(got);
        return cmd_fail(command, error.text);
    }
    if (answer)
        *answer = got;
    else
        json_decref(got);
    return CBX_EXIT_OK;
}

const char *
cmd_pond(const struct cbx_args *args)
{
    const char *pond = cbx_arg(args, "pond");

    if (!pond)
        return "default";
    if (cbx_slug_valid(pond, strlen(pond)))
        return pond;
    (void)cbx_usage(args,
                    "--pond %s: a pond has 1 to %d of a-z, 0-9 and dash, with no dash at an end",
                    pond, CBX_SLUG_MAX);
    return NULL;
}

int
cmd_end(const struct cbx_command *command)
{
    if (fflush(stdout) == 0 && ferror(stdout) == 0)
        return CBX_EXIT_OK;
    return cmd_fail(command, "cannot write to standard output");
}

int
cmd_print_json(const struct cbx_command *command, json_t *answer)
{
    (void)json_object_del(answer, "ok");
    int result = json_dumpf(answer, stdout, JSON_INDENT(2));
    json_decref(answer);
    (void)putchar('\n');
    return result == 0 ? cmd_end(command) : cmd_fail(command, "cannot write to standard output");
}

int
cmd_table_end(const struct cbx_command *command, struct cbx_table *table)
{
    if (cbx_table_end(table))
        return cmd_end(command);
    (void)cmd_fail(command, "out of memory");
    return CBX_EXIT_FAILURE;
}
