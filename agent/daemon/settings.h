/* SPDX-License-Identifier: MIT */
/* What an agent is told: options of the command line over a configuration file over defaults. */
#ifndef AGENT_DAEMON_SETTINGS_H
#define AGENT_DAEMON_SETTINGS_H

#include "agent/mesh/mesh.h"
#include "common/base/err.h"
#include "common/command/cli.h"
#include "common/trust/expose.h"
#include <stdbool.h>
#include <stdint.h>

#define AGENT_PROXY_DEFAULT "127.0.0.1:1080"

/* AUTO: where nobody else adds them (cbx_log_wants_times). */
enum agent_log_times { AGENT_LOG_TIMES_AUTO, AGENT_LOG_TIMES_YES, AGENT_LOG_TIMES_NO };

struct agent_settings {
    char *state_dir; /* absolute */
    enum agent_log_times log_times;
    char *proxy;          /* NULL: off */
    bool proxy_required;  /* asked for by name */
    char *direct;         /* "auto", "off" or ADDR:PORT; the default as for lanes */
    enum cbx_lanes lanes; /* off beside an ssh-command, unless asked for by name */
    bool lanes_set;
    struct cbx_expose expose;
    bool expose_set;                      /* else all that the certificate allows */
    char *via;                            /* NULL: the environment's */
    char *ssh_command;                    /* NULL: our own SSH */
    char *key_file;                       /* absolute; NULL: `key` in the state folder */
    char *passphrase_file;                /* absolute or NULL */
    char *log_file;                       /* absolute or NULL; not of join */
    char *proxy_password_file;            /* absolute; NULL: the proxy asks for none */
    uint64_t receive_budget, send_budget; /* 0: the mesh's defaults */
    int64_t keepalive_ms, gone_ms, dial_timeout_ms, tcp_keepalive_ms;
};

/* The options of every command that runs an agent; the same names are keys of the file. */
/* clang-format off */
#define AGENT_SETTINGS_OPTIONS                                                                     \
    {"config", "FILE", "settings, one NAME = VALUE a line, with the names below", false},       \
    {"proxy", "ADDR:PORT|off",                                                                     \
     "where SOCKS and HTTP clients are served (" AGENT_PROXY_DEFAULT ")", false},                     \
    {"proxy-password-file", "FILE", "its first line is what the proxy's clients must give", false}, \
    {"expose", "SPEC", "fewer ports than the invite allows: 8080,5432=10.83.0.7:5432", true},      \
    {"via", "URL", "proxy on the way to the hub (else https_proxy, ALL_PROXY)", false},            \
    {"ssh-command", "COMMAND", "reach the hub through this ssh client: 'ssh -J bastion'", false},  \
    {"lanes", "auto|off|require", "a faster way to the hub beside ssh (auto)", false},              \
    {"direct", "auto|off|ADDR:PORT", "lanes between peers; where to listen for them (auto)", false},  \
    {"key-file", "FILE", "32 bytes that seal the state (else `key` in the state folder)", false},  \
    {"passphrase-file", "FILE", "its first line seals the state instead of a key file", false},    \
    {"receive-budget", "SIZE", "limit of bytes held for local programs (128M)", false},                \
    {"send-budget", "SIZE", "limit of sent bytes kept until peers acknowledge them (64M)", false},                 \
    {"keepalive", "TIME", "ping after this much silence (15s)", false},                            \
    {"gone", "TIME", "a link is dead after this much silence (45s)", false},                       \
    {"log-file", "FILE", "where log lines go; SIGHUP opens it again", false},                        \
    {"log-times", "auto|yes|no", "begin log lines with the time (auto: not on a terminal)", false}, \
    {"dial-timeout", "TIME", "how long a dial may take (30s)", false},                              \
    {"tcp-keepalive", "TIME", "probe silent connections of programs after this long (60s)", false}
/* clang-format on */

/* Reads --config, then the options. Errors name file and line, or the option. 0 or CBX_ERR_*. */
int agent_settings_init(struct agent_settings *settings, const struct cbx_args *args,
                        struct cbx_error *error);
/* One setting by its name. CBX_ERR_NOTFOUND for an unknown name. Exposed for tests. */
int agent_settings_set(struct agent_settings *settings, const char *name, const char *value,
                       struct cbx_error *error);
/* The file alone; settings hold defaults or what was set before. */
int agent_settings_load(struct agent_settings *settings, const char *path, struct cbx_error *error);
void agent_settings_defaults(struct agent_settings *settings);
void agent_settings_dispose(struct agent_settings *settings);

#endif
