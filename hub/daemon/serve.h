/* SPDX-License-Identifier: MIT */
/*
 * The running hub: one loop over the door (listen), the logins (attach), the core, the disk
 * (commit) and the commands (control). wiring.h joins them, process.h says how they stop, which
 * takes at most 5 s.
 */
#ifndef HUB_DAEMON_SERVE_H
#define HUB_DAEMON_SERVE_H

#include "common/base/err.h"
#include "hub/daemon/process.h"

/* Listens, and says so on standard output. Takes the spawner, also when it fails. */
int serve_new(struct serve **out, const struct serve_config *config, struct spawner *spawner,
              struct cbx_error *error);
/* Returns the exit status. */
int serve_run(struct serve *serve);
/* Ends every sshd and the helper, and writes what is not on disk yet. */
void serve_free(struct serve *serve);

#endif
