/* SPDX-License-Identifier: MIT */
/* The bounded list: adding without doubles, comparing, and its text written and read. */
#include "common/trust/addresses.h"

#include "common/base/names.h"

#include <string.h>

enum { HOST_MAX = 253 };

bool
cbx_address_valid(const char *address)
{
    char host[HOST_MAX + 1];
    uint16_t port;
    return cbx_host_port_parse(address, host, sizeof host, &port) == 0;
}

bool
cbx_addresses_hold(const struct cbx_addresses *list, const char *address)
{
    for (uint32_t i = 0; i < list->count; i++) {
        if (strcmp(list->text[i], address) == 0)
            return true;
    }
    return false;
}

bool
cbx_addresses_add(struct cbx_addresses *list, const char *address)
{
    size_t length = strlen(address);
    if (list->count == CBX_ADDRESSES_MAX || length >= CBX_ADDRESS_TEXT_MAX ||
        !cbx_address_valid(address) || cbx_addresses_hold(list, address))
        return false;
    memcpy(list->text[list->count++], address, length + 1);
    return true;
}

bool
cbx_addresses_equal(const struct cbx_addresses *one, const struct cbx_addresses *other)
{
    if (one->count != other->count)
        return false;
    for (uint32_t i = 0; i < one->count; i++) {
        if (strcmp(one->text[i], other->text[i]) != 0)
            return false;
    }
    return true;
}

void
cbx_addresses_read(struct cbx_addresses *out, const char *text, size_t length)
{
    *out = (struct cbx_addresses){0};
    for (size_t from = 0; from < length;) {
        const char *comma = memchr(text + from, ',', length - from);
        size_t size = (comma ? (size_t)(comma - text) : length) - from;
        char one[CBX_ADDRESS_TEXT_MAX];
        /* A NUL would hide what stands behind it. */
        if (size < sizeof one && !memchr(text + from, '\0', size)) {
            memcpy(one, text + from, size);
            one[size] = '\0';
            (void)cbx_addresses_add(out, one);
        }
        from += size + 1;
    }
}

void
cbx_addresses_write(const struct cbx_addresses *list, char out[CBX_ADDRESSES_TEXT_MAX])
{
    size_t used = 0;
    out[0] = '\0';
    for (uint32_t i = 0; i < list->count; i++) {
        size_t length = strlen(list->text[i]), comma = used > 0 ? 1 : 0;
        if (used + comma + length >= CBX_ADDRESSES_TEXT_MAX)
            continue;
        if (comma > 0)
            out[used++] = ',';
        memcpy(out + used, list->text[i], length + 1);
        used += length;
    }
}
