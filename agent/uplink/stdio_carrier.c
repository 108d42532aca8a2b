/* SPDX-License-Identifier: MIT */
/*
 * The carrier over a program's pipes: the one over descriptors, with two things more. What was read
 * while the hub's magic was looked for is given out first; no event tells of that, so while it is
 * wanted an idle watcher calls ready once a turn. And closing lets go of the program. Tested by
 * test_ssh_command.
 */
#include "agent/uplink/stdio_carrier.h"

#include "agent/uplink/child.h"

#include <ev.h>
#include <stdlib.h>
#include <string.h>

struct stdio_carrier {
    struct cbx_carrier base; /* first: the two addresses are one */
    struct cbx_carrier *pipes;
    struct ev_loop *loop;
    struct child *child;
    ev_idle held; /* active while there are first bytes and the owner wants them */
    bool want_read;
    size_t at, length;
    uint8_t first[];
};

static struct stdio_carrier *
from(struct cbx_carrier *base)
{
    return (struct stdio_carrier *)base;
}

static void
update(struct stdio_carrier *carrier)
{
    if (carrier->want_read && carrier->at < carrier->length)
        ev_idle_start(carrier->loop, &carrier->held);
    else
        ev_idle_stop(carrier->loop, &carrier->held);
}

static ssize_t
stdio_read(struct cbx_carrier *base, void *buffer, size_t length)
{
    struct stdio_carrier *carrier = from(base);
    size_t left = carrier->length - carrier->at;
    if (left == 0)
        return carrier->pipes->ops->read(carrier->pipes, buffer, length);
    size_t count = left < length ? left : length;
    memcpy(buffer, carrier->first + carrier->at, count);
    carrier->at += count;
    update(carrier);
    return (ssize_t)count;
}

static ssize_t
stdio_writev(struct cbx_carrier *base, const struct iovec *vector, int count)
{
    struct cbx_carrier *pipes = from(base)->pipes;
    return pipes->ops->writev(pipes, vector, count);
}

static void
stdio_want(struct cbx_carrier *base, bool read, bool write)
{
    struct stdio_carrier *carrier = from(base);
    carrier->want_read = read;
    update(carrier);
    carrier->pipes->ops->want(carrier->pipes, read, write);
}

static void
stdio_close(struct cbx_carrier *base)
{
    struct stdio_carrier *carrier = from(base);
    ev_idle_stop(carrier->loop, &carrier->held);
    carrier->pipes->ops->close(carrier->pipes);
    child_end(carrier->child);
    free(carrier);
}

static const struct cbx_carrier_ops operations = {
    .read = stdio_read,
    .writev = stdio_writev,
    .want = stdio_want,
    .close = stdio_close,
};

static void
on_held(struct ev_loop *loop, ev_idle *idle, int events)
{
    (void)loop;
    (void)events;
    struct stdio_carrier *carrier = idle->data;
    if (carrier->base.ready)
        carrier->base.ready(carrier->base.arg);
}

/* The owner sets ready and arg in ours, the pipes call here. */
static void
on_pipes(void *arg)
{
    struct stdio_carrier *carrier = arg;
    if (carrier->base.ready)
        carrier->base.ready(carrier->base.arg);
}

struct cbx_carrier *
stdio_carrier_new(struct ev_loop *loop, struct child *child, int input, int output,
                  const void *first, size_t length)
{
    struct stdio_carrier *carrier = calloc(1, sizeof *carrier + length);
    if (!carrier)
        return NULL;
    carrier->pipes = cbx_carrier_fd(loop, output, input);
    if (!carrier->pipes) {
        free(carrier);
        return NULL;
    }
    carrier->base.ops = &operations;
    carrier->pipes->ready = on_pipes;
    carrier->pipes->arg = carrier;
    carrier->loop = loop;
    carrier->child = child;
    carrier->length = length;
    memcpy(carrier->first, first, length);
    ev_idle_init(&carrier->held, on_held);
    ev_set_priority(&carrier->held, EV_MAXPRI); /* else others' events would put it off */
    carrier->held.data = carrier;
    return &carrier->base;
}
