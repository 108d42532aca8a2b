/* SPDX-License-Identifier: MIT */
/*
 * netcheck: by the running agent where there is one, since it has the way to the hub that counts;
 * with a token, another proxy or no running agent by the command itself. Tested by
 * test_netcheck.py.
 */
#include "agent/cmd/commands.h"

#include "agent/cmd/token_input.h"
#include "agent/daemon/learned.h"
#include "agent/daemon/state.h"
#include "agent/netcheck/netcheck.h"
#include "agent/uplink/proxy_choice.h"
#include "common/base/log.h"
#include "common/crypto/aead_choice.h"
#include "common/crypto/cpu.h"
#include "common/os/become.h"

#include <ev.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { CIPHER_US = 50 * 1000, CIPHER_BLOCK = 64 * 1024, ANSWER_SPARE_MS = 15 * 1000 };

/* ---- by the running agent ---- */

/* CBX_ERR_NOTFOUND when none runs; *document else, or an error that was said. */
static int
ask_agent(const struct agent_settings *settings, int64_t timeout_ms, json_t **document)
{
    struct cbx_error error;
    struct cbx_call *call;
    int result = cbx_call_open(&call, settings->state_dir, 0, &error);
    if (result == CBX_ERR_NOTFOUND)
        return result;
    if (result == CBX_OK) {
        json_t *request =
            json_pack("{s:s, s:I}", "cmd", "netcheck", "timeout_ms", (json_int_t)timeout_ms);
        result = cbx_call_send(call, request, -1, &error);
        /* Each of connecting, logging in and trying three lengths may take its time. */
        if (result == CBX_OK)
            result = cbx_call_next(call, 5 * timeout_ms + ANSWER_SPARE_MS, document, &error);
        cbx_call_close(call);
    }
    if (result == CBX_OK) {
        (void)json_object_del(*document, "ok");
        return CBX_OK;
    }
    json_decref(*document);
    *document = NULL;
    cbx_log_error("%s", error.text);
    return CBX_ERR_STATE;
}

/* ---- by this command ---- */

static void
on_checks(void *arg, json_t *checks)
{
    json_t **out = arg;
    *out = checks;
    ev_break(EV_DEFAULT, EVBREAK_ALL);
}

/* places: NULL for the token's addresses alone. */
static json_t *
check_here(const struct agent_settings *settings, const struct cbx_token *where,
           const struct places *places, const struct cbx_keypair *key, int64_t timeout_ms)
{
    json_t *checks = NULL;
    const struct netcheck_config config = {
        .where = where,
        .places = places,
        .key = key,
        .via = settings->via,
        .ssh_command = settings->ssh_command,
        .timeout_ms = timeout_ms,
        .try_lane = settings->lanes != CBX_LANES_OFF,
    };
    proxy_choice_own(settings->proxy);
    struct ev_loop *loop = ev_default_loop(EVFLAG_AUTO);
    struct netcheck *check =
        loop != NULL ? netcheck_new(loop, &config, on_checks, (void *)&checks) : NULL;
    if (check)
        (void)ev_run(loop, 0);
    netcheck_free(check);
    if (!checks) {
        cbx_log_error("out of memory");
        return NULL;
    }
    (void)netcheck_add(checks, "direct", NETCHECK_SKIPPED, "",
                       "only a running agent has peers to try");
    (void)netcheck_add(checks, "clock", NETCHECK_SKIPPED, "",
                       "SSH does not tell the time; a running agent estimates the hub's");
    return json_pack("{s:s, s:o}", "agent", "not running", "checks", checks);
}

/* What the hub said of its addresses the last time, as the agent would go by it. */
static void
read_places(const struct agent_settings *settings, const struct cbx_token *where,
            const struct cbx_vault_key *key, struct places *places)
{
    struct agent_learned learned = {0};
    struct cbx_error error;
    char *path = agent_learned_path(settings->state_dir);
    if (path && agent_learned_load(&learned, where, key, path, &error) != CBX_OK)
        cbx_log_warn("%s", error.text);
    free(path);
    places_set(places, where, &learned.list, learned.worked);
}

/* Where the hub is and with which key this lease would log in, from its sealed state. */
static int
read_state(const struct agent_settings *settings, struct agent_state *state, struct places *places,
           struct cbx_error *error)
{
    char path[PATH_MAX], key_path[PATH_MAX];
    struct cbx_vault_key key = {0};
    if (snprintf(path, sizeof path, "%s/agent", settings->state_dir) >= (int)sizeof path ||
        snprintf(key_path, sizeof key_path, "%s/key", settings->state_dir) >= (int)sizeof key_path)
        return cbx_fail(error, CBX_ERR_LIMIT, "the path of the state folder is too long");
    if (access(path, F_OK) != 0)
        return cbx_fail(error, CBX_ERR_NOTFOUND,
                        "nothing has joined with the state folder %s: give a token as @FILE, or "
                        "another folder with --state",
                        settings->state_dir);
    int result =
        cbx_vault_key_init(&key, settings->passphrase_file, settings->key_file, key_path, 0, error);
    if (result == CBX_OK)
        result = agent_state_load(state, &key, path, error);
    if (result == CBX_OK)
        read_places(settings, &state->joined.where, &key, places);
    cbx_vault_key_wipe(&key);
    if (result == CBX_OK && !state->joined.set && !state->has_pending)
        result = cbx_fail(error, CBX_ERR_NOTFOUND, "not joined yet: give a token as @FILE");
    return result;
}

static json_t *
check_by_state(const struct agent_settings *settings, int64_t timeout_ms)
{
    struct agent_state state = {0};
    struct places places = {0};
    struct cbx_error error;
    json_t *document = NULL;
    if (read_state(settings, &state, &places, &error) != CBX_OK) {
        cbx_log_error("%s", error.text);
    } else if (state.joined.set) {
        document =
            check_here(settings, &state.joined.where, &places, &state.identity.sign, timeout_ms);
    } else {
        struct cbx_keypair login, signing;
        cbx_invite_keys(state.pending.secret, &login, &signing);
        document = check_here(settings, &state.pending, NULL, &login, timeout_ms);
        cbx_keypair_wipe(&login);
        cbx_keypair_wipe(&signing);
    }
    agent_state_wipe(&state);
    return document;
}

static json_t *
check_by_token(const struct agent_settings *settings, const struct cbx_token *token,
               int64_t timeout_ms)
{
    struct cbx_keypair login, signing;
    cbx_invite_keys(token->secret, &login, &signing);
    json_t *document = check_here(settings, token, NULL, &login, timeout_ms);
    cbx_keypair_wipe(&login);
    cbx_keypair_wipe(&signing);
    return document;
}

/* ---- the answer ---- */

static void
add_ciphers(json_t *checks)
{
    uint64_t aes = cbx_aead_speed(CBX_CIPHER_AES256GCM, CIPHER_BLOCK, 1, CIPHER_US);
    uint64_t chacha = cbx_aead_speed(CBX_CIPHER_CHACHA20POLY1305, CIPHER_BLOCK, 1, CIPHER_US);
    const char *chosen = cbx_cipher_name(cbx_aead_preferred());
    const char *aes_by = cbx_aes_name(cbx_aes_preferred());
    json_t *check = netcheck_add(checks, "ciphers", NETCHECK_OK, "",
                                 "aes-256-gcm %llu MB/s by %s%s, chacha20-poly1305 %llu MB/s; %s "
                                 "first",
                                 (unsigned long long)(aes / 1000000), aes_by,
                                 cbx_cpu_has_aes() ? "" : " (not in hardware)",
                                 (unsigned long long)(chacha / 1000000), chosen);
    json_object_set_new(check, "aes_256_gcm_bytes_per_s", json_integer((json_int_t)aes));
    json_object_set_new(check, "chacha20_poly1305_bytes_per_s", json_integer((json_int_t)chacha));
    json_object_set_new(check, "aes_256_gcm_by", json_string(aes_by));
    json_object_set_new(check, "aes_in_hardware", json_boolean(cbx_cpu_has_aes()));
    json_object_set_new(check, "chosen", json_string(chosen));
}

static const char *
text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

static void
print_text(const json_t *checks)
{
    size_t index;
    const json_t *check;
    json_array_foreach(checks, index, check) {
        const char *remedy = text_of(check, "remedy");
        printf("%-8s %-8s %s\n", text_of(check, "check"), text_of(check, "result"),
               text_of(check, "text"));
        if (remedy[0] != '\0')
            printf("%-17s to do: %s\n", "", remedy);
    }
}

/* Steals the document. */
static int
answer(json_t *document, bool json)
{
    json_t *checks = json_object_get(document, "checks");
    bool passed = netcheck_passed(checks);
    add_ciphers(checks);
    json_object_set_new(document, "passed", json_boolean(passed));
    if (!json)
        print_text(checks);
    else if (json_dumpf(document, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER) == 0)
        putchar('\n');
    json_decref(document);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        cbx_log_error("cannot write to standard output");
        return CBX_EXIT_FAILURE;
    }
    return passed ? CBX_EXIT_OK : CBX_EXIT_FAILURE;
}

/* ---- the command ---- */

static json_t *
run_checks(const struct agent_settings *settings, const struct cbx_args *args,
           const struct cbx_token *token, int64_t timeout_ms)
{
    json_t *document = NULL;
    if (token)
        return check_by_token(settings, token, timeout_ms);
    if (!cbx_arg(args, "via") && !cbx_arg(args, "ssh-command")) {
        int result = ask_agent(settings, timeout_ms, &document);
        if (result != CBX_ERR_NOTFOUND)
            return document;
    }
    return check_by_state(settings, timeout_ms);
}

/* A token is optional. CBX_EXIT_OK, else what was wrong was said. */
static int
read_token(const struct cbx_args *args, struct cbx_token *token, bool *given)
{
    struct cbx_error error;
    *given = cbx_operand(args, 0) != NULL;
    int result = *given ? agent_token_read(cbx_operand(args, 0), token, &error) : CBX_OK;
    if (result == CBX_ERR_NOTFOUND)
        result = CBX_ERR_USAGE; /* the file that was named */
    return result == CBX_OK ? CBX_EXIT_OK : agent_fail(args, result, error.text);
}

int
agent_cmd_netcheck(const struct cbx_command *command, void *parsed)
{
    (void)command;
    struct agent_settings settings = {0};
    struct cbx_token token = {0};
    struct cbx_error error;
    int64_t timeout_ms = NETCHECK_TIMEOUT_MS;
    bool given = false;
    int result = agent_settings_init(&settings, parsed, &error);
    if (result != CBX_OK)
        return agent_fail(parsed, result, error.text);
    int status = agent_read_timeout(parsed, &timeout_ms);
    if (status == CBX_EXIT_OK)
        status = read_token(parsed, &token, &given);
    if (status == CBX_EXIT_OK && cbx_become_owner(settings.state_dir, &error) != CBX_OK)
        status = agent_fail(parsed, CBX_ERR_IO, error.text);
    if (status == CBX_EXIT_OK) {
        json_t *document = run_checks(&settings, parsed, given ? &token : NULL, timeout_ms);
        status =
            document != NULL ? answer(document, cbx_arg(parsed, "json") != NULL) : CBX_EXIT_FAILURE;
    }
    cbx_token_wipe(&token);
    agent_settings_dispose(&settings);
    return status;
}
