/* SPDX-License-Identifier: MIT */
/*
 * The running hub: one loop that joins the door (listen), the log-ins (attach), the core, the disk
 * (commit) and the commands (control).
 *
 *   accept -> listen -> spawner -> sshd -> attach -> hub_core_attach
 *   core: commit -> commit -> store -> hub_core_committed, waiting commands
 *
 * It runs until a signal, the shutdown command or the loss of the spawner. Then: nobody new, every
 * agent is told goodbye, what is on its way gets a moment, the rest is cut. That takes at most 5 s.
 */
#ifndef HUB_DAEMON_SERVE_H
#define HUB_DAEMON_SERVE_H

#include "common/base/err.h"
#include "hub/daemon/settings.h"
#include "hub/login/spawner.h"
#include "hub/login/sshd.h"
#include "hub/registry/registry.h"
#include <stdint.h>

/* All borrowed. */
struct serve_config {
    const struct run_config *run;
    const char *state_dir;
    const char *program; /* absolute */
    const char *user;
    const struct sshd_files *files;
    const uint8_t *host_key_sha256;
    struct registry *registry; /* loaded */
};

struct serve;

/* Listens, and says so on standard output. Takes the spawner, also when it fails. */
int serve_new(struct serve **out, const struct serve_config *config, struct spawner *spawner,
              struct cbx_error *error);
/* Returns the exit status. */
int serve_run(struct serve *serve);
/* Ends every sshd and the helper, and writes what is not on disk yet. */
void serve_free(struct serve *serve);

#endif
