/* SPDX-License-Identifier: MIT */
/* A carrier of memory: what the engine reads is put in, what it writes is taken out. It lives as
 * long as its owner; closing only marks it. */
#ifndef FUZZ_WIRE_H
#define FUZZ_WIRE_H

#include "common/link/carrier.h"
#include "feed.h"

enum { FUZZ_WIRE_SIZE = 512 * 1024 };

struct fuzz_buffer {
    uint8_t bytes[FUZZ_WIRE_SIZE];
    size_t from, to;
};

struct fuzz_wire {
    struct cbx_carrier base;
    struct fuzz_buffer in, out; /* seen from the engine */
    bool open, cut, stalled, wants_write;
};

/* False when it is full: nothing was put. */
static inline bool
fuzz_buffer_put(struct fuzz_buffer *buffer, const void *bytes, size_t length)
{
    if (buffer->from == buffer->to)
        buffer->from = buffer->to = 0;
    if (length > sizeof buffer->bytes - buffer->to)
        return false;
    memcpy(buffer->bytes + buffer->to, bytes, length);
    buffer->to += length;
    return true;
}

static inline ssize_t
fuzz_wire_read(struct cbx_carrier *carrier, void *buffer, size_t length)
{
    struct fuzz_wire *wire = (struct fuzz_wire *)carrier;
    size_t held = wire->in.to - wire->in.from;
    if (held == 0)
        return wire->cut ? CBX_ERR_CLOSED : CBX_ERR_AGAIN;
    length = length < held ? length : held;
    memcpy(buffer, wire->in.bytes + wire->in.from, length);
    wire->in.from += length;
    return (ssize_t)length;
}

static inline ssize_t
fuzz_wire_writev(struct cbx_carrier *carrier, const struct iovec *vector, int count)
{
    struct fuzz_wire *wire = (struct fuzz_wire *)carrier;
    size_t taken = 0;
    if (wire->cut)
        return CBX_ERR_CLOSED;
    for (int i = 0; i < count && !wire->stalled; i++) {
        if (!fuzz_buffer_put(&wire->out, vector[i].iov_base, vector[i].iov_len))
            break;
        taken += vector[i].iov_len;
    }
    return taken ? (ssize_t)taken : CBX_ERR_AGAIN;
}

static inline void
fuzz_wire_want(struct cbx_carrier *carrier, bool read, bool write)
{
    (void)read;
    ((struct fuzz_wire *)carrier)->wants_write = write;
}

static inline void
fuzz_wire_close(struct cbx_carrier *carrier)
{
    ((struct fuzz_wire *)carrier)->open = false;
}

static const struct cbx_carrier_ops fuzz_wire_ops = {.read = fuzz_wire_read,
                                                     .writev = fuzz_wire_writev,
                                                     .want = fuzz_wire_want,
                                                     .close = fuzz_wire_close};

static inline void
fuzz_wire_init(struct fuzz_wire *wire)
{
    wire->base = (struct cbx_carrier){.ops = &fuzz_wire_ops};
    wire->in.from = wire->in.to = wire->out.from = wire->out.to = 0;
    wire->open = true;
    wire->cut = wire->stalled = wire->wants_write = false;
}

/* Lets the engine read what is there, and hear that it may write. */
static inline void
fuzz_wire_ready(struct fuzz_wire *wire)
{
    bool something = wire->in.from < wire->in.to || wire->cut;
    if (wire->open && (something || (wire->wants_write && !wire->stalled)))
        wire->base.ready(wire->base.arg);
}

/* The next whole frame that the engine wrote; the magic is passed over. False: none. */
static inline bool
fuzz_wire_frame(struct fuzz_wire *wire, struct cbx_slice *raw)
{
    struct fuzz_buffer *out = &wire->out;
    size_t held = out->to - out->from;
    if (held >= 16 && memcmp(out->bytes + out->from, "\0cbx", 4) == 0) {
        out->from += 16;
        held -= 16;
    }
    int length = cbx_frame_length(out->bytes + out->from, held);
    check(length >= 0);
    if (length == 0 || (size_t)length > held)
        return false;
    *raw = (struct cbx_slice){.data = out->bytes + out->from, .length = (uint32_t)length};
    out->from += (size_t)length;
    return true;
}

#endif
