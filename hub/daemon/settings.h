/* SPDX-License-Identifier: MIT */
/*
 * What `run` was told: flags over the file of --config over defaults. A name means the same in
 * both; in the file it stands without dashes, in the section [hub] or before any section.
 */
#ifndef HUB_DAEMON_SETTINGS_H
#define HUB_DAEMON_SETTINGS_H

#include "common/base/err.h"
#include "common/command/cli.h"
#include "common/trust/token.h"
#include "hub/core/core.h"
#include "hub/login/listen.h"
#include <stdbool.h>
#include <stdint.h>

struct run_list {
    uint32_t count;
    char *item[LISTEN_ADDRESSES_MAX];
};

struct run_config {
    struct run_list listen;                                    /* one default when none was given */
    struct run_list public_addresses;                          /* canonical */
    struct run_list proxies;                                   /* --proxy-protocol; each parses */
    char *user, *key_file, *passphrase_file, *sshd, *log_file; /* NULL: not given */
    bool as_root, log_times;
    int64_t keepalive_ms, gone_ms, login_grace_ms, allowance_grace_ms;
    uint64_t queue_max;
    enum cbx_lanes lanes;
    bool direct; /* agents may have lanes between them */
    uint64_t unauthenticated_max, per_address_max, login_processes;
};

/* Reads flags and file. CBX_ERR_USAGE and others with one line; free with run_config_free also
 * after an error. */
int run_config_read(struct run_config *config, const struct cbx_args *args,
                    struct cbx_error *error);
void run_config_free(struct run_config *config);

/* The same for a file alone (fresh config, defaults set): what tests use. */
int run_config_file(struct run_config *config, const char *path, struct cbx_error *error);
void run_config_defaults(struct run_config *config);

#endif
