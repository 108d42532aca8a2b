/* SPDX-License-Identifier: MIT */
/* Who may have how much of --queue-max (rule 22): what agents ask for, what they are asked for. */
#ifndef HUB_CORE_BUDGET_H
#define HUB_CORE_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

struct hub_core;
struct hub_link;

/* WANT. */
void hub_budget_want(struct hub_link *link, int64_t now);
/* ALLOWED. */
void hub_budget_allowed(struct hub_link *link, uint64_t sequence);
/* At each sweep: meets or refuses what was wanted, asks back what others need. */
void hub_budget_sweep(struct hub_core *core, int64_t now);
/* It has not confirmed a lower allowance for too long. */
bool hub_budget_overdue(const struct hub_link *link, int64_t now);

#endif
