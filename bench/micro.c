/* SPDX-License-Identifier: MIT */
/*
 * micro: the parts that each byte of a stream meets, by themselves, on one core, without I/O.
 *
 *     micro [MS_EACH]          prints a JSON array of {"name", "size", "per_s", "mb_s"}
 *
 * frame: DATA and CREDIT written and decoded, as a link does both.
 * seal, open: the ciphers, in place; record: a DATA record with its header, as a stream makes it.
 * switch: the hub's engine alone. Two agents of the simulator attach and open a stream; then their
 * places at the hub's links are taken by a source that hands over frames made before the clock
 * runs, and by a sink that drops what it gets, acknowledges it and grants credit. The hub cannot
 * tell: it holds no key. What is timed is all that the hub does from read to writev.
 */
#include "agent/mesh/mesh.h"
#include "common/crypto/aead_choice.h"
#include "common/link/frame.h"
#include "common/stream/open.h"
#include "common/stream/record.h"
#include "common/stream/window.h"
#include "hub/core/circuit.h"
#include "hub/core/link.h"
#include "pipe.h"
#include "world.h"
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BATCH = 1024 * 1024, SECOND = 1000 * 1000 };

static int64_t each_ns = 200 * 1000000LL;
static bool first_line = true;

static _Noreturn void
die(const char *what)
{
    fprintf(stderr, "micro: %s\n", what);
    exit(1);
}

static int64_t
now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void
print(const char *name, size_t size, uint64_t count, int64_t ns)
{
    double per_s = (double)count * 1e9 / (double)ns;
    printf("%s\n{\"name\": \"%s\", \"size\": %zu, \"per_s\": %.0f, \"mb_s\": %.1f}",
           first_line ? "[" : ",", name, size, per_s, per_s * (double)size / 1e6);
    first_line = false;
}

/* Calls work, which does `many` at a time, for the time of each. */
static void
measure(const char *name, size_t size, uint32_t many, void (*work)(void *arg), void *arg)
{
    uint64_t count = 0;
    work(arg);
    int64_t start = now_ns(), end;
    do {
        for (int i = 0; i < 8; i++)
            work(arg);
        count += 8u * many;
        end = now_ns();
    } while (end - start < each_ns);
    print(name, size, count, end - start);
}

/* ---- frames ---- */

struct frames {
    struct cbx_frame_decoder decoder;
    struct cbx_slab *slab;
    uint32_t length;
    enum cbx_frame_type type;
    struct cbx_field field[5];
    uint32_t fields;
};

static void
write_frame(void *arg)
{
    struct frames *frames = arg;
    int written = cbx_frame_write(frames->slab->bytes, frames->slab->capacity, frames->type, 7,
                                  frames->field, frames->fields);
    if (written < 0)
        die("a frame could not be written");
    frames->length = (uint32_t)written;
}

static void
decode_frame(void *arg)
{
    struct frames *frames = arg;
    struct cbx_frame frame;
    struct cbx_error error;
    struct cbx_slice raw = {
        .slab = frames->slab, .data = frames->slab->bytes, .length = frames->length};
    if (cbx_frame_decode(&frames->decoder, raw, &frame, &error) < 0)
        die("a frame could not be decoded");
}

static void
frames(void)
{
    static uint8_t payload[CBX_PAYLOAD_MAX], tag[CBX_AEAD_TAG];
    static const uint32_t sizes[] = {64, 4096, 65536};
    struct frames frames = {.slab = cbx_slab_new(CBX_FRAME_MAX + 4), .fields = 4};
    if (!frames.slab || cbx_frame_decoder_init(&frames.decoder) < 0)
        die("out of memory");
    for (size_t i = 0; i < 3; i++) {
        frames.type = CBX_FRAME_DATA;
        frames.field[0] = cbx_field_uint(1);
        frames.field[1] = cbx_field_uint(123456);
        frames.field[2] = cbx_field_uint(1ull << 33);
        frames.field[3] = cbx_field_bytes(payload, sizes[i] + CBX_AEAD_TAG);
        measure("frame: write DATA, payload copied", sizes[i], 1, write_frame, &frames);
        measure("frame: decode DATA, payload borrowed", sizes[i], 1, decode_frame, &frames);
    }
    frames.type = CBX_FRAME_CREDIT;
    frames.fields = 5;
    frames.field[3] = cbx_field_uint(1ull << 34);
    frames.field[4] = cbx_field_bytes(tag, sizeof tag);
    measure("frame: write CREDIT", 0, 1, write_frame, &frames);
    measure("frame: decode CREDIT", 0, 1, decode_frame, &frames);
    cbx_frame_decoder_dispose(&frames.decoder);
    cbx_slab_unref(frames.slab);
}

/* ---- seals ---- */

struct sealing {
    struct cbx_aead *aead;
    struct cbx_record_keys keys;
    enum cbx_cipher cipher;
    uint8_t key[CBX_AEAD_KEY];
    uint64_t counter;
    uint32_t size;
    uint8_t *text;
    uint8_t header[32];
};

static void
seal(void *arg)
{
    struct sealing *sealing = arg;
    if (cbx_aead_seal(sealing->aead, sealing->cipher, sealing->key, sealing->counter++,
                      sealing->header, sizeof sealing->header, sealing->text, sealing->size) < 0)
        die("a record could not be sealed");
}

static void
seal_and_open(void *arg)
{
    struct sealing *sealing = arg;
    seal(sealing);
    if (cbx_aead_open(sealing->aead, sealing->cipher, sealing->key, sealing->counter - 1,
                      sealing->header, sizeof sealing->header, sealing->text,
                      sealing->size + CBX_AEAD_TAG) < 0)
        die("a record could not be opened");
}

static void
record(void *arg)
{
    struct sealing *sealing = arg;
    struct cbx_slab *slab = cbx_slab_new(CBX_RECORD_HEAD + sealing->size + CBX_AEAD_TAG);
    if (!slab)
        die("out of memory");
    struct cbx_slice slice =
        cbx_record_data(sealing->aead, &sealing->keys, 7, sealing->counter, slab, sealing->size);
    sealing->counter += sealing->size;
    if (!slice.slab)
        die("a record could not be made");
    cbx_slice_drop(&slice);
}

static void
seals(void)
{
    static const uint32_t sizes[] = {4096, 16384, 65536};
    static const uint8_t root[32] = {1}, stream_id[CBX_STREAM_ID_SIZE] = {2};
    struct sealing sealing = {.aead = cbx_aead_new(), .text = malloc(65536 + CBX_AEAD_TAG)};
    if (!sealing.aead || !sealing.text)
        die("out of memory");
    randombytes_buf(sealing.key, sizeof sealing.key);
    randombytes_buf(sealing.text, 65536);
    for (int cipher = CBX_CIPHER_AES256GCM; cipher <= CBX_CIPHER_CHACHA20POLY1305; cipher++) {
        char name[80];
        sealing.cipher = (enum cbx_cipher)cipher;
        cbx_record_keys_derive(&sealing.keys, root, stream_id, 1, sealing.cipher);
        for (size_t i = 0; i < 3; i++) {
            const char *text = cbx_cipher_name(sealing.cipher);
            sealing.size = sizes[i];
            snprintf(name, sizeof name, "seal: %s", text);
            measure(name, sizes[i], 1, seal, &sealing);
            snprintf(name, sizeof name, "seal and open: %s", text);
            measure(name, sizes[i], 1, seal_and_open, &sealing);
            snprintf(name, sizeof name, "DATA record made and dropped: %s", text);
            measure(name, sizes[i], 1, record, &sealing);
        }
    }
    cbx_aead_free(sealing.aead);
    free(sealing.text);
}

/* ---- the switch ---- */

/* What stands in a carrier's place: bytes that wait to be read, and bytes that were written. */
struct stub {
    uint8_t *bytes;
    size_t length, at, written;
};

static struct {
    struct world *world;
    struct hub_half *from, *to; /* the dialer's half, the target's */
    struct cbx_carrier *source_carrier, *sink_carrier;
    struct stub source, sink;
    uint32_t size;
    uint64_t counter, credits;
    int64_t spent;
} alone;

static struct stub *
stub_of(const struct cbx_carrier *carrier)
{
    return carrier == alone.source_carrier ? &alone.source : &alone.sink;
}

static ssize_t
stub_read(struct cbx_carrier *carrier, void *buffer, size_t length)
{
    struct stub *stub = stub_of(carrier);
    size_t left = stub->length - stub->at;
    if (left == 0)
        return CBX_ERR_AGAIN;
    if (length > left)
        length = left;
    memcpy(buffer, stub->bytes + stub->at, length); /* as read() from a socket would */
    stub->at += length;
    return (ssize_t)length;
}

static ssize_t
stub_writev(struct cbx_carrier *carrier, const struct iovec *vector, int count)
{
    size_t total = 0;
    for (int i = 0; i < count; i++)
        total += vector[i].iov_len;
    stub_of(carrier)->written += total;
    return (ssize_t)total;
}

static void
stub_want(struct cbx_carrier *carrier, bool read, bool write)
{
    (void)carrier;
    (void)read;
    (void)write;
}

static void
stub_close(struct cbx_carrier *carrier)
{
    (void)carrier;
    die("the hub ended a link");
}

static const struct cbx_carrier_ops stub_ops = {
    .read = stub_read, .writev = stub_writev, .want = stub_want, .close = stub_close};

static void
append(struct stub *stub, enum cbx_frame_type type, uint32_t label, const struct cbx_field *fields,
       uint32_t count)
{
    int written = cbx_frame_write(stub->bytes + stub->length, 2 * BATCH - stub->length, type, label,
                                  fields, count);
    if (written < 0)
        die("a frame could not be written");
    stub->length += (size_t)written;
}

static uint32_t
make_batch(void)
{
    static uint8_t payload[CBX_PAYLOAD_MAX];
    uint32_t count = BATCH / (alone.size + CBX_RECORD_COST); /* within the credit of one answer */
    uint64_t offset = alone.from->sent;
    alone.source.length = alone.source.at = 0;
    for (uint32_t i = 0; i < count; i++, offset += alone.size) {
        struct cbx_field fields[] = {cbx_field_uint(1), cbx_field_uint(alone.counter++),
                                     cbx_field_uint(offset),
                                     cbx_field_bytes(payload, alone.size + CBX_AEAD_TAG)};
        append(&alone.source, CBX_FRAME_DATA, alone.from->circuit.label, fields, 4);
    }
    return count;
}

/* The sink's word for all that has reached it, and room for the next batch. */
static void
make_answer(void)
{
    static const uint8_t tag[CBX_AEAD_TAG];
    const struct hub_link *link = alone.to->circuit.link->owner;
    uint64_t reached = alone.world->hub->held ? alone.to->acked : alone.from->sent;
    uint64_t limit = reached + 2 * BATCH > alone.to->limit ? reached + 2 * BATCH : alone.to->limit;
    struct cbx_field ack = cbx_field_uint(link->pump.link.pace.sent);
    struct cbx_field credit[] = {cbx_field_uint(1), cbx_field_uint(alone.credits++),
                                 cbx_field_uint(reached), cbx_field_uint(limit),
                                 cbx_field_bytes(tag, sizeof tag)};
    alone.sink.length = alone.sink.at = 0;
    append(&alone.sink, CBX_FRAME_ACK, 0, &ack, 1);
    append(&alone.sink, CBX_FRAME_CREDIT, alone.to->circuit.label, credit, 5);
}

static void
hub_turn(struct cbx_carrier *carrier)
{
    alone.world->now += 20;
    int64_t start = now_ns();
    carrier->ready(carrier->arg);
    hub_core_flush(alone.world->hub);
    alone.spent += now_ns() - start;
}

/* One batch through the hub. The number of frames. */
static uint32_t
pass(void)
{
    uint32_t count = make_batch();
    int turns = 0;
    while (alone.source.at < alone.source.length || alone.world->hub->held) {
        if (alone.world->hub->count.breaches)
            die("the hub broke the circuit");
        if (alone.source.at < alone.source.length)
            hub_turn(alone.source_carrier);
        make_answer();
        hub_turn(alone.sink_carrier);
        if (++turns > 100000)
            die("the switch stands still");
    }
    make_answer();
    hub_turn(alone.sink_carrier);
    return count;
}

static struct hub_half *
only_half(struct cbx_carrier *carrier)
{
    struct hub_link *link = carrier->arg; /* its pump comes first */
    struct cbx_circuit *circuit = link->pump.link.circuits;
    if (!circuit)
        die("there is no circuit");
    return (struct hub_half *)((char *)circuit - offsetof(struct hub_half, circuit));
}

static void
attach(void)
{
    struct world_path path = {0};
    struct world *world = alone.world = world_new(1, 0);
    struct world_agent *web = world_agent(world, "web", "8080", path);
    struct world_agent *cli = world_agent(world, "cli", NULL, path);
    struct world_program *program = world_dial(cli, "web", 8080, 1000, 1000);
    program->hold_end = true;
    world_run(world, SECOND);
    if (!program->opened || program->received != 1000)
        die("the stream did not open");
    alone.source_carrier = &world_pipe_of(cli)->end[1].base;
    alone.sink_carrier = &world_pipe_of(web)->end[1].base;
    alone.source_carrier->ops = alone.sink_carrier->ops = &stub_ops;
    alone.from = only_half(alone.source_carrier);
    alone.to = only_half(alone.sink_carrier);
    alone.source.bytes = malloc(2 * BATCH);
    alone.sink.bytes = malloc(2 * BATCH);
    if (!alone.source.bytes || !alone.sink.bytes)
        die("out of memory");
    make_answer();
    hub_turn(alone.sink_carrier);
}

static void
switching(void)
{
    static const uint32_t sizes[] = {64, 4096, 16384, 65536};
    attach();
    for (size_t i = 0; i < 4; i++) {
        uint64_t count = 0;
        alone.size = sizes[i];
        for (int warm = 0; warm < 4; warm++)
            pass();
        uint64_t before = alone.world->hub->count.relayed_bytes;
        alone.spent = 0;
        do
            count += pass();
        while (alone.spent < each_ns);
        if (alone.world->hub->count.relayed_bytes - before != count * sizes[i])
            die("the switch lost bytes");
        print("switch: DATA from link to link", sizes[i], count, alone.spent);
    }
}

int
main(int argc, char **argv)
{
    if (argc > 1)
        each_ns = strtoll(argv[1], NULL, 10) * 1000000;
    if (sodium_init() < 0 || each_ns <= 0)
        die("usage: micro [MS_EACH]");
    frames();
    seals();
    switching();
    puts("\n]");
    return 0;
}
