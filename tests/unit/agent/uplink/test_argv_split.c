/* SPDX-License-Identifier: MIT */
/* Command lines as words: what a shell would make of them, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/uplink/argv_split.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The words between bars: "a|b c|". */
static void
joined(const struct argv_split *argv, char *out, size_t size)
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < argv->count; i++)
        used += (size_t)snprintf(out + used, size - used, "%s|", argv->word[i]);
}

static void
splits(const char *text, const char *expected)
{
    struct argv_split argv;
    struct cbx_error error = {""};
    char seen[2 * ARGV_SPLIT_TEXT_MAX];
    int result = argv_split_parse(&argv, text, &error);
    assert_string_equal(error.text, "");
    assert_int_equal(result, 0);
    joined(&argv, seen, sizeof seen);
    assert_string_equal(seen, expected);
    assert_null(argv.word[argv.count]);
    argv_split_dispose(&argv);
}

static void
refuses(const char *text, const char *why)
{
    struct argv_split argv;
    struct cbx_error error = {""};
    assert_int_equal(argv_split_parse(&argv, text, &error), CBX_ERR_USAGE);
    if (strstr(error.text, why) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", error.text, why);
    argv_split_dispose(&argv);
}

static void
words_are_what_a_shell_makes_of_them(void **state)
{
    (void)state;
    splits("ssh -J bastion", "ssh|-J|bastion|");
    splits("  ssh\t -J   bastion  ", "ssh|-J|bastion|");
    splits("ssh -o 'ProxyCommand nc -X 5 %h' x", "ssh|-o|ProxyCommand nc -X 5 %h|x|");
    splits("\"/opt/a b/ssh\" -i/\"k e\"y'1 2'", "/opt/a b/ssh|-i/k ey1 2|");
    splits("a\\ b \\\\ \\' \\$HOME", "a b|\\|'|$HOME|");
    splits("x '' \"\"", "x|||");
    splits("x '$HOME | `id`' \"a\\\"b\\\\c\\$d\\e\"", "x|$HOME | `id`|a\"b\\c$d\\e|");
    splits("x a~b a#b [::1]:22 *", "x|a~b|a#b|[::1]:22|*|");
}

/* The same texts through /bin/sh, so that the expectations above are not only ours. */
static void
a_real_shell_agrees(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "ssh  -J bastion",
        "a\\ b \\\\ \\' \\$HOME",
        "x '' \"\"",
        "\"/opt/a b/ssh\" -i/\"k e\"y'1 2'",
        "x '$HOME | `id`' \"a\\\"b\\\\c\\$d\\e\"",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        char command[256], shell[256] = "", ours[256];
        struct argv_split argv;
        (void)snprintf(command, sizeof command, "printf '%%s|' %s", texts[i]);
        FILE *pipe = popen(command, "r");
        assert_non_null(pipe);
        assert_non_null(fgets(shell, sizeof shell, pipe));
        assert_int_equal(pclose(pipe), 0);
        assert_int_equal(argv_split_parse(&argv, texts[i], NULL), 0);
        joined(&argv, ours, sizeof ours);
        assert_string_equal(ours, shell);
        argv_split_dispose(&argv);
    }
}

static void
what_only_a_shell_can_do_is_refused(void **state)
{
    (void)state;
    refuses("ssh $HOST", "'$'");
    refuses("ssh \"$HOST\"", "'$'");
    refuses("ssh `host`", "'`'");
    refuses("ssh a | tee b", "'|'");
    refuses("ssh a && b", "'&'");
    refuses("ssh a; b", "';'");
    refuses("ssh 2>/dev/null", "'>'");
    refuses("(ssh)", "'('");
    refuses("ssh -F ~/.ssh/x", "'~'");
    refuses("ssh #x", "'#'");
    refuses("ssh a\nb", "one line");
    refuses("ssh 'a", "unterminated single quote");
    refuses("ssh \"a", "unterminated double quote");
    refuses("ssh a\\", "at the end");
    refuses("", "no program");
    refuses(" \t ", "no program");
    refuses("'' -x", "no program");
}

static void
long_texts_and_many_words_are_refused(void **state)
{
    (void)state;
    static char text[ARGV_SPLIT_TEXT_MAX + 1];
    memset(text, 'x', ARGV_SPLIT_TEXT_MAX);
    refuses(text, "longer than");
    text[ARGV_SPLIT_TEXT_MAX - 1] = '\0';
    struct argv_split argv;
    assert_int_equal(argv_split_parse(&argv, text, NULL), 0);
    assert_int_equal(strlen(argv.word[0]), ARGV_SPLIT_TEXT_MAX - 1);
    argv_split_dispose(&argv);
    for (size_t i = 0; i < 2 * (ARGV_SPLIT_WORDS_MAX + 1); i += 2)
        memcpy(text + i, "a ", 3);
    refuses(text, "too many words");
    text[2 * (size_t)ARGV_SPLIT_WORDS_MAX] = '\0';
    assert_int_equal(argv_split_parse(&argv, text, NULL), 0);
    assert_int_equal(argv.count, ARGV_SPLIT_WORDS_MAX);
    argv_split_dispose(&argv);
}

static void
placeholders_are_checked(void **state)
{
    (void)state;
    static const struct {
        const char *text, *why;
        bool placeholders;
    } cases[] = {
        {"ssh -J b", "", false},
        {"nc %h %p", "", true},
        {"nc 100%% %%h", "", false},
        {"ssh %o %h", "", true},
        {"ssh -x%o %h", "argument of its own", true},
        {"ssh %x", "unknown placeholder '%x'", true},
        {"ssh 50%", "unknown placeholder", true},
        {"ssh %%%", "unknown placeholder", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct argv_split argv;
        struct cbx_error error = {""};
        assert_int_equal(argv_split_parse(&argv, cases[i].text, NULL), 0);
        assert_int_equal(argv_split_has_placeholders(&argv), cases[i].placeholders);
        int result = argv_split_check_placeholders(&argv, "hpu", "o", &error);
        assert_int_equal(result, cases[i].why[0] != '\0' ? CBX_ERR_USAGE : 0);
        assert_non_null(strstr(error.text, cases[i].why));
        argv_split_dispose(&argv);
    }
}

static void
placeholders_are_filled(void **state)
{
    (void)state;
    static const char *const list[] = {"-T", "-p", "1 2", NULL};
    static const struct argv_placeholder placeholders[] = {
        {.letter = 'h', .text = "::1"},
        {.letter = 'p', .text = "%h"}, /* what was filled in is not looked at again */
        {.letter = 'o', .list = list},
        {0},
    };
    struct argv_split in, out;
    char seen[256];
    assert_int_equal(argv_split_parse(&in, "x %o [%h]:%p 5%% %%h '' %h%h", NULL), 0);
    assert_int_equal(argv_split_fill(&out, &in, placeholders), 0);
    joined(&out, seen, sizeof seen);
    assert_string_equal(seen, "x|-T|-p|1 2|[::1]:%h|5%|%h||::1::1|");
    argv_split_dispose(&in);
    argv_split_dispose(&out);
}

static void
words_are_inserted(void **state)
{
    (void)state;
    struct argv_split argv;
    char seen[64];
    assert_int_equal(argv_split_parse(&argv, "b d", NULL), 0);
    assert_int_equal(argv_split_insert(&argv, 0, "a"), 0);
    assert_int_equal(argv_split_insert(&argv, 2, "c"), 0);
    assert_int_equal(argv_split_insert(&argv, argv.count, "e"), 0);
    joined(&argv, seen, sizeof seen);
    assert_string_equal(seen, "a|b|c|d|e|");
    assert_null(argv.word[5]);
    argv_split_dispose(&argv);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_are_what_a_shell_makes_of_them),
        cmocka_unit_test(a_real_shell_agrees),
        cmocka_unit_test(what_only_a_shell_can_do_is_refused),
        cmocka_unit_test(long_texts_and_many_words_are_refused),
        cmocka_unit_test(placeholders_are_checked),
        cmocka_unit_test(placeholders_are_filled),
        cmocka_unit_test(words_are_inserted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
