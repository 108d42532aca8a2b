/* SPDX-License-Identifier: MIT */
/* Tested by test_link_out and sim_streams. */
#include "common/link/circuit.h"
#include <string.h>

static struct cbx_circuits *
list_of(struct cbx_link *link, enum cbx_circuit_list list)
{
    if (list == CBX_CIRCUIT_OLD)
        return &link->old_flows;
    return list == CBX_CIRCUIT_SPARSE ? &link->sparse_flows : &link->new_flows;
}

static void
data_join(struct cbx_circuit *circuit, enum cbx_circuit_list list)
{
    struct cbx_link *link = circuit->link;
    TAILQ_INSERT_TAIL(list_of(link, list), circuit, data_entry);
    circuit->data_list = list;
    link->data_circuits++;
}

void
cbx_circuit_rest(struct cbx_circuit *circuit)
{
    struct cbx_link *link = circuit->link;
    if (!circuit->data_list)
        return;
    TAILQ_REMOVE(list_of(link, circuit->data_list), circuit, data_entry);
    circuit->data_list = CBX_CIRCUIT_IDLE;
    link->data_circuits--;
}

void
cbx_circuit_rotate(struct cbx_circuit *circuit)
{
    cbx_circuit_rest(circuit);
    circuit->deficit += CBX_LINK_QUANTUM;
    data_join(circuit, CBX_CIRCUIT_OLD);
}

void
cbx_circuit_count_round(struct cbx_link *link, uint32_t bytes)
{
    link->round_left -= bytes;
    if (link->round_left > 0)
        return;
    link->round++;
    link->round_left = (int64_t)link->data_circuits * CBX_LINK_QUANTUM;
}

/* A quantum for each round that it was not there; no more than AHEAD comes of it. */
static void
top_up(struct cbx_circuit *circuit)
{
    uint32_t rounds = circuit->link->round - circuit->round;
    int64_t deficit = circuit->deficit + (int64_t)rounds * CBX_LINK_QUANTUM;
    circuit->round = circuit->link->round;
    if (circuit->deficit < CBX_LINK_AHEAD)
        circuit->deficit = deficit < CBX_LINK_AHEAD ? (int32_t)deficit : CBX_LINK_AHEAD;
}

struct cbx_circuit *
cbx_circuit_next(const struct cbx_link *link)
{
    struct cbx_circuit *circuit = TAILQ_FIRST(&link->sparse_flows);
    if (!circuit)
        circuit = TAILQ_FIRST(&link->new_flows);
    return circuit ? circuit : TAILQ_FIRST(&link->old_flows);
}

uint32_t
cbx_link_label(struct cbx_link *link)
{
    uint32_t label = link->next_label;
    if (label == 0 || label > UINT32_MAX - 2)
        return 0;
    link->next_label += 2;
    return label;
}

void
cbx_link_label_unused(struct cbx_link *link, uint32_t label)
{
    if (link->next_label == label + 2)
        link->next_label = label;
}

int
cbx_circuit_add(struct cbx_link *link, struct cbx_circuit *circuit, uint32_t label,
                const struct cbx_circuit_ops *ops)
{
    memset(circuit, 0, sizeof *circuit);
    circuit->ops = ops;
    circuit->link = link;
    circuit->label = label;
    circuit->round = link->round;
    circuit->deficit = CBX_LINK_AHEAD;
    HASH_ADD(hh, link->circuits, label, sizeof circuit->label, circuit);
    if (!circuit->hh.tbl) {
        circuit->link = NULL;
        return CBX_ERR_NOMEM;
    }
    return 0;
}

void
cbx_circuit_remove(struct cbx_circuit *circuit)
{
    struct cbx_link *link = circuit->link;
    if (!link)
        return;
    cbx_circuit_rest(circuit);
    cbx_circuit_control_done(circuit);
    HASH_DELETE(hh, link->circuits, circuit);
    if (link->found == circuit)
        link->found = NULL;
    circuit->link = NULL;
}

struct cbx_circuit *
cbx_circuit_find(struct cbx_link *link, uint32_t label)
{
    struct cbx_circuit *circuit = link->found;
    if (circuit && circuit->label == label)
        return circuit;
    HASH_FIND(hh, link->circuits, &label, sizeof label, circuit);
    link->found = circuit;
    return circuit;
}

int
cbx_link_take_label(struct cbx_link *link, uint32_t label)
{
    if (label != link->neighbour_label || label > UINT32_MAX - 2)
        return CBX_ERR_FORMAT;
    link->neighbour_label = label + 2;
    return 0;
}

bool
cbx_link_label_known(const struct cbx_link *link, uint32_t label)
{
    bool ours = (label & 1) == (link->next_label & 1);
    return label < (ours ? link->next_label : link->neighbour_label);
}

void
cbx_circuit_data_ready(struct cbx_circuit *circuit)
{
    struct cbx_link *link = circuit->link;
    if (!link || circuit->data_list)
        return;
    top_up(circuit);
    if (circuit->deficit > 0)
        data_join(circuit, circuit->sparse ? CBX_CIRCUIT_SPARSE : CBX_CIRCUIT_NEW);
    else
        cbx_circuit_rotate(circuit);
    cbx_link_wake(link);
}

void
cbx_circuit_control_ready(struct cbx_circuit *circuit)
{
    struct cbx_link *link = circuit->link;
    if (!link || circuit->control_waiting)
        return;
    TAILQ_INSERT_TAIL(&link->circuit_control, circuit, control_entry);
    circuit->control_waiting = true;
    cbx_link_wake(link);
}

void
cbx_circuit_control_done(struct cbx_circuit *circuit)
{
    if (circuit->control_waiting)
        TAILQ_REMOVE(&circuit->link->circuit_control, circuit, control_entry);
    circuit->control_waiting = false;
}
