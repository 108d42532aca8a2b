/* SPDX-License-Identifier: MIT */
/* The check and its two lines of log: one for a name, one for a number. */
#include "common/base/states.h"

#include "common/base/log.h"

#include <stdio.h>

bool
cbx_states_allow(const struct cbx_states *states, const char *who, unsigned from, unsigned to)
{
    const char *before = states->state[from].name, *after = states->state[to].name;
    if ((states->state[from].next & CBX_STATE(to)) == 0) {
        cbx_log_error("%s %s: a bug: state %s cannot follow %s", states->what, who, after, before);
        return false;
    }
    cbx_log_debug("%s %s: %s -> %s", states->what, who, before, after);
    return true;
}

bool
cbx_states_allow_number(const struct cbx_states *states, const char *kind, uint32_t number,
                        unsigned from, unsigned to)
{
    char who[64];
    if ((states->state[from].next & CBX_STATE(to)) != 0 && !cbx_log_wants(CBX_LOG_DEBUG))
        return true;
    (void)snprintf(who, sizeof who, "%s %u", kind, (unsigned)number);
    return cbx_states_allow(states, who, from, to);
}
