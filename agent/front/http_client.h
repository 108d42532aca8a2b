/* SPDX-License-Identifier: MIT */
/*
 * HTTP clients of the proxy port, one request after the other: those for http://NAME.cbx/ are
 * forwarded, CONNECT makes a conn of the client's socket, all else is refused.
 */
#ifndef AGENT_FRONT_HTTP_CLIENT_H
#define AGENT_FRONT_HTTP_CLIENT_H

#include "agent/front/http_client_state.h"

/* head_s: how long the head of a request may take. */
void http_clients_init(struct http_clients *clients, struct conn_set *conns,
                       const struct proxy_password *password, double head_s);
/* Takes the socket over; data was read from it. Closes it when memory is short. at_limit: as for
 * proxy_take. */
void http_clients_take(struct http_clients *clients, int fd, const void *data, size_t length,
                       bool at_limit);
void http_clients_clear(struct http_clients *clients);

#endif
