/* SPDX-License-Identifier: MIT */
/* Invites: registered and withdrawn by the operator's commands. */
#ifndef HUB_REGISTRY_INVITE_H
#define HUB_REGISTRY_INVITE_H

#include "common/base/err.h"
#include "hub/registry/types.h"

struct registry;

/* Registers an invite whose certificate verifies under pond_public. The pond's public key is fixed
 * by its first invite; another key for a known pond is refused (CBX_ERR_AUTH). A pond is known
 * while it has an invite or a peer. An older invite of the slug that nobody used yet is dropped and
 * freed. CBX_ERR_EXISTS when the serial is not newer. */
int registry_add_invite(struct registry *registry, const uint8_t pond_public[32],
                        const uint8_t *cert, size_t length, const uint8_t login_key[32],
                        int64_t now_unix, struct reg_invite **out, struct cbx_error *error);

/* Removes an invite by id (a unique prefix of at least 4 characters will do). */
int registry_drop_invite(struct registry *registry, const char *id, struct cbx_error *error);

#endif
