/* SPDX-License-Identifier: MIT */
/*
 * Two streams, a program at each end, and a peer gone bad that knows the keys: the input is a list
 * of what happens. Frames of random bytes, validly sealed records with any field, ends, paths that
 * break and others that are taken, with RESUME and RESUMED of either side's making, time.
 * Whatever it is, each program is told the end once and nothing after it, what it was given is
 * either right or from the liar, memory stays within the credit, and all of it comes back.
 */
#include "check.h"
#include "pair.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { GIVEN_MAX = 60000, STEPS_MAX = 100, MS = 1000 };

static struct pair pair;
static const uint8_t *at, *end;

static uint8_t
next(void)
{
    return at < end ? *at++ : 0;
}

/* Small numbers, numbers near `base`, and any number. */
static uint64_t
number(uint64_t base)
{
    uint8_t kind = next();
    uint64_t value = 0;
    switch (kind % 4) {
    case 0:
        return base;
    case 1:
        return base + next();
    case 2:
        return base - next();
    default:
        for (int i = 0; i < 8; i++)
            value = value << 8 | next();
        return value;
    }
}

static struct cbx_slice
raw_frame(void)
{
    size_t length = next();
    if (length > (size_t)(end - at))
        length = (size_t)(end - at);
    uint8_t bytes[4 + 256] = {0};
    memcpy(bytes + 4, at, length);
    at += length;
    return cbx_slice_copy(bytes, (uint32_t)length + 4);
}

/* A record of the end `from`, sealed with its keys. */
static struct cbx_slice
sealed(int from, unsigned kind)
{
    struct cbx_stream *stream = &pair.end[from].stream;
    struct cbx_record_keys *keys = &stream->send_keys;
    uint32_t label = stream->circuit.label;
    uint64_t a, b;
    switch (kind) {
    case 0:
        a = number(stream->out.sent);
        return pair_data(&pair, from, a, 1 + (uint32_t)next() * next());
    case 1:
        return cbx_record_fin(pair.aead, keys, label, number(stream->out.sent));
    case 2:
        a = number(stream->in.consumed);
        b = number(stream->in.limit);
        return cbx_record_credit(pair.aead, keys, label, a, b);
    case 3:
        return cbx_record_reset(pair.aead, keys, label, (enum cbx_reason)next());
    default:
        a = number(keys->epoch + 1);
        b = number(stream->out.sent);
        return cbx_record_epoch(pair.aead, keys, label, pair.end[from].session[next() % 2].id, a,
                                b);
    }
}

/* Keys of an epoch that may be the next attempt's, of either session. */
static uint64_t
resume_keys(int from, struct cbx_record_keys *keys, const struct cbx_session **session)
{
    struct pair_end *one = &pair.end[from];
    uint64_t epoch = number((cbx_stream_epoch(&one->stream) / 65536 + 1) * 65536);
    *session = &one->session[next() % 2];
    cbx_record_keys_derive(keys, (*session)->root_send, one->stream.id, epoch, (*session)->cipher);
    return epoch;
}

/* What one end may say that it has: the truth, something beside it, anything. */
static struct cbx_resume
claims(int from)
{
    struct cbx_stream *stream = &pair.end[from].stream;
    bool ended = stream->read != CBX_READ_OPEN;
    struct cbx_resume have = {.ended = next() % 4 ? ended : !ended};
    have.received = number(stream->received + ended);
    have.acked = number(stream->in.consumed);
    have.limit = number(stream->in.limit);
    return have;
}

/* RESUME, or RESUMED, sealed as a liar would who knows the session. */
static void
lie_of_moves(int from)
{
    struct pair_end *one = &pair.end[from], *other = &pair.end[1 - from];
    struct cbx_record_keys keys;
    const struct cbx_session *session;
    struct cbx_slice slice;
    if (!one->has_stream || !other->has_stream)
        return;
    struct cbx_resume have = claims(from);
    if (from == PAIR_DIALER) {
        struct cbx_open open = pair_open();
        uint32_t label = cbx_link_label(&one->link);
        open.epoch = resume_keys(from, &keys, &session);
        memcpy(open.session, session->id, sizeof open.session);
        slice = cbx_record_resume(pair.aead, &keys, label, &open, &have);
    } else {
        if (next() % 2)
            resume_keys(from, &keys, &session);
        else
            keys = one->stream.send_keys;
        keys.data_next = 0;
        slice = cbx_record_resumed(pair.aead, &keys, other->stream.circuit.label, &have);
    }
    if (slice.slab)
        cbx_link_send_slice(&one->link, slice);
}

/* The path breaks, and perhaps there is another; or the stream leaves one that stands. */
static void
change_path(uint64_t n)
{
    static const uint64_t room[] = {UINT64_MAX, 4096, 100, 60000};
    struct pair_end *dialer = &pair.end[PAIR_DIALER];
    if (n % 4 < 2)
        pair_cut(&pair);
    for (int i = 0; i < 2; i++)
        pair.end[i].spare.total = pair.end[i].spare.used + room[n / 16 % 4] / 4;
    for (int i = 0; i < 2; i++)
        pair.end[i].resume_budget = n & 8 ? &pair.end[i].spare : &pair.end[i].budget;
    if (n % 4 && dialer->has_stream && dialer->stream.phase != CBX_STREAM_FINISHED)
        (void)pair_resume(&pair);
}

static void
lie(int from, unsigned kind)
{
    if (!pair.end[from].has_stream || !pair.end[1 - from].has_stream)
        return;
    pair_inject(&pair, 1 - from, kind < 5 ? sealed(from, kind) : raw_frame());
}

static void
close_word(int to)
{
    struct cbx_field field = cbx_field_uint(next());
    struct pair_end *other = &pair.end[1 - to];
    uint32_t label = pair.end[to].stream.circuit.label;
    if (label)
        cbx_link_send(&other->link, CBX_FRAME_CLOSE, label, &field, 1);
}

static void
step(void)
{
    uint8_t op = next();
    int who = op >> 7;
    struct pair_end *one = &pair.end[who];
    uint64_t n = (uint64_t)next() * next() / 4;
    if (pair.moves && (op % 16 == 9 || op % 16 == 11) && n % 3 == 0) {
        op & 16 ? lie_of_moves(who) : change_path(n / 3);
        return;
    }
    switch (op % 16) {
    case 6:
        if (one->to_send + n < GIVEN_MAX)
            pair_give(&pair, who, n, n % 8 == 7);
        break;
    case 7:
        pair_take(&pair, who, n % 16 ? n : UINT64_MAX);
        break;
    case 8:
        pair_run(&pair, (int64_t)(n % 200) * MS);
        break;
    case 9:
        pair_move(&pair);
        break;
    case 10:
        if (one->has_stream && n % 4 == 0)
            cbx_stream_abort(&one->stream, (enum cbx_reason)(1 + n % CBX_REASON_MAX));
        break;
    case 11:
        if (one->has_stream && n % 8 == 0)
            cbx_stream_lost(&one->stream, CBX_REASON_LOST);
        break;
    case 12:
        pair.end[0].sessions = pair.end[1].sessions = 1 + (n & 1);
        if (one->has_stream)
            cbx_stream_rekey(&one->stream);
        break;
    case 13:
        if (n % 8 == 0)
            one->pull_error = CBX_ERR_IO;
        else if (n % 8 == 1)
            one->push_error = CBX_ERR_IO;
        break;
    case 14:
        if (pair.end[PAIR_TARGET].has_stream)
            cbx_stream_accept(&pair.end[PAIR_TARGET].stream);
        break;
    case 15:
        close_word(who);
        break;
    default:
        lie(who, op % 16);
        break;
    }
}

static uint64_t
retransmit_bytes(const struct cbx_stream *stream)
{
    uint64_t bytes = 0;
    const struct cbx_queued *queued;
    STAILQ_FOREACH(queued, &stream->retransmit, entry)
        bytes += queued->slice.length;
    return bytes;
}

static void
check_ends(void)
{
    for (int i = 0; i < 2; i++) {
        const struct pair_end *one = &pair.end[i];
        check(one->over <= 1 && one->finished <= 1 && one->ended <= 1 && one->opened <= 1);
        check(!one->late && !one->corrupt); /* a liar has the same bytes for an offset */
        if (!one->has_stream)
            continue;
        const struct cbx_receive_window *in = &one->stream.in;
        check(pair_queued(&pair, i, NULL) <= (in->limit > in->acked ? in->limit - in->acked : 0) ||
              one->over);
        check(one->budget.used + one->spare.used == in->counted && one->peer_used == in->counted);
        check(in->budget->used == in->counted || in->counted == 0);
        check(one->budget.used <= one->budget.total && one->spare.used <= one->spare.total);
        check(!one->link.failed);
        const struct cbx_send_window *out = &one->stream.out;
        check(one->send_used == out->sent + out->retransmit - out->acked);
        check(cbx_stream_resuming(&one->stream) ||
              out->retransmit == retransmit_bytes(&one->stream) || one->over);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    at = data;
    end = data + size;
    uint8_t way = next();
    if (pair_init(&pair, way & 1 ? CBX_CIPHER_CHACHA20POLY1305 : CBX_CIPHER_AES256GCM) < 0)
        return 0;
    pair.holds_answer = way & 2;
    pair.moves = way & 64;
    pair.step = 20 * MS;
    for (int i = 0; i < 2; i++) {
        if (way & 4)
            pair.end[i].env.epoch_bytes_max = 5000;
        if (way & 8)
            pair.end[i].env.epoch_records_max = 3;
        if (way & 16)
            pair.end[i].env.send_total = 3000;
    }
    check(pair_dial(&pair) == 0);
    if (!(way & 32))
        pair_move(&pair);
    for (int steps = 0; at < end && steps < STEPS_MAX; steps++) {
        step();
        check_ends();
    }
    pair_run(&pair, 120 * MS); /* a late acknowledgement comes after 100 */
    check_ends();
    pair_dispose(&pair);
    for (int i = 0; i < 2; i++)
        check(pair.end[i].budget.used + pair.end[i].spare.used == 0 && pair.end[i].send_used == 0 &&
              pair.end[i].peer_used == 0);
    cbx_slab_trim();
    check(cbx_slab_bytes() == 0);
    return 0;
}
