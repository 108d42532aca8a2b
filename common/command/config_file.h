/* SPDX-License-Identifier: MIT */
/*
 * The configuration file of both programs: lines NAME = VALUE with the names of the command's
 * options, in one section or before any. Each name stands there once, but for those that repeat.
 * Comments begin with # at the start of a line, or with a semicolon. A line that is not understood,
 * is too long, holds a NUL byte or names what there is not is an error with file and line; the
 * first one counts, and what follows it is not read.
 */
#ifndef COMMON_COMMAND_CONFIG_FILE_H
#define COMMON_COMMAND_CONFIG_FILE_H

#include "common/base/err.h"
#include <stdbool.h>
#include <stddef.h>

enum { CBX_CONFIG_NAMES_MAX = 64 };

struct cbx_config_file {
    const char *section; /* "hub" */
    const char *manual;  /* which lists the names: "cbx-hub(1)" */
    /* The names: index counts up until the answer is NULL. *repeats: it may stand there again. */
    const char *(*name)(size_t index, bool *repeats);
    const char *const *line_only; /* options of the command line alone; the last entry is NULL */
    /* 0, or an error whose text says what is wrong with the value; the name is said before it. */
    int (*set)(void *arg, size_t index, const char *value, struct cbx_error *error);
};

/* 0; CBX_ERR_USAGE for what the file says, or where the command line names what cannot be read;
 * CBX_ERR_NOMEM. */
int cbx_config_file_read(const char *path, const struct cbx_config_file *config, void *arg,
                         struct cbx_error *error);

#endif
