/* SPDX-License-Identifier: MIT */
/*
 * The plain text is one msgpack array: [version, host key's SHA-256, list (as
 * cbx_addresses_write has it), the address that worked last].
 */
#include "agent/daemon/learned.h"

#include "common/base/mpio.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LEARNED_VERSION = 1, PLAIN_MAX = CBX_ADDRESSES_TEXT_MAX + CBX_ADDRESS_TEXT_MAX + 64 };

/* Elements of the array, in their order. */
enum learned_element {
    LEARNED_VERSION_ELEMENT,
    LEARNED_HOST_KEY,
    LEARNED_LIST,
    LEARNED_WORKED,
    LEARNED_ELEMENTS
};

static const char learned_kind[] = "cbx hub addresses";

char *
agent_learned_path(const char *state_dir)
{
    char *path;
    return asprintf(&path, "%s/addresses", state_dir) < 0 ? NULL : path;
}

/* ---- the file ---- */

int
agent_learned_seal(const struct agent_learned *learned, const struct cbx_vault_key *key,
                   uint8_t **bytes, size_t *length, struct cbx_error *error)
{
    uint8_t plain[PLAIN_MAX];
    char list[CBX_ADDRESSES_TEXT_MAX];
    struct cbx_mpbuf buffer = {.bytes = plain, .size = sizeof plain};
    msgpack_packer packer;
    cbx_addresses_write(&learned->list, list);
    msgpack_packer_init(&packer, &buffer, cbx_mpbuf_write);
    msgpack_pack_array(&packer, LEARNED_ELEMENTS);
    msgpack_pack_unsigned_int(&packer, LEARNED_VERSION);
    cbx_mp_pack_bin(&packer, learned->host_key_sha256, sizeof learned->host_key_sha256);
    cbx_mp_pack_text(&packer, list);
    cbx_mp_pack_text(&packer, learned->worked);
    if (buffer.full)
        return cbx_fail(error, CBX_ERR_LIMIT, "the hub's addresses are too long to be kept");
    return cbx_vault_seal(key, learned_kind, plain, buffer.length, bytes, length, error);
}

static bool
read_fields(const msgpack_object *field, struct agent_learned *out)
{
    uint64_t version;
    char list[CBX_ADDRESSES_TEXT_MAX];
    if (!cbx_mp_uint(&field[LEARNED_VERSION_ELEMENT], UINT64_MAX, &version) ||
        version != LEARNED_VERSION ||
        !cbx_mp_bin(&field[LEARNED_HOST_KEY], out->host_key_sha256, sizeof out->host_key_sha256) ||
        !cbx_mp_text(&field[LEARNED_LIST], list, sizeof list) ||
        !cbx_mp_text(&field[LEARNED_WORKED], out->worked, sizeof out->worked))
        return false;
    cbx_addresses_read(&out->list, list, strlen(list));
    return out->worked[0] == '\0' || cbx_address_valid(out->worked);
}

static int
decode(const uint8_t *plain, size_t length, const char *path, struct agent_learned *out,
       struct cbx_error *error)
{
    msgpack_zone zone;
    const msgpack_object *field;
    *out = (struct agent_learned){0};
    if (cbx_mp_array(plain, length, LEARNED_ELEMENTS, 1, &zone, &field) != CBX_OK)
        return cbx_fail(error, CBX_ERR_FORMAT, "%s: unknown contents", path);
    bool read = read_fields(field, out);
    msgpack_zone_destroy(&zone);
    return read ? CBX_OK : cbx_fail(error, CBX_ERR_FORMAT, "%s: unknown contents", path);
}

int
agent_learned_load(struct agent_learned *learned, const struct cbx_token *where,
                   const struct cbx_vault_key *key, const char *path, struct cbx_error *error)
{
    struct agent_learned found = {0};
    uint8_t *plain;
    size_t length;
    *learned = (struct agent_learned){0};
    memcpy(learned->host_key_sha256, where->host_key_sha256, sizeof learned->host_key_sha256);
    int result = cbx_vault_load(key, learned_kind, path, &plain, &length, error);
    if (result == CBX_ERR_NOTFOUND)
        return CBX_OK;
    if (result == CBX_OK) {
        result = decode(plain, length, path, &found, error);
        free(plain);
    }
    if (result == CBX_OK &&
        memcmp(found.host_key_sha256, where->host_key_sha256, sizeof found.host_key_sha256) == 0)
        *learned = found;
    return result;
}

/* ---- news ---- */

static bool
token_holds(const struct cbx_token *where, const char *address)
{
    for (uint32_t i = 0; i < where->address_count; i++) {
        if (strcmp(where->address[i], address) == 0)
            return true;
    }
    return false;
}

bool
agent_learned_hear(struct agent_learned *learned, const struct cbx_token *where,
                   const struct cbx_addresses *list)
{
    struct cbx_addresses news = {0};
    for (uint32_t i = 0; i < list->count; i++) {
        if (!token_holds(where, list->text[i]))
            (void)cbx_addresses_add(&news, list->text[i]);
    }
    if (cbx_addresses_equal(&news, &learned->list))
        return false;
    learned->list = news;
    learned->changed = true;
    return true;
}

void
agent_learned_worked(struct agent_learned *learned, const struct cbx_token *where,
                     const char *address)
{
    if (where->address_count > 0 && strcmp(where->address[0], address) == 0)
        address = "";
    if (strcmp(learned->worked, address) == 0)
        return;
    (void)snprintf(learned->worked, sizeof learned->worked, "%s", address);
    learned->changed = true;
}
