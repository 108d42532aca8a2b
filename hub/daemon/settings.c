/* SPDX-License-Identifier: MIT */
/*
 * One table of settings, which the flags and the file both go through, and the checks of them
 * together.
 */
#include "hub/daemon/settings.h"
#include "common/base/names.h"
#include "common/command/config_file.h"
#include "common/command/values.h"
#include "common/link/link.h"
#include "hub/daemon/addresses.h"
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum setting_kind {
    SETTING_LISTEN,
    SETTING_PUBLIC,
    SETTING_PROXY,
    SETTING_TEXT,
    SETTING_SWITCH,
    SETTING_DURATION, /* milliseconds */
    SETTING_SIZE,     /* bytes */
    SETTING_COUNT,
    SETTING_LANES,
    SETTING_DIRECT,
};

struct setting {
    const char *name;
    enum setting_kind kind;
    size_t offset;
    uint64_t least, most; /* of numbers, in the setting's own unit */
};

#define AT(field) offsetof(struct run_config, field)

static const struct setting settings[] = {
    {"listen", SETTING_LISTEN, AT(listen), 0, 0},
    {"public", SETTING_PUBLIC, AT(public_addresses), 0, 0},
    {"proxy-protocol", SETTING_PROXY, AT(proxies), 0, 0},
    {"user", SETTING_TEXT, AT(user), 0, 0},
    {"as-root", SETTING_SWITCH, AT(as_root), 0, 0},
    {"log-file", SETTING_TEXT, AT(log_file), 0, 0},
    {"log-times", SETTING_SWITCH, AT(log_times), 0, 0},
    {"key-file", SETTING_TEXT, AT(key_file), 0, 0},
    {"passphrase-file", SETTING_TEXT, AT(passphrase_file), 0, 0},
    {"sshd", SETTING_TEXT, AT(sshd), 0, 0},
    {"keepalive", SETTING_DURATION, AT(keepalive_ms), 100, 3600000},
    {"gone", SETTING_DURATION, AT(gone_ms), 300, 86400000},
    {"login-grace", SETTING_DURATION, AT(login_grace_ms), 1000, 600000},
    {"lanes", SETTING_LANES, AT(lanes), 0, 0},
    {"direct", SETTING_DIRECT, AT(direct), 0, 0},
    {"allowance-grace", SETTING_DURATION, AT(allowance_grace_ms), 1000, 600000},
    {"queue-max", SETTING_SIZE, AT(queue_max), 1 << 20, (uint64_t)1 << 44},
    {"unauthenticated-max", SETTING_COUNT, AT(unauthenticated_max), 2, ADMISSION_TOTAL_MAX},
    {"per-address-max", SETTING_COUNT, AT(per_address_max), 1, ADMISSION_TOTAL_MAX},
    {"login-processes", SETTING_COUNT, AT(login_processes), 1, ADMISSION_TOTAL_MAX},
};

enum { SETTING_TOTAL = sizeof settings / sizeof *settings };

static void *
field(struct run_config *config, const struct setting *setting)
{
    return (char *)config + setting->offset;
}

static void
list_clear(struct run_list *list)
{
    while (list->count > 0)
        free(list->item[--list->count]);
}

static int
list_add(struct run_list *list, const char *value, struct cbx_error *error)
{
    if (list->count == LISTEN_ADDRESSES_MAX)
        return cbx_fail(error, CBX_ERR_USAGE, "given more than %d times", LISTEN_ADDRESSES_MAX);
    char *copy = strdup(value);
    if (!copy)
        return cbx_fail(error, CBX_ERR_NOMEM, "out of memory");
    list->item[list->count++] = copy;
    return 0;
}

static int
add_listen(struct run_list *list, const char *value, struct cbx_error *error)
{
    char host[256];
    uint16_t port;

    if (cbx_listen_parse(value, host, sizeof host, &port) != 0)
        return cbx_fail(error, CBX_ERR_USAGE,
                        "'%s' is not ADDR:PORT, such as 127.0.0.1:7000, 0.0.0.0:7000 or [::]:7000",
                        value);
    return list_add(list, value, error);
}

static int
add_public(struct run_list *list, const char *value, struct cbx_error *error)
{
    char canonical[CBX_ADDRESS_TEXT_MAX];
    int result = addresses_parse_public(value, canonical, error);

    return result != 0 ? result : list_add(list, canonical, error);
}

static int
add_proxy(struct run_list *list, const char *value, struct cbx_error *error)
{
    struct proxy_prefix prefix;
    int result = proxy_prefix_parse(value, &prefix, error);

    return result != 0 ? result : list_add(list, value, error);
}

static int
set_text(char **text, const char *value, struct cbx_error *error)
{
    char *copy = strdup(value);

    if (!copy)
        return cbx_fail(error, CBX_ERR_NOMEM, "out of memory");
    free(*text);
    *text = copy;
    return 0;
}

/* The first of the two names is what the setting is when it is on. */
static int
set_switch(bool *on, const char *const names[], const char *value, struct cbx_error *error)
{
    size_t index;
    int result = cbx_value_choice(value, names, &index, error);

    if (result == 0)
        *on = index == 0;
    return result;
}

static int
set_lanes(enum cbx_lanes *lanes, const char *value, struct cbx_error *error)
{
    size_t index;
    int result = cbx_value_choice(value, cbx_lanes_names, &index, error);

    if (result == 0)
        *lanes = (enum cbx_lanes)index;
    return result;
}

static int
apply(struct run_config *config, const struct setting *setting, const char *value,
      struct cbx_error *error)
{
    static const char *const yes_no[] = {"yes", "no", NULL};
    static const char *const auto_off[] = {"auto", "off", NULL};
    switch (setting->kind) {
    case SETTING_LISTEN:
        return add_listen(field(config, setting), value, error);
    case SETTING_PUBLIC:
        return add_public(field(config, setting), value, error);
    case SETTING_PROXY:
        return add_proxy(field(config, setting), value, error);
    case SETTING_TEXT:
        return set_text(field(config, setting), value, error);
    case SETTING_SWITCH:
        return set_switch(field(config, setting), yes_no, value, error);
    case SETTING_LANES:
        return set_lanes(field(config, setting), value, error);
    case SETTING_DIRECT:
        return set_switch(field(config, setting), auto_off, value, error);
    case SETTING_DURATION:
        return cbx_value_duration(value, (int64_t)setting->least, (int64_t)setting->most,
                                  field(config, setting), error);
    case SETTING_SIZE:
        return cbx_value_size(value, setting->least, setting->most, field(config, setting), error);
    case SETTING_COUNT:
        return cbx_value_count(value, setting->least, setting->most, field(config, setting), error);
    }
    return cbx_fail(error, CBX_ERR_USAGE, "no such kind of setting");
}

static bool
is_list(const struct setting *setting)
{
    return setting->kind == SETTING_LISTEN || setting->kind == SETTING_PUBLIC ||
           setting->kind == SETTING_PROXY;
}

/* ---- the file ---- */

static const char *
file_name(size_t index, bool *repeats)
{
    _Static_assert((int)SETTING_TOTAL <= (int)CBX_CONFIG_NAMES_MAX, "room to see each once");
    if (index == SETTING_TOTAL)
        return NULL;
    *repeats = is_list(&settings[index]);
    return settings[index].name;
}

static int
file_set(void *arg, size_t index, const char *value, struct cbx_error *error)
{
    return apply(arg, &settings[index], value, error);
}

int
run_config_file(struct run_config *config, const char *path, struct cbx_error *error)
{
    static const char *const line_only[] = {"state", "config", NULL};
    static const struct cbx_config_file file = {
        .section = "hub",
        .manual = "cbx-hub(1)",
        .name = file_name,
        .set = file_set,
        .line_only = line_only,
    };

    return cbx_config_file_read(path, &file, config, error);
}

/* ---- the whole ---- */

void
run_config_defaults(struct run_config *config)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    *config = (struct run_config){
        .keepalive_ms = CBX_LINK_KEEPALIVE_US / 1000,
        .gone_ms = CBX_LINK_GONE_US / 1000,
        .login_grace_ms = 10000,
        .allowance_grace_ms = 10000,
        .queue_max = (uint64_t)1 << 30,
        .direct = true,
        .unauthenticated_max = 64,
        .per_address_max = 32,
        .login_processes = 2 * (cores > 0 ? (uint64_t)cores : 1) + 4,
    };
}

static int
take_flags(struct run_config *config, const struct cbx_args *args, const struct setting *setting,
           struct cbx_error *error)
{
    const char *const *values = NULL;
    size_t count = cbx_arg_all(args, setting->name, &values);
    int result = 0;
    struct cbx_error inner;

    if (count > 0 && is_list(setting))
        list_clear(field(config, setting));
    for (size_t i = 0; i < count && result == 0; i++)
        result =
            apply(config, setting, setting->kind == SETTING_SWITCH ? "yes" : values[i], &inner);
    if (result != 0)
        (void)cbx_fail(error, result, "--%s: %s", setting->name, inner.text);
    return result;
}

static int
check_together(const struct run_config *config, struct cbx_error *error)
{
    char gone[CBX_VALUE_TEXT_MAX], keepalive[CBX_VALUE_TEXT_MAX];

    cbx_value_write_duration(config->gone_ms, gone);
    cbx_value_write_duration(config->keepalive_ms, keepalive);
    if (config->gone_ms <= config->keepalive_ms)
        return cbx_fail(error, CBX_ERR_USAGE, "gone (%s) must be longer than keepalive (%s)", gone,
                        keepalive);
    if (config->user && config->as_root)
        return cbx_fail(error, CBX_ERR_USAGE,
                        "user and as-root exclude each other: give one of them");
    return 0;
}

int
run_config_read(struct run_config *config, const struct cbx_args *args, struct cbx_error *error)
{
    const char *path = cbx_arg(args, "config");
    int result = 0;

    run_config_defaults(config);
    if (path)
        result = run_config_file(config, path, error);
    for (size_t i = 0; i < SETTING_TOTAL && result == 0; i++)
        result = take_flags(config, args, &settings[i], error);
    if (result == 0 && config->listen.count == 0)
        result = list_add(&config->listen, "127.0.0.1:7000", error);
    return result != 0 ? result : check_together(config, error);
}

void
run_config_free(struct run_config *config)
{
    list_clear(&config->listen);
    list_clear(&config->public_addresses);
    list_clear(&config->proxies);
    free(config->user);
    free(config->key_file);
    free(config->passphrase_file);
    free(config->sshd);
    free(config->log_file);
    *config = (struct run_config){0};
}
