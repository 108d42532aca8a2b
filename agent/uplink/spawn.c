/* SPDX-License-Identifier: MIT */
/* Tested by test_child and test_ssh_command. */
#include "agent/uplink/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The environment with name=value in it, in one piece of memory. */
static char **
environment_with(const char *name, const char *value)
{
    size_t count = 0, length = name != NULL ? strlen(name) + strlen(value) + 2 : 0;
    while (environ[count])
        count++;
    char **made = malloc((count + 2) * sizeof *made + length);
    if (!made)
        return NULL;
    char *added = (char *)(made + count + 2);
    size_t used = 0, name_length = name != NULL ? strlen(name) : 0;
    for (size_t i = 0; i < count; i++) {
        bool same = name != NULL && strncmp(environ[i], name, name_length) == 0 &&
                    environ[i][name_length] == '=';
        if (!same)
            made[used++] = environ[i];
    }
    if (name) {
        (void)snprintf(added, length, "%s=%s", name, value);
        made[used++] = added;
    }
    made[used] = NULL;
    return made;
}

/* What the agent ignores (SIGPIPE) an ssh client must not, nor what a thread may have blocked. */
static int
spawn(pid_t *pid, char *const *argv, char *const *environment, const int far[3])
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, usual;
    (void)sigemptyset(&none);
    (void)sigemptyset(&usual);
    (void)sigaddset(&usual, SIGPIPE);
    int failed = posix_spawn_file_actions_init(&actions);
    if (failed != 0)
        return failed;
    failed = posix_spawnattr_init(&attributes);
    if (failed == 0) {
        for (int i = 0; i < 3 && failed == 0; i++)
            failed = posix_spawn_file_actions_adddup2(&actions, far[i], i);
        (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF |
                                                        POSIX_SPAWN_SETSIGMASK);
        (void)posix_spawnattr_setsigmask(&attributes, &none);
        (void)posix_spawnattr_setsigdefault(&attributes, &usual);
        if (failed == 0)
            failed = posix_spawnp(pid, argv[0], &actions, &attributes, argv, environment);
        (void)posix_spawnattr_destroy(&attributes);
    }
    (void)posix_spawn_file_actions_destroy(&actions);
    return failed;
}

static void
close_both(int pair[2])
{
    for (int i = 0; i < 2; i++) {
        if (pair[i] >= 0)
            (void)close(pair[i]);
        pair[i] = -1;
    }
}

int
spawn_piped(char *const *argv, const char *name, const char *value, pid_t *pid, int ours[3],
            struct cbx_error *error)
{
    int pipes[3][2] = {{-1, -1}, {-1, -1}, {-1, -1}};
    int failed = 0;
    for (int i = 0; i < 3 && failed == 0; i++)
        failed = pipe2(pipes[i], O_CLOEXEC) == 0 ? 0 : errno;
    char **environment = failed == 0 ? environment_with(name, value) : NULL;
    if (failed == 0 && !environment)
        failed = ENOMEM;
    if (failed == 0) {
        const int far[3] = {pipes[0][0], pipes[1][1], pipes[2][1]};
        failed = spawn(pid, argv, environment, far);
    }
    free(environment);
    for (int i = 0; i < 3 && failed == 0; i++) {
        int *end = &pipes[i][i == 0 ? 1 : 0];
        ours[i] = *end;
        *end = -1;
        (void)fcntl(ours[i], F_SETFL, O_NONBLOCK); /* nothing else is set on a new pipe */
    }
    for (int i = 0; i < 3; i++)
        close_both(pipes[i]);
    if (failed != 0)
        return cbx_fail(error, CBX_ERR_IO, "cannot run %s: %s", argv[0], strerror(failed));
    return CBX_OK;
}
