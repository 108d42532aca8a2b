/* SPDX-License-Identifier: MIT */
/* Tested by sim_rules. */
#include "hub/core/join.h"
#include "common/base/log.h"
#include "hub/core/bye.h"
#include "hub/core/directory.h"
#include "hub/core/link.h"
#include <string.h>

static const char *
join_text(enum cbx_reason reason, const struct cbx_error *error)
{
    switch (reason) {
    case CBX_REASON_USED:
        return "this invite has been used by another lease: ask for a new one; if none of your "
               "leases used it, its token has leaked";
    default:
        return error->text[0] ? error->text : "the join was refused";
    }
}

/* Entries that the join took the place of: their links end, the pond hears of names that are gone.
 */
static void
drop_replaced(struct hub_core *core, struct reg_peer *replaced, const struct reg_peer *peer)
{
    while (replaced) {
        struct reg_peer *next = replaced->next;
        struct hub_link *old = replaced->live;
        replaced->live = NULL;
        if (old) {
            old->peer = NULL;
            hub_link_bye(old, CBX_REASON_SUPERSEDED, 0, "a newer invite replaced this lease");
        }
        if (!peer || strcmp(peer->slug, replaced->slug) != 0 ||
            strcmp(peer->pond, replaced->pond) != 0)
            hub_directory_tell(core, replaced, true);
        reg_peer_free(replaced);
        replaced = next;
    }
}

int
hub_join_take(struct hub_link *link, const struct cbx_frame *frame, struct cbx_error *error)
{
    struct hub_core *core = link->core;
    if (link->kind != REG_LOGIN_INVITE)
        return cbx_fail(error, CBX_ERR_STATE, "JOIN on a link that did not log in with an invite");
    const struct cbx_field *cert = &frame->field[CBX_JOIN_PEER];
    struct reg_login login = registry_login(core->registry, link->fingerprint);
    enum cbx_reason reason = CBX_REASON_USED;
    struct cbx_error why = {""};
    struct reg_peer *peer = NULL, *replaced = NULL;
    int result = CBX_ERR_NOTFOUND;
    if (login.kind == REG_LOGIN_INVITE)
        result = registry_join(core->registry, login.invite, cert->p, cert->n, hub_now_unix(core),
                               &peer, &replaced, &reason, &why);
    drop_replaced(core, replaced, peer);
    if (result < 0) {
        core->count.refused[reason]++;
        hub_link_bye(link, reason, 0, join_text(reason, &why));
        return 0;
    }
    cbx_log_info("%s joined from %s", link->name, link->address);
    core->count.joined++;
    hub_link_await_commit(link);
    hub_directory_tell(core, peer, false);
    return 0;
}

void
hub_join_done(struct hub_link *link)
{
    cbx_link_send(&link->pump.link, CBX_FRAME_JOINED, 0, NULL, 0);
    hub_link_close(link);
}
