/* SPDX-License-Identifier: MIT */
/*
 * Circuits of a link: their labels, and whose turn it is to send data.
 *
 * Deficit round robin, a quantum a round. A circuit that becomes active is a new flow and goes
 * ahead of the old ones (fq_codel, RFC 8290), with little (CBX_LINK_AHEAD) and that once a round:
 * so a keystroke passes any number of downloads each time, and nobody gets more than its quantum of
 * a round by coming and going. A sparse flow, whose last frame was short, goes ahead of the new
 * ones too: else a keystroke would wait for the first records of however many downloads begin.
 */
#ifndef COMMON_LINK_CIRCUIT_H
#define COMMON_LINK_CIRCUIT_H

#include "common/link/link_state.h"

/* A label of our own for a new circuit; 0 when the space is used up. The next frame to be queued is
 * the one that opens it. */
uint32_t cbx_link_label(struct cbx_link *link);
/* Nothing was sent under it, the last one: it is the next one again, for the neighbour knows which
 * one comes. */
void cbx_link_label_unused(struct cbx_link *link, uint32_t label);
/* Puts a circuit under its label. CBX_ERR_NOMEM. */
int cbx_circuit_add(struct cbx_link *link, struct cbx_circuit *circuit, uint32_t label,
                    const struct cbx_circuit_ops *ops);
void cbx_circuit_remove(struct cbx_circuit *circuit); /* harmless when not added */
struct cbx_circuit *cbx_circuit_find(struct cbx_link *link, uint32_t label);
/* A label that the neighbour opens: exactly its next one, or CBX_ERR_FORMAT. Who could choose would
 * choose those that cost us most. */
int cbx_link_take_label(struct cbx_link *link, uint32_t label);
/* Whether one side or the other has opened it already. */
bool cbx_link_label_known(const struct cbx_link *link, uint32_t label);
/* The circuit has data, control to send. */
void cbx_circuit_data_ready(struct cbx_circuit *circuit);
void cbx_circuit_control_ready(struct cbx_circuit *circuit);

/* ---- for link_out.c ---- */

/* The circuit whose turn it is, or NULL: none has data. */
struct cbx_circuit *cbx_circuit_next(const struct cbx_link *link);
/* It has used its turn: it becomes the last of the old flows, with a new quantum. */
void cbx_circuit_rotate(struct cbx_circuit *circuit);
/* It has no data now. */
void cbx_circuit_rest(struct cbx_circuit *circuit);
/* Its control went out or was found empty. */
void cbx_circuit_control_done(struct cbx_circuit *circuit);
/* Data of that many bytes was committed: a round is over when each could have sent a quantum. */
void cbx_circuit_count_round(struct cbx_link *link, uint32_t bytes);

#endif
