/* SPDX-License-Identifier: MIT */
/* The switch: frames with a label, from (link, label) to (link, label). */
#ifndef HUB_CORE_SWITCH_H
#define HUB_CORE_SWITCH_H

#include "common/link/frame.h"

struct hub_link;

/* Takes a labelled frame of a READY link. A negative result ends the link; text in error. */
int hub_switch_frame(struct hub_link *link, const struct cbx_frame *frame, int64_t now,
                     struct cbx_error *error);

#endif
