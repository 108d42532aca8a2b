/* SPDX-License-Identifier: MIT */
/* Tested by sim_rules, sim_rendezvous. */
#include "hub/core/directory.h"
#include "common/link/rates.h"
#include "hub/core/link.h"
#include <string.h>

/* PEER's state. */
enum { PEER_AWAY = 0, PEER_READY = 1, PEER_GONE = 2 };

/* Changes of one peer, to all others of its pond. */
static const struct cbx_rate_limit TOLD = {5, 60};

static int
send_peer(struct hub_link *link, const struct reg_peer *peer, bool gone)
{
    static const uint8_t no_incarnation[CBX_INCARNATION_SIZE];
    const struct hub_link *live = hub_peer_link(peer);
    uint64_t state = gone ? PEER_GONE : live ? PEER_READY : PEER_AWAY;
    const struct cbx_field fields[] = {
        [CBX_PEER_SLUG] = cbx_field_text(peer->slug),
        [CBX_PEER_STATE] = cbx_field_uint(state),
        [CBX_PEER_GENERATION] = cbx_field_uint(peer->generation),
        [CBX_PEER_SERIAL] = cbx_field_uint(peer->serial),
        [CBX_PEER_INCARNATION] =
            cbx_field_bytes(live ? live->incarnation : no_incarnation, CBX_INCARNATION_SIZE),
        [CBX_PEER_CHAIN_HASH] = cbx_field_bytes(peer->chain_hash, 32),
        [CBX_PEER_PORTS] = cbx_field_text(peer->ports ? peer->ports : ""),
        [CBX_PEER_LABELS] = cbx_field_text(peer->labels ? peer->labels : "")};
    return cbx_link_send(&link->pump.link, CBX_FRAME_PEER, 0, fields, 8);
}

int
hub_directory_snapshot(struct hub_link *link)
{
    uint64_t count = 0;
    for (struct reg_peer *peer = registry_peers(link->core->registry); peer; peer = peer->next) {
        if (strcmp(peer->pond, link->pond) != 0)
            continue;
        int result = send_peer(link, peer, false);
        if (result < 0)
            return result;
        count++;
    }
    const struct cbx_field fields[] = {[CBX_SYNCED_PEERS] = cbx_field_uint(count)};
    cbx_link_send(&link->pump.link, CBX_FRAME_SYNCED, 0, fields, 1);
    return 0;
}

static void
tell(struct hub_core *core, const struct reg_peer *peer, bool gone)
{
    struct hub_link *link;
    TAILQ_FOREACH(link, &core->links, entry) {
        if (link->phase != HUB_READY || strcmp(link->pond, peer->pond) != 0 ||
            send_peer(link, peer, gone) >= 0)
            continue;
        link->behind = true;
        hub_link_wake(link);
    }
}

static void
set_untold(struct hub_core *core, struct reg_peer *peer, bool untold)
{
    core->untold += untold && !peer->untold;
    core->untold -= !untold && peer->untold;
    peer->untold = untold;
}

/* Whoever comes and goes all the time is told of in the newest state, now and then. */
void
hub_directory_tell(struct hub_core *core, struct reg_peer *peer, bool gone)
{
    bool now = gone || cbx_rate_allows(&peer->rates.told, &TOLD, hub_now(core));
    set_untold(core, peer, !now);
    if (now)
        tell(core, peer, gone);
}

void
hub_directory_tell_due(struct hub_core *core, int64_t now)
{
    struct reg_peer *peer = core->untold > 0 ? registry_peers(core->registry) : NULL;
    for (; peer; peer = peer->next) {
        if (!peer->untold || !cbx_rate_allows(&peer->rates.told, &TOLD, now))
            continue;
        set_untold(core, peer, false);
        tell(core, peer, false);
    }
}

void
hub_directory_chain(struct hub_link *link, const struct cbx_frame *frame)
{
    static const uint8_t none[1];
    char slug[CBX_SLUG_MAX + 1];
    cbx_field_copy(slug, sizeof slug, &frame->field[CBX_CHAIN_GET_SLUG]);
    const struct reg_peer *peer = registry_peer(link->core->registry, link->pond, slug);
    struct cbx_field fields[] = {[CBX_CHAIN_SLUG] = cbx_field_text(slug),
                                 [CBX_CHAIN_INVITE] = cbx_field_bytes(none, 0),
                                 [CBX_CHAIN_PEER] = cbx_field_bytes(none, 0)};
    if (peer) {
        fields[CBX_CHAIN_INVITE] =
            cbx_field_bytes(peer->invite_cert.bytes, peer->invite_cert.length);
        fields[CBX_CHAIN_PEER] = cbx_field_bytes(peer->peer_cert.bytes, peer->peer_cert.length);
    }
    cbx_link_send(&link->pump.link, CBX_FRAME_CHAIN, 0, fields, 3);
}

static void
refuse_handshake(struct hub_link *link, const char *from, const char *to, enum cbx_reason reason)
{
    const struct cbx_field fields[] = {[CBX_NO_HANDSHAKE_FROM] = cbx_field_text(from),
                                       [CBX_NO_HANDSHAKE_TO] = cbx_field_text(to),
                                       [CBX_NO_HANDSHAKE_REASON] = cbx_field_uint(reason)};
    cbx_link_send(&link->pump.link, CBX_FRAME_NO_HANDSHAKE, 0, fields, 3);
}

int
hub_directory_pass(struct hub_link *link, const struct cbx_frame *frame, int64_t now,
                   struct cbx_error *error)
{
    char source[CBX_SLUG_MAX + 1], target[CBX_SLUG_MAX + 1];
    cbx_field_copy(source, sizeof source, &frame->field[CBX_PASSED_FROM]);
    cbx_field_copy(target, sizeof target, &frame->field[CBX_PASSED_TO]);
    if (strcmp(source, link->slug) != 0)
        return cbx_fail(error, CBX_ERR_AUTH, "%s in the name of another peer",
                        cbx_frame_name(frame->type));
    if (!cbx_rate_allows(&link->peer->rates.passed, &CBX_RATE_PASSED, now)) {
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
