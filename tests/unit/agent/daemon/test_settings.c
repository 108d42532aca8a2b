/* SPDX-License-Identifier: MIT */
/* The agent's settings: values, their limits, and the configuration file's errors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/daemon/settings.h"
#include "scratch.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char path[SCRATCH_MAX];

/* Loads text as a file. */
static int
load(struct agent_settings *settings, const char *text, struct cbx_error *error)
{
    assert_true(scratch_file("settings", text, strlen(text), path));
    agent_settings_defaults(settings);
    int result = agent_settings_load(settings, path, error);
    unlink(path);
    return result;
}

/* The text must be refused with these words. */
static void
refused(const char *text, const char *words)
{
    struct agent_settings settings;
    struct cbx_error error = {""};
    assert_true(load(&settings, text, &error) < 0);
    if (strstr(error.text, words) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", error.text, words);
    assert_non_null(strstr(error.text, path));
    agent_settings_dispose(&settings);
}

static void
a_file_is_read(void **state)
{
    (void)state;
    struct agent_settings s;
    struct cbx_error error = {""};
    int result = load(&s,
                      "; a comment\n[agent]\nproxy = 127.0.0.1:1081\nexpose = 8080\n"
                      "expose = 5432=10.83.0.7:5432\nvia = http://proxy:3128\nlanes = off\n"
                      "direct = auto\nreceive-budget = 64M\nsend-budget = 1MiB\nkeepalive = 5s\n"
                      "gone = 1m\ndial-timeout = 500ms\nkey-file = /k\n"
                      "ssh-command = ssh -o 'ProxyCommand x y' -J bastion\n",
                      &error);
    assert_string_equal(error.text, "");
    assert_int_equal(result, 0);
    assert_string_equal(s.proxy, "127.0.0.1:1081");
    assert_true(s.proxy_required);
    assert_int_equal(s.expose.count, 2);
    assert_string_equal(s.via, "http://proxy:3128");
    assert_int_equal(s.lanes, CBX_LANES_OFF);
    assert_int_equal(s.receive_budget, 64 * 1024 * 1024);
    assert_int_equal(s.send_budget, 1024 * 1024);
    assert_int_equal(s.keepalive_ms, 5000);
    assert_int_equal(s.gone_ms, 60000);
    assert_int_equal(s.dial_timeout_ms, 500);
    assert_string_equal(s.key_file, "/k");
    assert_string_equal(s.ssh_command, "ssh -o 'ProxyCommand x y' -J bastion");
    agent_settings_dispose(&s);
}

static void
errors_name_file_line_and_key(void **state)
{
    (void)state;
    refused("\n\nproxy = nonsense\n", ":3: proxy: 'nonsense' is not ADDR:PORT");
    refused("ssh-command = ssh $HOST\n", ":1: ssh-command: an unquoted");
    refused("proxy = off\nfoo = 1\n", ":2: unknown name foo; cbx-agent(1) lists the known ones");
    refused("state = /x\n", ":1: state is for the command line only");
    refused("just words\n", ":1: neither [SECTION] nor NAME = VALUE");
    refused("proxy = off\n[hub]\nlanes = off\n",
            ":3: unknown section [hub]; only [agent] is known");
    refused("expose = 8080,x\n", ":1: expose: ");
    refused("[agent\n", ":1: neither [SECTION] nor NAME = VALUE");
    refused("gone = 60s\ngone = 61s\n", ":2: gone is set twice");
    refused("expose = 1\n  2\n", ":2: neither [SECTION] nor NAME = VALUE");
    /* The first of two mistakes counts, whoever found it. */
    refused("nonsense\nlanes = perhaps\n", ":1: ");
    refused("lanes = perhaps\nnonsense\n", ":1: lanes: 'perhaps' is not auto");
}

static void
a_long_line_is_refused_not_cut(void **state)
{
    (void)state;
    char text[1024];
    memset(text, '1', sizeof text);
    memcpy(text, "via = http://", 13);
    text[sizeof text - 2] = '\n';
    text[sizeof text - 1] = '\0';
    refused(text, ":1: the line is longer than 198 characters");
}

static void
a_missing_file_is_an_error(void **state)
{
    (void)state;
    struct agent_settings s;
    struct cbx_error error;
    agent_settings_defaults(&s);
    assert_int_equal(agent_settings_load(&s, "/tmp/cbx-no-such-file", &error), CBX_ERR_USAGE);
    assert_non_null(strstr(error.text, "cannot open the configuration file /tmp/cbx-no-such-file"));
}

static int
set(const char *name, const char *value)
{
    struct agent_settings s;
    agent_settings_defaults(&s);
    int result = agent_settings_set(&s, name, value, NULL);
    agent_settings_dispose(&s);
    return result;
}

static void
values_have_limits(void **state)
{
    (void)state;
    assert_int_equal(set("receive-budget", "256K"), 0);
    assert_int_equal(set("receive-budget", "1T"), 0);
    static const char *const sizes[] = {"",
                                        "-1",
                                        "0",
                                        "1",
                                        "255K",
                                        "2T",
                                        "128 M",
                                        "128MB",
                                        "128Mi",
                                        "99999999999999999999",
                                        "17592186044416M",
                                        "0x100000"};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        assert_true(set("receive-budget", sizes[i]) < 0);
    assert_int_equal(set("gone", "24h"), 0);
    static const char *const times[] = {"", "5", "99ms", "25h", "-5s", "s"};
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++)
        assert_true(set("gone", times[i]) < 0);
    assert_int_equal(set("direct", "0.0.0.0:0"), 0);
    assert_int_equal(set("direct", "[::]:1024"), 0);
    assert_true(set("direct", "on") < 0);
    assert_true(set("direct", "0.0.0.0:1023") < 0);
    assert_true(set("direct", "4000") < 0);
    assert_true(set("lanes", "on") < 0);
    assert_int_equal(set("log-times", "auto"), 0);
    assert_true(set("log-times", "maybe") < 0);
    assert_int_equal(set("log-file", "/var/log/cbx.log"), 0);
    assert_true(set("log-file", "") < 0);
    assert_true(set("via", "proxy:3128") < 0);
    assert_true(set("via", "http://") < 0);
    assert_int_equal(set("via", "SOCKS5h://127.0.0.1:9050"), 0);
    assert_int_equal(set("nonsense", "1"), CBX_ERR_NOTFOUND);
}

static void
a_proxy_url_is_never_repeated(void **state)
{
    (void)state;
    struct agent_settings s;
    struct cbx_error error;
    agent_settings_defaults(&s);
    assert_true(agent_settings_set(&s, "via", "ftp://me:secret@proxy", &error) < 0);
    assert_null(strstr(error.text, "secret"));
    agent_settings_dispose(&s);
}

static int parsed;
static struct agent_settings from_options;
static struct cbx_error option_error;

static int
on_command(const struct cbx_command *command, void *args)
{
    (void)command;
    parsed = agent_settings_init(&from_options, args, &option_error);
    return 0;
}

static void
options(const char *const *words)
{
    static const struct cbx_option all[] = {AGENT_SETTINGS_OPTIONS, {0}};
    static const struct cbx_option common[] = {{.name = "state", .argument = "DIR"}, {0}};
    static const struct cbx_command commands[] = {
        {.name = "run", .options = all, .run = on_command}, {0}};
    static const struct cbx_program program = {
        .name = "p", .summary = "", .commands = commands, .common = common};
    char *argv[32];
    int argc = 0;
    for (; words[argc] != NULL; argc++)
        argv[argc] = (char *)(uintptr_t)words[argc];
    assert_int_equal(cbx_cli_main(&program, argc, argv), 0);
}
#define OPTIONS(...) options((const char *const[]){"p", "run", "--state", "/s", __VA_ARGS__, NULL})

static void
options_stand_over_the_file(void **state)
{
    (void)state;
    static const char text[] = "proxy = 127.0.0.1:9\nexpose = 1,2\ngone = 50s\n";
    assert_true(scratch_file("settings", text, sizeof text - 1, path));
    OPTIONS("--config", path, "--proxy", "off", "--expose", "3", "--expose", "4", "--key-file",
            "relative");
    unlink(path);
    assert_int_equal(parsed, 0);
    assert_null(from_options.proxy);
    assert_int_equal(from_options.expose.count, 2);
    assert_int_equal(from_options.expose.item[0].port, 3);
    assert_int_equal(from_options.gone_ms, 50000);
    assert_int_equal(from_options.key_file[0], '/');
    assert_string_equal(from_options.state_dir, "/s");
    agent_settings_dispose(&from_options);
}

static void
the_default_proxy_is_not_required(void **state)
{
    (void)state;
    OPTIONS("--lanes", "off");
    assert_int_equal(parsed, 0);
    assert_string_equal(from_options.proxy, AGENT_PROXY_DEFAULT);
    assert_false(from_options.proxy_required);
    assert_string_equal(from_options.direct, "auto");
    agent_settings_dispose(&from_options);
}

/* What would go around that program is only done when it is asked for. */
static void
beside_an_ssh_command_lanes_are_off_unless_asked_for(void **state)
{
    (void)state;
    OPTIONS("--ssh-command", "ssh -J bastion");
    assert_int_equal(parsed, 0);
    assert_string_equal(from_options.direct, "off");
    assert_int_equal(from_options.lanes, CBX_LANES_OFF);
    agent_settings_dispose(&from_options);
    OPTIONS("--ssh-command", "ssh -J bastion", "--direct", "auto");
    assert_int_equal(parsed, 0);
    assert_string_equal(from_options.direct, "auto");
    assert_int_equal(from_options.lanes, CBX_LANES_OFF);
    agent_settings_dispose(&from_options);
}

static void
what_does_not_go_together_is_refused(void **state)
{
    (void)state;
    OPTIONS("--gone", "10s");
    assert_int_equal(parsed, CBX_ERR_USAGE);
    OPTIONS("--key-file", "/a", "--passphrase-file", "/b");
    assert_int_equal(parsed, CBX_ERR_USAGE);
    OPTIONS("--proxy", "nonsense");
    assert_int_equal(parsed, CBX_ERR_USAGE);
    assert_string_equal(
        option_error.text,
        "--proxy: 'nonsense' is not ADDR:PORT, such as 127.0.0.1:1080 or [::1]:1080");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_read),
        cmocka_unit_test(errors_name_file_line_and_key),
        cmocka_unit_test(a_long_line_is_refused_not_cut),
        cmocka_unit_test(a_missing_file_is_an_error),
        cmocka_unit_test(values_have_limits),
        cmocka_unit_test(a_proxy_url_is_never_repeated),
        cmocka_unit_test(options_stand_over_the_file),
        cmocka_unit_test(the_default_proxy_is_not_required),
        cmocka_unit_test(beside_an_ssh_command_lanes_are_off_unless_asked_for),
        cmocka_unit_test(what_does_not_go_together_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
