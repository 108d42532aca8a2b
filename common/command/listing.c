/* SPDX-License-Identifier: MIT */
/* Both directions: from the text of a certificate to JSON, and from JSON to a table's cell. */
#include "common/command/listing.h"
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
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

/* What does not fit is left out. */
__attribute__((format(printf, 4, 5))) static size_t
append(char *out, size_t size, size_t used, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int more = vsnprintf(out + used, size - used, format, arguments);
    va_end(arguments);
    if (more > 0 && (size_t)more < size - used)
        return used + (size_t)more;
    out[used] = '\0';
    return used;
}

void
cbx_listing_labels_text(const json_t *labels, char *out, size_t size)
{
    const char *name;
    json_t *value;
    size_t used = 0;
    (void)snprintf(out, size, "-");
    json_object_foreach((json_t *)(uintptr_t)labels, name, value) {
        const char *text = json_string_value(value);
        used = append(out, size, used, "%s%s=%s", used > 0 ? "," : "", name, text ? text : "");
    }
}

void
cbx_listing_ports_text(const json_t *ports, char *out, size_t size)
{
    size_t used = 0, index;
    json_t *port;
    (void)snprintf(out, size, "-");
    json_array_foreach(ports, index, port)
        used = append(out, size, used, "%s%lld", used > 0 ? "," : "",
                      (long long)json_integer_value(port));
}

bool
cbx_listing_any_labels(const json_t *peers)
{
    size_t index;
    const json_t *peer;
    json_array_foreach(peers, index, peer) {
        if (json_object_size(json_object_get(peer, "labels")) > 0)
            return true;
    }
    return false;
}
