/* SPDX-License-Identifier: MIT */
/* What agents are told of their pond: peers as deltas, chains on request; and the handshakes and
 * meetings that peers send each other, which the hub carries and cannot read. */
#include "hub/core/internal.h"
#include <string.h>

enum { PEER_AWAY_STATE = 0, PEER_READY_STATE = 1, PEER_GONE_STATE = 2 };

static int
send_peer(struct hub_link *link, const struct reg_peer *peer, bool gone)
{
    static const uint8_t no_incarnation[CBX_INCARNATION_SIZE];
    const struct hub_link *live = hub_peer_link(peer);
    uint64_t state = gone ? PEER_GONE_STATE : live ? PEER_READY_STATE : PEER_AWAY_STATE;
    struct cbx_field fields[] = {
        cbx_field_text(peer->slug),
        cbx_field_uint(state),
        cbx_field_uint(peer->generation),
        cbx_field_uint(peer->serial),
        cbx_field_bytes(live ? live->incarnation : no_incarnation, CBX_INCARNATION_SIZE),
        cbx_field_bytes(peer->chain_hash, 32),
        cbx_field_text(peer->ports ? peer->ports : ""),
        cbx_field_text(peer->labels ? peer->labels : "")};
    return cbx_link_send(&link->pump.link, CBX_FRAME_PEER, 0, fields, 8);
}

void
hub_directory_snapshot(struct hub_link *link)
{
    uint64_t count = 0;
    for (struct reg_peer *peer = registry_peers(link->core->registry); peer; peer = peer->next) {
        if (strcmp(peer->pond, link->pond) != 0)
            continue;
        if (send_peer(link, peer, false) < 0) {
            hub_link_bye(link, CBX_REASON_OVERLOADED, 5000, "the pond is too large for one link");
            return;
        }
        count++;
    }
    struct cbx_field field = cbx_field_uint(count);
    cbx_link_send(&link->pump.link, CBX_FRAME_SYNCED, 0, &field, 1);
}

void
hub_directory_tell(struct hub_core *core, const struct reg_peer *peer, bool gone)
{
    struct hub_link *link, *next;
    for (link = TAILQ_FIRST(&core->links); link; link = next) {
        next = TAILQ_NEXT(link, entry);
        if (link->phase != HUB_READY || strcmp(link->pond, peer->pond) != 0)
            continue;
        if (send_peer(link, peer, gone) < 0)
            hub_link_bye(link, CBX_REASON_OVERLOADED, 1000, "the link does not take its directory");
    }
}

void
hub_directory_chain(struct hub_link *link, const struct cbx_frame *frame)
{
    char slug[CBX_SLUG_MAX + 1];
    cbx_field_copy(slug, sizeof slug, &frame->field[0]);
    const struct reg_peer *peer = registry_peer(link->core->registry, link->pond, slug);
    struct cbx_field fields[3] = {cbx_field_text(slug), cbx_field_bytes((const uint8_t *)"", 0),
                                  cbx_field_bytes((const uint8_t *)"", 0)};
    if (peer) {
        fields[1] = cbx_field_bytes(peer->invite_cert.bytes, peer->invite_cert.length);
        fields[2] = cbx_field_bytes(peer->peer_cert.bytes, peer->peer_cert.length);
    }
    cbx_link_send(&link->pump.link, CBX_FRAME_CHAIN, 0, fields, 3);
}

static void
refuse_handshake(struct hub_link *link, const char *from, const char *to, enum cbx_reason reason)
{
    struct cbx_field fields[] = {cbx_field_text(from), cbx_field_text(to), cbx_field_uint(reason)};
    cbx_link_send(&link->pump.link, CBX_FRAME_NO_HANDSHAKE, 0, fields, 3);
}

int
hub_directory_pass(struct hub_link *link, const struct cbx_frame *frame, int64_t now,
                   struct cbx_error *error)
{
    char source[CBX_SLUG_MAX + 1], target[CBX_SLUG_MAX + 1];
    cbx_field_copy(source, sizeof source, &frame->field[0]);
    cbx_field_copy(target, sizeof target, &frame->field[1]);
    if (strcmp(source, link->slug) != 0)
        return cbx_fail(error, CBX_ERR_AUTH, "%s under the name of another peer",
                        cbx_frame_name(frame->type));
    if (!cbx_rate_take(&link->handshakes, 200, 1024, now)) {
        hub_link_shed(link);
        return 0;
    }
    if (frame->type == CBX_FRAME_RENDEZVOUS && !link->core->config.direct) {
        link->core->count.rendezvous_dropped++;
        return 0;
    }
    struct reg_peer *peer = registry_peer(link->core->registry, link->pond, target);
    struct hub_link *to = peer ? hub_peer_link(peer) : NULL;
    if (!to) {
        if (frame->type == CBX_FRAME_HANDSHAKE)
            refuse_handshake(link, target, source,
                             peer ? CBX_REASON_PEER_AWAY : CBX_REASON_UNKNOWN_NAME);
        return 0;
    }
    link->core->count.rendezvous += frame->type == CBX_FRAME_RENDEZVOUS;
    if (to->pump.link.control_count < CBX_LINK_CONTROL_MAX / 2)
        cbx_link_send_slice(&to->pump.link, cbx_slice_copy(frame->raw.data, frame->raw.length));
    return 0;
}
