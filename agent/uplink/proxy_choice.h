/* SPDX-License-Identifier: MIT */
/*
 * Which proxy leads to the hub: `via`, else the first that is set of https_proxy, HTTPS_PROXY,
 * ALL_PROXY and all_proxy; an empty one means none, and a variable that names this agent's own
 * proxy is passed over, since that proxy needs the hub itself. libcurl obeys no_proxy by itself.
 * For a proxy behind TLS, CURL_CA_BUNDLE or SSL_CERT_FILE name the certificates to trust in place
 * of the system's.
 */
#ifndef AGENT_UPLINK_PROXY_CHOICE_H
#define AGENT_UPLINK_PROXY_CHOICE_H

#include <stdbool.h>
#include <stdint.h>

struct proxy_choice {
    const char *url;  /* as given, "": none; it may hold a password; borrowed */
    const char *from; /* "--via" or the variable's name */
    const char *own;  /* the first variable that was passed over; NULL: none */
    bool tls;         /* the way to the proxy itself is TLS */
    uint16_t port;
    char name[300]; /* scheme, host and port, for people; "": none */
    char wrong[80]; /* why the URL cannot be read, and what to do; "": it can */
};

/* Where this process serves its own proxy, HOST:PORT; borrowed for good. NULL: nowhere. */
void proxy_choice_own(const char *address);
/* via: NULL for the environment's. */
void proxy_choose(const char *via, struct proxy_choice *out);

#endif
