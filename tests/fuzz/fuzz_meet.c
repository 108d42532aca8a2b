/* SPDX-License-Identifier: MIT */
/*
 * What an agent does with MEETs. The first byte picks how: the rest as a sealed text (what a peer
 * gone bad can say: decoded, written again, its candidates judged), as a seal of the hub's (which
 * must never open), or as decisions: a text made of likely parts, sealed, opened at the other end.
 */
#include "candidates.h"
#include "feed.h"
#include "meet.h"
#include <sodium.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TEXT, SEALED, MADE, WAYS };

static struct cbx_aead *aead;
static struct cbx_frame_decoder decoder;
static struct cbx_session ours, theirs;

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    aead = sodium_init() < 0 ? NULL : cbx_aead_new();
    check(aead && cbx_frame_decoder_init(&decoder) == 0);
    ours.cipher = theirs.cipher = CBX_CIPHER_CHACHA20POLY1305;
    memset(ours.root_send, 1, 32);
    memset(theirs.root_receive, 1, 32);
    return 0;
}

/* What was read is legal, and means one text only. */
static void
look_at(const struct cbx_meet *meet, const uint8_t *text, size_t length)
{
    uint8_t again[CBX_MEET_TEXT_MAX];
    check(meet->step >= CBX_MEET_OFFER && meet->step <= CBX_MEET_LOST);
    check(meet->count <= CBX_MEET_CANDIDATES_MAX);
    check(meet->step <= CBX_MEET_ANSWER || meet->count == 0);
    for (uint32_t i = 0; i < meet->count; i++) {
        const char *candidate = meet->candidate[i];
        size_t n = strlen(candidate);
        check(n > 0 && n <= CBX_MEET_CANDIDATE_MAX);
        check(!candidate_usable(candidate, n, false) || candidate_usable(candidate, n, true));
    }
    check(cbx_meet_write(meet, again) == length && memcmp(again, text, length) == 0);
}

static void
read_text(const uint8_t *text, size_t length)
{
    struct cbx_meet meet;
    if (cbx_meet_read(text, length, &meet) == 0)
        look_at(&meet, text, length);
}

static void
open_sealed(struct feed *feed)
{
    struct cbx_frame frame = {.type = CBX_FRAME_MEET, .count = 5};
    struct cbx_meet meet;
    const uint8_t *bytes;
    frame.field[0] = cbx_field_text("cli");
    frame.field[1] = cbx_field_text("web");
    frame.field[2] = cbx_field_bytes(ours.id, sizeof ours.id);
    frame.field[3] = cbx_field_uint(feed_number(feed));
    size_t length = feed_bytes(feed, 700, &bytes);
    frame.field[4] = cbx_field_bytes(bytes, length);
    check(cbx_meet_open(aead, &theirs, &frame, &meet) < 0);
    check(sodium_is_zero((const uint8_t *)&meet, sizeof meet));
}

static const char *
likely_candidate(uint8_t which)
{
    static const char *const text[] = {
        "10.0.0.1:7000",  "127.0.0.1:1024",          "[fd00::1]:65535",   "169.254.0.1:7000",
        "[fe80::1]:7000", "[::ffff:127.0.0.1]:2000", "255.255.255.255:1", "name:7000"};
    return text[which % (sizeof text / sizeof *text)];
}

static void
make_and_open(struct feed *feed)
{
    struct cbx_meet meet = {.step = (enum cbx_meet_step)(1 + feed_byte(feed) % 6)}, out;
    uint8_t text[CBX_MEET_TEXT_MAX];
    struct cbx_frame frame;
    struct cbx_error error;
    memset(meet.id, feed_byte(feed), sizeof meet.id);
    if (meet.step <= CBX_MEET_ANSWER) {
        memset(meet.mark, feed_byte(feed), sizeof meet.mark);
        meet.count = feed_byte(feed) % 9;
    }
    for (uint32_t i = 0; i < meet.count; i++)
        strcpy(meet.candidate[i], likely_candidate(feed_byte(feed)));
    uint64_t counter = feed_number(feed);
    struct cbx_slice slice = cbx_meet_seal(aead, &ours, "cli", "web", counter, &meet);
    check(slice.slab && cbx_frame_decode(&decoder, slice, &frame, &error) == 0);
    uint8_t twist = feed_byte(feed);
    if (twist % 2)
        frame.field[4].p[feed_number(feed) % frame.field[4].n] ^= twist;
    int result = cbx_meet_open(aead, &theirs, &frame, &out);
    check((result == 0) == (twist % 2 == 0));
    if (result == 0)
        look_at(&out, text, cbx_meet_write(&meet, text));
    cbx_slice_drop(&slice);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct feed feed = {.at = data, .end = data + size};
    switch (feed_byte(&feed) % WAYS) {
    case TEXT:
        read_text(feed.at, (size_t)(feed.end - feed.at));
        break;
    case SEALED:
        open_sealed(&feed);
        break;
    default:
        make_and_open(&feed);
    }
    return 0;
}
