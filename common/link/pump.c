/* SPDX-License-Identifier: MIT */
/* The turns of reading and writing over one or two carriers, and the ways in which each may end. */
#include "common/link/pump.h"
#include <string.h>

enum { VECTORS = 64, BREACH_RETRY_MS = 2000, LOST_SIZE = 6 };

/* LANE_LOST as it goes over the first carrier. */
static const uint8_t lost_frame[LOST_SIZE] = {0, 0, 0, 2, 0x91, CBX_FRAME_LANE_LOST};

static void
close_carrier(struct cbx_carrier **carrier)
{
    if (*carrier)
        (*carrier)->ops->close(*carrier);
    *carrier = NULL;
}

static void
end(struct cbx_pump *pump, int result, const char *text)
{
    if (!cbx_pump_running(pump))
        return;
    pump->link.failed = true;
    close_carrier(&pump->lane);
    close_carrier(&pump->carrier);
    pump->over(pump->arg, pump, result, text);
}

/* The lane is gone and the first carrier stands by: the owner goes on with that. */
static void
lane_lost(struct cbx_pump *pump, const char *text)
{
    struct iovec vector = {.iov_base = (void *)(uintptr_t)lost_frame, .iov_len = LOST_SIZE};
    if (!cbx_link_moved(&pump->link) || pump->standby_lost ||
        pump->carrier->ops->writev(pump->carrier, &vector, 1) != LOST_SIZE) {
        end(pump, CBX_ERR_CLOSED, text);
        return;
    }
    pump->link.failed = true;
    close_carrier(&pump->lane);
    pump->left = pump->carrier;
    pump->carrier = NULL;
    pump->left->ready = NULL;
    pump->over(pump->arg, pump, CBX_ERR_CLOSED, text);
}

/* The part that failed decides what is lost. */
static void
fail(struct cbx_pump *pump, bool on_lane, int result, const char *text)
{
    if (on_lane)
        lane_lost(pump, text);
    else
        end(pump, result, text);
}

/* Whether the next bytes come from, go to, the second carrier, not the one it began on. */
static bool
in_moved(const struct cbx_pump *pump)
{
    return !pump->link.config.lane && cbx_link_in_lane(&pump->link);
}

static bool
out_moved(const struct cbx_pump *pump)
{
    return !pump->link.config.lane && cbx_link_out_lane(&pump->link);
}

static struct cbx_carrier *
in_carrier(const struct cbx_pump *pump)
{
    return in_moved(pump) ? pump->lane : pump->carrier;
}

static struct cbx_carrier *
out_carrier(const struct cbx_pump *pump)
{
    return out_moved(pump) ? pump->lane : pump->carrier;
}

/* 0 when nothing more can be read now, 1 when the turn is used up, else the end's cause; *gone when
 * that was the carrier's end. */
static int
read_turn(struct cbx_pump *pump, struct cbx_carrier *from, bool *gone, struct cbx_error *error)
{
    size_t taken = 0;
    uint64_t last = pump->link.count.frames_in + CBX_PUMP_TURN_FRAMES;
    while (taken < CBX_PUMP_TURN_MAX && pump->link.count.frames_in < last &&
           from == in_carrier(pump)) {
        uint8_t *at;
        size_t room;
        int result = cbx_link_space(&pump->link, &at, &room);
        if (result < 0)
            return cbx_fail(error, result, "out of memory");
        ssize_t got = from->ops->read(from, at, room);
        if (got == CBX_ERR_AGAIN)
            return 0;
        if (got < 0) {
            *gone = true;
            return cbx_fail(error, (int)got, "the connection was closed");
        }
        taken += (size_t)got;
        pump->reading = true;
        result = cbx_link_received(&pump->link, (size_t)got, pump->now_us(pump->arg), error);
        pump->reading = false;
        if (result < 0)
            return result;
        if (pump->link.failed)
            return cbx_fail(error, CBX_ERR_CLOSED, "closed");
        if ((size_t)got < room)
            return 1; /* most likely drained: let the loop tell, others may have work */
    }
    return 1;
}

/* Writes until the carrier takes no more (CBX_ERR_AGAIN), all is written (0), or it is gone. */
static int
write_turn(struct cbx_pump *pump, int64_t now)
{
    for (;;) {
        struct iovec vector[VECTORS];
        int count = cbx_link_output(&pump->link, vector, VECTORS, now);
        if (count == 0)
            return 0;
        struct cbx_carrier *to = out_carrier(pump);
        ssize_t written = to->ops->writev(to, vector, count);
        if (written < 0)
            return (int)written;
        cbx_link_written(&pump->link, (size_t)written);
    }
}

bool
cbx_pump_breach(int result)
{
    return result == CBX_ERR_FORMAT || result == CBX_ERR_LIMIT || result == CBX_ERR_AUTH ||
           result == CBX_ERR_STATE || result == CBX_ERR_NOTFOUND;
}

/* The neighbour hears what it did wrong, as far as its carrier takes that at once. */
static void
last_words(struct cbx_pump *pump, const char *text)
{
    if (!pump->link.magic_seen)
        return;
    struct cbx_field fields[] = {cbx_field_uint(CBX_REASON_PROTOCOL),
                                 cbx_field_uint(BREACH_RETRY_MS), cbx_field_text(text)};
    pump->link.failed = false;
    if (cbx_link_send(&pump->link, CBX_FRAME_BYE, 0, fields, 3) == 0)
        (void)write_turn(pump, pump->now_us(pump->arg));
    pump->link.failed = true;
}

/* The lane carries the link alone from now on. Before both directions have moved that cannot be. */
static void
standby_ended(struct cbx_pump *pump, int result)
{
    if (!pump->lane || !cbx_link_moved(&pump->link)) {
        end(pump, result, "the connection was closed");
        return;
    }
    pump->standby_lost = true;
    close_carrier(&pump->carrier);
}

/*
 * The first carrier after what comes in has moved to the lane. Nothing may come but the word that
 * the neighbour lost the lane.
 */
static void
standby_ready(struct cbx_pump *pump)
{
    while (pump->standby_count < LOST_SIZE) {
        ssize_t got = pump->carrier->ops->read(pump->carrier, pump->standby + pump->standby_count,
                                               LOST_SIZE - pump->standby_count);
        if (got == CBX_ERR_AGAIN)
            return;
        if (got < 0) {
            standby_ended(pump, (int)got);
            return;
        }
        pump->standby_count += (uint32_t)got;
    }
    if (memcmp(pump->standby, lost_frame, LOST_SIZE) == 0)
        lane_lost(pump, "the neighbour lost the lane");
    else
        end(pump, CBX_ERR_FORMAT, "link: bytes after SHIFT");
}

static void
read_ready(struct cbx_pump *pump, struct cbx_carrier *from)
{
    struct cbx_error error = {""};
    bool on_lane = from == pump->lane, gone = false;
    int result = read_turn(pump, from, &gone, &error);
    if (result >= 0) {
        cbx_pump_flush(pump);
        return;
    }
    if (on_lane && (gone || pump->link.lane_broken)) {
        lane_lost(pump, gone ? "the lane was closed" : error.text);
        return;
    }
    if (cbx_pump_running(pump) && cbx_pump_breach(result))
        last_words(pump, error.text);
    end(pump, result, error.text);
}

static void
ready(void *arg)
{
    struct cbx_pump *pump = arg;
    if (in_moved(pump))
        standby_ready(pump);
    else
        read_ready(pump, pump->carrier);
}

/* Bytes that come before SHIFT wait in the kernel. */
static void
lane_ready(void *arg)
{
    struct cbx_pump *pump = arg;
    if (in_moved(pump))
        read_ready(pump, pump->lane);
    else
        cbx_pump_flush(pump);
}

int
cbx_pump_lane(struct cbx_pump *pump, struct cbx_carrier *carrier, struct cbx_lane *lane)
{
    int result = CBX_ERR_STATE;
    if (cbx_pump_running(pump) && !pump->lane)
        result = cbx_link_lane(&pump->link, lane);
    else
        cbx_lane_free(lane);
    if (result < 0) {
        carrier->ops->close(carrier);
        return result;
    }
    pump->lane = carrier;
    carrier->ready = lane_ready;
    carrier->arg = pump;
    return 0;
}

int
cbx_pump_start(struct cbx_pump *pump, struct cbx_carrier *carrier,
               const struct cbx_link_config *config, const struct cbx_link_ops *ops, void *owner,
               int64_t (*now_us)(void *arg),
               void (*over)(void *arg, struct cbx_pump *pump, int result, const char *text),
               void *arg)
{
    pump->carrier = carrier;
    pump->lane = pump->left = NULL;
    pump->standby_count = 0;
    pump->now_us = now_us;
    pump->over = over;
    pump->arg = arg;
    pump->reading = pump->closing = pump->standby_lost = false;
    int result = cbx_link_init(&pump->link, config, ops, owner, now_us(arg));
    if (result < 0) {
        cbx_link_dispose(&pump->link);
        carrier->ops->close(carrier);
        pump->carrier = NULL;
        return result;
    }
    carrier->ready = ready;
    carrier->arg = pump;
    carrier->ops->want(carrier, true, true);
    return 0;
}

/* Tells the carriers what is waited for: input where it comes from now (and the end of the other),
 * room where output is stuck. */
static void
set_wants(struct cbx_pump *pump, bool blocked)
{
    bool in_lane = in_moved(pump), out_lane = out_moved(pump);
    if (pump->carrier)
        pump->carrier->ops->want(pump->carrier, true, blocked && !out_lane);
    if (pump->lane)
        pump->lane->ops->want(pump->lane, in_lane, blocked && out_lane);
}

bool
cbx_pump_flush(struct cbx_pump *pump)
{
    if (!cbx_pump_running(pump))
        return false;
    int64_t now = pump->now_us(pump->arg);
    if (cbx_link_tick(&pump->link, now) == CBX_ERR_CLOSED) {
        end(pump, CBX_ERR_CLOSED, "the neighbour has been silent for too long");
        return false;
    }
    int result = write_turn(pump, now);
    bool blocked = result == CBX_ERR_AGAIN;
    if ((result < 0 && !blocked) || pump->link.lane_broken) {
        fail(pump, out_moved(pump), result, "the connection was closed");
        return false;
    }
    if (pump->link.starved) {
        end(pump, CBX_ERR_NOMEM, "out of memory");
        return false;
    }
    if (pump->closing && !blocked) {
        end(pump, CBX_OK, "closed");
        return false;
    }
    set_wants(pump, blocked);
    return true;
}

int
cbx_pump_socket(const struct cbx_pump *pump)
{
    const struct cbx_carrier *carrier = cbx_pump_running(pump) ? out_carrier(pump) : NULL;
    return carrier && carrier->ops->socket ? carrier->ops->socket(carrier) : -1;
}

void
cbx_pump_give_up(struct cbx_pump *pump, const char *text)
{
    end(pump, CBX_ERR_CLOSED, text);
}

void
cbx_pump_close_soon(struct cbx_pump *pump)
{
    pump->closing = true;
}

void
cbx_pump_dispose(struct cbx_pump *pump)
{
    close_carrier(&pump->lane);
    close_carrier(&pump->carrier);
    cbx_link_dispose(&pump->link);
}
