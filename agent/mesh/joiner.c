/* SPDX-License-Identifier: MIT */
/* Tested by sim_hostile_trust and sim_rules. */
#include "agent/mesh/joiner.h"

#include "common/base/states.h"
#include "common/base/version.h"
#include "common/link/fields.h"
#include "common/link/pump.h"

#include <stdlib.h>
#include <string.h>

enum { TIMEOUT_US = 20 * 1000 * 1000 };

enum joiner_state {
    JOINER_GREETING,  /* HUB_HELLO is expected */
    JOINER_OFFER,     /* JOIN_OFFER is */
    JOINER_SUBMITTED, /* JOINED is */
    JOINER_DONE
};
static const struct cbx_states states = {
    .what = "join of",
    .state =
        {
            [JOINER_GREETING] = {"greeting", CBX_STATE(JOINER_OFFER)},
            [JOINER_OFFER] = {"offer", CBX_STATE(JOINER_SUBMITTED)},
            [JOINER_SUBMITTED] = {"submitted", CBX_STATE(JOINER_DONE)},
            [JOINER_DONE] = {"done", 0},
        },
};

struct joiner {
    struct cbx_pump pump;
    enum joiner_state state;
    uint8_t pond_public[32];
    const struct cbx_keypair *signing;
    const struct cbx_identity *identity;
    const struct cbx_expose *narrow;
    const struct joiner_ops *ops;
    void *arg;
    struct joiner_result result;
    enum cbx_reason reason;
    char text[CBX_ERROR_TEXT_MAX];
    int64_t deadline;
};

static void
set_state(struct joiner *joiner, enum joiner_state state)
{
    if (cbx_states_allow(&states, joiner->result.invite.slug, joiner->state, state))
        joiner->state = state;
}

static int
fail(struct joiner *joiner, enum cbx_reason reason, struct cbx_error *error, const char *text)
{
    joiner->reason = reason;
    return cbx_fail(error, CBX_ERR_STATE, "%s", text);
}

static int
take_hello(struct joiner *joiner, const struct cbx_frame *frame, struct cbx_error *error)
{
    if (joiner->state != JOINER_GREETING)
        return fail(joiner, CBX_REASON_PROTOCOL, error, "the hub sent HUB_HELLO twice");
    if (frame->field[CBX_HUB_HELLO_VERSION].u != CBX_PROTOCOL_VERSION)
        return fail(joiner, CBX_REASON_PROTOCOL, error, "the hub speaks another protocol version");
    if (frame->field[CBX_HUB_HELLO_KIND].u != 1)
        return fail(joiner, CBX_REASON_PROTOCOL, error,
                    "the hub does not treat this login as an invite");
    set_state(joiner, JOINER_OFFER);
    return 0;
}

/* What we sign lies inside what the invite allows. */
static int
build_peer(struct joiner *joiner, struct cbx_error *error)
{
    const struct cbx_invite_cert *invite = &joiner->result.invite;
    struct cbx_peer_cert *peer = calloc(1, sizeof *peer);
    if (!peer)
        return cbx_fail(error, CBX_ERR_NOMEM, "out of memory");
    memcpy(peer->pond, invite->pond, sizeof peer->pond);
    memcpy(peer->slug, invite->slug, sizeof peer->slug);
    memcpy(peer->identity, joiner->identity->sign.public_key, 32);
    memcpy(peer->exchange, joiner->identity->exchange_public, 32);
    peer->expose = joiner->narrow ? *joiner->narrow : invite->expose;
    peer->issued = joiner->ops->now_unix(joiner->arg);
    peer->ends = invite->ends;
    cbx_cert_hash(joiner->result.invite_cert.bytes, joiner->result.invite_cert.length,
                  peer->invite_hash);
    int result = 0;
    if (!cbx_expose_within(&peer->expose, &invite->expose))
        result = fail(joiner, CBX_REASON_DENIED, error,
                      "--expose names a port or target that the invite does not allow");
    else if (cbx_peer_cert_sign(peer, joiner->signing, &joiner->identity->sign,
                                &joiner->result.peer_cert) < 0)
        result = fail(joiner, CBX_REASON_INTERNAL, error, "cannot create the certificate");
    free(peer);
    return result;
}

static int
take_offer(struct joiner *joiner, const struct cbx_frame *frame, struct cbx_error *error)
{
    struct joiner_result *result = &joiner->result;
    if (joiner->state != JOINER_OFFER)
        return fail(joiner, CBX_REASON_PROTOCOL, error, "unexpected JOIN_OFFER from the hub");
    const struct cbx_field *slug = &frame->field[CBX_JOIN_OFFER_SLUG];
    const struct cbx_field *cert = &frame->field[CBX_JOIN_OFFER_INVITE];
    if (cbx_invite_cert_open(cert->p, cert->n, joiner->pond_public, &result->invite, error) < 0) {
        joiner->reason = CBX_REASON_DENIED;
        return CBX_ERR_AUTH;
    }
    if (!cbx_field_is(slug, result->invite.slug))
        return fail(joiner, CBX_REASON_DENIED, error,
                    "the hub names this lease differently from the invite's certificate");
    if (memcmp(result->invite.signing_key, joiner->signing->public_key, 32) != 0)
        return fail(joiner, CBX_REASON_DENIED, error,
                    "the hub presents another invite's certificate");
    memcpy(result->invite_cert.bytes, cert->p, cert->n);
    result->invite_cert.length = (uint16_t)cert->n;
    int built = build_peer(joiner, error);
    if (built < 0)
        return built;
    if (joiner->ops->submitting && joiner->ops->submitting(joiner->arg, result) != 0)
        return fail(joiner, CBX_REASON_INTERNAL, error, "cannot store the join");
    set_state(joiner, JOINER_SUBMITTED);
    struct cbx_field fields[] = {
        [CBX_JOIN_PEER] = cbx_field_bytes(result->peer_cert.bytes, result->peer_cert.length)};
    return cbx_link_send(&joiner->pump.link, CBX_FRAME_JOIN, 0, fields, 1);
}

static int
take_bye(struct joiner *joiner, const struct cbx_frame *frame, struct cbx_error *error)
{
    const struct cbx_field *text = &frame->field[CBX_BYE_TEXT];
    joiner->reason = cbx_reason_of(frame->field[CBX_BYE_REASON].u, CBX_REASON_LOST);
    return cbx_fail(error, CBX_ERR_CLOSED, "%.*s", (int)text->n, (const char *)text->p);
}

static int
take_frame(void *owner, struct cbx_link *link, const struct cbx_frame *frame, int64_t now,
           struct cbx_error *error)
{
    (void)link;
    (void)now;
    struct joiner *joiner = owner;
    switch (frame->type) {
    case CBX_FRAME_HUB_HELLO:
        return take_hello(joiner, frame, error);
    case CBX_FRAME_JOIN_OFFER:
        return take_offer(joiner, frame, error);
    case CBX_FRAME_BYE:
        return take_bye(joiner, frame, error);
    case CBX_FRAME_JOINED:
        if (joiner->state != JOINER_SUBMITTED)
            return fail(joiner, CBX_REASON_PROTOCOL, error, "unexpected JOINED from the hub");
        set_state(joiner, JOINER_DONE);
        return cbx_fail(error, CBX_ERR_CLOSED, "joined");
    default:
        return fail(joiner, CBX_REASON_PROTOCOL, error,
                    "unexpected frame from the hub during the join");
    }
}

static void
on_wake(void *owner, struct cbx_link *link)
{
    (void)link;
    struct joiner *joiner = owner;
    joiner->ops->wake(joiner->arg);
}

static const struct cbx_link_ops link_ops = {.frame = take_frame, .wake = on_wake};

static void
pump_over(void *arg, struct cbx_pump *pump, int result, const char *text)
{
    (void)pump;
    (void)result;
    struct joiner *joiner = arg;
    if (joiner->state == JOINER_DONE) {
        joiner->ops->joined(joiner->arg, &joiner->result);
        return;
    }
    strncpy(joiner->text, text, sizeof joiner->text - 1);
    joiner->ops->failed(joiner->arg, joiner->reason ? joiner->reason : CBX_REASON_LOST,
                        joiner->text);
}

static int64_t
pump_now(void *arg)
{
    struct joiner *joiner = arg;
    return joiner->ops->now_us(joiner->arg);
}

struct joiner *
joiner_new(struct cbx_carrier *carrier, const uint8_t pond_public[32],
           const struct cbx_keypair *signing, const struct cbx_identity *identity,
           const struct cbx_expose *narrow, const struct joiner_ops *ops, void *arg)
{
    struct joiner *joiner = calloc(1, sizeof *joiner);
    if (!joiner) {
        carrier->ops->close(carrier);
        return NULL;
    }
    memcpy(joiner->pond_public, pond_public, 32);
    joiner->signing = signing;
    joiner->identity = identity;
    joiner->narrow = narrow;
    joiner->ops = ops;
    joiner->arg = arg;
    joiner->deadline = pump_now(joiner) + TIMEOUT_US;
    struct cbx_link_config config = {
        .hub = false, .keepalive_us = CBX_LINK_KEEPALIVE_US, .gone_us = CBX_LINK_GONE_US};
    if (cbx_pump_start(&joiner->pump, carrier, &config, &link_ops, joiner, pump_now, pump_over,
                       joiner) < 0) {
        free(joiner);
        return NULL;
    }
    ops->wake(arg);
    return joiner;
}

int64_t
joiner_flush(struct joiner *joiner)
{
    int64_t now = pump_now(joiner);
    if (now >= joiner->deadline && cbx_pump_running(&joiner->pump)) {
        joiner->deadline = INT64_MAX;
        joiner->ops->failed(joiner->arg, CBX_REASON_TIMED_OUT,
                            "the hub did not complete the join within 20 s");
        return -1;
    }
    if (!cbx_pump_flush(&joiner->pump))
        return -1;
    return joiner->deadline - now;
}

void
joiner_free(struct joiner *joiner)
{
    if (!joiner)
        return;
    cbx_pump_dispose(&joiner->pump);
    free(joiner);
}
