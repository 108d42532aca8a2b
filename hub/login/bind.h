/* SPDX-License-Identifier: MIT */
/* Addresses to listening sockets, and to text. */
#ifndef HUB_LOGIN_BIND_H
#define HUB_LOGIN_BIND_H

#include "common/base/err.h"
#include <sys/socket.h>

enum { LISTEN_TEXT_MAX = 64 }; /* "[v6]:port" */

/* A listening socket on one "ADDR:PORT", not blocking, or CBX_ERR_*. */
int listen_bind(const char *address, struct cbx_error *error);
/* "1.2.3.4:567" or "[v6]:567". */
void listen_format(const struct sockaddr *address, char out[LISTEN_TEXT_MAX]);

#endif
