/* SPDX-License-Identifier: MIT */
/*
 * How much credit each link's agent may have granted in all (rule 22), so that what the hub can
 * ever hold is known. Credit covers what a record costs beside its text (CBX_RECORD_COST); what
 * large frames keep of the buffers that they were read into is counted apart. Both together never
 * pass queue_max. Pure arithmetic; the core sends what it decides.
 *
 * Lowering: the hub asks, the agent answers at once and from then on grants nothing new above what
 * was asked; what it has granted already cannot be taken back. So what counts then sinks to `goal`
 * as its readers take what comes, and the hub sees that by itself.
 */
#ifndef HUB_CORE_ALLOWANCE_H
#define HUB_CORE_ALLOWANCE_H

#include <stdbool.h>
#include <stdint.h>

enum {
    HUB_ALLOWANCE_FIRST = 4 * 1024 * 1024,
    HUB_ALLOWANCE_LEAST = 32 * 1024,
    HUB_ALLOWANCE_MOST = 128 * 1024 * 1024,
    HUB_ALLOWANCE_RESERVE = 16, /* this part of all is not for links that have their share */
    HUB_ALLOWANCE_PINNED = 8    /* at most this part of all is for shared buffers */
};

struct hub_allowances {
    uint64_t total;  /* queue_max */
    uint64_t sum;    /* of all values that count */
    uint64_t pinned; /* held by shared buffers beside the frames that wait in them, at most */
    uint32_t links;
};

struct hub_allowance {
    uint64_t value;   /* counts: what the agent may have outstanding */
    uint64_t asked;   /* a lower value was asked for and not yet confirmed; 0: none */
    uint64_t goal;    /* the value sinks to this one as credit is used up; 0: it stands */
    uint64_t granted; /* outstanding, as seen in OPEN and CREDIT */
    uint32_t sequence;
    bool wants; /* asked for more and got none yet */
};

/* What is left for everybody. */
uint64_t hub_allowance_left(const struct hub_allowances *all);
/* An equal part of half of all. */
uint64_t hub_allowance_share(const struct hub_allowances *all);
/* A new link: false when not even the least is free. */
bool hub_allowance_join(struct hub_allowances *all, struct hub_allowance *link);
void hub_allowance_leave(struct hub_allowances *all, struct hub_allowance *link);
/* The agent asks for more: true when value was doubled (tell it). */
bool hub_allowance_want(struct hub_allowances *all, struct hub_allowance *link);
/* Should this idle link give some back? true: ask it to go down to link->asked. */
bool hub_allowance_reclaim(struct hub_allowance *link);
/* The same of a busy one, which goes down as its credit is used up. */
bool hub_allowance_lower(struct hub_allowance *link);
/* The agent confirmed sequence: false when nothing was asked under it. floors: what its open
 * streams may have beside what is granted. */
bool hub_allowance_confirm(struct hub_allowances *all, struct hub_allowance *link,
                           uint64_t sequence, uint64_t min_windows);
/* Takes back what a link on its way down does not use any more. true when room was freed. */
bool hub_allowance_settle(struct hub_allowances *all, struct hub_allowance *link,
                          uint64_t min_windows);
/* A frame that waits keeps so many bytes of a buffer beside its own: false when it should be
 * copied. */
bool hub_allowance_pin(struct hub_allowances *all, uint64_t bytes);
void hub_allowance_unpin(struct hub_allowances *all, uint64_t bytes);
/* Outstanding moved. false when the agent is past its allowance: end its link. */
bool hub_allowance_charge(struct hub_allowance *link, uint64_t more, uint64_t less);

#endif
