/* SPDX-License-Identifier: MIT */
/* Tested by test_commands.py and test_trust.py. */
#include "hub/daemon/control.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/names.h"
#include "common/command/control.h"
#include "common/trust/identity.h"
#include "hub/core/edit.h"
#include "hub/core/json.h"
#include "hub/daemon/addresses.h"
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* An answer that waits for its change to be on disk. */
struct pending {
    struct cbx_control_client *client;
    uint64_t ticket;
    json_t *answer;
    struct pending *next;
};

struct control_server {
    struct control_server_config config;
    struct cbx_control *control;
    struct pending *pending;
};

static void
finish_with(struct cbx_control_client *client, json_t *answer)
{
    if (answer)
        cbx_control_reply(client, answer);
    else
        cbx_control_reply_error(client, "the hub is out of memory");
    cbx_control_finish(client);
}

static void
finish_error(struct cbx_control_client *client, const char *text)
{
    cbx_control_reply_error(client, "%s", text);
    cbx_control_finish(client);
}

/* {"ok": true} and what object has; steals it, NULL stays NULL. */
static json_t *
ok_with(json_t *object)
{
    if (object && json_object_set_new(object, "ok", json_true()) != 0) {
        json_decref(object);
        return NULL;
    }
    return object;
}

static void
finish_when_stored(struct control_server *server, struct cbx_control_client *client,
                   uint64_t ticket, json_t *answer)
{
    struct pending *pending = answer != NULL ? calloc(1, sizeof *pending) : NULL;

    if (!pending) {
        json_decref(answer);
        finish_with(client, NULL);
        return;
    }
    *pending = (struct pending){
        .client = client, .ticket = ticket, .answer = answer, .next = server->pending};
    server->pending = pending;
}

/* Takes the first that matches out of the list; NULL: none. */
static struct pending *
take_pending(struct control_server *server, const struct cbx_control_client *client,
             uint64_t ticket)
{
    for (struct pending **at = &server->pending; *at != NULL; at = &(*at)->next) {
        struct pending *found = *at;

        if (client ? found->client != client : found->ticket > ticket)
            continue;
        *at = found->next;
        return found;
    }
    return NULL;
}

void
control_server_committed(struct control_server *server, uint64_t ticket, int result,
                         const char *text)
{
    struct pending *pending;

    while ((pending = take_pending(server, NULL, ticket))) {
        struct pending told = *pending;

        free(pending);
        if (result == 0) {
            finish_with(told.client, told.answer);
            continue;
        }
        json_decref(told.answer);
        cbx_control_reply_error(told.client, "the hub could not store the change: %s", text);
        cbx_control_finish(told.client);
    }
}

static void
on_gone(void *arg, struct cbx_control_client *client)
{
    struct pending *pending;

    while ((pending = take_pending(arg, client, 0))) {
        json_decref(pending->answer);
        free(pending);
    }
}

/* ---- requests ---- */

static bool
get_hex(const json_t *request, const char *name, uint8_t *out, size_t size, size_t *length)
{
    const char *text = json_string_value(json_object_get(request, name));

    return text != NULL && sodium_hex2bin(out, size, text, strlen(text), NULL, length, NULL) == 0 &&
           *length == strlen(text) / 2;
}

static const char *
get_text(const json_t *request, const char *name)
{
    return json_string_value(json_object_get(request, name));
}

static json_t *
addresses_json(const struct addresses *addresses)
{
    json_t *list = json_array();

    for (uint32_t i = 0; list != NULL && i < addresses->count; i++)
        if (json_array_append_new(list, json_string(addresses->text[i])) != 0) {
            json_decref(list);
            list = NULL;
        }
    return list;
}

static int
our_addresses(const struct control_server *server, struct addresses *out, struct cbx_error *error)
{
    return addresses_of(server->config.listen, server->config.public_addresses,
                        server->config.public_count, out, error);
}

static json_t *
invite_answer(const struct control_server *server, const struct reg_invite *invite,
              const struct addresses *addresses)
{
    char host_key[2 * 32 + 1];

    (void)sodium_bin2hex(host_key, sizeof host_key, server->config.host_key_sha256, 32);
    return ok_with(json_pack("{s:s, s:s, s:s, s:I, s:I, s:s, s:o, s:s, s:s}", "id", invite->id,
                             "pond", invite->pond, "slug", invite->slug, "join_by",
                             (json_int_t)invite->join_by, "ends", (json_int_t)invite->ends,
                             "addresses_from", addresses_source_text(addresses->source),
                             "addresses", addresses_json(addresses), "host_key_sha256", host_key,
                             "user", server->config.user));
}

static void
do_invite(struct control_server *server, struct cbx_control_client *client, const json_t *request)
{
    uint8_t pond_public[32], login_key[32], cert[CBX_CERT_MAX];
    size_t pond_length, login_length, cert_length;
    struct addresses addresses;
    struct reg_invite *invite = NULL;
    uint64_t ticket = 0;
    struct cbx_error error;

    if (!get_hex(request, "pond_public", pond_public, sizeof pond_public, &pond_length) ||
        pond_length != sizeof pond_public ||
        !get_hex(request, "login_key", login_key, sizeof login_key, &login_length) ||
        login_length != sizeof login_key ||
        !get_hex(request, "cert", cert, sizeof cert, &cert_length)) {
        finish_error(client,
                     "invite: pond_public, login_key and cert must be hexadecimal of the right "
                     "length");
        return;
    }
    if (our_addresses(server, &addresses, &error) != 0 ||
        hub_core_add_invite(server->config.core, pond_public, cert, cert_length, login_key, &invite,
                            &ticket, &error) != 0) {
        finish_error(client, error.text);
        return;
    }
    cbx_log_info("invite %s: slug %s of pond %s", invite->id, invite->slug, invite->pond);
    finish_when_stored(server, client, ticket, invite_answer(server, invite, &addresses));
}

static void
do_invites(struct control_server *server, struct cbx_control_client *client, const json_t *request)
{
    (void)request;
    finish_with(client, ok_with(hub_core_invites_json(server->config.core)));
}

static void
do_uninvite(struct control_server *server, struct cbx_control_client *client, const json_t *request)
{
    const char *id = get_text(request, "id");
    uint64_t ticket = 0;
    struct cbx_error error;

    if (!id) {
        finish_error(client, "uninvite: id is missing");
        return;
    }
    if (hub_core_drop_invite(server->config.core, id, &ticket, &error) != 0) {
        finish_error(client, error.text);
        return;
    }
    cbx_log_info("invite %s withdrawn", id);
    finish_when_stored(server, client, ticket, ok_with(json_object()));
}

static void
do_revoke(struct control_server *server, struct cbx_control_client *client, const json_t *request)
{
    const char *pond = get_text(request, "pond"), *slug = get_text(request, "slug");
    uint64_t ticket = 0;
    struct cbx_error error;

    if (!pond || !slug) {
        finish_error(client, "revoke: pond or slug is missing");
        return;
    }
    if (hub_core_revoke(server->config.core, pond, slug, &ticket, &error) != 0) {
        finish_error(client, error.text);
        return;
    }
    cbx_log_info("slug %s of pond %s revoked", slug, pond);
    finish_when_stored(server, client, ticket, ok_with(json_object()));
}

static void
do_peers(struct control_server *server, struct cbx_control_client *client, const json_t *request)
{
    finish_with(client,
                ok_with(hub_core_peers_json(server->config.core, get_text(request, "pond"))));
}

static json_t *
listening_json(const struct listen *listen)
{
    json_t *list = json_array();

    for (uint32_t i = 0; list != NULL && i < listen_count(listen); i++)
        (void)json_array_append_new(list, json_string(listen_text(listen, i)));
    return list;
}

static json_t *
shell_status(const struct control_server *server)
{
    struct addresses addresses = {0};
    char host_key[CBX_FINGERPRINT_TEXT_MAX];

    (void)our_addresses(server, &addresses, NULL);
    cbx_fingerprint_text(server->config.host_key_sha256, host_key);
    return json_pack("{s:I, s:s, s:s, s:s, s:o, s:o, s:s, s:o, s:I}", "pid", (json_int_t)getpid(),
                     "state_dir", server->config.state_dir, "user", server->config.user, "host_key",
                     host_key, "listening", listening_json(server->config.listen), "addresses",
                     addresses_json(&addresses), "addresses_from",
                     addresses_source_text(addresses.source), "door",
                     listen_json(server->config.listen), "attach_refused",
                     (json_int_t)attach_server_refused(server->config.attach));
}

static void
do_status(struct control_server *server, struct cbx_control_client *client, const json_t *request)
{
    json_t *status = hub_core_status_json(server->config.core);
    json_t *shell = shell_status(server);

    (void)request;
    if (!status || !shell || json_object_update(status, shell) != 0) {
        json_decref(status);
        status = NULL;
    }
    json_decref(shell);
    finish_with(client, ok_with(status));
}

static void
do_shutdown(struct control_server *server, struct cbx_control_client *client, const json_t *request)
{
    (void)request;
    cbx_log_info("shutdown requested");
    cbx_control_reply(client, json_pack("{s:b, s:I}", "ok", 1, "pid", (json_int_t)getpid()));
    cbx_control_finish(client);
    server->config.shutdown(server->config.arg);
}

static const struct request {
    const char *name;
    void (*run)(struct control_server *server, struct cbx_control_client *client,
                const json_t *request);
} requests[] = {
    {"invite", do_invite},     {"invites", do_invites}, {"uninvite", do_uninvite},
    {"revoke", do_revoke},     {"peers", do_peers},     {"status", do_status},
    {"shutdown", do_shutdown},
};

static void
on_request(void *arg, struct cbx_control_client *client, json_t *request, int fd)
{
    const char *name = get_text(request, "cmd");

    if (fd >= 0)
        (void)close(fd);
    for (size_t i = 0; name != NULL && i < sizeof requests / sizeof *requests; i++)
        if (strcmp(requests[i].name, name) == 0) {
            requests[i].run(arg, client, request);
            return;
        }
    finish_error(client, "unknown request: are the command and the hub of the same version?");
}

static const struct cbx_control_ops control_ops = {.request = on_request, .gone = on_gone};

struct control_server *
control_server_new(struct ev_loop *loop, const struct control_server_config *config,
                   struct cbx_error *error)
{
    struct control_server *server = calloc(1, sizeof *server);

    if (!server) {
        (void)cbx_fail(error, CBX_ERR_NOMEM, "out of memory");
        return NULL;
    }
    server->config = *config;
    server->control = cbx_control_listen(loop, config->state_dir, &control_ops, server, error);
    if (!server->control) {
        free(server);
        return NULL;
    }
    return server;
}

void
control_server_free(struct control_server *server)
{
    if (!server)
        return;
    cbx_control_free(server->control);
    while (server->pending)
        on_gone(server, server->pending->client);
    free(server);
}
