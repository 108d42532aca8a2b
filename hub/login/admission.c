/* SPDX-License-Identifier: MIT */
/* The slots, the choice of whom to drop, the queue for an sshd, and who logged in recently. */
#include "hub/login/admission.h"

#include "common/base/hash_table.h"
#include "common/base/states.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

static const struct cbx_states states = {
    .what = "login of",
    .state = {
        [ADMISSION_SILENT] = {"silent", CBX_STATE(ADMISSION_WAITING)},
        [ADMISSION_WAITING] = {"waiting", CBX_STATE(ADMISSION_SSHD)},
        [ADMISSION_SSHD] = {"sshd", 0},
    }};

struct slot {
    uint64_t id;
    enum admission_state state; /* set_state sets it */
    bool known;                 /* its address logged in recently, judged when it came */
    struct admission_address address;
    int64_t since_us; /* of the state */
};

struct recent {
    struct admission_address address; /* the key: no padding inside */
    int64_t last_us;
    UT_hash_handle hh;
};

/*
 * The slots stand in the order of arrival, so the first that fits is the oldest. There are few
 * (64), so every question is a walk.
 */
struct admission {
    struct admission_config config;
    struct slot *slot;
    uint32_t count;
    struct recent *recent; /* the hash keeps insertion order: the head logged in longest ago */
    uint64_t logins;
};

struct admission *
admission_new(const struct admission_config *config)
{
    struct admission *admission = calloc(1, sizeof *admission);

    if (!admission)
        return NULL;
    admission->config = *config;
    if (admission->config.total > ADMISSION_TOTAL_MAX)
        admission->config.total = ADMISSION_TOTAL_MAX;
    admission->slot = calloc(admission->config.total + 1u, sizeof *admission->slot);
    if (!admission->slot) {
        free(admission);
        return NULL;
    }
    return admission;
}

static void
forget(struct admission *admission, struct recent *entry)
{
    HASH_DEL(admission->recent, entry);
    free(entry);
}

void
admission_free(struct admission *admission)
{
    if (!admission)
        return;
    while (admission->recent)
        forget(admission, admission->recent);
    free(admission->slot);
    free(admission);
}

bool
admission_address_of(const struct sockaddr *address, struct admission_address *out)
{
    *out = (struct admission_address){0};
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
same_address(const struct admission_address *a, const struct admission_address *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

static bool
recently_logged_in(const struct admission *admission, const struct admission_address *address,
                   int64_t now_us)
{
    struct recent *entry = NULL;

    HASH_FIND(hh, admission->recent, address, sizeof *address, entry);
    return entry != NULL && now_us - entry->last_us <= admission->config.recent_us;
}

static void
remember(struct admission *admission, const struct admission_address *address, int64_t now_us)
{
    struct recent *entry = NULL;

    HASH_FIND(hh, admission->recent, address, sizeof *address, entry);
    if (entry) {
        HASH_DEL(admission->recent, entry); /* to the end of the order */
    } else {
        if (HASH_COUNT(admission->recent) >= ADMISSION_RECENT_MAX)
            forget(admission, admission->recent);
        entry = calloc(1, sizeof *entry);
        if (!entry)
            return;
    }
    entry->address = *address;
    entry->last_us = now_us;
    entry->hh.tbl = NULL;
    HASH_ADD(hh, admission->recent, address, sizeof entry->address, entry);
    if (!entry->hh.tbl)
        free(entry);
}

static struct slot *
find(const struct admission *admission, uint64_t id)
{
    for (uint32_t i = 0; i < admission->count; i++)
        if (admission->slot[i].id == id)
            return &admission->slot[i];
    return NULL;
}

static void
set_state(struct slot *slot, enum admission_state state)
{
    if (cbx_states_allow_number(&states, "connection", (uint32_t)slot->id, slot->state, state))
        slot->state = state;
}

static void
take_out(struct admission *admission, struct slot *slot)
{
    size_t index = (size_t)(slot - admission->slot);

    admission->count--;
    memmove(slot, slot + 1, (admission->count - index) * sizeof *slot);
}

/* Who may be dropped for a newcomer: silent ones of its address, or of its class. A client that
 * came this moment has had no time to speak; it goes only when there is no room at all. */
struct victims {
    const struct admission_address *address; /* NULL: any */
    bool known_too;
    int64_t came_by_us;
};

static bool
may_drop(const struct slot *slot, const struct victims *victims)
{
    return slot->state == ADMISSION_SILENT && slot->since_us <= victims->came_by_us &&
           (victims->known_too || !slot->known) &&
           (!victims->address || same_address(&slot->address, victims->address));
}

static bool
drop_silent(struct admission *admission, const struct victims *victims, uint32_t random,
            uint64_t *dropped)
{
    uint32_t candidates = 0;

    for (uint32_t i = 0; i < admission->count; i++)
        candidates += may_drop(&admission->slot[i], victims);
    if (candidates == 0)
        return false;
    uint32_t chosen = random % candidates;
    for (uint32_t i = 0; i < admission->count; i++) {
        if (!may_drop(&admission->slot[i], victims) || chosen-- > 0)
            continue;
        *dropped = admission->slot[i].id;
        take_out(admission, &admission->slot[i]);
        return true;
    }
    return false;
}

/* Strangers share one half of the slots; known addresses may take every slot. */
static uint32_t
class_used(const struct admission *admission, bool known)
{
    uint32_t used = 0;

    if (known)
        return admission->count;
    for (uint32_t i = 0; i < admission->count; i++)
        used += !admission->slot[i].known;
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
room_at_address(struct admission *admission, const struct admission_address *address,
                uint32_t random, uint64_t *dropped)
{
    uint32_t used = 0;
    struct victims victims = {.address = address, .known_too = true, .came_by_us = INT64_MAX};

    for (uint32_t i = 0; i < admission->count; i++)
        used += same_address(&admission->slot[i].address, address);
    return used < admission->config.per_address ||
           drop_silent(admission, &victims, random, dropped);
}

enum admission_verdict
admission_admit(struct admission *admission, uint64_t id, const struct admission_address *address,
                int64_t now_us, uint32_t random, uint64_t *dropped)
{
    bool known = recently_logged_in(admission, address, now_us);
    uint32_t share = known ? admission->config.total : (admission->config.total + 1) / 2;

    *dropped = 0;
    if (!room_at_address(admission, address, random, dropped))
        return ADMISSION_ADDRESS_FULL;
    uint32_t used = class_used(admission, known);
    int64_t came_by_us = used >= share ? INT64_MAX : now_us - ADMISSION_SPEAK_US;
    struct victims strangers = {.known_too = false, .came_by_us = came_by_us};
    struct victims any = {.known_too = known, .came_by_us = came_by_us};
    /* One is dropped at most: after the address's own the count has sunk already. */
    if (*dropped == 0 && drop_now(used, share, random) &&
        !drop_silent(admission, &strangers, random, dropped))
        (void)drop_silent(admission, &any, random, dropped);
    if (*dropped == 0 && used >= share)
        return ADMISSION_FULL;
    if (admission->count >= admission->config.total)
        return ADMISSION_FULL;
    admission->slot[admission->count++] = (struct slot){.id = id,
                                                        .state = ADMISSION_SILENT,
                                                        .known = known,
                                                        .address = *address,
                                                        .since_us = now_us};
    return ADMISSION_ADMITTED;
}

void
admission_spoke(struct admission *admission, uint64_t id)
{
    struct slot *slot = find(admission, id);

    if (slot && slot->state == ADMISSION_SILENT)
        set_state(slot, ADMISSION_WAITING);
}

static struct slot *
first_waiting(const struct admission *admission, bool known)
{
    for (uint32_t i = 0; i < admission->count; i++)
        if (admission->slot[i].state == ADMISSION_WAITING && admission->slot[i].known == known)
            return &admission->slot[i];
    return NULL;
}

uint64_t
admission_next(struct admission *admission, int64_t now_us)
{
    if (admission_count_state(admission, ADMISSION_SSHD) >= admission->config.sshd)
        return 0;
    struct slot *slot = first_waiting(admission, true);
    if (!slot)
        slot = first_waiting(admission, false);
    if (!slot)
        return 0;
    set_state(slot, ADMISSION_SSHD);
    slot->since_us = now_us;
    return slot->id;
}

bool
admission_login(struct admission *admission, uint64_t id, int64_t now_us)
{
    struct slot *slot = find(admission, id);

    if (!slot || slot->state != ADMISSION_SSHD)
        return false;
    struct admission_address address = slot->address;
    take_out(admission, slot);
    remember(admission, &address, now_us);
    admission->logins++;
    return true;
}

uint32_t
admission_recent(const struct admission *admission, struct admission_recent *out, uint32_t max)
{
    uint32_t count = 0;

    for (const struct recent *entry = admission->recent; entry != NULL && count < max;
         entry = entry->hh.next)
        out[count++] = (struct admission_recent){entry->address, entry->last_us};
    return count;
}

void
admission_remember(struct admission *admission, const struct admission_recent *recent,
                   int64_t now_us)
{
    if (now_us - recent->last_us <= admission->config.recent_us)
        remember(admission, &recent->address, recent->last_us);
}

uint64_t
admission_logins(const struct admission *admission)
{
    return admission->logins;
}

void
admission_drop(struct admission *admission, uint64_t id)
{
    struct slot *slot = find(admission, id);

    if (slot)
        take_out(admission, slot);
}

static bool
is_overdue(const struct admission_config *config, const struct slot *slot, int64_t now_us)
{
    int64_t age = now_us - slot->since_us;

    return (slot->state == ADMISSION_SILENT && age >= config->silent_us) ||
           (slot->state == ADMISSION_SSHD && age >= config->login_us);
}

uint64_t
admission_overdue(struct admission *admission, int64_t now_us)
{
    for (uint32_t i = 0; i < admission->count; i++) {
        if (!is_overdue(&admission->config, &admission->slot[i], now_us))
            continue;
        uint64_t id = admission->slot[i].id;
        take_out(admission, &admission->slot[i]);
        return id;
    }
    return 0;
}

uint32_t
admission_count(const struct admission *admission)
{
    return admission->count;
}

uint32_t
admission_count_state(const struct admission *admission, enum admission_state state)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < admission->count; i++)
        count += admission->slot[i].state == state;
    return count;
}
