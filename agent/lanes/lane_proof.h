/* SPDX-License-Identifier: MIT */
/*
 * The dialer's half of a lane's proof (rule 28): it sends the preface, then hears the listener's
 * answer. The socket does not block and stays the caller's, who also watches it and the time.
 */
#ifndef AGENT_LANES_LANE_PROOF_H
#define AGENT_LANES_LANE_PROOF_H

#include "common/link/lane.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tcp_buffer;

struct lane_proof {
    const struct cbx_lane_ticket *ticket; /* borrowed */
    size_t sent;                          /* of the preface */
    size_t heard;                         /* of the answer */
    uint8_t answer[CBX_LANE_MAC];
};

enum lane_proof_result {
    LANE_PROOF_MORE,   /* the answer is not complete yet */
    LANE_PROOF_HOLDS,  /* the listener knows the ticket */
    LANE_PROOF_WRONG,  /* it does not */
    LANE_PROOF_CLOSED, /* the connection ended */
};

/* Sends the preface up to its first `until` bytes (CBX_LANE_PREFACE: all). False when the socket
 * does not take them at once, as each fresh one does. */
bool lane_proof_send(struct lane_proof *proof, int fd, size_t until);
/* Reads what is there. */
enum lane_proof_result lane_proof_hear(struct lane_proof *proof, int fd);

/* The plain socket of a connection to the hub, for a lane; frees the buffer. -1 when there is none:
 * the connection is within TLS to a proxy (lane_proof_no_socket says so). */
int lane_proof_socket(struct tcp_buffer *tcp);
extern const char lane_proof_no_socket[];

#endif
