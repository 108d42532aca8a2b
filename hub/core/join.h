/* SPDX-License-Identifier: MIT */
/* Joins (rule 6): a link that was logged in with an invite's key submits a peer certificate. */
#ifndef HUB_CORE_JOIN_H
#define HUB_CORE_JOIN_H

#include "common/link/frame.h"

struct hub_link;

/* JOIN on a link in HELLO: it is COMMITTING then, or was told why not. A negative result ends the
 * link. */
int hub_join_take(struct hub_link *link, const struct cbx_frame *frame, struct cbx_error *error);
/* It is on disk: says JOINED and closes. */
void hub_join_done(struct hub_link *link);

#endif
