/* SPDX-License-Identifier: MIT */
/* From the key that sshd checked to an attached peer: HUB_HELLO, AGENT_HELLO, WELCOME. */
#ifndef HUB_CORE_HELLO_H
#define HUB_CORE_HELLO_H

#include "common/link/frame.h"
#include "hub/registry/registry.h"

struct hub_link;

/* The hub's first frames on a new link; to whoever may join, the offer. */
void hub_hello_say(struct hub_link *link, const struct reg_login *login);
/* AGENT_HELLO on a link in HELLO: it is the peer's link then, COMMITTING, and an older one of the
 * same identity ends; or it was told why not. A negative result ends the link. */
int hub_hello_take(struct hub_link *link, const struct cbx_frame *frame, struct cbx_error *error);
/* Its new generation is on disk: READY. */
void hub_hello_welcome(struct hub_link *link);

#endif
