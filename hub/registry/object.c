/* SPDX-License-Identifier: MIT */
/* Tested by test_registry and test_file. */
#include "hub/registry/object.h"
#include "hub/registry/state.h"
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

static bool
blob_set(struct reg_blob *blob, const uint8_t *bytes, size_t length)
{
    blob->bytes = malloc(length > 0 ? length : 1);
    if (!blob->bytes)
        return false;
    memcpy(blob->bytes, bytes, length);
    blob->length = (uint32_t)length;
    return true;
}

struct reg_invite *
registry_invite_new(const uint8_t *bytes, size_t length, const struct cbx_invite_cert *cert,
                    const uint8_t pond_public[32], const uint8_t login_key[32])
{
    struct invite_node *node = calloc(1, sizeof *node);
    if (!node)
        return NULL;
    struct reg_invite *invite = &node->invite;
    if (!blob_set(&invite->cert, bytes, length)) {
        free(node);
        return NULL;
    }
    uint8_t hash[CBX_HASH_SIZE];
    cbx_cert_hash(bytes, length, hash);
    (void)sodium_bin2hex(invite->id, sizeof invite->id, hash, REG_INVITE_ID_SIZE);
    memcpy(invite->pond, cert->pond, sizeof invite->pond);
    memcpy(invite->slug, cert->slug, sizeof invite->slug);
    memcpy(invite->pond_public, pond_public, sizeof invite->pond_public);
    memcpy(invite->login_key, login_key, sizeof invite->login_key);
    cbx_ssh_fingerprint(login_key, invite->fingerprint);
    invite->serial = cert->serial;
    invite->issued = cert->issued;
    invite->join_by = cert->join_by;
    invite->ends = cert->ends;
    return invite;
}

void
registry_invite_free(struct reg_invite *invite)
{
    if (!invite)
        return;
    free(invite->cert.bytes);
    free(invite_node(invite));
}

static bool
peer_set_ports(struct reg_peer *peer, const struct cbx_expose *expose)
{
    char text[CBX_EXPOSE_TEXT_MAX];
    if (cbx_expose_ports(expose, text, sizeof text) < 0)
        return false;
    peer->ports = strdup(text);
    peer->port = calloc(expose->count > 0 ? expose->count : 1, sizeof *peer->port);
    if (!peer->ports || !peer->port)
        return false;
    for (uint32_t i = 0; i < expose->count; i++)
        peer->port[i] = expose->item[i].port;
    peer->port_count = expose->count;
    return true;
}

struct reg_peer *
registry_peer_new(const struct cbx_cert *invite, const struct cbx_cert *peer,
                  const struct cbx_invite_cert *invite_cert, const struct cbx_peer_cert *peer_cert)
{
    struct peer_node *node = calloc(1, sizeof *node);
    if (!node)
        return NULL;
    struct reg_peer *out = &node->peer;
    memcpy(out->pond, peer_cert->pond, sizeof out->pond);
    memcpy(out->slug, peer_cert->slug, sizeof out->slug);
    memcpy(out->identity, peer_cert->identity, sizeof out->identity);
    memcpy(out->exchange, peer_cert->exchange, sizeof out->exchange);
    cbx_ssh_fingerprint(out->identity, out->fingerprint);
    cbx_chain_hash(invite, peer, out->chain_hash);
    out->serial = invite_cert->serial;
    out->ends = peer_cert->ends;
    out->labels = strdup(invite_cert->labels);
    if (!out->labels || !peer_set_ports(out, &peer_cert->expose) ||
        !blob_set(&out->invite_cert, invite->bytes, invite->length) ||
        !blob_set(&out->peer_cert, peer->bytes, peer->length)) {
        reg_peer_free(out);
        return NULL;
    }
    return out;
}

void
reg_peer_free(struct reg_peer *peer)
{
    if (!peer)
        return;
    free(peer->invite_cert.bytes);
    free(peer->peer_cert.bytes);
    free(peer->ports);
    free(peer->labels);
    free(peer->port);
    free(peer_node(peer));
}
