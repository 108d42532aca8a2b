/* SPDX-License-Identifier: MIT */
/*
 * Command lines of both programs: one table of commands, one of options each, over getopt_long.
 * Options may stand before or after the command's name. --help works everywhere (exit 0), usage
 * errors are one line on standard error that names the word and says what to do (exit 2).
 */
#ifndef COMMON_COMMAND_CLI_H
#define COMMON_COMMAND_CLI_H

#include "common/base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CBX_EXIT_OK = 0, CBX_EXIT_FAILURE = 1, CBX_EXIT_USAGE = 2 };

enum { CBX_CLI_VALUES_MAX = 128 };

struct cbx_option {
    const char *name;     /* without dashes */
    const char *argument; /* "DIR", NULL for a switch */
    const char *help;     /* one line, lower case */
    bool repeats;         /* else giving it twice is a usage error */
};

struct cbx_command {
    const char *name;
    const char *arguments;            /* "SLUG", "[@FILE|-]", "" */
    const char *help;                 /* one line */
    const char *detail;               /* more lines for `--help` of the command, may be NULL */
    const struct cbx_option *options; /* ends with a zero entry */
    int operands_min, operands_max;
    bool hidden; /* not listed in --help */
    int (*run)(const struct cbx_command *command, void *parsed);
};

struct cbx_program {
    const char *name;
    const char *summary;
    const struct cbx_command *commands; /* ends with a zero entry */
    const struct cbx_option *common;    /* options of every command */
};

struct cbx_args; /* what was parsed; handed to run as `parsed` */

/* Parses, prints help or usage errors itself, else runs the command. Returns the exit status. */
int cbx_cli_main(const struct cbx_program *program, int argc, char **argv);

/* The exit status of a command that ended with that code: one table for both programs. Wrong is
 * what the command line says, names (a file that is not there) or lets us read (--config). */
int cbx_exit_of(int result);

/* The option's value, NULL when it was not given; for switches "" when given. */
const char *cbx_arg(const struct cbx_args *args, const char *option);
/* All values of a repeated option, in order. Returns the count. */
size_t cbx_arg_all(const struct cbx_args *args, const char *option, const char *const **values);
/* Operand number index, NULL when there are fewer. */
const char *cbx_operand(const struct cbx_args *args, int index);
/* The option as a duration (values.h) into *ms, which holds the default. CBX_EXIT_OK, or
 * CBX_EXIT_USAGE after it said what is wrong. */
int cbx_arg_duration(const struct cbx_args *args, const char *option, int64_t least_ms,
                     int64_t most_ms, int64_t *ms);
/* "cbx-agent up: TEXT (see cbx-agent up --help)" on standard error; returns CBX_EXIT_USAGE. */
int cbx_usage(const struct cbx_args *args, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
