/* SPDX-License-Identifier: MIT */
/*
 * What an agent does with MEETs. The first byte picks how: the rest as a sealed text (what a peer
 * gone bad can say: decoded, written again, its candidates judged), as a seal of the hub's (which
 * must never open), or as decisions: a text made of likely parts, sealed, opened at the other end.
 */
#include "agent/mesh/candidates.h"
#include "common/crypto/aead_choice.h"
#include "common/session/rendezvous.h"
#include "feed.h"
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
look_at(const struct cbx_rendezvous *rendezvous, const uint8_t *text, size_t length)
{
    uint8_t again[CBX_RENDEZVOUS_TEXT_MAX];
    check(rendezvous->step >= CBX_RENDEZVOUS_OFFER && rendezvous->step <= CBX_RENDEZVOUS_LOST);
    check(rendezvous->count <= CBX_RENDEZVOUS_CANDIDATES_MAX);
    check(rendezvous->step <= CBX_RENDEZVOUS_ANSWER || rendezvous->count == 0);
    for (uint32_t i = 0; i < rendezvous->count; i++) {
        const char *candidate = rendezvous->candidate[i];
        size_t n = strlen(candidate);
        check(n > 0 && n <= CBX_RENDEZVOUS_CANDIDATE_MAX);
        check(!candidate_usable(candidate, n, false) || candidate_usable(candidate, n, true));
    }
    check(cbx_rendezvous_write(rendezvous, again) == length && memcmp(again, text, length) == 0);
}

static void
read_text(const uint8_t *text, size_t length)
{
    struct cbx_rendezvous rendezvous;
    if (cbx_rendezvous_read(text, length, &rendezvous) == 0)
        look_at(&rendezvous, text, length);
}

static void
open_sealed(struct feed *feed)
{
    struct cbx_frame frame = {.type = CBX_FRAME_RENDEZVOUS, .count = 5};
    struct cbx_rendezvous rendezvous;
    const uint8_t *bytes;
    frame.field[0] = cbx_field_text("cli");
    frame.field[1] = cbx_field_text("web");
    frame.field[2] = cbx_field_bytes(ours.id, sizeof ours.id);
    frame.field[3] = cbx_field_uint(feed_number(feed));
    size_t length = feed_bytes(feed, 700, &bytes);
    frame.field[4] = cbx_field_bytes(bytes, length);
    check(cbx_rendezvous_open(aead, &theirs, &frame, &rendezvous) < 0);
    check(sodium_is_zero((const uint8_t *)&rendezvous, sizeof rendezvous));
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
    struct cbx_rendezvous rendezvous = {.step =
                                            (enum cbx_rendezvous_step)(1 + feed_byte(feed) % 6)},
                          out;
    uint8_t text[CBX_RENDEZVOUS_TEXT_MAX];
    struct cbx_frame frame;
    struct cbx_error error;
    memset(rendezvous.id, feed_byte(feed), sizeof rendezvous.id);
    if (rendezvous.step <= CBX_RENDEZVOUS_ANSWER) {
        memset(rendezvous.mark, feed_byte(feed), sizeof rendezvous.mark);
        rendezvous.count = feed_byte(feed) % 9;
    }
    for (uint32_t i = 0; i < rendezvous.count; i++)
        strcpy(rendezvous.candidate[i], likely_candidate(feed_byte(feed)));
    uint64_t counter = feed_number(feed);
    struct cbx_slice slice = cbx_rendezvous_seal(aead, &ours, "cli", "web", counter, &rendezvous);
    check(slice.slab && cbx_frame_decode(&decoder, slice, &frame, &error) == 0);
    uint8_t twist = feed_byte(feed);
    if (twist % 2)
        frame.field[4].p[feed_number(feed) % frame.field[4].n] ^= twist;
    int result = cbx_rendezvous_open(aead, &theirs, &frame, &out);
    check((result == 0) == (twist % 2 == 0));
    if (result == 0)
        look_at(&out, text, cbx_rendezvous_write(&rendezvous, text));
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
