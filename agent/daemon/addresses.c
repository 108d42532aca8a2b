/* SPDX-License-Identifier: MIT */
/* Tested by test_hub_moves.py. */
#include "agent/daemon/addresses.h"

#include "agent/uplink/uplink.h"
#include "common/base/clock.h"
#include "common/base/log.h"

const struct cbx_token *
agent_where(const struct agent *agent)
{
    bool joining = agent->phase == AGENT_PHASE_JOIN || agent->phase == AGENT_PHASE_TRIAL;
    return joining ? &agent->state.pending : &agent->state.joined.where;
}

void
agent_addresses_begin(struct agent *agent, const struct cbx_token *where)
{
    struct cbx_error error;
    if (agent_learned_load(&agent->learned, where, &agent->key, agent->learned_path, &error) !=
        CBX_OK)
        cbx_log_warn("where the hub was reached last is not known, continuing with the token's "
                     "addresses: %s",
                     error.text);
}

int
agent_segment_max(const struct agent *agent)
{
    return agent->uplink
               ? segments_limit(&agent->segments, uplink_address(agent->uplink), cbx_clock_us())
               : 0;
}

void
agent_addresses_list(const struct agent *agent, struct places *out)
{
    places_set(out, agent_where(agent), &agent->learned.list, agent->learned.worked);
}

void
agent_addresses_heard(struct agent *agent, const struct cbx_addresses *list)
{
    struct places places;
    /* It may not be on the list: it is tried first all the same. */
    agent_learned_worked(&agent->learned, agent_where(agent), uplink_address(agent->uplink));
    if (!agent_learned_hear(&agent->learned, agent_where(agent), list))
        return;
    agent_addresses_list(agent, &places);
    uplink_move(agent->uplink, &places);
    char text[CBX_ADDRESSES_TEXT_MAX];
    cbx_addresses_write(&agent->learned.list, text);
    if (text[0] != '\0')
        cbx_log_info("the hub says that it is reached at %s, too: kept for when the token's "
                     "addresses fail",
                     text);
}

static void
on_saved(void *arg, int result, const char *text)
{
    struct agent *agent = arg;
    if (result == CBX_OK)
        return;
    agent->learned.changed = true;
    cbx_log_error("cannot save the hub's addresses, retrying at the next attach: %s", text);
}

void
agent_addresses_attached(struct agent *agent)
{
    struct cbx_error error;
    uint8_t *bytes;
    size_t length;
    agent_learned_worked(&agent->learned, agent_where(agent), uplink_address(agent->uplink));
    if (!agent->learned.changed)
        return;
    agent->learned.changed = false;
    int result = agent_learned_seal(&agent->learned, &agent->key, &bytes, &length, &error);
    if (result == CBX_OK) {
        result =
            cbx_store_put(agent->store, agent->learned_path, bytes, length, 0600, on_saved, agent);
        (void)cbx_fail(&error, result, "%s", cbx_err_name(result));
    }
    if (result != CBX_OK)
        on_saved(agent, result, error.text);
}
