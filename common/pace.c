/* SPDX-License-Identifier: MIT */
#include "pace.h"
#include "err.h"
#include <string.h>

enum { SPAN_MIN_US = 500 * 1000, DRAIN_MIN_US = 20 * 1000, PROBE_EVERY = 8 };

void
cbx_pace_init(struct cbx_pace *pace, int64_t now)
{
    memset(pace, 0, sizeof *pace);
    pace->cap = CBX_PACE_START;
    pace->acked_at = now;
    pace->rate_span_began = now;
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

static uint64_t
cap_for(const struct cbx_pace *pace)
{
    if (!pace->rate_known || pace->delay_us == 0)
        return CBX_PACE_START;
    double seconds = (2.0 * (double)pace->delay_us + CBX_PACE_SLACK_US) / 1e6;
    if (pace->drain_until)
        seconds = (double)pace->delay_us / 2e6;
    double cap = (double)cbx_pace_rate(pace) * seconds;
    if (pace->round % PROBE_EVERY == PROBE_EVERY - 1 && !pace->drain_until)
        cap *= 1.25;
    if (cap < (double)CBX_PACE_CAP_MIN)
        return CBX_PACE_CAP_MIN;
    return cap > (double)CBX_PACE_CAP_MAX ? CBX_PACE_CAP_MAX : (uint64_t)cap;
}

void
cbx_pace_sent(struct cbx_pace *pace, uint64_t bytes, int64_t now)
{
    if (pace->sent == pace->acked) {
        /* From rest: the time since the last ack says nothing about the path. */
        pace->acked_at = now;
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
    if (delay_us < 1)
        delay_us = 1;
    if (pace->delay_us == 0 || delay_us <= pace->delay_us) {
        pace->delay_us = delay_us;
        pace->delay_at = now;
        return;
    }
    if (now - pace->delay_at <= CBX_PACE_DELAY_WINDOW_US)
        return;
    if (pace->drain_until == 0) {
        int64_t drain = 2 * pace->delay_us > DRAIN_MIN_US ? 2 * pace->delay_us : DRAIN_MIN_US;
        pace->drain_until = now + drain + delay_us;
    } else if (now >= pace->drain_until) {
        /* Little was in flight for a while: this is what the path's delay is now. */
        pace->delay_us = delay_us;
        pace->delay_at = now;
    }
}

static void
take_rate(struct cbx_pace *pace, uint64_t rate, bool idle, int64_t now)
{
    if (idle && (!pace->rate_known || rate <= cbx_pace_rate(pace)))
        return;
    int64_t span = 10 * pace->delay_us;
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
    cbx_pace_delay(pace, now - mark->sent_at, now);
    int64_t span = now - mark->acked_then_at;
    if (span < 1)
        span = 1;
    double rate = (double)(pace->acked - mark->acked_then) * 1e6 / (double)span;
    bool idle = !mark->busy && mark->offset <= pace->idle_until;
    take_rate(pace, (uint64_t)rate, idle, now);
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
    if (newest.offset)
        sample(pace, &newest, now);
    pace->acked_at = now;
    /* Over at its time, once the delay was seen anew: anywhere in the drain, or after it. */
    if (pace->drain_until && now >= pace->drain_until &&
        now - pace->delay_at <= CBX_PACE_DELAY_WINDOW_US)
        pace->drain_until = 0;
    if (total >= pace->round_end) {
        if (pace->round_limited)
            pace->round++;
        pace->round_end = pace->sent;
        pace->round_limited = true;
    }
    pace->cap = cap_for(pace);
    return 0;
}
