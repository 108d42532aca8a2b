/* SPDX-License-Identifier: MIT */
/* Tested by sim_lanes. */
#include "hub/core/lane.h"
#include "common/crypto/aead_choice.h"
#include "common/link/rates.h"
#include "hub/core/link.h"
#include <sodium.h>

static const int64_t PROMISE_US = 30 * 1000 * 1000;

bool
hub_lane_up(const struct hub_link *link)
{
    return cbx_link_moved(&link->pump.link);
}

bool
hub_lane_allows(const struct hub_link *link)
{
    return link->core->config.lanes != CBX_LANES_REQUIRE || hub_lane_up(link);
}

void
hub_lane_forget(struct hub_link *link)
{
    struct hub_promise *promise = &link->promise;
    if (!promise->until)
        return;
    HASH_DELETE(hh, link->core->promises, promise);
    sodium_memzero(promise, sizeof *promise);
}

static int
refuse(struct hub_link *link, enum cbx_reason reason, const char *text)
{
    const struct cbx_field fields[] = {
        [CBX_NO_LANE_REASON] = cbx_field_uint(reason), [CBX_NO_LANE_TEXT] = cbx_field_text(text)};
    link->core->count.lanes_refused++;
    return cbx_link_send(&link->pump.link, CBX_FRAME_NO_LANE, 0, fields, 2);
}

static int
promise_lane(struct hub_link *link, enum cbx_cipher wish, int64_t now)
{
    struct hub_promise *promise = &link->promise;
    bool aes = wish == CBX_CIPHER_AES256GCM && cbx_aead_preferred() == CBX_CIPHER_AES256GCM;
    hub_lane_forget(link);
    promise->link = link;
    cbx_lane_ticket_make(&promise->ticket,
                         aes ? CBX_CIPHER_AES256GCM : CBX_CIPHER_CHACHA20POLY1305);
    HASH_ADD(hh, link->core->promises, ticket.id, sizeof promise->ticket.id, promise);
    if (!promise->hh.tbl)
        return refuse(link, CBX_REASON_OVERLOADED, "the hub is out of memory");
    promise->until = now + PROMISE_US;
    cbx_link_expect_lane(&link->pump.link, promise->ticket.id);
    const struct cbx_lane_ticket *ticket = &promise->ticket;
    const struct cbx_field fields[] = {
        [CBX_LANE_FRAME_ID] = cbx_field_bytes(ticket->id, sizeof ticket->id),
        [CBX_LANE_FRAME_SECRET] = cbx_field_bytes(ticket->secret, sizeof ticket->secret),
        [CBX_LANE_FRAME_CIPHER] = cbx_field_uint(ticket->cipher)};
    return cbx_link_send(&link->pump.link, CBX_FRAME_LANE, 0, fields, 3);
}

int
hub_lane_get(struct hub_link *link, const struct cbx_frame *frame, int64_t now)
{
    link->lane_asked = true;
    if (!cbx_rate_allows(&link->peer->rates.lanes, &CBX_RATE_LANE_GET, now)) {
        hub_link_shed(link);
        return 0;
    }
    if (link->core->config.lanes == CBX_LANES_OFF)
        return refuse(link, CBX_REASON_DENIED, "the hub runs with --lanes off");
    if (link->pump.lane)
        return refuse(link, CBX_REASON_DENIED, "this link has a lane already");
    return promise_lane(link, (enum cbx_cipher)frame->field[CBX_LANE_GET_CIPHER].u, now);
}

/* The link that waits for this very preface, struck out; its ticket in *out. */
static struct hub_link *
redeem(struct hub_core *core, const uint8_t preface[CBX_LANE_PREFACE], struct cbx_lane_ticket *out)
{
    struct hub_promise *promise = NULL;
    HASH_FIND(hh, core->promises, preface + CBX_LANE_MAGIC, CBX_LANE_ID, promise);
    if (!promise)
        return NULL;
    struct hub_link *link = promise->link;
    bool holds =
        promise->until > hub_now(core) && cbx_lane_preface_holds(&promise->ticket, preface);
    *out = promise->ticket;
    hub_lane_forget(link);
    return holds && link->phase == HUB_READY && !link->pump.lane ? link : NULL;
}

/* The answer is the first thing that the listener's side says. */
static bool
answer(struct cbx_carrier *carrier, const struct cbx_lane_ticket *ticket)
{
    uint8_t bytes[CBX_LANE_MAC];
    cbx_lane_answer(ticket, bytes);
    struct iovec vector = {.iov_base = bytes, .iov_len = sizeof bytes};
    return carrier->ops->writev(carrier, &vector, 1) == (ssize_t)sizeof bytes;
}

bool
hub_core_lane(struct hub_core *core, struct cbx_carrier *carrier,
              const uint8_t preface[CBX_LANE_PREFACE])
{
    struct cbx_lane_ticket ticket;
    struct hub_link *link = redeem(core, preface, &ticket);
    struct cbx_lane *lane = link ? cbx_lane_new(&ticket, true) : NULL;
    bool answered = lane && answer(carrier, &ticket);
    sodium_memzero(&ticket, sizeof ticket);
    core->count.prefaces_refused += !link;
    if (!answered) {
        cbx_lane_free(lane);
        carrier->ops->close(carrier);
        return false;
    }
    if (cbx_pump_lane(&link->pump, carrier, lane) < 0)
        return false;
    core->count.lanes++;
    hub_link_wake(link);
    return true;
}
