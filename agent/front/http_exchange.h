/* SPDX-License-Identifier: MIT */
/*
 * Requests and responses of an HTTP client, for http_client.c alone. None of these frees the client
 * or touches its socket but to pass it on: they read `in` and the upstream, write `out` and `up`,
 * and set the state.
 */
#ifndef AGENT_FRONT_HTTP_EXCHANGE_H
#define AGENT_FRONT_HTTP_EXCHANGE_H

#include "agent/front/http_client_state.h"

/* What came from the client, as far as it may go now; true when that changed anything. */
bool http_exchange_take_in(struct http_client *client);
/* Once, what came from the upstream. */
void http_exchange_read_upstream(struct http_client *client);
/* The exchange, once all of the response has left: true when the next request may come. */
bool http_exchange_end(struct http_client *client);
/* The deadline passed. */
void http_exchange_late(struct http_client *client);

#endif
