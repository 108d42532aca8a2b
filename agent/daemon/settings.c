/* SPDX-License-Identifier: MIT */
/*
 * A setter per kind of setting, which options and file both use, and the checks of them together.
 */
#include "agent/daemon/settings.h"

#include "agent/mesh/candidates.h"
#include "agent/uplink/proxy_choice.h"
#include "agent/uplink/ssh_command_argv.h"
#include "common/base/names.h"
#include "common/command/config_file.h"
#include "common/command/state_dir.h"
#include "common/command/values.h"
#include "common/link/link.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { HOST_TEXT_MAX = 256 };

/* Bounds that keep a slip of the keyboard from making an agent that cannot work. */
static const uint64_t BUDGET_MIN = 256 * 1024;
static const uint64_t BUDGET_MAX = (uint64_t)1 << 40;
static const int64_t DURATION_MIN_MS = 100;
static const int64_t DURATION_MAX_MS = (int64_t)24 * 3600 * 1000;

static const struct cbx_option setting_options[] = {AGENT_SETTINGS_OPTIONS, {0}};

/* ---- one setting ---- */

static int
set_text(char **place, const char *value, struct cbx_error *error)
{
    char *copy = value != NULL ? strdup(value) : NULL;
    if (value && !copy)
        return cbx_fail(error, CBX_ERR_NOMEM, "out of memory");
    free(*place);
    *place = copy;
    return CBX_OK;
}

/* Kept absolute: an agent in the background has another working folder. */
static int
set_path(char **place, const char *value, struct cbx_error *error)
{
    char here[PATH_MAX] = "";
    char path[2 * PATH_MAX];
    if (value[0] == '\0')
        return cbx_fail(error, CBX_ERR_USAGE, "the file name is empty");
    if (value[0] == '/')
        return set_text(place, value, error);
    if (!getcwd(here, sizeof here))
        return cbx_fail(error, CBX_ERR_IO, "cannot determine the working folder: %s",
                        strerror(errno));
    int used = snprintf(path, sizeof path, "%s/%s", here, value);
    if (used < 0 || (size_t)used >= sizeof path)
        return cbx_fail(error, CBX_ERR_LIMIT, "the file name is too long");
    return set_text(place, path, error);
}

static int
set_duration(int64_t *place, const char *value, struct cbx_error *error)
{
    return cbx_value_duration(value, DURATION_MIN_MS, DURATION_MAX_MS, place, error);
}

static int
set_size(uint64_t *place, const char *value, struct cbx_error *error)
{
    return cbx_value_size(value, BUDGET_MIN, BUDGET_MAX, place, error);
}

static int
check_listen(const char *value, struct cbx_error *error)
{
    char host[HOST_TEXT_MAX];
    uint16_t port;
    if (cbx_listen_parse(value, host, sizeof host, &port) != CBX_OK)
        return cbx_fail(error, CBX_ERR_USAGE,
                        "'%s' is not ADDR:PORT, such as 127.0.0.1:1080 or [::1]:1080", value);
    return CBX_OK;
}

static int
set_proxy(struct agent_settings *settings, const char *value, struct cbx_error *error)
{
    bool off = strcmp(value, "off") == 0;
    int result = off ? CBX_OK : check_listen(value, error);
    if (result == CBX_OK)
        result = set_text(&settings->proxy, off ? NULL : value, error);
    if (result == CBX_OK)
        settings->proxy_required = !off;
    return result;
}

static int
set_direct(struct agent_settings *settings, const char *value, struct cbx_error *error)
{
    char host[HOST_TEXT_MAX];
    uint16_t port = 0;
    bool word = strcmp(value, "auto") == 0 || strcmp(value, "off") == 0;
    if (!word && cbx_listen_parse(value, host, sizeof host, &port) != CBX_OK)
        return cbx_fail(error, CBX_ERR_USAGE,
                        "'%s' is not auto, off or ADDR:PORT, such as 0.0.0.0:4000", value);
    if (port > 0 && port < CANDIDATE_PORT_MIN)
        return cbx_fail(error, CBX_ERR_USAGE,
                        "'%s': peers do not connect to ports below %d; choose a higher one", value,
                        CANDIDATE_PORT_MIN);
    return set_text(&settings->direct, value, error);
}

static int
set_lanes(struct agent_settings *settings, const char *value, struct cbx_error *error)
{
    size_t index;
    int result = cbx_value_choice(value, cbx_lanes_names, &index, error);
    if (result != CBX_OK)
        return result;
    settings->lanes = (enum cbx_lanes)index;
    settings->lanes_set = true;
    return CBX_OK;
}

static int
set_log_times(struct agent_settings *settings, const char *value, struct cbx_error *error)
{
    static const char *const names[] = {"auto", "yes", "no", NULL}; /* enum agent_log_times */
    size_t index;
    int result = cbx_value_choice(value, names, &index, error);
    if (result == CBX_OK)
        settings->log_times = (enum agent_log_times)index;
    return result;
}

static int
set_via(struct agent_settings *settings, const char *value, struct cbx_error *error)
{
    static const char *const schemes[] = {"http://",    "https://",  "socks4://",
                                          "socks4a://", "socks5://", "socks5h://"};
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
        size_t length = strlen(schemes[i]);
        if (strncasecmp(value, schemes[i], length) != 0 || value[length] == '\0')
            continue;
        struct proxy_choice choice;
        proxy_choose(value, &choice);
        if (choice.wrong[0] != '\0')
            return cbx_fail(error, CBX_ERR_USAGE, "%s", choice.wrong);
        return set_text(&settings->via, value, error);
    }
    /* The URL may hold a password: it is not repeated. */
    return cbx_fail(error, CBX_ERR_USAGE,
                    "not a proxy URL; write http://HOST:PORT or socks5h://...");
}

static int
set_ssh_command(struct agent_settings *settings, const char *value, struct cbx_error *error)
{
    int result = ssh_command_check(value, error);
    return result == CBX_OK ? set_text(&settings->ssh_command, value, error) : result;
}

static int
add_expose(struct agent_settings *settings, const char *value, struct cbx_error *error)
{
    settings->expose_set = true;
    return cbx_expose_add(&settings->expose, value, error);
}

int
agent_settings_set(struct agent_settings *settings, const char *name, const char *value,
                   struct cbx_error *error)
{
    if (strcmp(name, "proxy") == 0)
        return set_proxy(settings, value, error);
    if (strcmp(name, "proxy-password-file") == 0)
        return set_path(&settings->proxy_password_file, value, error);
    if (strcmp(name, "expose") == 0)
        return add_expose(settings, value, error);
    if (strcmp(name, "via") == 0)
        return set_via(settings, value, error);
    if (strcmp(name, "ssh-command") == 0)
        return set_ssh_command(settings, value, error);
    if (strcmp(name, "lanes") == 0)
        return set_lanes(settings, value, error);
    if (strcmp(name, "direct") == 0)
        return set_direct(settings, value, error);
    if (strcmp(name, "log-file") == 0)
        return set_path(&settings->log_file, value, error);
    if (strcmp(name, "log-times") == 0)
        return set_log_times(settings, value, error);
    if (strcmp(name, "key-file") == 0)
        return set_path(&settings->key_file, value, error);
    if (strcmp(name, "passphrase-file") == 0)
        return set_path(&settings->passphrase_file, value, error);
    if (strcmp(name, "receive-budget") == 0)
        return set_size(&settings->receive_budget, value, error);
    if (strcmp(name, "send-budget") == 0)
        return set_size(&settings->send_budget, value, error);
    if (strcmp(name, "keepalive") == 0)
        return set_duration(&settings->keepalive_ms, value, error);
    if (strcmp(name, "gone") == 0)
        return set_duration(&settings->gone_ms, value, error);
    if (strcmp(name, "dial-timeout") == 0)
        return set_duration(&settings->dial_timeout_ms, value, error);
    if (strcmp(name, "tcp-keepalive") == 0)
        return set_duration(&settings->tcp_keepalive_ms, value, error);
    return cbx_fail(error, CBX_ERR_NOTFOUND,
                    "there is no setting of that name; cbx-agent(1) lists them");
}

/* ---- the file ---- */

static const char *
file_name(size_t index, bool *repeats)
{
    _Static_assert(sizeof setting_options / sizeof setting_options[0] <= CBX_CONFIG_NAMES_MAX,
                   "room to see each once");
    *repeats = setting_options[index + 1].repeats;
    return setting_options[index + 1].name; /* the first one names the file itself */
}

static int
file_set(void *arg, size_t index, const char *value, struct cbx_error *error)
{
    return agent_settings_set(arg, setting_options[index + 1].name, value, error);
}

int
agent_settings_load(struct agent_settings *settings, const char *path, struct cbx_error *error)
{
    static const char *const line_only[] = {"state", "config", "timeout", "detach", NULL};
    static const struct cbx_config_file file = {
        .section = "agent",
        .manual = "cbx-agent(1)",
        .name = file_name,
        .set = file_set,
        .line_only = line_only,
    };
    return cbx_config_file_read(path, &file, settings, error);
}

/* ---- all of it ---- */

void
agent_settings_defaults(struct agent_settings *settings)
{
    *settings = (struct agent_settings){.lanes = CBX_LANES_AUTO};
}

/* The options stand over the file; an expose list is replaced, not added to. */
static int
apply_options(struct agent_settings *settings, const struct cbx_args *args, struct cbx_error *error)
{
    for (const struct cbx_option *at = setting_options; at->name != NULL; at++) {
        const char *const *values;
        size_t count = cbx_arg_all(args, at->name, &values);
        if (count == 0 || strcmp(at->name, "config") == 0)
            continue;
        if (strcmp(at->name, "expose") == 0)
            settings->expose.count = 0;
        for (size_t i = 0; i < count; i++) {
            struct cbx_error cause = {""};
            if (agent_settings_set(settings, at->name, values[i], &cause) != CBX_OK)
                return cbx_fail(error, CBX_ERR_USAGE, "--%s: %s", at->name, cause.text);
        }
    }
    return CBX_OK;
}

static int
check_together(const struct agent_settings *settings, struct cbx_error *error)
{
    int64_t keepalive =
        settings->keepalive_ms != 0 ? settings->keepalive_ms : CBX_LINK_KEEPALIVE_US / 1000;
    int64_t gone = settings->gone_ms != 0 ? settings->gone_ms : CBX_LINK_GONE_US / 1000;
    char gone_text[CBX_VALUE_TEXT_MAX], keepalive_text[CBX_VALUE_TEXT_MAX];
    cbx_value_write_duration(gone, gone_text);
    cbx_value_write_duration(keepalive, keepalive_text);
    if (gone <= keepalive)
        return cbx_fail(error, CBX_ERR_USAGE, "gone (%s) must be longer than keepalive (%s)",
                        gone_text, keepalive_text);
    if (settings->key_file && settings->passphrase_file)
        return cbx_fail(error, CBX_ERR_USAGE,
                        "key-file and passphrase-file are mutually exclusive: give one of them");
    if (settings->via && settings->ssh_command)
        return cbx_fail(
            error, CBX_ERR_USAGE,
            "via and ssh-command are mutually exclusive: the ssh client finds its own way");
    return CBX_OK;
}

int
agent_settings_init(struct agent_settings *settings, const struct cbx_args *args,
                    struct cbx_error *error)
{
    agent_settings_defaults(settings);
    char state_dir[PATH_MAX];
    const char *config = cbx_arg(args, "config");
    int result = cbx_state_dir(cbx_arg(args, "state"), "agent", state_dir, sizeof state_dir, error);
    if (result == CBX_OK)
        result = set_text(&settings->state_dir, state_dir, error);
    if (result == CBX_OK)
        result = set_text(&settings->proxy, AGENT_PROXY_DEFAULT, error);
    if (result == CBX_OK && config)
        result = agent_settings_load(settings, config, error);
    if (result == CBX_OK)
        result = apply_options(settings, args, error);
    if (result == CBX_OK)
        result = check_together(settings, error);
    /* Lanes would go around the program that was named as the way. */
    if (settings->ssh_command && !settings->lanes_set)
        settings->lanes = CBX_LANES_OFF;
    if (result == CBX_OK && !settings->direct)
        result = set_text(&settings->direct, settings->ssh_command ? "off" : "auto", error);
    if (result != CBX_OK)
        agent_settings_dispose(settings);
    return result;
}

void
agent_settings_dispose(struct agent_settings *settings)
{
    free(settings->state_dir);
    free(settings->proxy);
    free(settings->direct);
    free(settings->via);
    free(settings->ssh_command);
    free(settings->key_file);
    free(settings->passphrase_file);
    free(settings->log_file);
    free(settings->proxy_password_file);
    agent_settings_defaults(settings);
}
