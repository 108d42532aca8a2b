/* SPDX-License-Identifier: MIT */
#include "pump.h"
#include <stdio.h>

enum { VECTORS = 64, BREACH_RETRY_MS = 2000 };

static void
end(struct cbx_pump *pump, int result, const char *text)
{
    if (!pump->carrier)
        return;
    pump->link.failed = true;
    pump->carrier->ops->close(pump->carrier);
    pump->carrier = NULL;
    pump->over(pump->arg, pump, result, text);
}

/* 0 when nothing more can be read now, 1 when the turn is used up, else the end's cause. */
static int
read_turn(struct cbx_pump *pump, struct cbx_error *error)
{
    size_t taken = 0;
    while (taken < CBX_PUMP_TURN_MAX) {
        uint8_t *at;
        size_t room;
        int result = cbx_link_space(&pump->link, &at, &room);
        if (result < 0)
            return cbx_fail(error, result, "out of memory");
        ssize_t got = pump->carrier->ops->read(pump->carrier, at, room);
        if (got == CBX_ERR_AGAIN)
            return 0;
        if (got < 0)
            return cbx_fail(error, (int)got, "the connection was closed");
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
        ssize_t written = pump->carrier->ops->writev(pump->carrier, vector, count);
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

static void
ready(void *arg)
{
    struct cbx_pump *pump = arg;
    struct cbx_error error = {""};
    int result = read_turn(pump, &error);
    if (result < 0) {
        if (pump->carrier && cbx_pump_breach(result))
            last_words(pump, error.text);
        end(pump, result, error.text);
        return;
    }
    cbx_pump_flush(pump);
}

int
cbx_pump_start(struct cbx_pump *pump, struct cbx_carrier *carrier,
               const struct cbx_link_config *config, const struct cbx_link_ops *ops, void *owner,
               int64_t (*now_us)(void *arg),
               void (*over)(void *arg, struct cbx_pump *pump, int result, const char *text),
               void *arg)
{
    pump->carrier = carrier;
    pump->now_us = now_us;
    pump->over = over;
    pump->arg = arg;
    pump->reading = pump->closing = false;
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

bool
cbx_pump_flush(struct cbx_pump *pump)
{
    if (!pump->carrier)
        return false;
    int64_t now = pump->now_us(pump->arg);
    if (cbx_link_tick(&pump->link, now) == CBX_ERR_CLOSED) {
        end(pump, CBX_ERR_CLOSED, "the neighbour has been silent for too long");
        return false;
    }
    int result = write_turn(pump, now);
    bool blocked = result == CBX_ERR_AGAIN;
    if (result < 0 && !blocked) {
        end(pump, result, "the connection was closed");
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
    pump->carrier->ops->want(pump->carrier, true, blocked);
    return true;
}

void
cbx_pump_close_soon(struct cbx_pump *pump)
{
    pump->closing = true;
}

void
cbx_pump_dispose(struct cbx_pump *pump)
{
    if (pump->carrier)
        pump->carrier->ops->close(pump->carrier);
    pump->carrier = NULL;
    cbx_link_dispose(&pump->link);
}
