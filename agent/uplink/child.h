/* SPDX-License-Identifier: MIT */
/*
 * A program that runs for the agent, with pipes to its standard input and output and its standard
 * error taken line by line. It has a session of its own, so no terminal: a prompt fails instead of
 * waiting, a terminal's Ctrl-C leaves it to the agent, and it ends with all that it started.
 */
#ifndef AGENT_UPLINK_CHILD_H
#define AGENT_UPLINK_CHILD_H

#include "common/base/err.h"
#include <stdint.h>
#include <sys/types.h>

struct child;
struct ev_loop;

enum {
    CHILD_END_MS = 1000,  /* after its pipes were closed, SIGTERM */
    CHILD_KILL_MS = 1000, /* after that, SIGKILL */
};

/*
 * Starts argv[0], looked for on PATH, with name=value added to the environment (name may be NULL).
 * *input leads to the program, *output from it, both non-blocking and the caller's to close.
 * name_in_log begins each logged line; borrowed. Only in the default loop: libev watches children
 * there alone. NULL with the cause in error.
 */
struct child *child_start(struct ev_loop *loop, char *const *argv, const char *name,
                          const char *value, const char *name_in_log, int *input, int *output,
                          struct cbx_error *error);
/* exited is called once, from the loop, with waitpid's status, unless child_end comes first. NULL:
 * the exit does not matter. Right after child_start, or later with NULL. */
void child_watch(struct child *child, void (*exited)(void *arg, int status), void *arg);
pid_t child_pid(const struct child *child);
/* The last lines that it said on standard error, " / " between them; "" for none. Reads what there
 * is. Printable ASCII, valid until the next call. */
const char *child_tail(struct child *child);
/* "ended with status 255", "was killed by signal 9". */
void child_status_text(int status, char *out, size_t size);

/* The caller has closed the pipes and lets go: nothing is called any more, and the program has
 * CHILD_END_MS to end by itself. Harmless with NULL. */
void child_end(struct child *child);
/* Right before the process ends, with no loop running: waits for those that were let go, and kills
 * what does not end. */
void child_end_all(void);

#endif
