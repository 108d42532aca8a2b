/* SPDX-License-Identifier: MIT */
/*
 * How much credit each link's agent may have granted in all (rule 22), so that what the hub can
 * ever hold is known: the sum of allowances never passes queue_max. Pure arithmetic; the core sends
 * what it decides.
 */
#ifndef HUB_ALLOWANCE_H
#define HUB_ALLOWANCE_H

#include <stdbool.h>
#include <stdint.h>

enum {
    HUB_ALLOWANCE_FIRST = 4 * 1024 * 1024,
    HUB_ALLOWANCE_LEAST = 32 * 1024,
    HUB_ALLOWANCE_MOST = 128 * 1024 * 1024
};

struct hub_allowances {
    uint64_t total; /* queue_max */
    uint64_t sum;   /* of all values that count */
    uint32_t links;
};

struct hub_allowance {
    uint64_t value;   /* counts: what the agent may have outstanding */
    uint64_t asked;   /* a lower value was asked for and not yet confirmed; 0: none */
    uint64_t granted; /* outstanding, as seen in OPEN and CREDIT */
    uint32_t sequence;
    bool wants; /* asked for more and got none yet */
};

/* A new link: false when not even the least is free. */
bool hub_allowance_join(struct hub_allowances *all, struct hub_allowance *link);
void hub_allowance_leave(struct hub_allowances *all, struct hub_allowance *link);
/* The agent asks for more: true when value was doubled (tell it). */
bool hub_allowance_want(struct hub_allowances *all, struct hub_allowance *link);
/* Should this idle link give some back? true: ask it to go down to link->asked. */
bool hub_allowance_reclaim(struct hub_allowance *link);
/* The agent confirmed sequence. true when room was freed. */
bool hub_allowance_confirm(struct hub_allowances *all, struct hub_allowance *link,
                           uint64_t sequence);
/* Outstanding moved. false when the agent is past its allowance: end its link. */
bool hub_allowance_charge(struct hub_allowance *link, uint64_t more, uint64_t less);

#endif
