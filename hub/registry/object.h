/* SPDX-License-Identifier: MIT */
/* Making and freeing the registry's objects: plain copies of what opened certificates say. */
#ifndef HUB_REGISTRY_OBJECT_H
#define HUB_REGISTRY_OBJECT_H

#include "hub/registry/types.h"

/* Both return NULL when memory is out. The certificates have been opened by the caller. */
struct reg_invite *registry_invite_new(const uint8_t *bytes, size_t length,
                                       const struct cbx_invite_cert *cert,
                                       const uint8_t pond_public[32], const uint8_t login_key[32]);
struct reg_peer *registry_peer_new(const struct cbx_cert *invite, const struct cbx_cert *peer,
                                   const struct cbx_invite_cert *invite_cert,
                                   const struct cbx_peer_cert *peer_cert);
/* Not linked any more. NULL is fine. */
void registry_invite_free(struct reg_invite *invite);
void reg_peer_free(struct reg_peer *peer);

#endif
