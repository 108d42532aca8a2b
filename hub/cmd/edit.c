/* SPDX-License-Identifier: MIT */
/*
 * Commands that change something in the running hub, and the hidden one that sshd runs. Tested by
 * test_trust.py and test_restart.py.
 */
#include "common/base/names.h"
#include "hub/cmd/cmd.h"
#include "hub/cmd/lookup.h"
#include "hub/login/attach.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { GONE_WAIT_MS = 8000 };

int
cmd_uninvite(const struct cbx_command *command, void *parsed)
{
    const struct cbx_args *args = parsed;
    const char *id = cbx_operand(args, 0);
    char state_dir[CMD_STATE_MAX];
    int status = cmd_begin(command, args, 0, state_dir);

    if (status != CBX_EXIT_OK)
        return status;
    status =
        cmd_call(command, state_dir, 0, json_pack("{s:s, s:s}", "cmd", "uninvite", "id", id), NULL);
    if (status == CBX_EXIT_OK)
        (void)fprintf(stderr, "invite %s withdrawn: its token is no longer valid\n", id);
    return status;
}

int
cmd_revoke(const struct cbx_command *command, void *parsed)
{
    const struct cbx_args *args = parsed;
    const char *slug = cbx_operand(args, 0), *pond = cmd_pond(args);
    char state_dir[CMD_STATE_MAX], only[CBX_SLUG_MAX + 1];

    if (!pond)
        return CBX_EXIT_USAGE;
    if (!cbx_slug_valid(slug, strlen(slug)))
        return cbx_usage(args, "'%s' is not a slug; `cbx-hub peers` lists them", slug);
    int status = cmd_begin(command, args, 0, state_dir);
    if (status == CBX_EXIT_OK && !cbx_arg(args, "pond")) {
        status = cmd_find_pond(command, state_dir, slug, only);
        pond = only;
    }
    if (status != CBX_EXIT_OK)
        return status;
    status =
        cmd_call(command, state_dir, 0,
                 json_pack("{s:s, s:s, s:s}", "cmd", "revoke", "pond", pond, "slug", slug), NULL);
    if (status == CBX_EXIT_OK)
        (void)fprintf(stderr,
                      "%s of pond %s revoked: disconnected, its key and certificate removed from "
                      "this hub\n",
                      slug, pond);
    return status;
}

/* True once the process is gone. A pidfd also knows of one that nobody has reaped yet. */
static bool
wait_for_end(pid_t pid)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);

    if (fd >= 0) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        bool ended = poll(&wait, 1, GONE_WAIT_MS) > 0;

        (void)close(fd);
        return ended;
    }
    for (int ms = 0; ms < GONE_WAIT_MS; ms += 20) {
        if (kill(pid, 0) != 0 && errno == ESRCH)
            return true;
        (void)poll(NULL, 0, 20);
    }
    return false;
}

int
cmd_shutdown(const struct cbx_command *command, void *parsed)
{
    char state_dir[CMD_STATE_MAX], text[128];
    json_t *answer = NULL;
    int status = cmd_begin(command, parsed, 0, state_dir);

    if (status == CBX_EXIT_OK)
        status = cmd_call(command, state_dir, 0, json_pack("{s:s}", "cmd", "shutdown"), &answer);
    if (status != CBX_EXIT_OK)
        return status;
    pid_t pid = (pid_t)json_integer_value(json_object_get(answer, "pid"));
    json_decref(answer);
    if (pid > 1 && wait_for_end(pid))
        return CBX_EXIT_OK;
    (void)snprintf(text, sizeof text, "the hub (pid %ld) accepted the request but is still running",
                   (long)pid);
    return cmd_fail(command, text);
}

/* No libsodium, no look for the state folder, no memory that is not needed: many of these sleep. */
int
cmd_attach(const struct cbx_command *command, void *parsed)
{
    const struct cbx_args *args = parsed;
    const char *state = cbx_arg(args, "state"), *key = cbx_arg(args, "key");

    (void)command;
    if (!state || !key)
        return cbx_usage(args, "--state and --key are required: the hub's sshd passes them");
    return attach_run(state, key);
}
