/* SPDX-License-Identifier: MIT */
/* Command lines: where words may stand, what is refused, and what a command then sees. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/command/cli.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int ran;
static char seen[1024];

/* Writes what it was given into `seen`. */
static int
show(const struct cbx_command *command, void *parsed)
{
    const struct cbx_args *args = parsed;
    const char *state = cbx_arg(args, "state");
    const char *const *values;
    size_t count = cbx_arg_all(args, "expose", &values);
    size_t used =
        (size_t)snprintf(seen, sizeof seen, "%s state=%s json=%s", command->name,
                         state != NULL ? state : "-", cbx_arg(args, "json") != NULL ? "yes" : "no");
    for (size_t i = 0; i < count; i++)
        used += (size_t)snprintf(seen + used, sizeof seen - used, " %s", values[i]);
    for (int i = 0; cbx_operand(args, i) != NULL; i++)
        used += (size_t)snprintf(seen + used, sizeof seen - used, " <%s>", cbx_operand(args, i));
    ran++;
    return 0;
}

static int
complain(const struct cbx_command *command, void *parsed)
{
    (void)command;
    return cbx_usage(parsed, "'%s' is no port", "x");
}

static int
wait_for(const struct cbx_command *command, void *parsed)
{
    int64_t ms = 7;
    (void)command;
    int status = cbx_arg_duration(parsed, "timeout", 1000, 3600000, &ms);
    (void)snprintf(seen, sizeof seen, "%lld ms", (long long)ms);
    return status;
}

static const struct cbx_option common_options[] = {
    {.name = "state", .argument = "DIR", .help = "state folder"},
    {0},
};
static const struct cbx_option up_options[] = {
    {.name = "expose", .argument = "SPEC", .help = "ports", .repeats = true},
    {.name = "export", .argument = "SPEC", .help = "other", .repeats = true},
    {.name = "detach", .help = "go to the background"},
    {0},
};
static const struct cbx_option status_options[] = {
    {.name = "json", .help = "for programs"},
    {0},
};
static const struct cbx_option wait_options[] = {
    {.name = "timeout", .argument = "TIME", .help = "no longer"},
    {0},
};
static const struct cbx_command commands[] = {
    {.name = "up",
     .arguments = "[@FILE|-]",
     .help = "join and run",
     .detail = "More about up.",
     .options = up_options,
     .operands_max = 1,
     .run = show},
    {.name = "status",
     .arguments = "",
     .help = "how it is",
     .options = status_options,
     .run = show},
    {.name = "revoke",
     .arguments = "SLUG",
     .help = "ends a peer",
     .operands_min = 1,
     .operands_max = 1,
     .run = complain},
    {.name = "wait", .arguments = "", .help = "waits", .options = wait_options, .run = wait_for},
    {.name = "secret", .arguments = "", .help = "not listed", .hidden = true, .run = show},
    {0},
};
static const struct cbx_program program = {
    .name = "prog", .summary = "A program.", .commands = commands, .common = common_options};

static char output[8192];

/* Runs one command line with both outputs caught in `output`. */
static int
run(const char *const *words)
{
    char *argv[32] = {0};
    static char copy[32][256];
    int argc = 0;
    for (; words[argc] != NULL; argc++) {
        (void)snprintf(copy[argc], sizeof copy[argc], "%s", words[argc]);
        argv[argc] = copy[argc];
    }
    fflush(stdout);
    fflush(stderr);
    int keep[2] = {dup(1), dup(2)};
    FILE *file = tmpfile();
    assert_non_null(file);
    dup2(fileno(file), 1);
    dup2(fileno(file), 2);
    ran = 0;
    seen[0] = '\0';
    int status = cbx_cli_main(&program, argc, argv);
    fflush(stdout);
    fflush(stderr);
    dup2(keep[0], 1);
    dup2(keep[1], 2);
    close(keep[0]);
    close(keep[1]);
    rewind(file);
    output[fread(output, 1, sizeof output - 1, file)] = '\0';
    fclose(file);
    return status;
}

#define RUN(...) run((const char *const[]){"prog", __VA_ARGS__, NULL})

static void
options_stand_before_or_after_the_command(void **state)
{
    (void)state;
    assert_int_equal(RUN("--state", "s", "up", "--expose", "1", "@file"), 0);
    assert_string_equal(seen, "up state=s json=no 1 <@file>");
    assert_int_equal(RUN("up", "@file", "--expose=1", "--state=s"), 0);
    assert_string_equal(seen, "up state=s json=no 1 <@file>");
    assert_int_equal(RUN("--expose", "up", "up"), 0);
    assert_string_equal(seen, "up state=- json=no up");
}

static void
the_order_does_not_hang_on_the_environment(void **state)
{
    (void)state;
    setenv("POSIXLY_CORRECT", "1", 1);
    assert_int_equal(RUN("up", "@file", "--expose=1"), 0);
    unsetenv("POSIXLY_CORRECT");
    assert_string_equal(seen, "up state=- json=no 1 <@file>");
}

static void
repeated_options_keep_their_order(void **state)
{
    (void)state;
    assert_int_equal(RUN("--expose", "1", "up", "--export", "x", "--expose", "2", "--export", "y",
                         "--state", "s", "--expose", "3"),
                     0);
    assert_string_equal(seen, "up state=s json=no 1 2 3");
}

static void
what_does_not_repeat_is_given_once(void **state)
{
    (void)state;
    assert_int_equal(RUN("--state", "a", "status", "--state", "b"), 2);
    assert_string_equal(output, "prog status: --state is given twice; give it once (see prog "
                                "status --help)\n");
    assert_int_equal(RUN("status", "--json", "--json"), 2);
    assert_string_equal(output, "prog status: --json is given twice; give it once (see prog "
                                "status --help)\n");
    assert_int_equal(ran, 0);
}

static void
durations_have_bounds_and_the_options_name(void **state)
{
    (void)state;
    assert_int_equal(RUN("wait"), 0);
    assert_string_equal(seen, "7 ms");
    assert_int_equal(RUN("wait", "--timeout", "2s"), 0);
    assert_string_equal(seen, "2000 ms");
    assert_int_equal(RUN("wait", "--timeout", "2h"), 2);
    assert_string_equal(output, "prog wait: --timeout: '2h' is not between 1s and 1h (see prog "
                                "wait --help)\n");
}

static void
each_code_has_its_exit_status(void **state)
{
    (void)state;
    assert_int_equal(cbx_exit_of(CBX_OK), CBX_EXIT_OK);
    assert_int_equal(cbx_exit_of(CBX_ERR_USAGE), CBX_EXIT_USAGE);
    for (int code = CBX_ERR_BUSY; code < CBX_OK; code++) {
        if (code != CBX_ERR_USAGE)
            assert_int_equal(cbx_exit_of(code), CBX_EXIT_FAILURE);
    }
}

static void
a_dash_and_words_after_two_dashes_are_operands(void **state)
{
    (void)state;
    assert_int_equal(RUN("up", "-"), 0);
    assert_string_equal(seen, "up state=- json=no <->");
    assert_int_equal(RUN("up", "--", "--expose"), 0);
    assert_string_equal(seen, "up state=- json=no <--expose>");
}

static void
help_works_everywhere(void **state)
{
    (void)state;
    assert_int_equal(RUN("--help"), 0);
    assert_non_null(strstr(output, "up [@FILE|-]"));
    assert_null(strstr(output, "secret"));
    assert_int_equal(RUN("up", "--help"), 0);
    assert_non_null(strstr(output, "More about up."));
    assert_non_null(strstr(output, "--expose SPEC ..."));
    assert_non_null(strstr(output, "--state DIR"));
    assert_int_equal(RUN("--help", "up"), 0);
    assert_int_equal(RUN("revoke", "-h"), 0);
    assert_int_equal(ran, 0);
}

static void
help_is_a_word_too(void **state)
{
    (void)state;
    assert_int_equal(RUN("help"), 0);
    assert_non_null(strstr(output, "up [@FILE|-]"));
    assert_int_equal(RUN("help", "up"), 0);
    assert_non_null(strstr(output, "More about up."));
    assert_int_equal(RUN("--state", "x", "help", "up"), 0);
    assert_non_null(strstr(output, "More about up."));
    assert_int_equal(RUN("help", "upp"), 2);
    assert_string_equal(output, "prog: unknown command 'upp' (see prog --help)\n");
    assert_int_equal(ran, 0);
    assert_int_equal(RUN("up", "help"), 0);
    assert_string_equal(seen, "up state=- json=no <help>");
}

static void
the_version_is_printed(void **state)
{
    (void)state;
    assert_int_equal(RUN("--version"), 0);
    assert_memory_equal(output, "prog ", 5);
    assert_int_equal(RUN("-V"), 0);
    assert_memory_equal(output, "prog ", 5);
}

static void
usage_errors_name_the_word_in_one_line(void **state)
{
    (void)state;
    assert_int_equal(run((const char *const[]){"prog", NULL}), 2);
    assert_string_equal(output, "prog: no command (see prog --help)\n");
    assert_int_equal(RUN("upp"), 2);
    assert_string_equal(output, "prog: unknown command 'upp' (see prog --help)\n");
    assert_int_equal(RUN("up", "--bogus=1"), 2);
    assert_string_equal(output, "prog up: unknown option --bogus (see prog up --help)\n");
    assert_int_equal(RUN("up", "-x"), 2);
    assert_string_equal(output, "prog up: unknown option -x (see prog up --help)\n");
    assert_int_equal(RUN("up", "--json"), 2);
    assert_string_equal(output,
                        "prog up: --json is not an option of this command (see prog up --help)\n");
    assert_int_equal(RUN("up", "--expose"), 2);
    assert_string_equal(output, "prog up: --expose needs a value (see prog up --help)\n");
    assert_int_equal(RUN("up", "--detach=1"), 2);
    assert_string_equal(output, "prog up: --detach takes no value (see prog up --help)\n");
    assert_int_equal(RUN("up", "a", "b"), 2);
    assert_string_equal(output, "prog up: one word too many: 'b' (see prog up --help)\n");
    assert_int_equal(RUN("revoke"), 2);
    assert_string_equal(output, "prog revoke: SLUG is missing (see prog revoke --help)\n");
    assert_int_equal(RUN("revoke", "x"), 2);
    assert_string_equal(output, "prog revoke: 'x' is no port (see prog revoke --help)\n");
    assert_int_equal(ran, 0);
}

static void
shortened_options_are_refused(void **state)
{
    (void)state;
    assert_int_equal(RUN("up", "--det"), 2);
    assert_non_null(strstr(output, "unknown option --det"));
}

static void
too_many_options_are_refused(void **state)
{
    (void)state;
    static char *argv[2 * CBX_CLI_VALUES_MAX + 8];
    int argc = 0;
    argv[argc++] = "prog";
    argv[argc++] = "up";
    for (int i = 0; i <= CBX_CLI_VALUES_MAX; i++)
        argv[argc++] = "--expose=1";
    assert_int_equal(cbx_cli_main(&program, argc, argv), 2);
}

static void
a_hidden_command_runs(void **state)
{
    (void)state;
    assert_int_equal(RUN("secret"), 0);
    assert_int_equal(ran, 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_stand_before_or_after_the_command),
        cmocka_unit_test(the_order_does_not_hang_on_the_environment),
        cmocka_unit_test(repeated_options_keep_their_order),
        cmocka_unit_test(what_does_not_repeat_is_given_once),
        cmocka_unit_test(durations_have_bounds_and_the_options_name),
        cmocka_unit_test(each_code_has_its_exit_status),
        cmocka_unit_test(a_dash_and_words_after_two_dashes_are_operands),
        cmocka_unit_test(help_works_everywhere),
        cmocka_unit_test(help_is_a_word_too),
        cmocka_unit_test(the_version_is_printed),
        cmocka_unit_test(usage_errors_name_the_word_in_one_line),
        cmocka_unit_test(shortened_options_are_refused),
        cmocka_unit_test(too_many_options_are_refused),
        cmocka_unit_test(a_hidden_command_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
