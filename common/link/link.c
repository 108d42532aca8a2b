/* SPDX-License-Identifier: MIT */
/*
 * A link's begin and end, its shift to a lane, and its clock: pings, silence, when to look again.
 */
#include "common/link/link.h"
#include <stdlib.h>
#include <string.h>

enum {
    ACK_EVERY_START = 64 * 1024,
    PING_LOADED_US = 2 * 1000 * 1000,
    PING_BOTH_US = 100 * 1000,
};

int
cbx_link_init(struct cbx_link *link, const struct cbx_link_config *config,
              const struct cbx_link_ops *ops, void *owner, int64_t now)
{
    memset(link, 0, sizeof *link);
    link->ops = ops;
    link->owner = owner;
    link->config = *config;
    link->read_size = CBX_LINK_READ_SMALL;
    link->ack_every = ACK_EVERY_START;
    link->control_credit = CBX_LINK_CONTROL_CREDIT_MAX;
    link->next_label = config->hub ? 2 : 1;
    link->neighbour_label = config->hub ? 1 : 2;
    link->heard_at = now;
    link->magic_seen = config->hub;
    STAILQ_INIT(&link->control);
    TAILQ_INIT(&link->circuit_control);
    TAILQ_INIT(&link->sparse_flows);
    TAILQ_INIT(&link->new_flows);
    TAILQ_INIT(&link->old_flows);
    cbx_pace_init(&link->pace, now);
    link->lane = config->lane;
    if (link->lane) {
        link->shift_in = link->shift_out = CBX_SHIFT_DONE;
        link->magic_seen = true;
        link->moved_at = now;
    }
    int result = cbx_frame_decoder_init(&link->decoder);
    if (result < 0)
        return result;
    if (!config->hub || link->lane)
        return 0;
    return cbx_link_send_slice(link, cbx_slice_copy(cbx_link_magic, CBX_LINK_MAGIC_SIZE));
}

void
cbx_link_dispose(struct cbx_link *link)
{
    while (!STAILQ_EMPTY(&link->control)) {
        struct cbx_queued *queued = STAILQ_FIRST(&link->control);
        STAILQ_REMOVE_HEAD(&link->control, entry);
        cbx_slice_drop(&queued->slice);
        free(queued);
    }
    for (uint32_t i = 0; i < link->out_count; i++)
        cbx_slice_drop(&link->out[(link->out_first + i) % CBX_LINK_OUT_SLICES]);
    link->out_count = 0;
    link->out_bytes = 0;
    cbx_slab_unref(link->in);
    link->in = NULL;
    cbx_lane_free(link->lane);
    link->lane = NULL;
    cbx_frame_decoder_dispose(&link->decoder);
    link->failed = true;
}

/* ---- its lane ---- */

void
cbx_link_expect_lane(struct cbx_link *link, const uint8_t id[CBX_LANE_ID])
{
    memcpy(link->lane_id, id, CBX_LANE_ID);
    link->lane_expected = true;
}

int
cbx_link_lane(struct cbx_link *link, struct cbx_lane *lane)
{
    if (link->lane || link->failed) {
        cbx_lane_free(lane);
        return CBX_ERR_STATE;
    }
    link->lane = lane;
    cbx_link_set_shift_out(link, CBX_SHIFT_WANTED);
    if (link->shift_in == CBX_SHIFT_MARKED)
        cbx_link_set_shift_in(link, CBX_SHIFT_DONE);
    cbx_link_wake(link);
    return 0;
}

/* ---- time ---- */

int64_t
cbx_link_deadline(const struct cbx_link *link)
{
    int64_t deadline = link->heard_at + link->config.keepalive_us;
    if (link->ping_at > link->heard_at)
        deadline = link->ping_at + link->config.keepalive_us;
    int64_t gone = link->heard_at + link->config.gone_us;
    if (gone < deadline || !link->magic_seen) /* before the magic nothing may be sent */
        deadline = gone;
    if (link->ack_at && link->ack_at < deadline)
        deadline = link->ack_at;
    return deadline;
}

int
cbx_link_ping(struct cbx_link *link, int64_t now)
{
    link->ping_at = link->ping_sent_at = now;
    link->ping_data = link->data_received;
    link->ping_nonce = (uint64_t)now > link->ping_nonce ? (uint64_t)now : link->ping_nonce + 1;
    return cbx_link_send(
        link, CBX_FRAME_PING, 0,
        (struct cbx_field[]){[CBX_PING_NONCE] = cbx_field_uint(link->ping_nonce),
                             [CBX_PING_RECEIVED] = cbx_field_uint(link->data_received)},
        2);
}

/* Under load the delay of acks says little about the path: ask it now and then. Where data goes
 * both ways the neighbour is told more often how its acks fare. */
static bool
loaded(const struct cbx_link *link, int64_t now)
{
    bool both = link->data_received != link->ping_data && link->ping_sent_at == 0;
    return link->pace.sent != link->pace.acked &&
           now - link->ping_at >= (both ? PING_BOTH_US : PING_LOADED_US);
}

int
cbx_link_tick(struct cbx_link *link, int64_t now)
{
    if (now - link->heard_at >= link->config.gone_us)
        return CBX_ERR_CLOSED;
    if (link->ack_at && now >= link->ack_at)
        cbx_link_send_ack(link);
    int64_t quiet_since = link->ping_at > link->heard_at ? link->ping_at : link->heard_at;
    bool quiet = now - quiet_since >= link->config.keepalive_us;
    if ((quiet || loaded(link, now)) && link->magic_seen)
        return cbx_link_ping(link, now);
    return 0;
}
