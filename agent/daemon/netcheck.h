/* SPDX-License-Identifier: MIT */
/* What a running agent adds to a netcheck: its link, its lane, its direct lanes, its clock. */
#ifndef AGENT_DAEMON_NETCHECK_H
#define AGENT_DAEMON_NETCHECK_H

#include <jansson.h>
#include <stdint.h>

struct agent;
struct agent_netcheck;

/* done is called once, from the loop, with the document of PROTOCOL.md, "What commands answer" (a
 * new reference), or NULL when memory was short; then the callee frees the check. NULL: the same,
 * or there is no hub to check. */
struct agent_netcheck *agent_netcheck_new(struct agent *agent, int64_t timeout_ms,
                                          void (*done)(void *arg, json_t *document), void *arg);
void agent_netcheck_free(struct agent_netcheck *check); /* NULL is fine */

#endif
