/* SPDX-License-Identifier: MIT */
/* What the proxy itself says to HTTP clients, with Proxy-Status (RFC 9209) on every refusal. */
#ifndef AGENT_FRONT_HTTP_ANSWER_H
#define AGENT_FRONT_HTTP_ANSWER_H

#include "agent/front/conn_state.h"
#include <stddef.h>

/* To CONNECT (RFC 9110, 9.3.6). */
extern const char http_answer_opened[];
enum { HTTP_ANSWER_OPENED_LENGTH = 39 };
/* To a dial that failed; as conn_speech.refused. */
size_t http_answer_refusal(const struct conn_refusal *refusal, char *out, size_t size);
/* To a request that is refused for what it says, or (502) a server's answer that is. why: printable
 * ASCII that needs no escapes in a quoted string. Returns the length, at most CONN_WORDS_MAX. */
size_t http_answer_rejection(int status, const char *why, char *out, size_t size);

#endif
