/* SPDX-License-Identifier: MIT */
#include "hub/daemon/settings.h"
#include "common/base/names.h"
#include "hub/daemon/addresses.h"
#include <errno.h>
#include <ini.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum setting_kind {
    SETTING_LISTEN,
    SETTING_PUBLIC,
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
    {"user", SETTING_TEXT, AT(user), 0, 0},
    {"as-root", SETTING_SWITCH, AT(as_root), 0, 0},
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
list_add(struct run_list *list, const struct setting *setting, const char *value,
         struct cbx_error *error)
{
    if (list->count == LISTEN_ADDRESSES_MAX)
        return cbx_fail(error, CBX_ERR_USAGE, "more than %d times %s", LISTEN_ADDRESSES_MAX,
                        setting->name);
    char *copy = strdup(value);
    if (copy == NULL)
        return cbx_fail(error, CBX_ERR_NOMEM, "out of memory");
    list->item[list->count++] = copy;
    return 0;
}

static int
add_listen(struct run_list *list, const struct setting *setting, const char *value,
           struct cbx_error *error)
{
    char host[256];
    uint16_t port;

    if (cbx_listen_parse(value, host, sizeof host, &port) != 0)
        return cbx_fail(error, CBX_ERR_USAGE,
                        "%s %s: not ADDR:PORT, as 127.0.0.1:7000, 0.0.0.0:7000 or [::]:7000",
                        setting->name, value);
    return list_add(list, setting, value, error);
}

static int
add_public(struct run_list *list, const struct setting *setting, const char *value,
           struct cbx_error *error)
{
    char canonical[CBX_ADDRESS_TEXT_MAX];
    int result = addresses_parse_public(value, canonical, error);

    return result != 0 ? result : list_add(list, setting, canonical, error);
}

static int
set_text(char **text, const char *value, struct cbx_error *error)
{
    char *copy = strdup(value);

    if (copy == NULL)
        return cbx_fail(error, CBX_ERR_NOMEM, "out of memory");
    free(*text);
    *text = copy;
    return 0;
}

static int
set_switch(bool *on, const struct setting *setting, const char *value, struct cbx_error *error)
{
    if (strcmp(value, "yes") != 0 && strcmp(value, "no") != 0)
        return cbx_fail(error, CBX_ERR_USAGE, "%s %s: not yes or no; write one of them",
                        setting->name, value);
    *on = strcmp(value, "yes") == 0;
    return 0;
}

static int
set_direct(bool *direct, const char *value, struct cbx_error *error)
{
    if (strcmp(value, "auto") != 0 && strcmp(value, "off") != 0)
        return cbx_fail(error, CBX_ERR_USAGE, "direct %s: not auto or off", value);
    *direct = strcmp(value, "auto") == 0;
    return 0;
}

/* Whole number with an optional unit K, M or G (of 1024), also written KiB, MiB, GiB. */
static int
parse_size(const char *text, bool units, uint64_t *out)
{
    static const struct {
        const char *unit;
        unsigned shift;
    } known[] = {{"", 0}, {"K", 10}, {"M", 20}, {"G", 30}, {"KiB", 10}, {"MiB", 20}, {"GiB", 30}};
    char *end = NULL;

    if (text[0] < '0' || text[0] > '9')
        return CBX_ERR_FORMAT;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (errno != 0)
        return CBX_ERR_FORMAT;
    for (size_t i = 0; i < (units ? sizeof known / sizeof *known : 1); i++) {
        if (strcmp(end, known[i].unit) != 0 || number > UINT64_MAX >> known[i].shift)
            continue;
        *out = (uint64_t)number << known[i].shift;
        return 0;
    }
    return CBX_ERR_FORMAT;
}

static int
out_of_range(const struct setting *setting, const char *value, struct cbx_error *error)
{
    const char *unit = setting->kind == SETTING_DURATION ? " ms"
                       : setting->kind == SETTING_SIZE   ? " bytes"
                                                         : "";

    return cbx_fail(error, CBX_ERR_USAGE, "%s %s: not between %llu%s and %llu%s", setting->name,
                    value, (unsigned long long)setting->least, unit,
                    (unsigned long long)setting->most, unit);
}

static int
set_number(struct run_config *config, const struct setting *setting, const char *value,
           struct cbx_error *error)
{
    uint64_t number = 0;
    int64_t ms = 0;

    if (setting->kind == SETTING_DURATION) {
        if (cbx_duration_parse(value, &ms) != 0)
            return cbx_fail(error, CBX_ERR_USAGE,
                            "%s %s: not a duration with a unit, as 500ms, 15s or 2m", setting->name,
                            value);
        number = (uint64_t)ms;
    } else if (parse_size(value, setting->kind == SETTING_SIZE, &number) != 0) {
        return cbx_fail(error, CBX_ERR_USAGE, "%s %s: not a %s", setting->name, value,
                        setting->kind == SETTING_SIZE ? "size, as 256M or 1G" : "whole number");
    }
    if (number < setting->least || number > setting->most)
        return out_of_range(setting, value, error);
    if (setting->kind == SETTING_DURATION)
        *(int64_t *)field(config, setting) = ms;
    else
        *(uint64_t *)field(config, setting) = number;
    return 0;
}

static int
apply(struct run_config *config, const struct setting *setting, const char *value,
      struct cbx_error *error)
{
    switch (setting->kind) {
    case SETTING_LISTEN:
        return add_listen(field(config, setting), setting, value, error);
    case SETTING_PUBLIC:
        return add_public(field(config, setting), setting, value, error);
    case SETTING_TEXT:
        return set_text(field(config, setting), value, error);
    case SETTING_SWITCH:
        return set_switch(field(config, setting), setting, value, error);
    case SETTING_LANES:
        return cbx_lanes_parse(value, field(config, setting), error);
    case SETTING_DIRECT:
        return set_direct(field(config, setting), value, error);
    case SETTING_DURATION:
    case SETTING_SIZE:
    case SETTING_COUNT:
        break;
    }
    return set_number(config, setting, value, error);
}

static bool
is_list(const struct setting *setting)
{
    return setting->kind == SETTING_LISTEN || setting->kind == SETTING_PUBLIC;
}

/* ---- the file ---- */

struct file_state {
    struct run_config *config;
    FILE *file;
    int line;
    int wrong_line; /* of the first error that we found; 0: none */
    bool seen[SETTING_TOTAL];
    struct cbx_error error;
};

/* fgets that counts lines: inih does not say where it is. Its own lines end at 200 characters, and
 * at a NUL byte. What follows a wrong line is not read: it may have no end. */
static char *
read_line(char *out, int size, void *arg)
{
    struct file_state *state = arg;

    memset(out, '\n', (size_t)size); /* the last NUL is then the one that fgets wrote */
    if (state->wrong_line != 0 || fgets(out, size, state->file) == NULL)
        return NULL;
    state->line++;
    size_t used = (size_t)((char *)memrchr(out, '\0', (size_t)size) - out);
    if (strlen(out) != used)
        (void)cbx_fail(&state->error, CBX_ERR_USAGE, "a NUL byte: this is no text file; write one");
    else if (out[used - 1] != '\n' && !feof(state->file))
        (void)cbx_fail(&state->error, CBX_ERR_USAGE,
                       "the line is longer than %d characters; shorten it", size - 2);
    else
        return out;
    state->wrong_line = state->line;
    return NULL;
}

static int
take_setting(struct file_state *state, const char *section, const char *name, const char *value)
{
    if (section[0] != '\0' && strcmp(section, "hub") != 0)
        return cbx_fail(&state->error, CBX_ERR_USAGE, "unknown section [%s]; only [hub] is known",
                        section);
    for (size_t i = 0; i < SETTING_TOTAL; i++) {
        if (strcmp(settings[i].name, name) != 0)
            continue;
        if (state->seen[i] && !is_list(&settings[i]))
            return cbx_fail(&state->error, CBX_ERR_USAGE, "%s stands there twice; remove one",
                            name);
        state->seen[i] = true;
        return apply(state->config, &settings[i], value, &state->error);
    }
    return cbx_fail(&state->error, CBX_ERR_USAGE,
                    "unknown name %s; cbx-hub(1) lists those there are", name);
}

static int
on_setting(void *arg, const char *section, const char *name, const char *value)
{
    struct file_state *state = arg;

    if (state->wrong_line != 0)
        return 0;
    if (take_setting(state, section, name, value) == 0)
        return 1;
    state->wrong_line = state->line;
    return 0;
}

int
run_config_file(struct run_config *config, const char *path, struct cbx_error *error)
{
    struct file_state state = {.config = config, .file = fopen(path, "re")};

    if (state.file == NULL)
        return cbx_fail(error, CBX_ERR_IO, "cannot open the configuration %s: %s", path,
                        strerror(errno));
    ini_allow_multiline = false;
    int first = ini_parse_stream(read_line, &state, on_setting, &state);
    bool unread = ferror(state.file) != 0;
    (void)fclose(state.file);
    if (unread)
        return cbx_fail(error, CBX_ERR_IO, "cannot read the configuration %s", path);
    if (first < 0)
        return cbx_fail(error, CBX_ERR_NOMEM, "out of memory");
    if (state.wrong_line != 0 && (first == 0 || first >= state.wrong_line))
        return cbx_fail(error, CBX_ERR_USAGE, "%s:%d: %s", path, state.wrong_line,
                        state.error.text);
    if (first != 0)
        return cbx_fail(error, CBX_ERR_USAGE,
                        "%s:%d: neither [SECTION] nor NAME = VALUE; correct or remove the line",
                        path, first);
    return 0;
}

/* ---- the whole ---- */

void
run_config_defaults(struct run_config *config)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    *config = (struct run_config){
        .keepalive_ms = 15000,
        .gone_ms = 45000,
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
        (void)cbx_fail(error, result, "%s%s", strncmp(inner.text, "--", 2) == 0 ? "" : "--",
                       inner.text);
    return result;
}

static int
check_together(const struct run_config *config, struct cbx_error *error)
{
    if (config->gone_ms <= config->keepalive_ms)
        return cbx_fail(error, CBX_ERR_USAGE,
                        "--gone (%lld ms) must be longer than --keepalive (%lld ms)",
                        (long long)config->gone_ms, (long long)config->keepalive_ms);
    if (config->user != NULL && config->as_root)
        return cbx_fail(error, CBX_ERR_USAGE, "--user and --as-root: one of them, not both");
    return 0;
}

int
run_config_read(struct run_config *config, const struct cbx_args *args, struct cbx_error *error)
{
    const char *path = cbx_arg(args, "config");
    int result = 0;

    run_config_defaults(config);
    if (path != NULL)
        result = run_config_file(config, path, error);
    for (size_t i = 0; i < SETTING_TOTAL && result == 0; i++)
        result = take_flags(config, args, &settings[i], error);
    if (result == 0 && config->listen.count == 0)
        result = list_add(&config->listen, &settings[0], "127.0.0.1:7000", error);
    return result != 0 ? result : check_together(config, error);
}

void
run_config_free(struct run_config *config)
{
    list_clear(&config->listen);
    list_clear(&config->public_addresses);
    free(config->user);
    free(config->key_file);
    free(config->passphrase_file);
    free(config->sshd);
    *config = (struct run_config){0};
}
