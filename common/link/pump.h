/* SPDX-License-Identifier: MIT */
/*
 * A pump moves bytes between a link and its carrier: reads while there is something (a bounded
 * share per turn), writes what the link has to say, and reports the end once. Reading never stops
 * because a write is pending.
 *
 * With a lane there are two carriers: the link moves from the first to the lane, each direction for
 * itself, and the first stands by, silent. When the lane is closed or breaks after both directions
 * moved, each end says LANE_LOST on the first carrier and the link is over, but the carrier is
 * handed to the owner, who begins anew on it as after a login. Lost halfway, or for its silence,
 * both are closed: what carried nothing for that long is no way back either. The first carrier may
 * end before the lane does; the link then goes on, and ends with the lane. A link that begins on a
 * lane (config.lane) has that one carrier, and ends with it.
 */
#ifndef COMMON_LINK_PUMP_H
#define COMMON_LINK_PUMP_H

#include "common/link/carrier.h"
#include "common/link/link.h"

/* Bytes, and frames, that are read before others get their turn. */
enum { CBX_PUMP_TURN_MAX = 1024 * 1024, CBX_PUMP_TURN_FRAMES = 1024 };

struct cbx_pump {
    struct cbx_link link;
    struct cbx_carrier *carrier; /* NULL once closed or handed out; the lane may go on */
    struct cbx_carrier *lane;    /* NULL: none */
    struct cbx_carrier *left;    /* in over(): a carrier to begin anew on, the owner's; else NULL */
    uint8_t standby[8];          /* what came on the first carrier after the link had moved */
    uint32_t standby_count;
    int64_t (*now_us)(void *arg);
    /* The link is over: error is what ended it. Called once, from cbx_pump_flush or from the
     * carrier's ready; the owner may dispose of the pump inside. */
    void (*over)(void *arg, struct cbx_pump *pump, int result, const char *text);
    void *arg;
    bool reading, closing;
    bool standby_lost; /* the first carrier ended while the link was on its lane */
};

/* The link is not over. */
static inline bool
cbx_pump_running(const struct cbx_pump *pump)
{
    return pump->carrier || (pump->standby_lost && pump->lane);
}

/* Takes the carrier over; begins to read. */
int cbx_pump_start(struct cbx_pump *pump, struct cbx_carrier *carrier,
                   const struct cbx_link_config *config, const struct cbx_link_ops *ops,
                   void *owner, int64_t (*now_us)(void *arg),
                   void (*over)(void *arg, struct cbx_pump *pump, int result, const char *text),
                   void *arg);

/* The lane's carrier and keys, both taken over: the link moves there. CBX_ERR_STATE when it has one
 * already or is over. */
int cbx_pump_lane(struct cbx_pump *pump, struct cbx_carrier *carrier, struct cbx_lane *lane);

/* True when a neighbour that breaks the protocol is the cause: it is counted, and told by a BYE. */
bool cbx_pump_breach(int result);

/* Timers and writes. Returns false when the pump was ended by it (over has run). */
bool cbx_pump_flush(struct cbx_pump *pump);

/* The socket that carries what the link says; -1: none. */
int cbx_pump_socket(const struct cbx_pump *pump);

/* Ends the link now, without a word: over runs with this text. */
void cbx_pump_give_up(struct cbx_pump *pump, const char *text);

/* Ends the link after the frames queued so far have been written: over runs then. */
void cbx_pump_close_soon(struct cbx_pump *pump);

/* Closes the carrier and frees the link's buffers; over is not called. */
void cbx_pump_dispose(struct cbx_pump *pump);

#endif
