/* SPDX-License-Identifier: MIT */
/*
 * PROTOCOL.md, "Examples": each line of it is what the code makes of the inputs named there.
 * CBX_PRINT=1 prints the lines instead of comparing them.
 */
#include "common/crypto/aead_choice.h"
#include "common/session/rendezvous.h"
#include "common/stream/open.h"
#include "common/stream/record.h"
#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LABEL = 5 };

static uint8_t filler[4096];
static struct cbx_aead *aead;
static char *document;

static struct cbx_record_keys
keys(uint64_t epoch)
{
    struct cbx_record_keys out;
    uint8_t root[32], id[CBX_STREAM_ID_SIZE];
    memset(root, 0x07, sizeof root);
    memset(id, 0x09, sizeof id);
    cbx_record_keys_derive(&out, root, id, epoch, CBX_CIPHER_CHACHA20POLY1305);
    return out;
}

static void
check(const char *name, struct cbx_slice slice)
{
    char hex[4096], line[4200];
    assert_non_null(slice.slab);
    sodium_bin2hex(hex, sizeof hex, slice.data, slice.length);
    snprintf(line, sizeof line, "    %-14s %s\n", name, hex);
    cbx_slice_drop(&slice);
    if (getenv("CBX_PRINT"))
        fputs(line + 4, stderr);
    else if (!strstr(document, line))
        fail_msg("PROTOCOL.md does not have this line:\n%s", line);
}

static void
plain(enum cbx_frame_type type, const struct cbx_field *fields, uint32_t count)
{
    check(cbx_frame_name(type),
          cbx_frame_slice(type, cbx_frame_has_label(type) ? LABEL : 0, fields, count));
}

#define PLAIN(type, ...)                                                                           \
    plain(type, (struct cbx_field[]){__VA_ARGS__},                                                 \
          sizeof((struct cbx_field[]){__VA_ARGS__}) / sizeof(struct cbx_field))
#define U cbx_field_uint
#define T cbx_field_text
#define B(n) cbx_field_bytes(filler, n)

static void
link_frames_are_as_documented(void **state)
{
    (void)state;
    memset(filler, 0xab, sizeof filler);
    PLAIN(CBX_FRAME_HUB_HELLO, U(1), U(0), T("cbx-hub"));
    PLAIN(CBX_FRAME_AGENT_HELLO, U(1), B(16), U(134217728), T("cbx-agent"));
    PLAIN(CBX_FRAME_WELCOME, T("demo"), T("web"), U(1700000000000), U(4194304), T("192.0.2.1:5000"),
          U(1));
    PLAIN(CBX_FRAME_JOIN_OFFER, T("web"), B(3));
    PLAIN(CBX_FRAME_JOIN, B(3));
    plain(CBX_FRAME_JOINED, NULL, 0);
    PLAIN(CBX_FRAME_BYE, U(8), U(2000), T("bye"));
    PLAIN(CBX_FRAME_PING, U(1), U(0));
    PLAIN(CBX_FRAME_PONG, U(1), U(70000));
    PLAIN(CBX_FRAME_ACK, U(70000));
    PLAIN(CBX_FRAME_PACE, U(65536));
    PLAIN(CBX_FRAME_ALLOW, U(1), U(8388608));
    PLAIN(CBX_FRAME_ALLOWED, U(1));
    PLAIN(CBX_FRAME_WANT, U(8388608));
    PLAIN(CBX_FRAME_ADDRESSES, T("hub.example.org:7000,[2001:db8::1]:7000"));
    PLAIN(CBX_FRAME_PEER, T("web"), U(1), U(7), U(9), B(16), B(32), T("8080"), T("os=linux"));
    PLAIN(CBX_FRAME_SYNCED, U(2));
    PLAIN(CBX_FRAME_CHAIN_GET, T("web"));
    PLAIN(CBX_FRAME_CHAIN, T("web"), B(2), B(2));
    PLAIN(CBX_FRAME_HANDSHAKE, T("cli"), T("web"), U(1), B(32), B(32), B(4));
    PLAIN(CBX_FRAME_NO_HANDSHAKE, T("web"), T("cli"), U(2));
    PLAIN(CBX_FRAME_CLOSE, U(3));
}

static void
records_are_as_documented(void **state)
{
    (void)state;
    struct cbx_record_keys k = keys(1);
    struct cbx_open open = {
        .source = "cli", .target = "web", .port = 8080, .epoch = 1, .limit = 32768};
    memset(open.session, 0x05, sizeof open.session);
    memset(open.stream_id, 0x09, sizeof open.stream_id);
    check("OPEN", cbx_record_dial(aead, &k, LABEL, &open));
    struct cbx_slab *slab = cbx_slab_new(256);
    assert_non_null(slab);
    memcpy(slab->bytes + CBX_RECORD_HEAD, "hello", 5);
    check("DATA", cbx_record_data(aead, &k, LABEL, 0, slab, 5));
    check("FIN", cbx_record_fin(aead, &k, LABEL, 5));
    check("CREDIT", cbx_record_credit(aead, &k, LABEL, 5, 40000));
    check("EPOCH", cbx_record_epoch(aead, &k, LABEL, open.session, 2, 6));
    check("RESET", cbx_record_reset(aead, &k, LABEL, CBX_REASON_RESET));
    const struct cbx_resume resume = {.received = 6, .acked = 5, .limit = 40000, .ended = true};
    open.epoch = 65536;
    k = keys(open.epoch);
    check("RESUME", cbx_record_resume(aead, &k, LABEL, &open, &resume));
    k = keys(open.epoch);
    check("RESUMED", cbx_record_resumed(aead, &k, LABEL, &resume));
    struct cbx_session session = {.cipher = CBX_CIPHER_CHACHA20POLY1305};
    memset(session.id, 0x05, sizeof session.id);
    memset(session.root_send, 0x07, sizeof session.root_send);
    check("CONFIRM", cbx_record_confirm(aead, &session, "cli", "web"));
    struct cbx_rendezvous rendezvous = {.step = CBX_RENDEZVOUS_OFFER, .count = 1};
    memset(rendezvous.id, 0xab, sizeof rendezvous.id);
    strcpy(rendezvous.candidate[0], "192.0.2.1:5000");
    check("RENDEZVOUS", cbx_rendezvous_seal(aead, &session, "cli", "web", 1, &rendezvous));
}

static int
setup(void **state)
{
    (void)state;
    if (sodium_init() < 0)
        return -1;
    aead = cbx_aead_new();
    FILE *file = fopen("common/PROTOCOL.md", "r");
    document = calloc(1, 1 << 20);
    if (!aead || !file || !document || fread(document, 1, (1 << 20) - 1, file) == 0)
        return -1;
    fclose(file);
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    cbx_aead_free(aead);
    free(document);
    cbx_slab_trim();
    return 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(link_frames_are_as_documented),
        cmocka_unit_test(records_are_as_documented),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
