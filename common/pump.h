/* SPDX-License-Identifier: MIT */
/*
 * A pump moves bytes between a link and its carrier: reads while there is something (a bounded
 * share per turn), writes what the link has to say, and reports the end once. Reading never stops
 * because a write is pending.
 */
#ifndef CBX_PUMP_H
#define CBX_PUMP_H

#include "carrier.h"
#include "link.h"

enum { CBX_PUMP_TURN_MAX = 1024 * 1024 }; /* bytes read before others get their turn */

struct cbx_pump {
    struct cbx_link link;
    struct cbx_carrier *carrier; /* NULL once closed */
    int64_t (*now_us)(void *arg);
    /* The link is over: error is what ended it. Called once, from cbx_pump_flush or from the
     * carrier's ready; the owner may dispose of the pump inside. */
    void (*over)(void *arg, struct cbx_pump *pump, int result, const char *text);
    void *arg;
    bool reading, closing;
};

/* Takes the carrier over; begins to read. */
int cbx_pump_start(struct cbx_pump *pump, struct cbx_carrier *carrier,
                   const struct cbx_link_config *config, const struct cbx_link_ops *ops,
                   void *owner, int64_t (*now_us)(void *arg),
                   void (*over)(void *arg, struct cbx_pump *pump, int result, const char *text),
                   void *arg);

/* True when a neighbour that breaks the protocol is the cause: it is counted, and told by a BYE. */
bool cbx_pump_breach(int result);

/* Timers and writes. Returns false when the pump was ended by it (over has run). */
bool cbx_pump_flush(struct cbx_pump *pump);

/* Ends the link after the frames queued so far have been written: over runs then. */
void cbx_pump_close_soon(struct cbx_pump *pump);

/* Closes the carrier and frees the link's buffers; over is not called. */
void cbx_pump_dispose(struct cbx_pump *pump);

#endif
