/* SPDX-License-Identifier: MIT */
/* Tested by sim_rules, sim_allowance. */
#include "hub/core/hello.h"
#include "common/base/log.h"
#include "common/base/version.h"
#include "common/link/rates.h"
#include "hub/core/bye.h"
#include "hub/core/directory.h"
#include "hub/core/link.h"
#include <string.h>

void
hub_hello_say(struct hub_link *link, const struct reg_login *login)
{
    bool join = login->kind == REG_LOGIN_INVITE;
    const struct cbx_field hello[] = {
        [CBX_HUB_HELLO_VERSION] = cbx_field_uint(CBX_PROTOCOL_VERSION),
        [CBX_HUB_HELLO_KIND] = cbx_field_uint(join),
        [CBX_HUB_HELLO_SOFTWARE] = cbx_field_text(link->core->config.software)};
    cbx_link_send(&link->pump.link, CBX_FRAME_HUB_HELLO, 0, hello, 3);
    if (!join)
        return;
    const struct reg_invite *invite = login->invite;
    const struct cbx_field offer[] = {[CBX_JOIN_OFFER_SLUG] = cbx_field_text(invite->slug),
                                      [CBX_JOIN_OFFER_INVITE] =
                                          cbx_field_bytes(invite->cert.bytes, invite->cert.length)};
    cbx_link_send(&link->pump.link, CBX_FRAME_JOIN_OFFER, 0, offer, 2);
}

/* The new generation ends the old one at once (rule 7). */
static void
evict(struct hub_core *core, struct reg_peer *peer, const uint8_t incarnation[CBX_INCARNATION_SIZE])
{
    struct hub_link *old = peer->live;
    if (!old)
        return;
    bool same = memcmp(old->incarnation, incarnation, CBX_INCARNATION_SIZE) == 0;
    core->count.evicted++;
    if (same) {
        hub_link_bye(old, CBX_REASON_LOST, 0, "replaced by a newer connection of this agent");
        return;
    }
    cbx_log_warn("%s: another process attached with this identity, the older one was disconnected",
                 old->name);
    hub_link_bye(old, CBX_REASON_SUPERSEDED, 0,
                 "another process attached with this identity (a copy of the state folder?)");
}

/* The peer is this link's from here on, under a new generation. */
static void
adopt(struct hub_link *link, struct reg_peer *peer)
{
    struct hub_core *core = link->core;
    evict(core, peer, link->incarnation);
    link->peer = peer;
    peer->live = link;
    registry_next_generation(core->registry, peer, core->ops->now_unix_ms(core->arg));
    registry_burn(core->registry, peer);
    hub_link_await_commit(link);
}

/* The words behind it are not for people. */
static void
take_software(struct hub_link *link, const struct cbx_field *field)
{
    cbx_field_copy(link->software, sizeof link->software, field);
    char *words = strstr(link->software, CBX_TAKES_ADDRESSES);
    link->takes_addresses = words != NULL && strcmp(words, CBX_TAKES_ADDRESSES) == 0;
    if (link->takes_addresses)
        *words = '\0';
}

int
hub_hello_take(struct hub_link *link, const struct cbx_frame *frame, struct cbx_error *error)
{
    struct hub_core *core = link->core;
    if (link->kind != REG_LOGIN_PEER)
        return cbx_fail(error, CBX_ERR_STATE, "a link that logged in with an invite may only join");
    if (frame->field[CBX_AGENT_HELLO_VERSION].u != CBX_PROTOCOL_VERSION) {
        hub_link_bye(link, CBX_REASON_PROTOCOL, 0, "this hub speaks protocol version 1");
        return 0;
    }
    struct reg_login login = registry_login(core->registry, link->fingerprint);
    if (login.kind != REG_LOGIN_PEER) {
        hub_link_bye(link, CBX_REASON_REVOKED, 0, "this identity is not registered here any more");
        return 0;
    }
    if (!cbx_rate_allows(&login.peer->rates.attaches, &CBX_RATE_ATTACH, hub_now(core))) {
        hub_link_bye(link, CBX_REASON_OVERLOADED, 10000, "this lease attaches too often");
        return 0;
    }
    memcpy(link->incarnation, frame->field[CBX_AGENT_HELLO_INCARNATION].p, CBX_INCARNATION_SIZE);
    take_software(link, &frame->field[CBX_AGENT_HELLO_SOFTWARE]);
    if (hub_allowance_join(&core->allowances, &link->allowance))
        adopt(link, login.peer);
    else
        hub_link_bye(link, CBX_REASON_OVERLOADED, 5000,
                     "the hub's --queue-max is exhausted by its present links");
    return 0;
}

/* What the operator gave as --public; agents keep it for the day when their tokens' are no good. */
static void
say_addresses(struct hub_link *link)
{
    const struct cbx_field fields[] = {[CBX_ADDRESSES_LIST] =
                                           cbx_field_text(link->core->config.addresses)};
    if (link->takes_addresses && link->core->config.addresses[0] != '\0')
        cbx_link_send(&link->pump.link, CBX_FRAME_ADDRESSES, 0, fields, 1);
}

void
hub_hello_welcome(struct hub_link *link)
{
    struct hub_core *core = link->core;
    const struct cbx_field fields[] = {
        [CBX_WELCOME_POND] = cbx_field_text(link->pond),
        [CBX_WELCOME_SLUG] = cbx_field_text(link->slug),
        [CBX_WELCOME_GENERATION] = cbx_field_uint(link->peer->generation),
        [CBX_WELCOME_ALLOWANCE] = cbx_field_uint(link->allowance.value),
        [CBX_WELCOME_ADDRESS] = cbx_field_text(link->address),
        [CBX_WELCOME_DIRECT] = cbx_field_uint(core->config.direct)};
    hub_link_enter(link, HUB_READY);
    link->since_unix = hub_now_unix(core);
    core->count.attached++;
    cbx_link_send(&link->pump.link, CBX_FRAME_WELCOME, 0, fields, 6);
    say_addresses(link);
    cbx_link_ping(&link->pump.link, hub_now(core));
    if (hub_directory_snapshot(link) < 0) {
        hub_link_bye(link, CBX_REASON_OVERLOADED, 5000, "the pond is too large for one link");
        return;
    }
    hub_directory_tell(core, link->peer, false);
    cbx_log_info("%s attached from %s", link->name, link->address);
}
