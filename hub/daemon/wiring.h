/* SPDX-License-Identifier: MIT */
/*
 * How the parts of the running hub hang together:
 *
 *   accept -> listen -> spawner -> sshd -> attach -> hub_core_attach
 *   core: commit -> commit -> store -> hub_core_committed, waiting commands
 */
#ifndef HUB_DAEMON_WIRING_H
#define HUB_DAEMON_WIRING_H

#include "hub/daemon/process.h"

/* Makes core, logins, door and commands; loop and store are there. What was made before an error
 * stays in serve. */
int wiring_make(struct serve *serve, struct cbx_error *error);
/* Exits of sshd are reported from here on. */
void wiring_watch_spawner(struct serve *serve);

#endif
