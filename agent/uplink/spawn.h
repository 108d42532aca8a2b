/* SPDX-License-Identifier: MIT */
/* Starts a program with pipes to all three of its standard descriptors, in a session of its own. */
#ifndef AGENT_UPLINK_SPAWN_H
#define AGENT_UPLINK_SPAWN_H

#include "common/base/err.h"
#include <sys/types.h>

/* argv[0] is looked for on PATH; name=value is added to the environment (name may be NULL). On
 * success ours holds our ends, non-blocking: to its input, from its output and errors. */
int spawn_piped(char *const *argv, const char *name, const char *value, pid_t *pid, int ours[3],
                struct cbx_error *error);

#endif
