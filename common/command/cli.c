/* SPDX-License-Identifier: MIT */
/*
 * A command line is read twice. The first pass finds the command's name: options may stand before
 * it, so whether a word is an option's argument is looked up among the options of all commands.
 * The second pass is getopt_long with the options of that command alone. Options must be written
 * out: getopt's unique prefixes would change their meaning when an option is added.
 */
#include "common/command/cli.h"
#include "common/base/version.h"
#include "common/command/values.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { OPTIONS_MAX = 96, WORDS_MAX = 1024, HELP_COLUMN = 28, USAGE_TEXT_MAX = 1024 };

struct given {
    const struct cbx_option *option;
    const char *value;
};

struct cbx_args {
    const struct cbx_program *program;
    const struct cbx_command *command; /* NULL until one was found */
    struct given given[CBX_CLI_VALUES_MAX];
    size_t given_count;
    /* The same values, those of one option side by side, and whose they are. */
    const char *value[CBX_CLI_VALUES_MAX];
    const struct cbx_option *owner[CBX_CLI_VALUES_MAX];
    char *operand[CBX_CLI_VALUES_MAX];
    int operand_count;
};

static const struct cbx_option no_options[1];

static const struct cbx_option *
options_of(const struct cbx_option *options)
{
    return options != NULL ? options : no_options;
}

static const struct cbx_option *
find_option(const struct cbx_option *options, const char *name, size_t length)
{
    for (const struct cbx_option *at = options_of(options); at->name != NULL; at++) {
        if (strlen(at->name) == length && memcmp(at->name, name, length) == 0)
            return at;
    }
    return NULL;
}

/* Looks in the options that every command has, then in those of one command, or of all (NULL). */
static const struct cbx_option *
find_in_program(const struct cbx_program *program, const struct cbx_command *command,
                const char *name, size_t length)
{
    const struct cbx_option *found = find_option(program->common, name, length);
    if (command)
        return found ? found : find_option(command->options, name, length);
    for (command = program->commands; !found && command->name != NULL; command++)
        found = find_option(command->options, name, length);
    return found;
}

static const struct cbx_command *
find_command(const struct cbx_program *program, const char *name)
{
    for (const struct cbx_command *at = program->commands; at->name != NULL; at++) {
        if (strcmp(at->name, name) == 0)
            return at;
    }
    return NULL;
}

int
cbx_usage(const struct cbx_args *args, const char *format, ...)
{
    const char *space = args->command != NULL ? " " : "";
    const char *command = args->command != NULL ? args->command->name : "";
    char text[USAGE_TEXT_MAX];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    /* One line, whatever the words hold: they may come from a script, or through ssh. */
    for (char *at = text; *at != '\0'; at++) {
        if ((unsigned char)*at < 0x20 || *at == 0x7f)
            *at = '?';
    }
    fprintf(stderr, "%s%s%s: %s (see %s%s%s --help)\n", args->program->name, space, command, text,
            args->program->name, space, command);
    return CBX_EXIT_USAGE;
}

static void
print_entry(const char *left, const char *right)
{
    int used = printf("  %s", left);
    if (used >= HELP_COLUMN - 1)
        used = printf("\n") - 1;
    printf("%*s%s\n", HELP_COLUMN - used, "", right);
}

static void
print_options(const char *title, const struct cbx_option *options)
{
    options = options_of(options);
    if (!options->name)
        return;
    printf("\n%s\n", title);
    for (; options->name != NULL; options++) {
        char left[96];
        const char *argument = options->argument;
        (void)snprintf(left, sizeof left, "--%s%s%s%s", options->name, argument != NULL ? " " : "",
                       argument != NULL ? argument : "", options->repeats ? " ..." : "");
        print_entry(left, options->help);
    }
}

static int
finish_output(void)
{
    return fflush(stdout) == 0 && !ferror(stdout) ? CBX_EXIT_OK : CBX_EXIT_FAILURE;
}

static int
print_program_help(const struct cbx_program *program)
{
    printf("usage: %s COMMAND [OPTIONS]\n%s\n\ncommands:\n", program->name, program->summary);
    for (const struct cbx_command *at = program->commands; at->name != NULL; at++) {
        if (at->hidden)
            continue;
        char left[96];
        bool more = at->arguments != NULL && at->arguments[0] != '\0';
        (void)snprintf(left, sizeof left, "%s%s%s", at->name, more ? " " : "",
                       more ? at->arguments : "");
        print_entry(left, at->help);
    }
    print_options("options of every command:", program->common);
    print_entry("--help, help [COMMAND]", "this text, or that of a command");
    print_entry("--version, -V", "the version");
    return finish_output();
}

static int
print_command_help(const struct cbx_program *program, const struct cbx_command *command)
{
    bool more = command->arguments != NULL && command->arguments[0] != '\0';
    printf("usage: %s %s%s%s [OPTIONS]\n%s\n", program->name, command->name, more ? " " : "",
           more ? command->arguments : "", command->help);
    if (command->detail)
        printf("\n%s\n", command->detail);
    print_options("options:", command->options);
    print_options("options of every command:", program->common);
    return finish_output();
}

/* What the first pass found. */
struct scan {
    char *command; /* NULL: no word that could be one */
    int command_at;
    const char *unknown; /* the first word that is no option of any command */
    bool help, version;
};

/* A word that stands for options: not "-" (standard input), not a plain word. */
static bool
is_option(const char *word)
{
    return word[0] == '-' && word[1] != '\0';
}

/* The first pass. */
static void
scan_words(const struct cbx_program *program, int argc, char **argv, struct scan *scan)
{
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        if (strcmp(word, "--") == 0)
            break;
        if (!is_option(word)) {
            if (!scan->command && strcmp(word, "help") == 0) {
                scan->help = true;
            } else if (!scan->command) {
                scan->command = argv[i];
                scan->command_at = i;
            }
            continue;
        }
        if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
            scan->help = true;
            continue;
        }
        if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0) {
            scan->version = true;
            continue;
        }
        size_t length = strcspn(word, "=");
        const struct cbx_option *option =
            word[1] == '-' ? find_in_program(program, NULL, word + 2, length - 2) : NULL;
        if (!option && !scan->unknown)
            scan->unknown = word;
        if (option && option->argument && word[length] == '\0')
            i++;
    }
}

static int
add_long_options(struct option *table, int count, const struct cbx_option *options)
{
    for (options = options_of(options); options->name != NULL && count < OPTIONS_MAX - 1; options++)
        table[count++] = (struct option){
            .name = options->name,
            .has_arg = options->argument != NULL ? required_argument : no_argument,
        };
    return count;
}

/* As in a configuration file: which of the two was meant nobody knows. */
static int
refuse_second(const struct cbx_args *args, const struct cbx_option *option)
{
    for (size_t i = 0; i < args->given_count; i++) {
        if (args->given[i].option == option)
            return cbx_usage(args, "--%s is given twice; give it once", option->name);
    }
    return CBX_EXIT_OK;
}

static int
add_given(struct cbx_args *args, const struct cbx_option *option, const char *value)
{
    int status = option->repeats ? CBX_EXIT_OK : refuse_second(args, option);
    if (status != CBX_EXIT_OK)
        return status;
    if (args->given_count == CBX_CLI_VALUES_MAX)
        return cbx_usage(args, "more than %d options", CBX_CLI_VALUES_MAX);
    args->given[args->given_count++] = (struct given){option, value};
    return CBX_EXIT_OK;
}

/* The word that getopt_long stopped at, for its error. */
static int
option_error(const struct cbx_args *args, int result, const char *word)
{
    size_t length = strcspn(word, "=");
    if (result == ':')
        return cbx_usage(args, "%s needs a value", word);
    if (word[length] == '=' && word[1] == '-' &&
        find_in_program(args->program, args->command, word + 2, length - 2))
        return cbx_usage(args, "%.*s takes no value", (int)length, word);
    return cbx_usage(args, "%.*s is not an option of this command", (int)length, word);
}

static int
add_operand(struct cbx_args *args, char *word)
{
    if (args->operand_count == CBX_CLI_VALUES_MAX)
        return cbx_usage(args, "more than %d words", CBX_CLI_VALUES_MAX);
    args->operand[args->operand_count++] = word;
    return CBX_EXIT_OK;
}

/* The second pass, over the words without the command's name. The leading "-" takes options and
 * other words in any order, whatever POSIXLY_CORRECT says. */
static int
parse_options(struct cbx_args *args, int argc, char **argv)
{
    struct option table[OPTIONS_MAX];
    memset(table, 0, sizeof table);
    int count = add_long_options(table, 0, args->program->common);
    (void)add_long_options(table, count, args->command->options);

    optind = 0; /* GNU: start afresh, also on a second command line in one process */
    opterr = 0;
    int status = CBX_EXIT_OK;
    for (int result, index = 0; status == CBX_EXIT_OK; index = 0) {
        int at = optind > 0 ? optind : 1;
        result = getopt_long(argc, argv, "-:", table, &index);
        if (result == -1)
            break;
        if (result == 1) {
            status = add_operand(args, optarg);
        } else if (result == 0 && table[index].name) {
            const char *name = table[index].name;
            const struct cbx_option *option =
                find_in_program(args->program, args->command, name, strlen(name));
            status = add_given(args, option, optarg != NULL ? optarg : "");
        } else {
            const char *word = argv[optind > at ? optind - 1 : at];
            status = option_error(args, result, word != NULL ? word : "");
        }
    }
    for (int i = optind; i < argc && status == CBX_EXIT_OK; i++)
        status = add_operand(args, argv[i]);
    return status;
}

/* cbx_arg_all hands out a slice: the values of each option stand side by side. */
static void
group_values(struct cbx_args *args)
{
    size_t used = 0;
    for (size_t i = 0; i < args->given_count; i++) {
        bool seen = false;
        for (size_t j = 0; j < i; j++)
            seen = seen || args->given[j].option == args->given[i].option;
        for (size_t j = i; !seen && j < args->given_count; j++) {
            if (args->given[j].option != args->given[i].option)
                continue;
            args->owner[used] = args->given[j].option;
            args->value[used++] = args->given[j].value;
        }
    }
}

static int
check_operands(const struct cbx_args *args)
{
    const struct cbx_command *command = args->command;
    if (args->operand_count < command->operands_min)
        return cbx_usage(args, "%s is missing", command->arguments);
    if (command->operands_max >= 0 && args->operand_count > command->operands_max)
        return cbx_usage(args, "one word too many: '%s'", args->operand[command->operands_max]);
    return CBX_EXIT_OK;
}

/* Copies argv without the command's name. */
static int
without_command(const struct cbx_args *args, int argc, char **argv, int skip, char **words)
{
    if (argc > WORDS_MAX - 1)
        return cbx_usage(args, "more than %d words", WORDS_MAX - 1);
    int count = 0;
    for (int i = 0; i < argc; i++) {
        if (i != skip)
            words[count++] = argv[i];
    }
    words[count] = NULL;
    return CBX_EXIT_OK;
}

int
cbx_cli_main(const struct cbx_program *program, int argc, char **argv)
{
    struct cbx_args args = {.program = program};
    struct scan scan = {0};
    scan_words(program, argc, argv, &scan);
    if (scan.command)
        args.command = find_command(program, scan.command);
    if (scan.help && (args.command || !scan.command))
        return args.command ? print_command_help(program, args.command)
                            : print_program_help(program);
    if (scan.unknown)
        return cbx_usage(&args, "unknown option %.*s", (int)strcspn(scan.unknown, "="),
                         scan.unknown);
    if (scan.version) {
        printf("%s %s\n", program->name, CBX_VERSION);
        return finish_output();
    }
    if (!scan.command)
        return cbx_usage(&args, "no command");
    if (!args.command)
        return cbx_usage(&args, "unknown command '%s'", scan.command);

    char *words[WORDS_MAX];
    int status = without_command(&args, argc, argv, scan.command_at, words);
    if (status == CBX_EXIT_OK)
        status = parse_options(&args, argc - 1, words);
    if (status == CBX_EXIT_OK)
        status = check_operands(&args);
    if (status != CBX_EXIT_OK)
        return status;
    group_values(&args);
    return args.command->run(args.command, &args);
}

int
cbx_exit_of(int result)
{
    static const struct {
        int result, status;
    } statuses[] = {
        {CBX_OK, CBX_EXIT_OK},
        {CBX_ERR_USAGE, CBX_EXIT_USAGE},
    };
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
        if (statuses[i].result == result)
            return statuses[i].status;
    }
    return CBX_EXIT_FAILURE;
}

const char *
cbx_arg(const struct cbx_args *args, const char *option)
{
    for (size_t i = 0; i < args->given_count; i++) {
        if (strcmp(args->given[i].option->name, option) == 0)
            return args->given[i].value;
    }
    return NULL;
}

int
cbx_arg_duration(const struct cbx_args *args, const char *option, int64_t least_ms, int64_t most_ms,
                 int64_t *ms)
{
    struct cbx_error error;
    const char *text = cbx_arg(args, option);
    if (text && cbx_value_duration(text, least_ms, most_ms, ms, &error) != 0)
        return cbx_usage(args, "--%s: %s", option, error.text);
    return CBX_EXIT_OK;
}

size_t
cbx_arg_all(const struct cbx_args *args, const char *option, const char *const **values)
{
    size_t start = 0;
    while (start < args->given_count && strcmp(args->owner[start]->name, option) != 0)
        start++;
    size_t end = start;
    while (end < args->given_count && args->owner[end] == args->owner[start])
        end++;
    *values = args->value + start;
    return end - start;
}

const char *
cbx_operand(const struct cbx_args *args, int index)
{
    return index >= 0 && index < args->operand_count ? args->operand[index] : NULL;
}
