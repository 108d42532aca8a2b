/* SPDX-License-Identifier: MIT */
/*
 * The invite command. It signs; the running hub never opens the pond key:
 *
 *   secret -> login key, signing key; pond key -> serial, certificate; hub: register -> token
 *
 * The secret leaves this process only as the token on standard output. Tested by test_trust.py
 * and test_commands.py.
 */
#include "common/base/clock.h"
#include "common/base/names.h"
#include "common/disk/file.h"
#include "common/os/descriptors.h"
#include "common/trust/expose.h"
#include "common/trust/token.h"
#include "common/trust/trust.h"
#include "hub/cmd/cmd.h"
#include "hub/cmd/lookup.h"
#include "hub/cmd/pond.h"
#include <errno.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    TTL_MS = 15 * 60 * 1000,
    ENDS_DAYS = 30,
    ENDS_DAYS_MAX = 3650,
    TTL_DAYS_MAX = 365,
};
static const int64_t DAY_MS = 86400 * 1000;

/* What was asked for, and what is made of it. Wiped as a whole. */
struct invite {
    const struct cbx_command *command;
    const struct cbx_args *args;
    char state_dir[CMD_STATE_MAX];
    char keys_dir[CMD_STATE_MAX + 16];
    char key_path[CMD_STATE_MAX + 16];
    bool pond_known; /* its key exists somewhere: none is made */
    int64_t ttl_ms, ends_ms;
    struct cbx_invite_cert body;
    struct cbx_cert cert;
    struct cbx_keypair login, signing;
    struct cbx_token token;
};

/* ---- options ---- */

static bool
label_is_plain(const char *text)
{
    size_t key = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789._-");

    if (key == 0 || text[key] != '=')
        return false;
    for (const char *at = text + key + 1; *at != '\0'; at++)
        if (*at <= 0x20 || *at >= 0x7f || *at == ',' || *at == '=' || *at == '"' || *at == '\\')
            return false;
    return true;
}

static int
read_labels(struct invite *invite)
{
    const char *const *values = NULL;
    size_t count = cbx_arg_all(invite->args, "label", &values), used = 0;

    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(values[i]);
        int key = (int)strcspn(values[i], "=");

        for (size_t j = 0; j < i; j++)
            if (strncmp(values[j], values[i], (size_t)key + 1) == 0)
                return cbx_usage(invite->args, "--label %s: %.*s is given twice; give it once",
                                 values[i], key, values[i]);
        if (!label_is_plain(values[i]))
            return cbx_usage(invite->args,
                             "--label %s: not KEY=VALUE (key of a-z, 0-9, dot, dash, underscore; "
                             "value of printable characters without space, comma, = and quotes)",
                             values[i]);
        if (used + length + 1 > CBX_LABELS_TEXT_MAX)
            return cbx_usage(invite->args, "--label: more than %d characters in all",
                             CBX_LABELS_TEXT_MAX);
        if (used > 0)
            invite->body.labels[used++] = ',';
        memcpy(invite->body.labels + used, values[i], length);
        used += length;
    }
    return CBX_EXIT_OK;
}

static int
read_expose(struct invite *invite)
{
    const char *const *values = NULL;
    size_t count = cbx_arg_all(invite->args, "expose", &values);
    struct cbx_error error;

    for (size_t i = 0; i < count; i++)
        if (cbx_expose_add(&invite->body.expose, values[i], &error) != 0)
            return cbx_usage(invite->args, "--expose %s: %s", values[i], error.text);
    return CBX_EXIT_OK;
}

static int
read_names(struct invite *invite)
{
    const char *slug = cbx_arg(invite->args, "slug");
    const char *pond = cmd_pond(invite->args);

    if (!pond)
        return CBX_EXIT_USAGE;
    if (!slug)
        return cbx_usage(invite->args, "--slug is missing: the name that the lease will have");
    if (!cbx_slug_valid(slug, strlen(slug)))
        return cbx_usage(invite->args,
                         "--slug %s: a slug has 1 to %d of a-z, 0-9 and dash, with no dash at an "
                         "end",
                         slug, CBX_SLUG_MAX);
    (void)snprintf(invite->body.slug, sizeof invite->body.slug, "%s", slug);
    (void)snprintf(invite->body.pond, sizeof invite->body.pond, "%s", pond);
    return CBX_EXIT_OK;
}

static int
read_options(struct invite *invite)
{
    int status = read_names(invite);

    invite->ttl_ms = TTL_MS;
    invite->ends_ms = ENDS_DAYS * DAY_MS;
    if (status == CBX_EXIT_OK)
        status = read_expose(invite);
    if (status == CBX_EXIT_OK)
        status = read_labels(invite);
    if (status == CBX_EXIT_OK)
        status =
            cbx_arg_duration(invite->args, "ttl", 1000, TTL_DAYS_MAX * DAY_MS, &invite->ttl_ms);
    if (status == CBX_EXIT_OK)
        status =
            cbx_arg_duration(invite->args, "ends", 1000, ENDS_DAYS_MAX * DAY_MS, &invite->ends_ms);
    if (status == CBX_EXIT_OK && invite->ttl_ms > invite->ends_ms)
        return cbx_usage(invite->args, "--ttl is longer than --ends: the lease would end before "
                                       "its invite expires");
    return status;
}

/* ---- the work ---- */

static int
make_certificate(struct invite *invite, struct pond *pond, struct cbx_error *error)
{
    int64_t now_ms = cbx_clock_unix_ms();
    uint64_t serial = 0;
    int result = pond_next_serial(pond, now_ms, &serial, error);

    if (result != 0)
        return result;
    randombytes_buf(invite->token.secret, sizeof invite->token.secret);
    cbx_invite_keys(invite->token.secret, &invite->login, &invite->signing);
    memcpy(invite->token.pond_public, pond_key(pond)->public_key, 32);
    memcpy(invite->body.signing_key, invite->signing.public_key, 32);
    invite->body.uses = 1;
    invite->body.serial = serial;
    invite->body.issued = now_ms / 1000;
    invite->body.join_by = (now_ms + invite->ttl_ms) / 1000;
    invite->body.ends = (now_ms + invite->ends_ms) / 1000;
    if (cbx_invite_cert_sign(&invite->body, pond_key(pond), &invite->cert) != 0)
        return cbx_fail(error, CBX_ERR_LIMIT,
                        "the certificate would be longer than %d bytes: give fewer or shorter "
                        "--expose and --label",
                        CBX_CERT_MAX);
    return 0;
}

/* The pond key is open only here. */
static int
sign(struct invite *invite, struct cbx_error *error)
{
    const char *option = cbx_arg(invite->args, "keys");
    const char *key_file = cbx_arg(invite->args, "key-file");
    struct cbx_vault_key key;
    struct pond *pond = NULL;

    (void)snprintf(invite->key_path, sizeof invite->key_path, "%s/key", invite->state_dir);
    if (option)
        (void)snprintf(invite->keys_dir, sizeof invite->keys_dir, "%s", option);
    else
        (void)snprintf(invite->keys_dir, sizeof invite->keys_dir, "%s/ponds", invite->state_dir);
    /* The hub made its key file at its first start, and we have waited for the hub. */
    int result = cbx_vault_key_init(&key, cbx_arg(invite->args, "passphrase-file"), key_file,
                                    invite->key_path, 0, error);
    if (result == CBX_ERR_NOTFOUND && !key_file && !cbx_arg(invite->args, "passphrase-file"))
        return cbx_fail(error, result,
                        "no key for the pond keys: give the --key-file or --passphrase-file "
                        "that the hub runs with");
    if (result != 0)
        return result;
    result =
        pond_open(&pond, invite->keys_dir, &key, invite->body.pond, !invite->pond_known, error);
    if (result == 0)
        result = make_certificate(invite, pond, error);
    pond_wipe(pond);
    cbx_vault_key_wipe(&key);
    return result;
}

static json_t *
make_request(const struct invite *invite)
{
    char pond_public[65], login_key[65], cert[2 * CBX_CERT_MAX + 1];

    (void)sodium_bin2hex(pond_public, sizeof pond_public, invite->token.pond_public, 32);
    (void)sodium_bin2hex(login_key, sizeof login_key, invite->login.public_key, 32);
    (void)sodium_bin2hex(cert, sizeof cert, invite->cert.bytes, invite->cert.length);
    return json_pack("{s:s, s:s, s:s, s:s}", "cmd", "invite", "pond_public", pond_public,
                     "login_key", login_key, "cert", cert);
}

static int
fill_token(struct invite *invite, const json_t *answer)
{
    const json_t *addresses = json_object_get(answer, "addresses"), *entry;
    const char *user = json_string_value(json_object_get(answer, "user"));
    const char *host_key = json_string_value(json_object_get(answer, "host_key_sha256"));
    size_t index, length = 0;

    if (!user || strlen(user) > CBX_USER_MAX || !host_key ||
        sodium_hex2bin(invite->token.host_key_sha256, 32, host_key, strlen(host_key), NULL, &length,
                       NULL) != 0 ||
        length != 32)
        return CBX_ERR_FORMAT;
    (void)snprintf(invite->token.user, sizeof invite->token.user, "%s", user);
    json_array_foreach(addresses, index, entry) {
        const char *text = json_string_value(entry);

        if (!text || strlen(text) >= CBX_ADDRESS_TEXT_MAX ||
            invite->token.address_count == CBX_TOKEN_ADDRESSES_MAX)
            return CBX_ERR_FORMAT;
        (void)snprintf(invite->token.address[invite->token.address_count++], CBX_ADDRESS_TEXT_MAX,
                       "%s", text);
    }
    return invite->token.address_count > 0 ? 0 : CBX_ERR_FORMAT;
}

/* ---- what is said ---- */

static void
note_addresses(const struct invite *invite, const json_t *answer)
{
    const char *from = json_string_value(json_object_get(answer, "addresses_from"));
    bool loopback = true;

    for (uint32_t i = 0; i < invite->token.address_count; i++)
        loopback = loopback && (strncmp(invite->token.address[i], "127.", 4) == 0 ||
                                strncmp(invite->token.address[i], "[::1]", 5) == 0 ||
                                strncmp(invite->token.address[i], "localhost:", 10) == 0);
    if (from && strcmp(from, "interfaces") == 0) {
        (void)fputs("the hub listens on every address and no --public is set; the token contains:",
                    stderr);
        for (uint32_t i = 0; i < invite->token.address_count; i++)
            (void)fprintf(stderr, " %s", invite->token.address[i]);
        (void)fputc('\n', stderr);
    } else if (loopback) {
        (void)fprintf(stderr, "the token contains %s, which only this machine can reach\n",
                      invite->token.address[0]);
    }
}

/* The token to its file, or to standard output. */
static int
hand_out(const struct invite *invite, char text[CBX_TOKEN_TEXT_MAX])
{
    const char *path = cbx_arg(invite->args, "out");
    struct cbx_error error;

    if (!path && cbx_descriptors_output_closed())
        return cmd_fail(invite->command, "standard output is closed");
    if (!path) {
        (void)signal(SIGPIPE, SIG_IGN); /* else nobody withdraws it */
        (void)printf("%s\n", text);
        return cmd_end(invite->command);
    }
    char line[CBX_TOKEN_TEXT_MAX + 1];
    int length = snprintf(line, sizeof line, "%s\n", text);
    int result = cbx_file_create(path, (const uint8_t *)line, (size_t)length, 0600, &error);
    sodium_memzero(line, sizeof line);
    return result == 0 ? CBX_EXIT_OK : cmd_fail(invite->command, error.text);
}

/* Nobody has the token: the invite must not stay open. */
static void
withdraw(const struct invite *invite, const char *id)
{
    if (id && cmd_call(invite->command, invite->state_dir, 0,
                       json_pack("{s:s, s:s}", "cmd", "uninvite", "id", id), NULL) == CBX_EXIT_OK)
        (void)fprintf(stderr, "invite %s withdrawn, since its token could not be written\n", id);
    else if (id)
        (void)fprintf(stderr, "its token could not be written: `cbx-hub uninvite %s`\n", id);
}

static int
print_token(struct invite *invite, const json_t *answer)
{
    char text[CBX_TOKEN_TEXT_MAX], span[32];

    if (fill_token(invite, answer) != 0 || cbx_token_format(&invite->token, text) != 0)
        return cmd_fail(invite->command, "cannot make a token from the hub's answer: are the "
                                         "command and the hub of the same version?");
    int status = hand_out(invite, text);
    sodium_memzero(text, sizeof text);
    if (status != CBX_EXIT_OK) {
        withdraw(invite, json_string_value(json_object_get(answer, "id")));
        return status;
    }
    cbx_human_span(invite->ttl_ms / 1000, span, sizeof span);
    (void)fprintf(stderr,
                  "slug %s, pond %s, expires in %s; hand it over by file or standard input\n",
                  invite->body.slug, invite->body.pond, span);
    note_addresses(invite, answer);
    return CBX_EXIT_OK;
}

/* A newer invite for a slug cuts off the lease that has it, once it is used. */
static int
agree_to_replace(const struct invite *invite)
{
    const struct cbx_invite_cert *body = &invite->body;
    json_t *peer = NULL;
    char since[64] = "", answer[8] = "";
    int status = cmd_find_peer(invite->command, invite->state_dir, body->pond, body->slug, &peer);

    if (status != CBX_EXIT_OK || !peer)
        return status;
    if (json_is_integer(json_object_get(peer, "since"))) {
        char span[32];
        int64_t at = json_integer_value(json_object_get(peer, "since"));
        cbx_human_since(at, cbx_clock_unix(), span, sizeof span);
        (void)snprintf(since, sizeof since, ", attached for %s", span);
    }
    const char *state = json_string_value(json_object_get(peer, "state"));
    (void)fprintf(stderr, "%s.%s.cbx has joined (%s%s): whoever uses this token replaces it\n",
                  body->slug, body->pond, state ? state : "", since);
    json_decref(peer);
    if (cbx_arg(invite->args, "replace"))
        return CBX_EXIT_OK;
    if (!isatty(STDIN_FILENO))
        return cmd_fail(invite->command, "not without --replace");
    (void)fputs("go on? [y/N] ", stderr);
    if (!fgets(answer, sizeof answer, stdin) || (answer[0] != 'y' && answer[0] != 'Y'))
        return cmd_fail(invite->command, "nothing was changed");
    return CBX_EXIT_OK;
}

/* Whether the file of the token can be made: seen before an older invite is replaced. */
static int
look_at_out(const struct invite *invite)
{
    const char *path = cbx_arg(invite->args, "out");
    char text[CBX_ERROR_TEXT_MAX], folder[PATH_MAX];
    const char *cause = NULL;
    struct stat status;

    if (!path)
        return CBX_EXIT_OK;
    const char *slash = strrchr(path, '/');
    int length = slash ? (int)(slash - path) + 1 : 0;
    if (path[0] == '\0')
        cause = "its name is empty";
    else if (lstat(path, &status) == 0)
        cause = "it is there already, and a token is written to a new file only";
    else if (snprintf(folder, sizeof folder, "%.*s.", length, path) >= (int)sizeof folder)
        cause = "its name is too long";
    else if (access(folder, W_OK | X_OK) != 0)
        cause = strerror(errno);
    if (!cause)
        return CBX_EXIT_OK;
    (void)snprintf(text, sizeof text, "--out %s: %s", path, cause);
    (void)cmd_fail(invite->command, text);
    return CBX_EXIT_USAGE;
}

static int
run_invite(struct invite *invite)
{
    json_t *answer = NULL;
    struct cbx_error error;
    int status = read_options(invite);

    if (status == CBX_EXIT_OK)
        status = cmd_begin(invite->command, invite->args, CMD_WAIT_MS, invite->state_dir);
    /* The hub first: at its first start it makes the folder and the key file. */
    if (status == CBX_EXIT_OK)
        status = cmd_call(invite->command, invite->state_dir, CMD_WAIT_MS,
                          json_pack("{s:s}", "cmd", "status"), NULL);
    if (status != CBX_EXIT_OK)
        return status;
    status = look_at_out(invite);
    if (status == CBX_EXIT_OK)
        status = agree_to_replace(invite);
    if (status == CBX_EXIT_OK)
        status = cmd_pond_known(invite->command, invite->state_dir, invite->body.pond,
                                &invite->pond_known);
    if (status != CBX_EXIT_OK)
        return status;
    int result = sign(invite, &error);
    if (result != 0)
        return cmd_exit(invite->command, invite->args, result, error.text);
    status =
        cmd_call(invite->command, invite->state_dir, CMD_WAIT_MS, make_request(invite), &answer);
    if (status == CBX_EXIT_OK)
        status = print_token(invite, answer);
    json_decref(answer);
    return status;
}

int
cmd_invite(const struct cbx_command *command, void *parsed)
{
    struct invite *invite = calloc(1, sizeof *invite);

    if (!invite)
        return cmd_fail(command, "out of memory");
    invite->command = command;
    invite->args = parsed;
    int status = run_invite(invite);
    cbx_keypair_wipe(&invite->login);
    cbx_keypair_wipe(&invite->signing);
    cbx_token_wipe(&invite->token);
    sodium_memzero(invite, sizeof *invite);
    free(invite);
    return status;
}
