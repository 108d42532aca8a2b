/* SPDX-License-Identifier: MIT */
/*
 * Sending: from a link's queues to bytes for its carrier. Three sources, each bounded:
 *   control   frames of the link itself and of opens, first in first out;
 *   circuits' control (CREDIT, RESET, EPOCH, CLOSE), one list of circuits;
 *   circuits' data (DATA, FIN), by turns (circuit.h), held to the limit in flight (pace.h).
 * Control goes first but takes at most a quarter while data waits. What was committed to `out`
 * cannot be reordered any more, so little is committed at a time.
 */
#ifndef COMMON_LINK_LINK_OUT_H
#define COMMON_LINK_LINK_OUT_H

#include "common/link/link_state.h"
#include <sys/uio.h>

enum { CBX_LINK_CONTROL_CREDIT_MAX = 64 * 1024 /* bytes that control may send before data */ };

/* What to write now: at most max vectors. 0: nothing. Then say how much was written. */
int cbx_link_output(struct cbx_link *link, struct iovec *vector, int max, int64_t now);
void cbx_link_written(struct cbx_link *link, size_t bytes);
bool cbx_link_has_output(const struct cbx_link *link);

/* Queues a control frame of the link (no label) or a CLOSE. CBX_ERR_LIMIT when the queue is full;
 * without memory CBX_ERR_NOMEM, and the link starves. */
int cbx_link_send(struct cbx_link *link, enum cbx_frame_type type, uint32_t label,
                  const struct cbx_field *fields, uint32_t count);
/* The same with a frame that may be given up; takes the reference. */
int cbx_link_send_slice(struct cbx_link *link, struct cbx_slice slice);
/* There was no memory for what the neighbour must hear: the link ends, or it waits in vain. */
void cbx_link_starve(struct cbx_link *link);

/* For link.c: tells the neighbour what has arrived. */
void cbx_link_send_ack(struct cbx_link *link);

#endif
