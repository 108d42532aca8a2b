/* SPDX-License-Identifier: MIT */
/* The one place where versions stand. */
#ifndef COMMON_BASE_VERSION_H
#define COMMON_BASE_VERSION_H

#define CBX_VERSION "0.1.0"

enum { CBX_PROTOCOL_VERSION = 1 }; /* of the greeting: HUB_HELLO, AGENT_HELLO */

/* What an agent's software ends with that takes ADDRESSES: older ones would end the link at a type
 * that they do not know. */
#define CBX_TAKES_ADDRESSES " +addresses"

#endif
