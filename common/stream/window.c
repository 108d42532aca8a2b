/* SPDX-License-Identifier: MIT */
/* The receive window with its budgets, then the send window with its spans of small records. */
#include "common/stream/window.h"
#include "common/base/err.h"
#include <string.h>

enum {
    METER_MIN_US = 5000,
    DELAY_MAX_US = 1000 * 1000,
    SLACK_US = 20 * 1000,
    RECORD_MIN = 4096,
    RECORD_MAX = 65536,
    RECORD_TIME_US = 10 * 1000,
    BATCH_MAX = 256 * 1024 /* what is not announced is memory that the sender keeps */
};

static uint64_t
least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Puts what is outstanding into the budgets in place of what was counted before. */
static void
recount(struct cbx_receive_window *window)
{
    uint64_t outstanding = window->open ? window->limit - window->acked : 0;
    if (window->open && outstanding < CBX_WINDOW_MIN)
        outstanding = CBX_WINDOW_MIN;
    window->budget->used += outstanding - window->counted;
    *window->peer_used += outstanding - window->counted;
    window->counted = outstanding;
}

/*
 * How much may be outstanding if `wanted` is called for: the minimum is the stream's own; beyond it
 * at most a quarter of what is free, nothing of the last quarter, half at most for one peer.
 */
static uint64_t
allowed(struct cbx_receive_window *window, uint64_t wanted)
{
    struct cbx_budget *budget = window->budget;
    uint64_t others = budget->used - window->counted;
    uint64_t peer_others = *window->peer_used - window->counted;
    uint64_t most = CBX_WINDOW_MIN;
    if (others + CBX_WINDOW_MIN < budget->total) {
        uint64_t quarter = (budget->total - others - CBX_WINDOW_MIN) / 4;
        uint64_t common = budget->total - budget->total / 4;
        uint64_t left = others + CBX_WINDOW_MIN < common ? common - others - CBX_WINDOW_MIN : 0;
        uint64_t half = budget->total / 2;
        uint64_t peer =
            peer_others + CBX_WINDOW_MIN < half ? half - peer_others - CBX_WINDOW_MIN : 0;
        most += least(quarter, least(left, peer));
    }
    if (most < wanted)
        budget->cut = true;
    return least(most, wanted);
}

int
cbx_window_open(struct cbx_receive_window *window, struct cbx_budget *budget, uint64_t *peer_used,
                int64_t now)
{
    memset(window, 0, sizeof *window);
    window->budget = budget;
    window->peer_used = peer_used;
    if (budget->used + CBX_WINDOW_MIN > budget->total) {
        budget->cut = true;
        return CBX_ERR_LIMIT;
    }
    if (budget->used > budget->total / 2)
        budget->cut = true; /* more is asked for before the minimum windows run out */
    window->target = budget->used < budget->total / 4 ? CBX_WINDOW_FIRST : CBX_WINDOW_MIN;
    window->open = true;
    window->meter_began = now;
    window->limit = allowed(window, window->target);
    window->probe_at = now;
    recount(window);
    return 0;
}

bool
cbx_window_received(struct cbx_receive_window *window, uint64_t offset, int64_t now)
{
    if (offset > window->limit)
        return false;
    window->overhead += CBX_RECORD_COST;
    window->meter_overhead += CBX_RECORD_COST;
    if (window->probe_at && offset > window->probe_limit) {
        int64_t delay = now - window->probe_at;
        if (delay < 1)
            delay = 1;
        if (window->delay_us == 0 || delay < window->delay_us)
            window->delay_us = delay;
        window->probe_at = 0;
    }
    return true;
}

/* Moves the target to twice the bandwidth-delay product that was seen, by at most four at once. The
 * records' own cost counts in it, up to what many small ones may want. */
static void
retarget(struct cbx_receive_window *window, int64_t now)
{
    int64_t span = now - window->meter_began;
    int64_t delay =
        window->delay_us && window->delay_us < DELAY_MAX_US ? window->delay_us : DELAY_MAX_US;
    if (span < METER_MIN_US || span < delay / 2)
        return;
    double times = (2.0 * (double)delay + SLACK_US) / (double)span;
    double wanted = (double)window->meter_bytes * times;
    double small = wanted + (double)window->meter_overhead * times;
    if (small > CBX_WINDOW_SMALL)
        small = CBX_WINDOW_SMALL;
    if (wanted < small)
        wanted = small;
    window->meter_began = now;
    window->meter_bytes = window->meter_overhead = 0;
    if (wanted > 4.0 * (double)window->target)
        wanted = 4.0 * (double)window->target;
    if (wanted > CBX_WINDOW_MAX)
        wanted = CBX_WINDOW_MAX;
    if (wanted > (double)window->target)
        window->target = (uint64_t)wanted;
    else if (wanted < (double)window->target / 4)
        window->target -= window->target / 4;
    if (window->target < CBX_WINDOW_MIN)
        window->target = CBX_WINDOW_MIN;
}

bool
cbx_window_consumed(struct cbx_receive_window *window, uint64_t bytes, int64_t now)
{
    window->consumed += bytes;
    window->meter_bytes += bytes;
    retarget(window, now);
    uint64_t gone = window->consumed - window->acked;
    uint64_t outstanding = window->limit - window->acked;
    uint64_t batch = least(least(outstanding, window->target) / 4, BATCH_MAX);
    return gone > 0 && gone + window->overhead >= batch;
}

void
cbx_window_announce(struct cbx_receive_window *window, int64_t now)
{
    window->acked = window->consumed;
    window->overhead = 0;
    uint64_t limit = window->acked + allowed(window, window->target);
    if (!window->told) {
        window->limit = limit; /* the budget may have shrunk since it was opened */
        window->told = true;
    } else if (limit > window->limit) {
        if (window->probe_at == 0) {
            window->probe_limit = window->limit;
            window->probe_at = now;
        }
        window->limit = limit;
    }
    if (window->limit < window->acked)
        window->limit = window->acked; /* a FIN took one offset beyond it */
    recount(window);
}

int
cbx_window_move(struct cbx_receive_window *window, struct cbx_budget *to, uint64_t received,
                int64_t now)
{
    uint64_t held = received - window->consumed;
    uint64_t others = to->used - (to == window->budget ? window->counted : 0);
    if (!window->open) {
        window->budget = to;
        return 0;
    }
    if (held < CBX_WINDOW_MIN)
        held = CBX_WINDOW_MIN;
    if (others + held > to->total) {
        to->cut = true;
        return CBX_ERR_LIMIT;
    }
    window->budget->used -= window->counted;
    *window->peer_used -= window->counted;
    window->counted = 0;
    window->budget = to;
    window->acked = window->consumed;
    window->overhead = 0;
    window->limit = window->acked + allowed(window, window->target);
    if (window->limit < received)
        window->limit = received;
    window->probe_limit = received;
    window->probe_at = now;
    window->delay_us = 0;
    window->told = true;
    recount(window);
    return 0;
}

void
cbx_window_close(struct cbx_receive_window *window)
{
    if (!window->open)
        return;
    window->open = false;
    recount(window);
}

/* What the stream might send if the agent's budget were endless. */
uint64_t
cbx_send_wanted(const struct cbx_send_window *window)
{
    uint64_t unacked = window->sent - window->acked;
    uint64_t taken = window->sent + (window->records + 1ull) * CBX_RECORD_COST;
    uint64_t credit = window->limit > taken ? window->limit - taken : 0;
    /* The end of a window is not worth a record: a credit is on its way. */
    if (credit < CBX_RECORD_COST && window->records > 0)
        credit = 0;
    uint64_t own = unacked < CBX_WINDOW_MAX ? CBX_WINDOW_MAX - unacked : 0;
    return least(credit, own);
}

uint64_t
cbx_send_room(const struct cbx_send_window *window)
{
    uint64_t used = *window->pool_used, total = window->pool_total, common = total - total / 4;
    uint64_t wanted = cbx_send_wanted(window);
    if (window->retransmit)
        return least(wanted, window->retransmit); /* in the pool already */
    uint64_t pool = used < common ? common - used : 0;
    /* The last quarter is for minimum windows only, so that a few stalled streams do not stop the
     * others. */
    uint64_t unacked = window->sent - window->acked;
    uint64_t min_window = unacked < CBX_WINDOW_MIN ? CBX_WINDOW_MIN - unacked : 0;
    uint64_t rest = used < total ? total - used : 0;
    if (pool < least(min_window, rest))
        pool = least(min_window, rest);
    return least(wanted, pool);
}

uint32_t
cbx_send_record_size(const struct cbx_send_window *window)
{
    double size = (double)window->rate * RECORD_TIME_US / 1e6;
    if (size < RECORD_MIN)
        return RECORD_MIN;
    return size > RECORD_MAX ? RECORD_MAX : (uint32_t)size;
}

/* Joins the two neighbours with the fewest records: what is then counted too long is little. */
static void
join_spans(struct cbx_send_window *window)
{
    struct cbx_send_span *span = window->span;
    uint32_t best = 0;
    for (uint32_t i = 1; i + 1 < window->spans; i++) {
        if (span[i].records + span[i + 1].records < span[best].records + span[best + 1].records)
            best = i;
    }
    span[best + 1].records += span[best].records;
    window->spans--;
    memmove(span + best, span + best + 1, (window->spans - best) * sizeof *span);
}

static void
drop_spans(struct cbx_send_window *window)
{
    uint32_t gone = 0;
    while (gone < window->spans && window->span[gone].end <= window->acked)
        window->records -= window->span[gone++].records;
    if (gone == 0)
        return;
    window->spans -= gone;
    memmove(window->span, window->span + gone, window->spans * sizeof *window->span);
}

void
cbx_send_sent(struct cbx_send_window *window, uint64_t bytes)
{
    window->sent += bytes;
    if (window->spans == CBX_SEND_SPANS)
        join_spans(window);
    window->span[window->spans++] = (struct cbx_send_span){.end = window->sent, .records = 1};
    window->records++;
    uint64_t retransmit = least(bytes, window->retransmit);
    window->retransmit -= retransmit;
    *window->pool_used += bytes - retransmit;
}

int
cbx_send_rewind(struct cbx_send_window *window, uint64_t received, uint64_t acked, uint64_t limit,
                int64_t now)
{
    if (received > window->sent || acked > received || acked < window->acked || limit < acked)
        return CBX_ERR_LIMIT;
    *window->pool_used -= acked - window->acked;
    window->retransmit += window->sent - received;
    window->sent = received;
    window->acked = acked;
    window->limit = limit;
    window->spans = window->records = 0; /* what waited on the old path waits there no more */
    window->meter_began = now;
    window->meter_bytes = 0;
    return 0;
}

void
cbx_send_take_back_fin(struct cbx_send_window *window)
{
    window->sent--;
    --*window->pool_used;
}

int
cbx_send_credit(struct cbx_send_window *window, uint64_t acked, uint64_t limit, int64_t now)
{
    if (acked > window->sent || acked < window->acked || limit < window->limit)
        return CBX_ERR_LIMIT;
    uint64_t bytes = acked - window->acked;
    window->acked = acked;
    window->limit = limit;
    drop_spans(window);
    *window->pool_used -= bytes;
    window->meter_bytes += bytes;
    int64_t span = now - window->meter_began;
    if (span >= METER_MIN_US) {
        uint64_t rate = (uint64_t)((double)window->meter_bytes * 1e6 / (double)span);
        window->rate = rate > window->rate ? rate : (window->rate * 7 + rate) / 8;
        window->meter_began = now;
        window->meter_bytes = 0;
    }
    return 0;
}

void
cbx_send_close(struct cbx_send_window *window)
{
    if (!window->pool_used)
        return;
    *window->pool_used -= window->sent + window->retransmit - window->acked;
    window->acked = window->sent;
    window->retransmit = 0;
}
