/* SPDX-License-Identifier: MIT */
/* How a link ends: told why and closed, or gone at once. Either way it parts from its peer, its
 * circuits end, what it had of the memory is free, and its pond hears of it. */
#ifndef HUB_CORE_BYE_H
#define HUB_CORE_BYE_H

#include "common/base/err.h"
#include <stdint.h>

struct hub_link;

/* Says BYE, then closes. Final reasons stop the agent. No effect on a link that is CLOSING. */
void hub_link_bye(struct hub_link *link, enum cbx_reason reason, uint32_t retry_ms,
                  const char *text);
/* Closes once what is queued has gone out: for an end that another frame has told. */
void hub_link_close(struct hub_link *link);
/* Closes what is not closed and frees. */
void hub_link_free(struct hub_link *link);

#endif
