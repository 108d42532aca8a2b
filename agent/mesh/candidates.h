/* SPDX-License-Identifier: MIT */
/*
 * Addresses under which a peer may reach this agent's direct listener, and which of a peer's are
 * worth a try (rule 29). At most 8; ports from 1024; never link-local, multicast or unspecified;
 * loopback only between agents that share a host and a network namespace.
 */
#ifndef AGENT_MESH_CANDIDATES_H
#define AGENT_MESH_CANDIDATES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CANDIDATES_MAX = 8,
    CANDIDATE_PORT_MIN = 1024,
    CANDIDATE_TEXT_MAX = 64, /* "[v6]:port" */
};

struct candidates {
    uint32_t count;
    int segment_max; /* of connections to them, as cbx_tcp_limit_segments has it */
    char item[CANDIDATES_MAX][CANDIDATE_TEXT_MAX];
};

/*
 * bound: the address listened on: "::" (all), "0.0.0.0" (all of IPv4) or one of them. seen: the
 * address that the hub saw, "1.2.3.4:567" (its port is replaced; may be empty). Loopback last, with
 * two places kept for it.
 */
void candidates_own(struct candidates *out, uint16_t port, const char *bound, const char *seen);

/* Whether a peer's text may be tried; same_host: loopback too. */
bool candidate_usable(const char *text, size_t length, bool same_host);

#endif
