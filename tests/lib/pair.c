/* SPDX-License-Identifier: MIT */
#include "pair.h"
#include "common/crypto/aead_choice.h"
#include <string.h>

enum { MS = 1000, SECOND = 1000 * MS, LAZY = 100 * MS, PORT = 8080 };

static struct pair_end *
of_stream(struct cbx_stream *stream)
{
    return (struct pair_end *)((char *)stream - offsetof(struct pair_end, stream));
}

static int
index_of(const struct pair_end *end)
{
    return end == &end->pair->end[0] ? 0 : 1;
}

uint8_t
pair_byte(int end, uint64_t offset)
{
    return (uint8_t)(offset * 31 + offset / 251 * 7 + (uint64_t)end * 101);
}

/* The bytes of an end from this offset on, as many as a record can have. They repeat, and come from
 * a table: the fuzzer has no time to make each anew. */
static const uint8_t *
pattern(int end, uint64_t offset)
{
    enum { PERIOD = 251 * 256 };
    static uint8_t table[2][PERIOD + CBX_RECORD_MAX];
    static bool made;
    for (int i = 0; i < 2 && !made; i++) {
        for (uint32_t j = 0; j < sizeof table[i]; j++)
            table[i][j] = pair_byte(i, j);
    }
    made = true;
    return &table[end][offset % PERIOD];
}

/* ---- the program ---- */

static ssize_t
on_pull(struct cbx_stream *stream, void *buffer, size_t length)
{
    struct pair_end *end = of_stream(stream);
    end->late |= end->over > 0;
    uint64_t left = end->to_send - end->sent;
    if (left == 0 && end->pull_error)
        return end->pull_error;
    if (left == 0)
        return end->ends ? CBX_ERR_CLOSED : CBX_ERR_AGAIN;
    size_t n = left < length ? (size_t)left : length;
    n = n < CBX_RECORD_MAX ? n : CBX_RECORD_MAX;
    memcpy(buffer, pattern(index_of(end), end->sent), n);
    end->sent += n;
    return (ssize_t)n;
}

static ssize_t
on_push(struct cbx_stream *stream, const struct iovec *vector, int count)
{
    struct pair_end *end = of_stream(stream);
    end->late |= end->over > 0 || end->ended > 0 || count < 1;
    if (end->push_error)
        return end->push_error;
    if (end->takes == 0)
        return CBX_ERR_AGAIN;
    if (end->pieces < count)
        end->pieces = count;
    size_t done = 0;
    for (int i = 0; i < count && end->takes > 0; i++) {
        const uint8_t *bytes = vector[i].iov_base;
        size_t length = end->takes < vector[i].iov_len ? end->takes : vector[i].iov_len;
        for (size_t n; length > 0; bytes += n, length -= n, done += n) {
            n = length < CBX_RECORD_MAX ? length : CBX_RECORD_MAX;
            end->corrupt |= memcmp(bytes, pattern(1 - index_of(end), end->received), n) != 0;
            end->received += n;
            if (end->takes != UINT64_MAX)
                end->takes -= n;
        }
    }
    return (ssize_t)done;
}

static void
on_push_end(struct cbx_stream *stream)
{
    struct pair_end *end = of_stream(stream);
    end->late |= end->over > 0;
    end->ended++;
    end->ended_at = end->received;
}

static void
on_opened(struct cbx_stream *stream)
{
    of_stream(stream)->opened++;
}

static void
on_over(struct cbx_stream *stream, enum cbx_reason reason, bool by_target)
{
    struct pair_end *end = of_stream(stream);
    end->over++;
    end->reason = reason;
    end->by_target = by_target;
}

static void
on_finished(struct cbx_stream *stream)
{
    of_stream(stream)->finished++;
}

static void
on_delayed_ack(struct cbx_stream *stream)
{
    struct pair_end *end = of_stream(stream);
    if (end->delayed_ack_at == 0)
        end->delayed_ack_at = end->pair->now + LAZY;
}

static const struct cbx_session *
on_session(struct cbx_stream *stream, const uint8_t *id)
{
    struct pair_end *end = of_stream(stream);
    for (int i = 0; i < end->sessions; i++) {
        if (memcmp(end->session[i].id, id, CBX_SESSION_ID_SIZE) == 0)
            return &end->session[i];
    }
    return NULL;
}

static const struct cbx_session *
on_newest(struct cbx_stream *stream)
{
    struct pair_end *end = of_stream(stream);
    return end->sessions ? &end->session[end->sessions - 1] : NULL;
}

static bool
on_stranded(struct cbx_stream *stream, enum cbx_reason reason)
{
    struct pair_end *end = of_stream(stream);
    if (!end->pair->moves)
        return false;
    end->stranded++;
    end->reason = reason;
    return true;
}

static void
on_resumed(struct cbx_stream *stream)
{
    of_stream(stream)->resumed++;
}

static const struct cbx_stream_ops stream_ops = {
    .pull = on_pull,
    .push = on_push,
    .push_end = on_push_end,
    .opened = on_opened,
    .over = on_over,
    .finished = on_finished,
    .ack_delayed = on_delayed_ack,
    .session = on_session,
    .newest = on_newest,
    .stranded = on_stranded,
    .resumed = on_resumed,
};

/* ---- the link's owner ---- */

static void
take_open(struct pair_end *end, struct cbx_frame *frame)
{
    struct cbx_open open;
    cbx_open_read(frame, &open);
    end->taken = cbx_stream_init(&end->stream, &end->env, false, &end->budget, &end->peer_used,
                                 end->pair->now);
    const struct cbx_session *session = on_session(&end->stream, open.session);
    if (end->taken == 0)
        end->taken = session ? cbx_stream_take(&end->stream, &end->link, session, frame, &open,
                                               end->pair->now)
                             : CBX_ERR_NOTFOUND;
    if (end->taken < 0) {
        struct cbx_field field = cbx_field_uint(CBX_REASON_NO_SESSION);
        cbx_link_send(&end->link, CBX_FRAME_CLOSE, frame->label, &field, 1);
        cbx_stream_dispose(&end->stream);
        return;
    }
    end->has_stream = true;
    if (!end->pair->holds_answer)
        cbx_stream_accept(&end->stream);
}

static void
take_resume(struct pair_end *end, struct cbx_frame *frame)
{
    const struct cbx_session *session =
        on_session(&end->stream, frame->field[CBX_RESUME_SESSION].p);
    end->taken = !end->has_stream || !session
                     ? CBX_ERR_NOTFOUND
                     : cbx_stream_take_resume(&end->stream, &end->link, end->resume_budget, session,
                                              frame, end->pair->now);
    struct cbx_field field = cbx_field_uint(CBX_REASON_OVERLOADED);
    if (end->taken < 0)
        cbx_link_send(&end->link, CBX_FRAME_CLOSE, frame->label, &field, 1);
}

static int
on_frame(void *owner, struct cbx_link *link, const struct cbx_frame *frame, int64_t now,
         struct cbx_error *error)
{
    struct pair_end *end = owner;
    struct cbx_frame mine = *frame;
    if (!cbx_frame_has_label(frame->type))
        return 0;
    end->frames[frame->type]++;
    if (frame->type == CBX_FRAME_CREDIT) {
        end->last_acked = frame->field[CBX_CREDIT_ACKNOWLEDGED].u;
        end->last_limit = frame->field[CBX_CREDIT_LIMIT].u;
    }
    if (end->pair->filter && !end->pair->filter(end->pair, index_of(end), &mine))
        return 0;
    if (frame->type == CBX_FRAME_OPEN) {
        if (end->has_stream || cbx_link_take_label(link, frame->label) < 0)
            return cbx_fail(error, CBX_ERR_FORMAT, "a second OPEN");
        take_open(end, &mine);
    } else if (frame->type == CBX_FRAME_RESUME) {
        if (cbx_link_take_label(link, frame->label) < 0)
            return cbx_fail(error, CBX_ERR_FORMAT, "RESUME on an old label");
        take_resume(end, &mine);
    } else if (cbx_circuit_find(link, frame->label)) {
        cbx_stream_frame(&end->stream, &mine, now);
    }
    return 0;
}

static void
on_wake(void *owner, struct cbx_link *link)
{
    (void)owner;
    (void)link;
}

static void
on_batch_done(void *owner, struct cbx_link *link, int64_t now)
{
    struct pair_end *end = owner;
    (void)link;
    cbx_stream_flush(&end->env, now);
}

static const struct cbx_link_ops link_ops = {
    .frame = on_frame, .wake = on_wake, .batch_done = on_batch_done};

/* ---- the pair ---- */

static void
init_session(struct pair *pair, int number, enum cbx_cipher cipher)
{
    for (int i = 0; i < 2; i++) {
        struct cbx_session *session = &pair->end[i].session[number];
        memset(session->id, 0x10 + number, sizeof session->id);
        memset(session->root_send, 0x20 + number * 2 + i, 32);
        memset(session->root_receive, 0x20 + number * 2 + (1 - i), 32);
        session->cipher = cipher;
        session->initiator = i == 0;
    }
}

/* Records carry no state of it: one will do for all pairs, and spares a fuzzer the making. */
static struct cbx_aead *
shared_aead(void)
{
    static struct cbx_aead *aead;
    if (!aead)
        aead = cbx_aead_new();
    return aead;
}

static int
init_link(struct pair *pair, int which)
{
    struct pair_end *end = &pair->end[which];
    struct cbx_link_config config = {
        .hub = which == PAIR_TARGET, .keepalive_us = 15 * SECOND, .gone_us = 45 * SECOND};
    return cbx_link_init(&end->link, &config, &link_ops, end, pair->now);
}

int
pair_cut(struct pair *pair)
{
    int result = 0;
    for (int i = 0; i < 2; i++) {
        if (pair->end[i].has_stream)
            cbx_stream_lost(&pair->end[i].stream, CBX_REASON_LOST);
        cbx_link_dispose(&pair->end[i].link);
        int one = init_link(pair, i);
        result = one < 0 ? one : result;
    }
    return result;
}

int
pair_resume(struct pair *pair)
{
    struct pair_end *end = &pair->end[PAIR_DIALER];
    struct cbx_open open = pair_open();
    return cbx_stream_resume(&end->stream, &end->link, end->resume_budget,
                             &end->session[end->sessions - 1], &open, pair->now);
}

int
pair_init(struct pair *pair, enum cbx_cipher cipher)
{
    memset(pair, 0, sizeof *pair);
    pair->now = SECOND;
    pair->aead = shared_aead();
    if (!pair->aead)
        return CBX_ERR_NOMEM;
    int result = 0;
    for (int i = 0; i < 2; i++) {
        struct pair_end *end = &pair->end[i];
        end->pair = pair;
        end->sessions = 1;
        end->takes = UINT64_MAX;
        end->budget.total = 128 * 1024 * 1024;
        end->env = (struct cbx_stream_env){.ops = &stream_ops,
                                           .aead = pair->aead,
                                           .send_used = &end->send_used,
                                           .send_total = 64 * 1024 * 1024,
                                           .epoch_bytes_max = UINT64_C(64) << 30,
                                           .epoch_records_max = UINT64_C(1) << 32};
        end->resume_budget = &end->budget;
        int one = init_link(pair, i);
        if (one < 0)
            result = one;
    }
    init_session(pair, 0, cipher);
    init_session(pair, 1, cipher);
    return result;
}

void
pair_dispose(struct pair *pair)
{
    for (int i = 0; i < 2; i++) {
        if (pair->end[i].has_stream)
            cbx_stream_dispose(&pair->end[i].stream);
        cbx_link_dispose(&pair->end[i].link);
    }
}

struct cbx_open
pair_open(void)
{
    struct cbx_open open = {.source = "cli", .target = "web", .port = PORT, .epoch = 1};
    memset(open.session, 0x10, sizeof open.session);
    memset(open.stream_id, 0x44, sizeof open.stream_id);
    return open;
}

int
pair_dial(struct pair *pair)
{
    struct pair_end *end = &pair->end[PAIR_DIALER];
    struct cbx_open open = pair_open();
    int result =
        cbx_stream_init(&end->stream, &end->env, true, &end->budget, &end->peer_used, pair->now);
    if (result < 0)
        return result;
    end->has_stream = true;
    return cbx_stream_dial(&end->stream, &end->link, &end->session[0], &open);
}

void
pair_give(struct pair *pair, int which, uint64_t bytes, bool ends)
{
    struct pair_end *end = &pair->end[which];
    end->to_send += bytes;
    end->ends = ends;
    if (end->has_stream)
        cbx_stream_readable(&end->stream);
}

void
pair_take(struct pair *pair, int which, uint64_t bytes)
{
    struct pair_end *end = &pair->end[which];
    end->takes = bytes;
    if (end->has_stream)
        cbx_stream_writable(&end->stream, pair->now);
}

/* One end's waiting bytes to the other. */
static bool
move_one(struct pair *pair, int from)
{
    struct cbx_link *link = &pair->end[from].link;
    struct iovec vector[CBX_LINK_OUT_SLICES];
    int count = cbx_link_output(link, vector, CBX_LINK_OUT_SLICES, pair->now);
    if (count == 0)
        return false;
    size_t length = vector[0].iov_len;
    if (pair->chop && length > pair->chop)
        length = pair->chop;
    cbx_link_input(&pair->end[1 - from].link, vector[0].iov_base, length, pair->now, NULL);
    cbx_link_written(link, length);
    return true;
}

void
pair_move(struct pair *pair)
{
    bool moved = true;
    while (moved) {
        moved = move_one(pair, 0);
        moved |= move_one(pair, 1);
    }
}

void
pair_run(struct pair *pair, int64_t us)
{
    int64_t end = pair->now + us;
    pair_move(pair);
    while (pair->now < end) {
        pair->now += pair->step ? pair->step : MS;
        for (int i = 0; i < 2; i++) {
            struct pair_end *one = &pair->end[i];
            cbx_link_tick(&one->link, pair->now);
            if (one->delayed_ack_at && pair->now >= one->delayed_ack_at) {
                one->delayed_ack_at = 0;
                cbx_stream_announce(&one->stream, pair->now);
            }
        }
        pair_move(pair);
    }
}

bool
pair_inject_only(struct pair *pair, int to, struct cbx_slice slice)
{
    struct cbx_frame_decoder decoder;
    struct cbx_frame frame;
    bool good = slice.slab && cbx_frame_decoder_init(&decoder) == 0;
    if (good) {
        good = cbx_frame_decode(&decoder, slice, &frame, NULL) == 0;
        if (good)
            cbx_stream_frame(&pair->end[to].stream, &frame, pair->now);
        cbx_frame_decoder_dispose(&decoder);
    }
    cbx_slice_drop(&slice);
    return good;
}

bool
pair_inject(struct pair *pair, int to, struct cbx_slice slice)
{
    bool good = pair_inject_only(pair, to, slice);
    cbx_stream_flush(&pair->end[to].env, pair->now);
    return good;
}

struct cbx_slice
pair_data(struct pair *pair, int from, uint64_t offset, uint32_t n)
{
    struct cbx_stream *stream = &pair->end[from].stream;
    struct cbx_slab *slab = cbx_slab_new(CBX_RECORD_HEAD + n + CBX_AEAD_TAG);
    if (!slab)
        return (struct cbx_slice){0};
    memcpy(slab->bytes + CBX_RECORD_HEAD, pattern(from, offset), n);
    return cbx_record_data(pair->aead, &stream->send_keys, stream->circuit.label, offset, slab, n);
}

bool
pair_clean(const struct pair *pair)
{
    for (int i = 0; i < 2; i++) {
        const struct pair_end *end = &pair->end[i], *other = &pair->end[1 - i];
        if (end->over != 1 || end->reason != CBX_REASON_NONE || end->finished != 1 ||
            end->ended != 1 || end->corrupt || end->late || end->received != other->to_send ||
            end->ended_at != other->to_send || end->budget.used || end->send_used || end->peer_used)
            return false;
    }
    return true;
}

uint64_t
pair_queued(const struct pair *pair, int which, uint64_t *memory)
{
    const struct cbx_queued *queued;
    uint64_t bytes = 0, capacity = 0;
    STAILQ_FOREACH(queued, &pair->end[which].stream.queue, entry) {
        bytes += queued->slice.length;
        capacity += queued->slice.slab->capacity;
    }
    if (memory)
        *memory = capacity;
    return bytes;
}
