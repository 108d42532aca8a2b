/* SPDX-License-Identifier: MIT */
/* The password that the proxy asks for, where one is set. Kept as a hash, compared in constant
 * time; any user name does. */
#ifndef AGENT_FRONT_PROXY_PASSWORD_H
#define AGENT_FRONT_PROXY_PASSWORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PROXY_PASSWORD_MAX = 255 }; /* longer ones cannot be said in SOCKS5 */

struct proxy_password {
    bool set;
    uint8_t hash[32];
};

/* text NULL: none is asked for. */
void proxy_password_init(struct proxy_password *password, const char *text);
/* True where none is set. */
bool proxy_password_is(const struct proxy_password *password, const void *bytes, size_t length);
/* The same for the value of a Proxy-Authorization field, "Basic " and base64 of "user:password"
 * (RFC 7617); at NULL: there was none. */
bool proxy_password_is_basic(const struct proxy_password *password, const char *at, size_t length);

#endif
