/* SPDX-License-Identifier: MIT */
/* Ports and labels of a peer, as certificates and the directory write them, in the JSON that both
 * programs show. New references; NULL when memory is short. */
#ifndef COMMON_COMMAND_LISTING_H
#define COMMON_COMMAND_LISTING_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* "80,8080" as [80, 8080]. NULL stands for "". What is no port is left out. */
json_t *cbx_listing_ports(const char *text);

/* "k=v,k=v" as {"k": "v"}. NULL stands for "". What has no "=" is left out. */
json_t *cbx_listing_labels(const char *text);

/* Labels back as "k=v,k=v" for people; "-" when there are none. Cut at size. */
void cbx_listing_labels_text(const json_t *labels, char *out, size_t size);
/* Ports back as "80,8080"; "-" when there are none. */
void cbx_listing_ports_text(const json_t *ports, char *out, size_t size);
/* Whether any of the peers has a label. */
bool cbx_listing_any_labels(const json_t *peers);

#endif
