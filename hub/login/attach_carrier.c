/* SPDX-License-Identifier: MIT */
/* Tested by test_attach. */
#include "hub/login/attach_carrier.h"
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

struct attach_carrier {
    struct cbx_carrier base; /* first: the carrier that others see is this */
    struct cbx_carrier *inner;
    struct attach_carriers *set; /* NULL once that is gone */
    uint64_t connection;
    int socket;
    int pipe[2];       /* owned by inner; kept to enlarge them */
    uint64_t moved[2]; /* bytes each way until its pipe was enlarged */
    uint32_t enlarged; /* bytes counted in the set's sum */
    struct attach_carrier *next, *previous;
};

/* A link that moves much gets longer pipes: fewer switches between sshd and us. Refused by the
 * kernel is fine, and so is no room in the sum. */
static void
enlarge_if_busy(struct attach_carrier *carrier, int which, ssize_t moved)
{
    struct attach_carriers *set = carrier->set;

    if (moved <= 0 || carrier->moved[which] > ATTACH_BUSY_BYTES)
        return;
    carrier->moved[which] += (uint64_t)moved;
    if (carrier->moved[which] <= ATTACH_BUSY_BYTES || !set ||
        set->enlarged + ATTACH_PIPE_BYTES > ATTACH_PIPES_SUM)
        return;
    if (fcntl(carrier->pipe[which], F_SETPIPE_SZ, (int)ATTACH_PIPE_BYTES) > 0) {
        carrier->enlarged += ATTACH_PIPE_BYTES;
        set->enlarged += ATTACH_PIPE_BYTES;
    }
}

static ssize_t
carrier_read(struct cbx_carrier *base, void *buffer, size_t length)
{
    struct attach_carrier *carrier = (struct attach_carrier *)base;
    ssize_t got = carrier->inner->ops->read(carrier->inner, buffer, length);

    enlarge_if_busy(carrier, 0, got);
    return got;
}

static ssize_t
carrier_writev(struct cbx_carrier *base, const struct iovec *vector, int count)
{
    struct attach_carrier *carrier = (struct attach_carrier *)base;
    ssize_t written = carrier->inner->ops->writev(carrier->inner, vector, count);

    enlarge_if_busy(carrier, 1, written);
    return written;
}

static void
carrier_want(struct cbx_carrier *base, bool want_read, bool want_write)
{
    struct attach_carrier *carrier = (struct attach_carrier *)base;

    carrier->inner->ops->want(carrier->inner, want_read, want_write);
}

static void
leave_set(struct attach_carrier *carrier)
{
    if (carrier->next)
        carrier->next->previous = carrier->previous;
    if (carrier->previous)
        carrier->previous->next = carrier->next;
    else
        carrier->set->first = carrier->next;
}

static void
carrier_close(struct cbx_carrier *base)
{
    struct attach_carrier *carrier = (struct attach_carrier *)base;
    struct attach_carriers *set = carrier->set;
    uint64_t connection = carrier->connection;

    carrier->inner->ops->close(carrier->inner);
    (void)close(carrier->socket); /* attach sees it and ends; sshd then sends what is in the pipe */
    if (set) {
        set->enlarged -= carrier->enlarged;
        leave_set(carrier);
    }
    free(carrier);
    if (set)
        set->detached(set->arg, connection);
}

static void
carrier_ready(void *arg)
{
    struct attach_carrier *carrier = arg;

    carrier->base.ready(carrier->base.arg); /* may free the carrier */
}

static const struct cbx_carrier_ops carrier_ops = {
    .read = carrier_read, .writev = carrier_writev, .want = carrier_want, .close = carrier_close};

struct cbx_carrier *
attach_carrier_new(struct attach_carriers *set, uint64_t connection, int socket, const int pipes[2])
{
    struct attach_carrier *carrier = calloc(1, sizeof *carrier);

    if (!carrier)
        return NULL;
    carrier->inner = cbx_carrier_fd(set->loop, pipes[0], pipes[1]);
    if (!carrier->inner) {
        free(carrier);
        return NULL;
    }
    carrier->inner->ready = carrier_ready;
    carrier->inner->arg = carrier;
    carrier->base.ops = &carrier_ops;
    carrier->set = set;
    carrier->connection = connection;
    carrier->socket = socket;
    carrier->pipe[0] = pipes[0];
    carrier->pipe[1] = pipes[1];
    carrier->next = set->first;
    if (carrier->next)
        carrier->next->previous = carrier;
    set->first = carrier;
    return &carrier->base;
}

void
attach_carriers_abandon(struct attach_carriers *set)
{
    for (struct attach_carrier *carrier = set->first; carrier != NULL; carrier = carrier->next)
        carrier->set = NULL;
}
