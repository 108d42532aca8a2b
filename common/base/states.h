/* SPDX-License-Identifier: MIT */
/*
 * The one setter of a state machine: what a table does not allow is refused and logged as the bug
 * that it is; what it allows is logged by name at debug level. Not for the data path.
 */
#ifndef COMMON_BASE_STATES_H
#define COMMON_BASE_STATES_H

#include <stdbool.h>
#include <stdint.h>

/* A set of states, as bits. */
#define CBX_STATE(state) (UINT32_C(1) << (state))

/* Beside the machine's enum: a name for each state and the states that may follow it. */
struct cbx_states {
    const char *what; /* "uplink" */
    struct {
        const char *name;
        uint32_t next;
    } state[16];
};

/* Whether from may become to. who tells one machine of its kind from another, for the log. */
bool cbx_states_allow(const struct cbx_states *states, const char *who, unsigned from, unsigned to);
/* The same where a kind and a number tell which; nothing is formatted unless it is logged. */
bool cbx_states_allow_number(const struct cbx_states *states, const char *kind, uint32_t number,
                             unsigned from, unsigned to);

#endif
