/* SPDX-License-Identifier: MIT */
/* Samples of rate and delay, the rounds that probe and drain, and the limit that they give. */
#include "common/link/pace.h"
#include "common/base/err.h"
#include <string.h>

enum {
    SPAN_MIN_US = 500 * 1000,
    DRAIN_MIN_US = 20 * 1000,
    PROBE_EVERY = 8,
    ONE_WAY_WINDOW_US = 30 * 1000 * 1000,
    ONE_WAY_STALE_US = 1000 * 1000,
    PINCHED_ROUNDS = 8,
    TRIAL_ROUNDS = 8,
    TRIAL_EVERY_US = 60 * 1000 * 1000
};

void
cbx_pace_init(struct cbx_pace *pace, int64_t now)
{
    memset(pace, 0, sizeof *pace);
    pace->cap = CBX_PACE_START;
    pace->acked_at = now;
    pace->rate_span_began = now;
}

void
cbx_pace_restart(struct cbx_pace *pace, int64_t now)
{
    uint64_t sent = pace->sent, acked = pace->acked;
    cbx_pace_init(pace, now);
    pace->sent = sent;
    pace->acked = acked;
    pace->round_end = acked;
    pace->idle_until = sent; /* what is still on the old path tells nothing about the new one */
}

uint64_t
cbx_pace_rate(const struct cbx_pace *pace)
{
    return pace->rate[0] > pace->rate[1] ? pace->rate[0] : pace->rate[1];
}

uint64_t
cbx_pace_room(const struct cbx_pace *pace)
{
    uint64_t flying = pace->sent - pace->acked;
    return flying < pace->cap ? pace->cap - flying : 0;
}

uint64_t
cbx_pace_quarter(const struct cbx_pace *pace)
{
    return pace->cap / 4;
}

/* What the neighbour's data takes of a round trip; bounded, since it is the neighbour's word. */
static int64_t
reverse_delay(const struct cbx_pace *pace, int64_t now)
{
    int64_t most = pace->delay_us + CBX_PACE_SLACK_US;
    if (now - pace->one_way_at > ONE_WAY_STALE_US)
        return 0;
    return pace->one_way_delay_us < most ? pace->one_way_delay_us : most;
}

static uint64_t
cap_for(const struct cbx_pace *pace, int64_t now)
{
    if (!pace->rate_known || pace->delay_us == 0)
        return CBX_PACE_START;
    double rate = (double)cbx_pace_rate(pace);
    double slack = rate * (double)(CBX_PACE_SLACK_US + reverse_delay(pace, now)) / 1e6;
    if (slack > (double)CBX_PACE_SLACK_MAX)
        slack = (double)CBX_PACE_SLACK_MAX;
    double cap = 2.0 * rate * (double)pace->delay_us / 1e6 + slack;
    if (pace->drain_until)
        cap = rate * (double)pace->delay_us / 2e6;
    if (pace->round % PROBE_EVERY == PROBE_EVERY - 1 && !pace->drain_until)
        cap *= 1.25;
    if (cap < (double)CBX_PACE_CAP_MIN)
        return CBX_PACE_CAP_MIN;
    return cap > (double)CBX_PACE_CAP_MAX ? CBX_PACE_CAP_MAX : (uint64_t)cap;
}

static double
per_second(uint64_t bytes, int64_t span)
{
    return (double)bytes * 1e6 / (double)(span < 1 ? 1 : span);
}

void
cbx_pace_sent(struct cbx_pace *pace, uint64_t bytes, int64_t now)
{
    if (pace->sent == pace->acked) {
        /* From rest: the time since the last ack says nothing about the path. */
        pace->acked_at = pace->from_at = now;
        pace->from_offset = pace->acked;
        pace->first = pace->count = 0;
    }
    pace->sent += bytes;
    uint64_t last = pace->count
                        ? pace->mark[(pace->first + pace->count - 1) % CBX_PACE_MARKS].offset
                        : pace->acked;
    bool due = pace->count == 0 || pace->sent - last >= pace->cap / 16;
    if (!due || pace->count == CBX_PACE_MARKS)
        return;
    pace->mark[(pace->first + pace->count++) % CBX_PACE_MARKS] = (struct cbx_pace_mark){
        .offset = pace->sent,
        .sent_at = now,
        .acked_then = pace->acked,
        .acked_then_at = pace->acked_at,
        .from_offset = pace->from_offset,
        .from_at = pace->from_at,
        .busy = pace->sent - pace->acked >= pace->cap / 4 * 3,
    };
}

void
cbx_pace_idle(struct cbx_pace *pace)
{
    pace->idle_until = pace->sent;
    pace->round_limited = false;
}

void
cbx_pace_delay(struct cbx_pace *pace, int64_t delay_us, int64_t now)
{
    if (pace->trial_rounds) /* a ping between two bursts would end it */
        return;
    if (delay_us < 1)
        delay_us = 1;
    if (pace->delay_us == 0 || delay_us <= pace->delay_us) {
        pace->delay_us = delay_us;
        pace->delay_at = now;
        return;
    }
    if (now - pace->delay_at <= CBX_PACE_DELAY_WINDOW_US)
        return;
    /* Behind the neighbour's data no round trip tells it: both ends would raise it in turns. */
    if (reverse_delay(pace, now) > CBX_PACE_SLACK_US / 2) {
        pace->drain_until = 0;
        pace->delay_at = now;
        return;
    }
    if (pace->drain_until == 0) {
        int64_t drain = 2 * pace->delay_us > DRAIN_MIN_US ? 2 * pace->delay_us : DRAIN_MIN_US;
        pace->drain_until = now + drain + delay_us;
        pace->drain_least_us = delay_us;
        return;
    }
    if (delay_us < pace->drain_least_us)
        pace->drain_least_us = delay_us;
    if (now >= pace->drain_until) {
        /* Little was in flight for a while: this is what the path's delay is now. */
        pace->delay_us = pace->drain_least_us;
        pace->delay_at = now;
    }
}

void
cbx_pace_one_way_delay(struct cbx_pace *pace, uint64_t apart, int64_t now)
{
    /* Differences of differences: whatever the clocks say, and wherever they wrap. */
    if (pace->one_way_began == 0)
        pace->one_way_least[0] = pace->one_way_least[1] = apart;
    if (pace->one_way_began == 0 || now - pace->one_way_began > ONE_WAY_WINDOW_US) {
        pace->one_way_least[1] = pace->one_way_least[0];
        pace->one_way_least[0] = apart;
        pace->one_way_began = now;
    }
    int64_t longest = 0;
    for (int i = 0; i < 2; i++) {
        int64_t waited = (int64_t)(apart - pace->one_way_least[i]);
        if (waited < 0)
            pace->one_way_least[i] = apart;
        else if (waited > longest)
            longest = waited;
    }
    int64_t most = pace->delay_us + CBX_PACE_SLACK_US;
    if (longest > most)
        longest = most;
    /* Too much costs a little of a queue, too little leaves the path empty. */
    pace->one_way_delay_us +=
        (longest - pace->one_way_delay_us) / (longest > pace->one_way_delay_us ? 2 : 8);
    pace->one_way_at = now;
}

static void
take_rate(struct cbx_pace *pace, uint64_t rate, bool idle, int64_t now)
{
    if (idle && (!pace->rate_known || rate <= cbx_pace_rate(pace)))
        return;
    int64_t span = 10 * (pace->delay_us + reverse_delay(pace, now)); /* more than one probe */
    if (span < SPAN_MIN_US)
        span = SPAN_MIN_US;
    if (now - pace->rate_span_began >= span && !idle) {
        pace->rate[1] = pace->rate[0];
        pace->rate[0] = 0;
        pace->rate_span_began = now;
    }
    if (rate > pace->rate[0])
        pace->rate[0] = rate;
    pace->rate_known = true;
}

static void
sample(struct cbx_pace *pace, const struct cbx_pace_mark *mark, int64_t now)
{
    if (now - mark->sent_at > pace->pinched_most_us)
        pace->pinched_most_us = now - mark->sent_at;
    cbx_pace_delay(pace, now - mark->sent_at, now);
    double rate = per_second(pace->acked - mark->acked_then, now - mark->acked_then_at);
    /* Acks that waited behind the neighbour's data come in a clump and tell too much; nothing
     * arrives faster than it was sent. */
    double sent = per_second(mark->offset - mark->from_offset, mark->sent_at - mark->from_at);
    if (rate > sent)
        rate = sent;
    bool idle = !mark->busy && mark->offset <= pace->idle_until;
    take_rate(pace, (uint64_t)rate, idle, now);
}

/*
 * Where small writes are held together on the way (a proxy with Nagle's rule before a receiver that
 * delays its acks) a ping in rest sees no delay and a window of two records always does: cap, rate
 * and cap again keep each other small. So when the cap was the limit at its least for 8 round
 * trips, the longest of these is tried as the delay for as many more (the least may be of a lucky
 * one that filled its packets). Where not half as much again comes through by it the road is only
 * slow, and the delay is what it was.
 */
static void
count_pinched(struct cbx_pace *pace, int64_t now)
{
    /* What these rounds brought: the greatest rate may be one of better times. */
    double speed = per_second(pace->acked - pace->pinched_from, now - pace->pinched_at);
    if (pace->trial_rounds) {
        if (--pace->trial_rounds)
            return;
        if (speed < pace->trial_speed * 1.5) {
            pace->delay_us = pace->trial_delay_us;
            pace->trial_after = now + TRIAL_EVERY_US;
        }
        pace->pinched = 0;
    } else if (pace->cap > CBX_PACE_CAP_MIN || !pace->round_limited || now < pace->trial_after) {
        pace->pinched = 0;
    } else if (++pace->pinched > PINCHED_ROUNDS) {
        pace->trial_rounds = TRIAL_ROUNDS;
        pace->trial_speed = speed;
        pace->trial_delay_us = pace->delay_us;
        pace->delay_us = pace->pinched_most_us;
        pace->delay_at = now;
    } else if (pace->pinched > 1) {
        return;
    }
    pace->pinched_from = pace->acked;
    pace->pinched_at = now;
    pace->pinched_most_us = pace->delay_us;
}

static void
end_round(struct cbx_pace *pace, int64_t now)
{
    count_pinched(pace, now);
    if (pace->round_limited)
        pace->round++;
    pace->round_end = pace->sent;
    pace->round_limited = true;
}

int
cbx_pace_acked(struct cbx_pace *pace, uint64_t total, int64_t now)
{
    if (total > pace->sent)
        return CBX_ERR_LIMIT;
    if (total <= pace->acked)
        return 0;
    pace->acked = total;
    struct cbx_pace_mark newest = {0};
    while (pace->count && pace->mark[pace->first].offset <= total) {
        newest = pace->mark[pace->first];
        pace->first = (pace->first + 1) % CBX_PACE_MARKS;
        pace->count--;
    }
    if (newest.offset) {
        sample(pace, &newest, now);
        pace->from_offset = newest.offset;
        pace->from_at = newest.sent_at;
    }
    pace->acked_at = now;
    /* Over at its time, once the delay was seen anew: anywhere in the drain, or after it. */
    if (pace->drain_until && now >= pace->drain_until &&
        now - pace->delay_at <= CBX_PACE_DELAY_WINDOW_US)
        pace->drain_until = 0;
    if (total >= pace->round_end)
        end_round(pace, now);
    pace->cap = cap_for(pace, now);
    return 0;
}
