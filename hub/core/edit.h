/* SPDX-License-Identifier: MIT */
/* Registry edits by commands. They change memory and links at once, then commit; the shell answers
 * its client when the ticket is committed. */
#ifndef HUB_CORE_EDIT_H
#define HUB_CORE_EDIT_H

#include "common/base/err.h"
#include "hub/registry/registry.h"
#include <stddef.h>
#include <stdint.h>

struct hub_core;

/* As registry_add_invite. */
int hub_core_add_invite(struct hub_core *core, const uint8_t pond_public[32], const uint8_t *cert,
                        size_t length, const uint8_t login_key[32], struct reg_invite **out,
                        uint64_t *ticket, struct cbx_error *error);
/* As registry_drop_invite. */
int hub_core_drop_invite(struct hub_core *core, const char *id, uint64_t *ticket,
                         struct cbx_error *error);
/* Ends a lease: its link, its key, its place in the directory. */
int hub_core_revoke(struct hub_core *core, const char *pond, const char *slug, uint64_t *ticket,
                    struct cbx_error *error);
/* Ends leases, as hub_core_revoke does, and drops invites that are past their end. The core does so
 * once a second. */
void hub_core_expire(struct hub_core *core);

#endif
