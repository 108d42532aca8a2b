/* SPDX-License-Identifier: MIT */
/*
 * The agents' engine, two of them (cli, web), with a hub between them that does what the input
 * says: it passes frames on, or drops, holds, repeats or changes them, or makes up its own; a
 * program dials, gives up, is slow, or its end refuses; time passes; links break and come back. The
 * hub has no key of theirs. So no byte is ever delivered that was not sent at its offset, no stream
 * comes in that nobody dialed, each program hears its end once, and all memory comes back.
 */
#include "common/base/log.h"
#include "mesh_programs.h"
#include "wire.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LABELS = 32, HELD = 8, TURNS_MAX = 60, SECOND = 1000000 };

struct side {
    struct fuzz_wire wire;
    bool store_due, greeted;
    uint32_t label[LABELS]; /* those of this side whose twin is at the same place of the other */
    struct cbx_slice held[HELD];
    uint32_t held_count;
};

static struct side side[SIDES];
static uint32_t circuits;
static struct cbx_frame_decoder decoder;
static struct feed_likely likely;
static uint32_t honest; /* so many frames pass before the input decides */
static int64_t now;

/* ---- the agents' shell ---- */

static int64_t
now_us(void *arg)
{
    (void)arg;
    return now;
}

static int64_t
now_unix(void *arg)
{
    (void)arg;
    return pond_time + now / SECOND;
}

static void
on_lost(void *arg, enum cbx_reason reason, uint32_t retry_ms, const char *text)
{
    (void)arg;
    (void)reason;
    (void)retry_ms;
    check(text[0] != '\0');
}

static void
on_nothing(void *arg)
{
    (void)arg;
}

static void
on_known(void *arg, const struct mesh_known *known, size_t count)
{
    (void)known;
    check(count <= 2);
    side[side_of(arg)].store_due = true;
}

static const struct mesh_ops mesh_ops = {.incoming = on_incoming,
                                         .link_lost = on_lost,
                                         .attached = on_nothing,
                                         .known_changed = on_known,
                                         .now_us = now_us,
                                         .now_unix = now_unix,
                                         .wake = on_nothing};

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    cheap_random_install();
    pond_init();
    cbx_log_init("fuzz", CBX_LOG_ERROR);
    check(cbx_frame_decoder_init(&decoder) == 0);
    for (int i = 0; i < 3; i++) {
        feed_likely_add(&likely, pond[i].slug, strlen(pond[i].slug));
        feed_likely_add(&likely, pond[i].peer_cert.bytes, pond[i].peer_cert.length);
        feed_likely_add(&likely, pond[i].invite_cert.bytes, pond[i].invite_cert.length);
        feed_likely_add(&likely, pond[i].chain_hash, 32);
        feed_likely_add(&likely, pond[i].chain_hash, 16);
    }
    feed_likely_add(&likely, "demo", 4);
    feed_likely_add(&likely, "8080,8081", 9);
    return 0;
}

/* ---- the hub ---- */

static void
put(int to, const uint8_t *bytes, size_t length)
{
    if (side[to].wire.open)
        fuzz_buffer_put(&side[to].wire.in, bytes, length);
}

static void
say(int to, enum cbx_frame_type type, const struct cbx_field *fields, uint32_t count)
{
    struct cbx_slice slice = cbx_frame_slice(type, 0, fields, count);
    check(slice.slab != NULL);
    put(to, slice.data, slice.length);
    cbx_slice_drop(&slice);
}

static void
begin_link(int which)
{
    static const uint8_t magic[16] = {0x00, 0x63, 0x62, 0x78, 0x20, 0x6c, 0x69, 0x6e,
                                      0x6b, 0x20, 0x31, 0x0d, 0x0a, 0x00, 0xff, 0x00};
    struct cbx_field hello[] = {cbx_field_uint(1), cbx_field_uint(0), cbx_field_text("fuzz")};
    side[which].greeted = false;
    for (uint32_t i = 0; i < LABELS; i++)
        side[WEB].label[i] = side[CLI].label[i] = 0;
    circuits = 0;
    if (mesh_attach(meshes[which], &side[which].wire.base) < 0)
        return;
    put(which, magic, sizeof magic);
    say(which, CBX_FRAME_HUB_HELLO, hello, 3);
}

/* As mesh_attach takes the wire over while the older link still has it, that one is cut first. */
static void
new_link(int which)
{
    struct side *it = &side[which];
    if (it->wire.open) {
        it->wire.cut = true;
        fuzz_wire_ready(&it->wire);
    }
    if (it->wire.open)
        return;
    fuzz_wire_init(&it->wire);
    begin_link(which);
}

static void
list_peer(int to, int peer, uint64_t state)
{
    const struct mesh *mesh = meshes[peer];
    struct cbx_field fields[] = {cbx_field_text(pond[peer].slug),
                                 cbx_field_uint(state),
                                 cbx_field_uint(9),
                                 cbx_field_uint(pond[peer].invite.serial),
                                 cbx_field_bytes(mesh->incarnation, CBX_INCARNATION_SIZE),
                                 cbx_field_bytes(pond[peer].chain_hash, 32),
                                 cbx_field_text(pond[peer].expose),
                                 cbx_field_text("")};
    say(to, CBX_FRAME_PEER, fields, 8);
}

static void
welcome(int to)
{
    struct cbx_field fields[] = {
        cbx_field_text("demo"),  cbx_field_text(pond[to].slug),     cbx_field_uint(9),
        cbx_field_uint(1 << 20), cbx_field_text("192.0.2.1:40022"), cbx_field_uint(1)};
    struct cbx_field count = cbx_field_uint(2);
    side[to].greeted = true;
    struct cbx_field addresses = cbx_field_text("192.0.2.1:7000,hub.example.org:7000");
    say(to, CBX_FRAME_WELCOME, fields, 6);
    say(to, CBX_FRAME_ADDRESSES, &addresses, 1);
    list_peer(to, WEB, 1);
    list_peer(to, CLI, 1);
    say(to, CBX_FRAME_SYNCED, &count, 1);
}

static void
show_chain(int to, const struct cbx_frame *asked)
{
    int which = cbx_field_is(&asked->field[0], "web") ? WEB : CLI;
    struct cbx_field fields[] = {
        asked->field[0],
        cbx_field_bytes(pond[which].invite_cert.bytes, pond[which].invite_cert.length),
        cbx_field_bytes(pond[which].peer_cert.bytes, pond[which].peer_cert.length)};
    say(to, CBX_FRAME_CHAIN, fields, 3);
}

/* The label of the other side's link, made when there is none. */
static uint32_t
twin(int from, uint32_t label, bool open)
{
    for (uint32_t i = 0; i < circuits; i++) {
        if (side[from].label[i] == label)
            return side[1 - from].label[i];
    }
    if (!open || circuits == LABELS)
        return 0;
    side[from].label[circuits] = label;
    side[1 - from].label[circuits] = 2 * circuits + 2;
    return side[1 - from].label[circuits++];
}

/* What an honest hub does with a frame of an agent. */
static void
pass(int from, struct cbx_frame *frame)
{
    int to = 1 - from;
    struct cbx_field pong[2] = {frame->field[0], cbx_field_uint(0)};
    switch (frame->type) {
    case CBX_FRAME_AGENT_HELLO:
        welcome(from);
        return;
    case CBX_FRAME_CHAIN_GET:
        show_chain(from, frame);
        return;
    case CBX_FRAME_PING:
        say(from, CBX_FRAME_PONG, pong, 2);
        return;
    case CBX_FRAME_HANDSHAKE:
    case CBX_FRAME_CONFIRM:
    case CBX_FRAME_NO_HANDSHAKE:
        put(to, frame->raw.data, frame->raw.length);
        return;
    default:
        break;
    }
    uint32_t label = cbx_frame_has_label(frame->type)
                         ? twin(from, frame->label, frame->type == CBX_FRAME_OPEN)
                         : 0;
    if (!label)
        return;
    cbx_frame_relabel(frame->raw.data, label);
    put(to, frame->raw.data, frame->raw.length);
}

static void
change(struct cbx_frame *frame)
{
    uint8_t pick = feed_byte(&feed);
    if (frame->count == 0)
        return;
    struct cbx_field *field = &frame->field[pick % frame->count];
    if (field->p && field->n)
        field->p[feed_byte(&feed) % field->n] ^= (uint8_t)(1 << pick / 32);
    else
        field->u += pick & 16 ? feed_number(&feed) : (uint64_t)-1;
    struct cbx_slice slice = cbx_frame_slice(frame->type, frame->label, frame->field, frame->count);
    struct cbx_frame again;
    if (slice.slab && cbx_frame_decode(&decoder, slice, &again, NULL) == 0)
        pass(WEB + (pick & 1), &again);
    cbx_slice_drop(&slice);
}

static void
hold(int from, const struct cbx_frame *frame)
{
    struct side *it = &side[from];
    if (it->held_count < HELD)
        it->held[it->held_count++] = cbx_slice_copy(frame->raw.data, frame->raw.length);
}

static void
let_go(int from)
{
    struct side *it = &side[from];
    struct cbx_frame frame;
    if (it->held_count == 0)
        return;
    struct cbx_slice slice = it->held[--it->held_count];
    if (cbx_frame_decode(&decoder, slice, &frame, NULL) == 0)
        pass(from, &frame);
    cbx_slice_drop(&slice);
}

static void
judge(int from, struct cbx_frame *frame)
{
    if (honest > 0)
        honest--;
    else if (feed_left(&feed)) {
        switch (feed_byte(&feed) % 16) {
        case 1:
            return;
        case 2:
            hold(from, frame);
            return;
        case 3:
            hold(from, frame);
            break;
        case 4:
        case 5:
            change(frame);
            return;
        case 6:
            let_go(from);
            break;
        default:
            break;
        }
    }
    pass(from, frame);
}

/* Frames of the agent; its data are acknowledged as they come. */
static bool
take_output(int from)
{
    struct side *it = &side[from];
    struct cbx_slice raw;
    struct cbx_frame frame;
    uint64_t before = meshes[from]->has_pump ? meshes[from]->pump.link.pace.sent : 0;
    bool moved = false;
    while (fuzz_wire_frame(&it->wire, &raw)) {
        check(cbx_frame_decode(&decoder, raw, &frame, NULL) == 0);
        judge(from, &frame);
        moved = true;
    }
    if (moved && before) {
        struct cbx_field field = cbx_field_uint(before);
        say(from, CBX_FRAME_ACK, &field, 1);
    }
    return moved;
}

/* ---- what happens ---- */

static void
invent(int to)
{
    static const uint8_t types[] = {16, 16, 19, 20, 21, 22, 32, 33, 34, 35, 36, 37, 38,
                                    38, 12, 17, 7,  8,  9,  10, 11, 1,  3,  2,  39, 40};
    unsigned type = types[feed_byte(&feed) % sizeof types];
    uint32_t label = cbx_frame_has_label(type) ? feed_byte(&feed) % 16 : 0;
    struct cbx_slice slice = feed_frame(&feed, type, label, &likely);
    if (slice.slab)
        put(to, slice.data, slice.length);
    cbx_slice_drop(&slice);
}

static void
poke(uint8_t pick)
{
    struct program *program = program_count ? &programs[pick % program_count] : NULL;
    if (!program || !program->stream || (!program->dialer && program->opened))
        return;
    switch (pick / 32) {
    case 0:
        program->closed = true;
        mesh_stream_reset(program->stream, CBX_REASON_RESET);
        program->stream = NULL;
        return;
    case 1:
        program->slow = !program->slow;
        break;
    default:
        program->to_send += pick;
        break;
    }
    mesh_stream_readable(program->stream);
    mesh_stream_writable(program->stream);
}

static void
happen(void)
{
    uint8_t op = feed_byte(&feed);
    int who = op >> 7;
    switch (op % 16) {
    case 0:
        break;
    case 1:
    case 2:
        dial(who);
        break;
    case 3:
        now += (int64_t)feed_byte(&feed) * 50000;
        break;
    case 4:
        new_link(who);
        break;
    case 5:
        list_peer(who, feed_byte(&feed) % SIDES, feed_byte(&feed) % 3);
        break;
    case 6:
        let_go(who);
        break;
    case 7:
    case 8:
        poke(feed_byte(&feed));
        break;
    case 9:
        json_decref(who ? mesh_status_json(meshes[who]) : mesh_peers_json(meshes[who]));
        break;
    default:
        invent(who);
        break;
    }
}

static void
turn(void)
{
    bool moved = true;
    for (int rounds = 0; moved && rounds < 40; rounds++) {
        moved = false;
        for (int i = 0; i < SIDES; i++) {
            struct side *it = &side[i];
            fuzz_wire_ready(&it->wire);
            if (it->store_due) {
                it->store_due = false;
                mesh_known_stored(meshes[i]);
            }
            mesh_flush(meshes[i]);
            note_streams();
            moved |= take_output(i);
        }
        answer_incoming();
        now += 100;
    }
}

static void
begin(int which)
{
    struct mesh_config config = {.identity = &pond[which].identity,
                                 .invite_cert = &pond[which].invite_cert,
                                 .peer_cert = &pond[which].peer_cert,
                                 .expose = pond[which].invite.expose,
                                 .lanes = CBX_LANES_OFF,
                                 .software = "fuzz"};
    memcpy(config.pond_public, pond_key.public_key, 32);
    strcpy(config.pond, "demo");
    strcpy(config.slug, pond[which].slug);
    meshes[which] = mesh_new(&config, NULL, 0, &mesh_ops, &meshes[which]);
    check(meshes[which] != NULL);
    fuzz_wire_init(&side[which].wire);
    side[which].store_due = false;
    side[which].held_count = 0;
    begin_link(which);
}

static void
end(void)
{
    answer_incoming();
    for (int i = 0; i < SIDES; i++) {
        mesh_free(meshes[i]);
        while (side[i].held_count)
            cbx_slice_drop(&side[i].held[--side[i].held_count]);
    }
    for (uint32_t i = 0; i < program_count; i++)
        check(programs[i].closed);
    cbx_slab_trim();
    check(cbx_slab_bytes() == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    feed = (struct feed){data, data + size};
    uint8_t way = feed_byte(&feed);
    honest = way % 64;
    now = SECOND;
    program_count = 0;
    cheap_random_restart();
    begin(WEB);
    begin(CLI);
    dial(way & 64 ? CLI : WEB);
    turn();
    for (int i = 0; feed_left(&feed) && i < TURNS_MAX; i++) {
        happen();
        turn();
    }
    end();
    return 0;
}
