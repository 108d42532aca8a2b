/* SPDX-License-Identifier: MIT */
/*
 * The replay window of RFC 6479: a ring of 64-bit words in which a counter's bit has its fixed
 * place, so that moving the window only zeroes the words it enters. One word more than the window
 * is wide keeps the oldest, partly covered word apart from the newest. Declared in session.h.
 */
#include "common/session/session.h"

_Static_assert(CBX_REPLAY_WINDOW % 64 == 0, "whole words");

static void
advance(struct cbx_replay *window, uint64_t counter)
{
    uint64_t from = window->highest > 0 ? (window->highest - 1) / 64 : 0;
    uint64_t entered = counter / 64 - from;
    if (entered > CBX_REPLAY_WORDS)
        entered = CBX_REPLAY_WORDS;
    for (uint64_t i = 1; i <= entered; i++)
        window->bits[(from + i) % CBX_REPLAY_WORDS] = 0;
    window->highest = counter + 1;
}

bool
cbx_replay_take(struct cbx_replay *window, uint64_t counter)
{
    if (counter == UINT64_MAX) /* counter + 1 would read as the empty window */
        return false;
    if (counter >= window->highest)
        advance(window, counter);
    else if (window->highest - 1 - counter >= CBX_REPLAY_WINDOW)
        return false;
    uint64_t *word = &window->bits[counter / 64 % CBX_REPLAY_WORDS];
    uint64_t bit = (uint64_t)1 << (counter % 64);
    if ((*word & bit) != 0)
        return false;
    *word |= bit;
    return true;
}
