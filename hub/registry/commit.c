/* SPDX-License-Identifier: MIT */
/*
 * Sealing a snapshot of thousands of peers takes milliseconds, so one is made per write of the disk
 * and not one per change: while one is being written, commits queue for the next. Tested by
 * test_file.
 */
#include "hub/registry/commit.h"
#include "common/base/mpio.h"
#include "common/disk/file.h"
#include "hub/registry/lookup.h"
#include "hub/registry/snapshot.h"
#include "hub/registry/state.h"
#include <stdlib.h>

/* Each attach writes a generation, and who is attached may be what makes room on the disk. */
enum { SNAPSHOT_MODE = 0600 | CBX_FILE_RESERVED };

struct commit_waiter {
    cbx_store_done *done;
    void *arg;
    struct commit_waiter *next;
};

/* ---- encoding ---- */

/* The packer's results are not looked at one by one: what failed stays short. */
struct output {
    msgpack_sbuffer buffer;
    msgpack_packer packer;
    bool failed;
};

static int
output_write(void *data, const char *bytes, size_t length)
{
    struct output *output = data;
    if (!output->failed && msgpack_sbuffer_write(&output->buffer, bytes, length) != 0)
        output->failed = true;
    return output->failed ? -1 : 0;
}

static void
pack_invite(msgpack_packer *packer, const struct reg_invite *invite)
{
    msgpack_pack_array(packer, REG_INVITE_ELEMENTS);
    cbx_mp_pack_bin(packer, invite->pond_public, sizeof invite->pond_public);
    cbx_mp_pack_bin(packer, invite->cert.bytes, invite->cert.length);
    cbx_mp_pack_bin(packer, invite->login_key, sizeof invite->login_key);
    msgpack_pack_uint8(packer, (uint8_t)invite->state);
    cbx_mp_pack_bin(packer, invite->identity, sizeof invite->identity);
}

static void
pack_peer(msgpack_packer *packer, const struct registry *registry, const struct reg_peer *peer)
{
    msgpack_pack_array(packer, REG_PEER_ELEMENTS);
    cbx_mp_pack_bin(packer, registry_pond_public(registry, peer->pond), CBX_KEY_SIZE);
    cbx_mp_pack_bin(packer, peer->invite_cert.bytes, peer->invite_cert.length);
    cbx_mp_pack_bin(packer, peer->peer_cert.bytes, peer->peer_cert.length);
    msgpack_pack_uint64(packer, peer->generation);
    msgpack_pack_uint64(packer, (uint64_t)peer->joined);
}

static int
seal_snapshot(const struct registry *registry, uint8_t **sealed, size_t *length,
              struct cbx_error *error)
{
    struct output output = {.failed = false};
    msgpack_sbuffer_init(&output.buffer);
    msgpack_packer_init(&output.packer, &output, output_write);
    msgpack_pack_array(&output.packer, REG_SNAPSHOT_ELEMENTS);
    msgpack_pack_uint8(&output.packer, REG_SNAPSHOT_FORMAT);
    msgpack_pack_array(&output.packer, registry->invite_count);
    for (const struct reg_invite *at = registry->invites; at != NULL; at = at->next)
        pack_invite(&output.packer, at);
    msgpack_pack_array(&output.packer, registry->peer_count);
    for (const struct reg_peer *at = registry->peers; at != NULL; at = at->next)
        pack_peer(&output.packer, registry, at);
    int result = output.failed ? cbx_fail(error, CBX_ERR_NOMEM, "%s: out of memory", registry->path)
                               : cbx_vault_seal(registry->key, REG_SNAPSHOT_KIND,
                                                (const uint8_t *)output.buffer.data,
                                                output.buffer.size, sealed, length, error);
    msgpack_sbuffer_destroy(&output.buffer);
    return result;
}

/* ---- committing ---- */

static void
waiters_free(struct commit_waiter **list)
{
    while (*list) {
        struct commit_waiter *next = (*list)->next;
        free(*list);
        *list = next;
    }
}

/* Frees each before it runs. */
static void
run_waiters(struct commit_waiter *list, int result, const char *text)
{
    while (list) {
        const struct commit_waiter waiter = *list;
        free(list);
        list = waiter.next;
        if (waiter.done)
            waiter.done(waiter.arg, result, text);
    }
}

void
registry_drop_waiters(struct registry *registry)
{
    waiters_free(&registry->in_write);
    waiters_free(&registry->queued);
}

static void on_written(void *arg, int result, const char *text);

/* Starts a write for all that are queued. On failure they stay queued. */
static int
start_write(struct registry *registry, struct cbx_error *error)
{
    uint8_t *sealed;
    size_t length;
    int result = seal_snapshot(registry, &sealed, &length, error);
    if (result != 0)
        return result;
    /* Takes sealed over, on failure too. */
    result = cbx_store_put(registry->store, registry->path, sealed, length, SNAPSHOT_MODE,
                           on_written, registry);
    if (result != 0)
        return cbx_fail(error, result, "%s: out of memory", registry->path);
    registry->writing = true;
    registry->in_write = registry->queued;
    registry->queued = NULL;
    return 0;
}

static void
on_written(void *arg, int result, const char *text)
{
    struct registry *registry = arg;
    struct commit_waiter *told = registry->in_write;
    registry->in_write = NULL;
    /* Still writing, as far as callbacks can see: what they commit joins the next snapshot. */
    run_waiters(told, result, text);
    registry->writing = false;
    struct cbx_error error;
    if (!registry->queued)
        return;
    int next = start_write(registry, &error);
    if (next != 0) {
        told = registry->queued;
        registry->queued = NULL;
        run_waiters(told, next, error.text);
    }
}

int
registry_commit(struct registry *registry, struct cbx_store *store, cbx_store_done *done, void *arg)
{
    if (!registry->loaded)
        return CBX_ERR_STATE;
    struct commit_waiter *waiter = calloc(1, sizeof *waiter);
    if (!waiter)
        return CBX_ERR_NOMEM;
    *waiter = (struct commit_waiter){.done = done, .arg = arg};
    struct commit_waiter **tail = &registry->queued;
    while (*tail)
        tail = &(*tail)->next;
    *tail = waiter;
    registry->store = store;
    if (registry->writing)
        return 0;
    int result = start_write(registry, NULL);
    if (result != 0)
        waiters_free(
            &registry->queued); /* this one: nothing else queues while nothing is written */
    return result;
}

int
registry_flush(struct registry *registry)
{
    uint8_t *sealed;
    size_t length;
    if (!registry->queued)
        return 0;
    int result = seal_snapshot(registry, &sealed, &length, NULL);
    if (result != 0)
        return result;
    return cbx_store_put(registry->store, registry->path, sealed, length, SNAPSHOT_MODE, NULL,
                         NULL);
}
