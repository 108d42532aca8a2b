/* SPDX-License-Identifier: MIT */
#include "slots.h"
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

/* uthash exits when memory is short unless told otherwise; then the address is just not kept. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

struct slot {
    uint64_t id;
    enum slots_state state;
    bool known; /* its address logged in lately, judged when it came */
    struct slots_address address;
    int64_t since_us; /* of the state */
};

struct recent {
    struct slots_address address; /* the key: no padding inside */
    int64_t last_us;
    UT_hash_handle hh;
};

/*
 * The slots stand in the order of arrival, so the first that fits is the oldest. There are few
 * (64), so every question is a walk.
 */
struct slots {
    struct slots_config config;
    struct slot *slot;
    uint32_t count;
    struct recent *recent; /* the hash keeps insertion order: the head logged in longest ago */
    uint64_t logins;
};

struct slots *
slots_new(const struct slots_config *config)
{
    struct slots *slots = calloc(1, sizeof *slots);

    if (slots == NULL)
        return NULL;
    slots->config = *config;
    if (slots->config.total > SLOTS_TOTAL_MAX)
        slots->config.total = SLOTS_TOTAL_MAX;
    slots->slot = calloc(slots->config.total + 1u, sizeof *slots->slot);
    if (slots->slot == NULL) {
        free(slots);
        return NULL;
    }
    return slots;
}

static void
forget(struct slots *slots, struct recent *entry)
{
    HASH_DEL(slots->recent, entry);
    free(entry);
}

void
slots_free(struct slots *slots)
{
    if (slots == NULL)
        return;
    while (slots->recent != NULL)
        forget(slots, slots->recent);
    free(slots->slot);
    free(slots);
}

bool
slots_address_of(const struct sockaddr *address, struct slots_address *out)
{
    *out = (struct slots_address){0};
    if (address->sa_family == AF_INET) {
        out->family = 4;
        memcpy(out->prefix, &((const struct sockaddr_in *)(const void *)address)->sin_addr, 4);
        return true;
    }
    if (address->sa_family == AF_INET6) {
        const struct in6_addr *six =
            &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;

        out->family = IN6_IS_ADDR_V4MAPPED(six) ? 4 : 6;
        if (out->family == 4)
            memcpy(out->prefix, six->s6_addr + 12, 4);
        else
            memcpy(out->prefix, six->s6_addr, 8);
        return true;
    }
    return false;
}

static bool
same_address(const struct slots_address *a, const struct slots_address *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

static bool
known_lately(const struct slots *slots, const struct slots_address *address, int64_t now_us)
{
    struct recent *entry = NULL;

    HASH_FIND(hh, slots->recent, address, sizeof *address, entry);
    return entry != NULL && now_us - entry->last_us <= slots->config.recent_us;
}

static void
remember(struct slots *slots, const struct slots_address *address, int64_t now_us)
{
    struct recent *entry = NULL;

    HASH_FIND(hh, slots->recent, address, sizeof *address, entry);
    if (entry != NULL) {
        HASH_DEL(slots->recent, entry); /* to the end of the order */
    } else {
        if (HASH_COUNT(slots->recent) >= SLOTS_RECENT_MAX)
            forget(slots, slots->recent);
        entry = calloc(1, sizeof *entry);
        if (entry == NULL)
            return;
    }
    entry->address = *address;
    entry->last_us = now_us;
    entry->hh.tbl = NULL;
    HASH_ADD(hh, slots->recent, address, sizeof entry->address, entry);
    if (entry->hh.tbl == NULL)
        free(entry);
}

static struct slot *
find(const struct slots *slots, uint64_t id)
{
    for (uint32_t i = 0; i < slots->count; i++)
        if (slots->slot[i].id == id)
            return &slots->slot[i];
    return NULL;
}

static void
take_out(struct slots *slots, struct slot *slot)
{
    size_t index = (size_t)(slot - slots->slot);

    slots->count--;
    memmove(slot, slot + 1, (slots->count - index) * sizeof *slot);
}

/* Who may be dropped for a newcomer: silent ones of its address, or of its class. A client that
 * came this moment has had no time to speak; it goes only when there is no room at all. */
struct victims {
    const struct slots_address *address; /* NULL: any */
    bool known_too;
    int64_t came_by_us;
};

static bool
may_drop(const struct slot *slot, const struct victims *victims)
{
    return slot->state == SLOTS_SILENT && slot->since_us <= victims->came_by_us &&
           (victims->known_too || !slot->known) &&
           (victims->address == NULL || same_address(&slot->address, victims->address));
}

static bool
drop_silent(struct slots *slots, const struct victims *victims, uint32_t random, uint64_t *dropped)
{
    uint32_t candidates = 0;

    for (uint32_t i = 0; i < slots->count; i++)
        candidates += may_drop(&slots->slot[i], victims);
    if (candidates == 0)
        return false;
    uint32_t chosen = random % candidates;
    for (uint32_t i = 0; i < slots->count; i++) {
        if (!may_drop(&slots->slot[i], victims) || chosen-- > 0)
            continue;
        *dropped = slots->slot[i].id;
        take_out(slots, &slots->slot[i]);
        return true;
    }
    return false;
}

/* Strangers share one half of the slots; known addresses may take every slot. */
static uint32_t
class_used(const struct slots *slots, bool known)
{
    uint32_t used = 0;

    if (known)
        return slots->count;
    for (uint32_t i = 0; i < slots->count; i++)
        used += !slots->slot[i].known;
    return used;
}

/* Chance 0 at half of the share, rising linearly to 1 when it is full. */
static bool
drop_now(uint32_t used, uint32_t share, uint32_t random)
{
    uint32_t half = share / 2;

    if (used < half)
        return false;
    if (used >= share)
        return true;
    return random % (share - half) < used - half;
}

static bool
room_at_address(struct slots *slots, const struct slots_address *address, uint32_t random,
                uint64_t *dropped)
{
    uint32_t used = 0;
    struct victims victims = {.address = address, .known_too = true, .came_by_us = INT64_MAX};

    for (uint32_t i = 0; i < slots->count; i++)
        used += same_address(&slots->slot[i].address, address);
    return used < slots->config.per_address || drop_silent(slots, &victims, random, dropped);
}

enum slots_verdict
slots_admit(struct slots *slots, uint64_t id, const struct slots_address *address, int64_t now_us,
            uint32_t random, uint64_t *dropped)
{
    bool known = known_lately(slots, address, now_us);
    uint32_t share = known ? slots->config.total : (slots->config.total + 1) / 2;

    *dropped = 0;
    if (!room_at_address(slots, address, random, dropped))
        return SLOTS_ADDRESS_FULL;
    uint32_t used = class_used(slots, known);
    int64_t came_by_us = used >= share ? INT64_MAX : now_us - SLOTS_SPEAK_US;
    struct victims strangers = {.known_too = false, .came_by_us = came_by_us};
    struct victims any = {.known_too = known, .came_by_us = came_by_us};
    /* One is dropped at most: after the address's own the count has sunk already. */
    if (*dropped == 0 && drop_now(used, share, random) &&
        !drop_silent(slots, &strangers, random, dropped))
        (void)drop_silent(slots, &any, random, dropped);
    if (*dropped == 0 && used >= share)
        return SLOTS_FULL;
    if (slots->count >= slots->config.total)
        return SLOTS_FULL;
    slots->slot[slots->count++] = (struct slot){
        .id = id, .state = SLOTS_SILENT, .known = known, .address = *address, .since_us = now_us};
    return SLOTS_ADMITTED;
}

void
slots_spoke(struct slots *slots, uint64_t id)
{
    struct slot *slot = find(slots, id);

    if (slot != NULL && slot->state == SLOTS_SILENT)
        slot->state = SLOTS_WAITING;
}

static struct slot *
first_waiting(const struct slots *slots, bool known)
{
    for (uint32_t i = 0; i < slots->count; i++)
        if (slots->slot[i].state == SLOTS_WAITING && slots->slot[i].known == known)
            return &slots->slot[i];
    return NULL;
}

uint64_t
slots_next(struct slots *slots, int64_t now_us)
{
    if (slots_count_state(slots, SLOTS_SSHD) >= slots->config.sshd)
        return 0;
    struct slot *slot = first_waiting(slots, true);
    if (slot == NULL)
        slot = first_waiting(slots, false);
    if (slot == NULL)
        return 0;
    slot->state = SLOTS_SSHD;
    slot->since_us = now_us;
    return slot->id;
}

bool
slots_login(struct slots *slots, uint64_t id, int64_t now_us)
{
    struct slot *slot = find(slots, id);

    if (slot == NULL || slot->state != SLOTS_SSHD)
        return false;
    struct slots_address address = slot->address;
    take_out(slots, slot);
    remember(slots, &address, now_us);
    slots->logins++;
    return true;
}

uint32_t
slots_recent(const struct slots *slots, struct slots_recent *out, uint32_t max)
{
    uint32_t count = 0;

    for (const struct recent *entry = slots->recent; entry != NULL && count < max;
         entry = entry->hh.next)
        out[count++] = (struct slots_recent){entry->address, entry->last_us};
    return count;
}

void
slots_remember(struct slots *slots, const struct slots_recent *recent, int64_t now_us)
{
    if (now_us - recent->last_us <= slots->config.recent_us)
        remember(slots, &recent->address, recent->last_us);
}

uint64_t
slots_logins(const struct slots *slots)
{
    return slots->logins;
}

void
slots_drop(struct slots *slots, uint64_t id)
{
    struct slot *slot = find(slots, id);

    if (slot != NULL)
        take_out(slots, slot);
}

static bool
is_overdue(const struct slots_config *config, const struct slot *slot, int64_t now_us)
{
    int64_t age = now_us - slot->since_us;

    return (slot->state == SLOTS_SILENT && age >= config->silent_us) ||
           (slot->state == SLOTS_SSHD && age >= config->login_us);
}

uint64_t
slots_overdue(struct slots *slots, int64_t now_us)
{
    for (uint32_t i = 0; i < slots->count; i++) {
        if (!is_overdue(&slots->config, &slots->slot[i], now_us))
            continue;
        uint64_t id = slots->slot[i].id;
        take_out(slots, &slots->slot[i]);
        return id;
    }
    return 0;
}

uint32_t
slots_count(const struct slots *slots)
{
    return slots->count;
}

uint32_t
slots_count_state(const struct slots *slots, enum slots_state state)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < slots->count; i++)
        count += slots->slot[i].state == state;
    return count;
}
