/* SPDX-License-Identifier: MIT */
/* Tested by test_link_state, test_pump and sim_lanes. */
#include "common/link/link_state.h"

#include "common/base/states.h"

/* In: the lane may be there before SHIFT comes, or be taken over after it. */
static const struct cbx_states shifts_in = {
    .what = "incoming side of link",
    .state =
        {
            [CBX_SHIFT_NONE] = {"first carrier",
                                CBX_STATE(CBX_SHIFT_MARKED) | CBX_STATE(CBX_SHIFT_DONE)},
            [CBX_SHIFT_WANTED] = {"shift wanted", 0},
            [CBX_SHIFT_MARKED] = {"shift received", CBX_STATE(CBX_SHIFT_DONE)},
            [CBX_SHIFT_DONE] = {"lane", 0},
        },
};

/* Out: SHIFT is written whole on the first carrier before anything goes over the lane. */
static const struct cbx_states shifts_out = {
    .what = "outgoing side of link",
    .state =
        {
            [CBX_SHIFT_NONE] = {"first carrier", CBX_STATE(CBX_SHIFT_WANTED)},
            [CBX_SHIFT_WANTED] = {"shift wanted", CBX_STATE(CBX_SHIFT_MARKED)},
            [CBX_SHIFT_MARKED] = {"shift queued", CBX_STATE(CBX_SHIFT_DONE)},
            [CBX_SHIFT_DONE] = {"lane", 0},
        },
};

/* A link has no name of its own; a lane's id is the same at both ends, and no secret. */
static uint32_t
lane_number(const uint8_t id[CBX_LANE_ID])
{
    return (uint32_t)id[0] << 24 | (uint32_t)id[1] << 16 | (uint32_t)id[2] << 8 | id[3];
}

void
cbx_link_set_shift_in(struct cbx_link *link, enum cbx_link_shift shift)
{
    if (cbx_states_allow_number(&shifts_in, "lane", lane_number(link->lane_id), link->shift_in,
                                shift))
        link->shift_in = shift;
}

void
cbx_link_set_shift_out(struct cbx_link *link, enum cbx_link_shift shift)
{
    const uint8_t *id = link->lane ? link->lane->id : link->lane_id;
    if (cbx_states_allow_number(&shifts_out, "lane", lane_number(id), link->shift_out, shift))
        link->shift_out = shift;
}
