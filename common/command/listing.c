/* SPDX-License-Identifier: MIT */
#include "common/command/listing.h"
#include <stdlib.h>
#include <string.h>

json_t *
cbx_listing_ports(const char *text)
{
    json_t *ports = json_array();
    while (text && *text) {
        char *end;
        long port = strtol(text, &end, 10);
        text += strcspn(text, ",");
        if (end == text && port >= 1 && port <= 65535)
            json_array_append_new(ports, json_integer(port));
        text += *text == ',';
    }
    return ports;
}

json_t *
cbx_listing_labels(const char *text)
{
    json_t *labels = json_object();
    while (text && *text) {
        size_t n = strcspn(text, ","), key = strcspn(text, "=,");
        if (key < n)
            json_object_setn_new(labels, text, key, json_stringn(text + key + 1, n - key - 1));
        text += n;
        text += *text == ',';
    }
    return labels;
}
