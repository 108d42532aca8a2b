/* SPDX-License-Identifier: MIT */
/* Tested by sim_rules, fuzz_hub. */
#include "hub/core/edit.h"
#include "common/base/log.h"
#include "hub/core/bye.h"
#include "hub/core/directory.h"
#include "hub/core/link.h"

int
hub_core_add_invite(struct hub_core *core, const uint8_t pond_public[32], const uint8_t *cert,
                    size_t length, const uint8_t login_key[32], struct reg_invite **out,
                    uint64_t *ticket, struct cbx_error *error)
{
    int result = registry_add_invite(core->registry, pond_public, cert, length, login_key,
                                     hub_now_unix(core), out, error);
    if (result == 0)
        *ticket = hub_core_commit(core);
    return result;
}

int
hub_core_drop_invite(struct hub_core *core, const char *id, uint64_t *ticket,
                     struct cbx_error *error)
{
    int result = registry_drop_invite(core->registry, id, error);
    if (result == 0)
        *ticket = hub_core_commit(core);
    return result;
}

/* A peer that the registry does not have any more: its link, and its place in the directory. */
static void
end_peer(struct hub_core *core, struct reg_peer *peer, enum cbx_reason reason, const char *text)
{
    struct hub_link *link = peer->live;
    peer->live = NULL;
    if (link) {
        link->peer = NULL;
        hub_link_bye(link, reason, 0, text);
    }
    hub_directory_tell(core, peer, true);
    reg_peer_free(peer);
}

int
hub_core_revoke(struct hub_core *core, const char *pond, const char *slug, uint64_t *ticket,
                struct cbx_error *error)
{
    struct reg_peer *peer = registry_remove_peer(core->registry, pond, slug);
    if (!peer)
        return cbx_fail(error, CBX_ERR_NOTFOUND,
                        "no peer %s in pond %s; `cbx-hub peers` lists them", slug, pond);
    end_peer(core, peer, CBX_REASON_REVOKED, "this lease was revoked by the operator");
    core->count.revoked++;
    *ticket = hub_core_commit(core);
    return 0;
}

void
hub_core_expire(struct hub_core *core)
{
    int64_t now_unix = hub_now_unix(core);
    bool changed = registry_expire(core->registry, now_unix);
    struct reg_peer *peer;
    while ((peer = registry_take_ended(core->registry, now_unix))) {
        cbx_log_info("%s.%s.cbx: the lease has ended", peer->slug, peer->pond);
        end_peer(core, peer, CBX_REASON_EXPIRED, "this lease's certificate has expired");
        core->count.expired++;
        changed = true;
    }
    if (changed)
        hub_core_commit(core);
}
