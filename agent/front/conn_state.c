/* SPDX-License-Identifier: MIT */
/* Tested by test_conn. */
#include "agent/front/conn_state.h"

#include "common/base/states.h"

#include <sys/socket.h>

static const struct cbx_states phases = {
    .what = "conn",
    .state =
        {
            [CONN_DIALING] = {"dialing", CBX_STATE(CONN_OPEN) | CBX_STATE(CONN_REFUSED) |
                                             CBX_STATE(CONN_ENDED) | CBX_STATE(CONN_FAREWELL) |
                                             CBX_STATE(CONN_OVER)},
            [CONN_OPEN] = {"open", CBX_STATE(CONN_ENDED) | CBX_STATE(CONN_OVER)},
            [CONN_REFUSED] = {"refused", CBX_STATE(CONN_FAREWELL) | CBX_STATE(CONN_OVER)},
            [CONN_ENDED] = {"ended", CBX_STATE(CONN_OVER)},
            [CONN_FAREWELL] = {"farewell", CBX_STATE(CONN_OVER)},
            [CONN_OVER] = {"over", 0},
        },
};

static const struct cbx_states inputs = {
    .what = "input of conn",
    .state =
        {
            [CONN_INPUT_OPEN] = {"open",
                                 CBX_STATE(CONN_INPUT_ENDED) | CBX_STATE(CONN_INPUT_BROKEN)},
            [CONN_INPUT_ENDED] = {"ended", CBX_STATE(CONN_INPUT_BROKEN)},
            [CONN_INPUT_BROKEN] = {"broken", 0},
        },
};

static const struct cbx_states outputs = {
    .what = "output of conn",
    .state =
        {
            [CONN_OUTPUT_OPEN] = {"open", CBX_STATE(CONN_OUTPUT_ENDING) |
                                              CBX_STATE(CONN_OUTPUT_ENDED) |
                                              CBX_STATE(CONN_OUTPUT_BROKEN)},
            [CONN_OUTPUT_ENDING] = {"ending",
                                    CBX_STATE(CONN_OUTPUT_ENDED) | CBX_STATE(CONN_OUTPUT_BROKEN)},
            [CONN_OUTPUT_ENDED] = {"ended", CBX_STATE(CONN_OUTPUT_BROKEN)},
            [CONN_OUTPUT_BROKEN] = {"broken", 0},
        },
};

int
conn_events(const struct conn_state *state)
{
    int events = 0;
    switch (state->phase) {
    case CONN_DIALING:
    case CONN_OPEN:
        if (state->input == CONN_INPUT_OPEN && state->read_wanted)
            events |= EV_READ;
        if (state->words || (state->output == CONN_OUTPUT_OPEN && state->write_wanted))
            events |= EV_WRITE;
        return events;
    case CONN_FAREWELL:
        return state->words ? EV_WRITE : EV_READ;
    case CONN_REFUSED:
    case CONN_ENDED:
    case CONN_OVER:
        break;
    }
    return 0;
}

static void
watch_one(struct ev_loop *loop, struct ev_io *io, bool wanted)
{
    if (wanted && !ev_is_active(io))
        ev_io_start(loop, io);
    else if (!wanted && ev_is_active(io))
        ev_io_stop(loop, io);
}

/* libev hands changes to the kernel once per round, so stopping and starting costs nothing. */
void
conn_watch(struct conn *conn)
{
    if (conn->fd < 0)
        return;
    int events = conn_events(&conn->state);
    watch_one(conn->set->loop, &conn->reading, (events & EV_READ) != 0);
    watch_one(conn->set->loop, &conn->writing, (events & EV_WRITE) != 0);
}

void
conn_become_due(struct conn *conn)
{
    if (conn->due)
        return;
    conn->due = true;
    TAILQ_INSERT_TAIL(&conn->set->due, conn, in_due);
    ev_feed_event(conn->set->loop, &conn->set->after, EV_CUSTOM);
}

static bool
allow(const struct conn *conn, const struct cbx_states *states, unsigned from, unsigned to)
{
    return cbx_states_allow_number(states, conn->what, (uint32_t)conn->fd, from, to);
}

void
conn_set_phase(struct conn *conn, enum conn_phase phase)
{
    if (!allow(conn, &phases, conn->state.phase, phase))
        return;
    conn->state.phase = phase;
    conn_watch(conn);
    if (phase >= CONN_REFUSED && phase != CONN_FAREWELL)
        conn_become_due(conn);
}

void
conn_set_input(struct conn *conn, enum conn_input input)
{
    if (!allow(conn, &inputs, conn->state.input, input))
        return;
    conn->state.input = input;
    conn_watch(conn);
    if (input == CONN_INPUT_BROKEN)
        conn_become_due(conn);
}

void
conn_set_output(struct conn *conn, enum conn_output output)
{
    if (!allow(conn, &outputs, conn->state.output, output))
        return;
    conn->state.output = output;
    /* Where this fails the program is gone already, and input says so. */
    if (output == CONN_OUTPUT_ENDED && conn->fd >= 0)
        (void)shutdown(conn->fd, SHUT_WR);
    conn_watch(conn);
    if (output == CONN_OUTPUT_BROKEN)
        conn_become_due(conn);
}
