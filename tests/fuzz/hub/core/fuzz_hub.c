/* SPDX-License-Identifier: MIT */
/*
 * The hub's engine with five links. Two members (web, cli) and a join link do what the input says:
 * bytes, frames legal in form with any field, silence, stalls, cuts, new links. Two honest members
 * (ops, db) have a circuit. Whatever happens: what the hub writes is frames, its accounts hold, the
 * honest two are never disturbed and their bytes pass, and all memory comes back.
 */
#include "hub/registry/state.h"

#include "hub/registry/registry.h"
#include "hub/registry/table.h"

#include "common/base/log.h"
#include "hub/core/core.h"
#include "hub/core/edit.h"
#include "hub/core/json.h"
#include "hub/core/link.h"
#include "pond.h"
#include "wire.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { WEB, CLI, DB, OPS, NEW, STEPS_MAX = 64, TICKETS = 64, SECOND = 1000000 };
/* The honest two answer no ping: they are not silent for long enough to be missed. */
enum { TIME_MAX = 20 * SECOND };

struct link {
    struct fuzz_wire wire;
    uint64_t data;   /* bytes that came of the circuit between the honest two */
    uint32_t opened; /* its label on this link */
    bool bye;
};

static struct link links[POND_LEASES];
static struct registry *registry;
static struct hub_core *core;
static struct cbx_frame_decoder decoder;
static struct feed_likely likely;
static struct cbx_invite_cert newer; /* for web's name */
static struct cbx_cert newer_cert;
static int64_t now;
static uint64_t ticket[TICKETS];
static uint32_t tickets;
static bool shut;

static int64_t
now_us(void *arg)
{
    (void)arg;
    return now;
}

static int64_t
now_unix_ms(void *arg)
{
    (void)arg;
    return pond_time * 1000 + now / 1000;
}

static void
on_commit(void *arg, uint64_t number)
{
    (void)arg;
    if (tickets < TICKETS)
        ticket[tickets++] = number;
}

static void
on_wake(void *arg)
{
    (void)arg;
}

static const struct hub_core_ops ops = {
    .commit = on_commit, .now_us = now_us, .now_unix_ms = now_unix_ms, .wake = on_wake};

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    cheap_random_install();
    pond_init();
    cbx_log_init("fuzz", CBX_LOG_ERROR);
    check(cbx_frame_decoder_init(&decoder) == 0);
    newer = pond[WEB].invite;
    newer.serial = 100;
    check(cbx_invite_cert_sign(&newer, &pond_key, &newer_cert) == 0);
    for (int i = 0; i < POND_LEASES; i++) {
        feed_likely_add(&likely, pond[i].slug, strlen(pond[i].slug));
        feed_likely_add(&likely, pond[i].peer_cert.bytes, pond[i].peer_cert.length);
    }
    feed_likely_add(&likely, "nobody", 6);
    feed_likely_add(&likely, pond[WEB].chain_hash, 32);
    feed_likely_add(&likely, pond[WEB].chain_hash, 16);
    feed_likely_add(&likely, pond[WEB].peer_cert.bytes, 40);
    feed_likely_add(&likely, pond[WEB].peer_cert.bytes, 64);
    return 0;
}

/* ---- what the hub says ---- */

static void
put_frame(struct link *to, struct cbx_slice slice)
{
    if (!slice.slab)
        return;
    fuzz_buffer_put(&to->wire.in, slice.data, slice.length);
    cbx_slice_drop(&slice);
}

static void
answer_allow(struct link *link, const struct cbx_frame *frame)
{
    struct cbx_field field = cbx_field_uint(frame->field[0].u);
    put_frame(link, cbx_frame_slice(CBX_FRAME_ALLOWED, 0, &field, 1));
}

/* Every byte that the hub wrote; the honest two look at what it says. */
static void
take_output(int which)
{
    struct link *link = &links[which];
    struct cbx_slice raw;
    struct cbx_frame frame;
    while (fuzz_wire_frame(&link->wire, &raw)) {
        check(cbx_frame_decode(&decoder, raw, &frame, NULL) == 0);
        link->bye |= frame.type == CBX_FRAME_BYE;
        if (which != DB && which != OPS)
            continue;
        if (frame.type == CBX_FRAME_ALLOW)
            answer_allow(link, &frame);
        if (frame.type == CBX_FRAME_OPEN && cbx_field_is(&frame.field[0], "ops"))
            link->opened = frame.label;
        if (frame.label == 0 || frame.label != link->opened)
            continue;
        check(frame.type != CBX_FRAME_CLOSE || shut);
        if (frame.type == CBX_FRAME_DATA)
            link->data += frame.field[3].n - CBX_AEAD_TAG;
    }
    check(link->wire.out.from == link->wire.out.to || link->wire.stalled);
}

static void
check_accounts(void)
{
    uint64_t sum = 0;
    const struct hub_link *link;
    TAILQ_FOREACH(link, &core->links, entry) {
        check(link->allowance.granted <= link->allowance.value);
        sum += link->allowance.value;
    }
    check(sum == core->allowances.sum && sum <= core->allowances.total && core->held <= sum);
}

static void
turn(void)
{
    for (int i = 0; i < POND_LEASES; i++)
        fuzz_wire_ready(&links[i].wire);
    hub_core_flush(core);
    check_accounts();
    for (int i = 0; i < POND_LEASES; i++)
        take_output(i);
}

static void
settle(int result)
{
    uint32_t count = tickets;
    tickets = 0;
    for (uint32_t i = 0; i < count; i++)
        hub_core_committed(core, ticket[i], result);
}

/* ---- the beginning ---- */

static void
begin_link(int which)
{
    struct link *link = &links[which];
    fuzz_wire_init(&link->wire);
    link->bye = false;
    hub_core_attach(core, &link->wire.base,
                    which == NEW ? pond[which].login_name : pond[which].name, 7, "192.0.2.1:40022");
}

static void
hello(int which)
{
    struct cbx_field fields[] = {cbx_field_uint(1), cbx_field_bytes(pond[which].chain_hash, 16),
                                 cbx_field_uint(1 << 20), cbx_field_text("fuzz")};
    put_frame(&links[which], cbx_frame_slice(CBX_FRAME_AGENT_HELLO, 0, fields, 4));
}

static void
circuit(void)
{
    static uint8_t bytes[40];
    struct cbx_field open[] = {
        cbx_field_text("ops"),      cbx_field_text("db"),       cbx_field_uint(8082),
        cbx_field_bytes(bytes, 16), cbx_field_bytes(bytes, 40), cbx_field_uint(1),
        cbx_field_uint(0),          cbx_field_uint(4096),       cbx_field_bytes(bytes, 40)};
    struct cbx_field credit[] = {cbx_field_uint(1), cbx_field_uint(0), cbx_field_uint(0),
                                 cbx_field_uint(4096), cbx_field_bytes(bytes, 16)};
    put_frame(&links[OPS], cbx_frame_slice(CBX_FRAME_OPEN, 1, open, 9));
    links[OPS].opened = 1;
    turn();
    check(links[DB].opened != 0);
    put_frame(&links[DB], cbx_frame_slice(CBX_FRAME_CREDIT, links[DB].opened, credit, 5));
    turn();
}

static void
world_begin(uint8_t way)
{
    static struct cbx_vault_key no_key;
    struct hub_core_config config = {.queue_max = way & 1 ? 0 : 4 << 20, .software = "fuzz"};
    struct reg_invite *added;
    uint64_t number;
    now = SECOND;
    tickets = 0;
    shut = false;
    registry = registry_new("/nonexistent", &no_key);
    core = hub_core_new(&config, registry, &ops, NULL);
    check(registry && core);
    for (int i = 0; i < NEW; i++) {
        struct reg_peer *peer = registry_peer_new(&pond[i].invite_cert, &pond[i].peer_cert,
                                                  &pond[i].invite, &pond[i].peer);
        check(peer && registry_link_peer(registry, peer, pond_key.public_key) == 0);
    }
    const struct cbx_cert *cert = way & 2 ? &newer_cert : &pond[NEW].invite_cert;
    check(hub_core_add_invite(core, pond_key.public_key, cert->bytes, cert->length,
                              pond[NEW].login.public_key, &added, &number, NULL) == 0);
    for (int i = 0; i < POND_LEASES; i++) {
        links[i].opened = 0;
        links[i].data = 0;
        begin_link(i);
    }
    hello(DB);
    hello(OPS);
    if (way & 4) {
        hello(WEB);
        hello(CLI);
    }
    turn();
    settle(0);
    turn();
    circuit();
}

/* ---- what the input says ---- */

static uint32_t
label_of(struct feed *feed)
{
    static const uint32_t labels[] = {1, 2, 3, 4, 5, 7, 9, 0};
    uint8_t pick = feed_byte(feed);
    return pick < 240 ? labels[pick % 8] : (uint32_t)feed_number(feed);
}

static void
send_frame(struct feed *feed, struct link *to)
{
    static const uint8_t types[] = {32, 33, 34, 35, 36, 37, 38, 33, 35, 32, 20, 21,
                                    22, 18, 13, 14, 2,  5,  7,  8,  9,  10, 11, 1,
                                    3,  4,  6,  12, 16, 17, 19, 39, 40, 39, 40};
    uint8_t pick = feed_byte(feed);
    unsigned type = types[pick % sizeof types];
    uint32_t label = cbx_frame_has_label(type) ? label_of(feed) : 0;
    struct cbx_slice slice = feed_frame(feed, type, label, &likely);
    for (int i = pick >= 248 ? 32 : 1; i > 1 && slice.slab; i--)
        fuzz_buffer_put(&to->wire.in, slice.data, slice.length);
    put_frame(to, slice);
}

/* One of the members opens a circuit as it should, so that what follows has one. */
static void
send_open(struct feed *feed, int from)
{
    static uint8_t bytes[40];
    uint8_t pick = feed_byte(feed);
    struct cbx_field open[] = {cbx_field_text(pond[from].slug),
                               cbx_field_text(pond[pick % NEW].slug),
                               cbx_field_uint(8080 + pick / 16 % 4),
                               cbx_field_bytes(bytes, 16),
                               cbx_field_bytes(bytes, 40),
                               cbx_field_uint(1),
                               cbx_field_uint(0),
                               cbx_field_uint(feed_number(feed)),
                               cbx_field_bytes(bytes, 40)};
    put_frame(&links[from], cbx_frame_slice(CBX_FRAME_OPEN, label_of(feed) | 1, open, 9));
}

/* The same with one that goes on, from any offset, and the answer of whoever has it. */
static void
send_resume(struct feed *feed, int from)
{
    static uint8_t bytes[40];
    uint8_t pick = feed_byte(feed);
    int to = pick % NEW;
    uint64_t begin = pick & 128 ? (UINT64_C(1) << 62) - feed_byte(feed) : feed_number(feed);
    struct cbx_field have[] = {cbx_field_text(pond[from].slug),
                               cbx_field_text(pond[to].slug),
                               cbx_field_uint(8080 + pick / 16 % 4),
                               cbx_field_bytes(bytes, 16),
                               cbx_field_bytes(bytes, 40),
                               cbx_field_uint(65536),
                               cbx_field_uint(begin),
                               cbx_field_uint(begin - feed_byte(feed)),
                               cbx_field_uint(begin + feed_number(feed)),
                               cbx_field_uint(pick & 64),
                               cbx_field_bytes(bytes, 16)};
    put_frame(&links[from], cbx_frame_slice(CBX_FRAME_RESUME, label_of(feed) | 1, have, 11));
    turn();
    if (to != DB && to != OPS)
        put_frame(&links[to], cbx_frame_slice(CBX_FRAME_RESUMED, label_of(feed), have + 5, 6));
}

static void
send_bytes(struct feed *feed, struct link *to)
{
    const uint8_t *bytes;
    size_t length = feed_bytes(feed, feed_byte(feed), &bytes);
    fuzz_buffer_put(&to->wire.in, bytes, length);
}

static void
command(struct feed *feed)
{
    uint8_t pick = feed_byte(feed);
    uint64_t number;
    struct reg_invite *added;
    switch (pick % 8) {
    case 0:
        hub_core_revoke(core, "demo", pond[pick / 8 % 2].slug, &number, NULL);
        break;
    case 1:
        hub_core_expire(core);
        break;
    case 2:
        hub_core_add_invite(core, pond_key.public_key, newer_cert.bytes, newer_cert.length,
                            pond[CLI].login.public_key, &added, &number, NULL);
        break;
    case 3:
        if (registry_invites(registry))
            hub_core_drop_invite(core, registry_invites(registry)->id, &number, NULL);
        break;
    case 4:
        json_decref(hub_core_peers_json(core, pick & 8 ? "demo" : NULL));
        json_decref(hub_core_invites_json(core));
        break;
    case 5:
        json_decref(hub_core_status_json(core));
        break;
    case 6:
        settle(CBX_ERR_IO); /* a broken disk ends links that wait for it, honest or not */
        break;
    default:
        if (pick >= 240) {
            hub_core_shutdown(core, 1000);
            shut = true;
        }
        break;
    }
}

static void
step(struct feed *feed)
{
    static const int liars[] = {WEB, CLI, NEW, WEB};
    uint8_t op = feed_byte(feed);
    int who = liars[op >> 6];
    struct link *link = &links[who];
    switch (op % 16) {
    case 0:
        send_bytes(feed, link);
        break;
    case 1:
        now += now < TIME_MAX - SECOND ? (int64_t)feed_byte(feed) * 20000 : 0;
        break;
    case 2:
        settle(0);
        break;
    case 3:
        link->wire.stalled = !link->wire.stalled;
        break;
    case 4:
        link->wire.cut = true;
        break;
    case 5:
        if (!link->wire.open)
            begin_link(who);
        break;
    case 6:
        command(feed);
        break;
    case 7:
        hello(who);
        break;
    case 8:
        send_open(feed, who);
        break;
    case 9:
        turn();
        break;
    case 10:
        send_resume(feed, who);
        break;
    default:
        send_frame(feed, link);
        break;
    }
    if (op & 32)
        turn();
}

/* ---- the end ---- */

static void
check_honest(void)
{
    static uint8_t bytes[100 + CBX_AEAD_TAG];
    struct cbx_field data[] = {cbx_field_uint(1), cbx_field_uint(1), cbx_field_uint(0),
                               cbx_field_bytes(bytes, sizeof bytes)};
    settle(0);
    turn();
    if (shut)
        return;
    check(links[OPS].wire.open && links[DB].wire.open && !links[OPS].bye && !links[DB].bye);
    put_frame(&links[OPS], cbx_frame_slice(CBX_FRAME_DATA, 1, data, 4));
    turn();
    turn();
    check(links[DB].data == 100);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct feed feed = {data, data + size};
    cheap_random_restart();
    world_begin(feed_byte(&feed));
    for (int i = 0; feed_left(&feed) && i < STEPS_MAX; i++)
        step(&feed);
    turn();
    check_honest();
    now += 60 * SECOND;
    hub_core_flush(core);
    hub_core_flush(core);
    hub_core_free(core);
    registry_free(registry);
    cbx_slab_trim();
    check(cbx_slab_bytes() == 0);
    return 0;
}
