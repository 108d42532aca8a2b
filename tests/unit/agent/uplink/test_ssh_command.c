/* SPDX-License-Identifier: MIT */
/*
 * A program as the way to the hub, with shell scripts in its place: what is handed over, what
 * fails, and that nothing is left. The real ssh is tested end to end
 * (tests/e2e/test_ssh_command.py).
 */
#include "loop_fixture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/uplink/child.h"
#include "agent/uplink/ssh_command.h"
#include "common/base/log.h"
#include "common/link/link.h"
#include "scratch.h"
#include "slow.h"

#include <errno.h>
#include <ev.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* The hub's magic as printf of sh writes it. */
#define MAGIC "\\000cbx link 1\\r\\n\\000\\377\\000"

static struct ev_loop *loop;
static struct ssh_command *command;
static struct cbx_carrier *carrier;
static struct cbx_keypair key;
static char folder[SCRATCH_MAX];
static size_t descriptors;
static bool starting;

static struct {
    unsigned calls;
    enum ssh_error error;
    char text[CBX_ERROR_TEXT_MAX];
} heard;

static void
on_up(void *arg, struct cbx_carrier *made)
{
    assert_ptr_equal(arg, &heard);
    assert_false(starting);
    heard.calls++;
    carrier = made;
    ev_break(loop, EVBREAK_ALL);
}

static void
on_failed(void *arg, enum ssh_error error, const char *text)
{
    assert_ptr_equal(arg, &heard);
    assert_false(starting);
    heard.calls++;
    heard.error = error;
    (void)snprintf(heard.text, sizeof heard.text, "%s", text);
    ssh_command_free(command); /* as the header allows */
    command = NULL;
    ev_break(loop, EVBREAK_ALL);
}

static const struct ssh_login_ops ops = {.up = on_up, .failed = on_failed};

static void
begin(const char *text, const char *address, const char *user, int64_t timeout_ms)
{
    static const uint8_t host_key[32] = {1};
    const struct ssh_command_config config = {
        .command = text,
        .folder = folder,
        .timeout_ms = timeout_ms,
        .to = {.address = address, .user = user, .host_key_sha256 = host_key, .key = &key},
    };
    memset(&heard, 0, sizeof heard);
    carrier = NULL;
    starting = true;
    command = ssh_command_new(loop, &config, &ops, &heard);
    starting = false;
    assert_non_null(command);
}

/* Fails, with all these words in the error. */
static void
fails(const char *text, enum ssh_error error, const char *words)
{
    begin(text, "hub.example:7000", "cbx", 5000);
    run_watched(loop, NULL);
    assert_int_equal(heard.calls, 1);
    assert_null(carrier);
    if (strstr(heard.text, words) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", heard.text, words);
    assert_int_equal(heard.error, error);
}

/* Up; the program has %h among its words, so it checks for itself. */
static void
goes_up(const char *text)
{
    begin(text, "hub.example:7000", "cbx", 5000);
    run_watched(loop, NULL);
    assert_string_equal(heard.text, "");
    assert_int_equal(heard.calls, 1);
    assert_non_null(carrier);
    ssh_command_free(command);
    command = NULL;
}

static int
setup(void **state)
{
    (void)state;
    if (!scratch_folder("ssh-command", folder))
        return -1;
    descriptors = open_descriptors();
    return 0;
}

/* No descriptor, no socket, no process is left. */
static int
teardown(void **state)
{
    (void)state;
    if (carrier != NULL)
        carrier->ops->close(carrier);
    carrier = NULL;
    child_end_all();
    assert_int_equal(open_descriptors(), descriptors);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
    assert_true(scratch_end(folder, NULL));
    return 0;
}

/* ---- the carrier ---- */

static void
on_ready(void *arg)
{
    (void)arg;
    ev_break(loop, EVBREAK_ALL);
}

/* Reads until that much came or the end did; the bytes' count. */
static size_t
receive(uint8_t *out, size_t size)
{
    size_t used = 0;
    carrier->ready = on_ready;
    carrier->ops->want(carrier, true, false);
    while (used < size) {
        ssize_t got = carrier->ops->read(carrier, out + used, size - used);
        if (got == CBX_ERR_AGAIN) {
            run_watched(loop, NULL);
            continue;
        }
        if (got < 0)
            break;
        used += (size_t)got;
    }
    return used;
}

static void
the_pipes_are_the_carrier(void **state)
{
    (void)state;
    uint8_t seen[64] = {0};
    goes_up("sh -c 'printf \"" MAGIC "behind\"; exec cat' %h");
    assert_int_equal(receive(seen, CBX_LINK_MAGIC_SIZE + 6), CBX_LINK_MAGIC_SIZE + 6);
    assert_memory_equal(seen, cbx_link_magic, CBX_LINK_MAGIC_SIZE);
    assert_memory_equal(seen + CBX_LINK_MAGIC_SIZE, "behind", 6);
    struct iovec vector[2] = {{.iov_base = "there ", .iov_len = 6},
                              {.iov_base = "and back", .iov_len = 8}};
    assert_int_equal(carrier->ops->writev(carrier, vector, 2), 14);
    assert_int_equal(receive(seen, 14), 14);
    assert_memory_equal(seen, "there and back", 14);
}

static void
junk_before_the_magic_and_a_magic_in_pieces(void **state)
{
    (void)state;
    uint8_t seen[CBX_LINK_MAGIC_SIZE];
    goes_up("sh -c 'printf \"Welcome\\n\\000cbx link\"; sleep 0.1; printf \" 1\\r\\n\\000\"; "
            "sleep 0.1; printf \"\\377\\000\"; exec cat' %h");
    assert_int_equal(receive(seen, sizeof seen), sizeof seen);
    assert_memory_equal(seen, cbx_link_magic, sizeof seen);
}

/* The held bytes are offered again and again until they were read, with no event to tell of them.
 */
static void
held_bytes_are_told_of_until_they_are_read(void **state)
{
    (void)state;
    uint8_t seen[CBX_LINK_MAGIC_SIZE];
    goes_up("sh -c 'printf \"" MAGIC "\"; exec sleep 1000' %h");
    carrier->ready = on_ready;
    carrier->ops->want(carrier, true, false);
    run_watched(loop, NULL);
    run_watched(loop, NULL);
    for (size_t i = 0; i < sizeof seen; i++) {
        run_watched(loop, NULL);
        assert_int_equal(carrier->ops->read(carrier, seen + i, 1), 1);
    }
    assert_memory_equal(seen, cbx_link_magic, sizeof seen);
    assert_int_equal(carrier->ops->read(carrier, seen, 1), CBX_ERR_AGAIN);
}

static void
an_exit_is_the_end_of_the_carrier(void **state)
{
    (void)state;
    uint8_t seen[CBX_LINK_MAGIC_SIZE + 1];
    goes_up("sh -c 'printf \"" MAGIC "\"; sleep 0.2; exit 1' %h");
    assert_int_equal(receive(seen, sizeof seen), CBX_LINK_MAGIC_SIZE);
    assert_int_equal(carrier->ops->read(carrier, seen, 1), CBX_ERR_CLOSED);
}

/* ---- failures ---- */

static void
exits_are_told_with_the_last_words(void **state)
{
    (void)state;
    fails("sh -c 'echo ssh: no route >&2; exit 255' %h", SSH_PROTOCOL,
          "ssh-command (hub.example:7000) ended with status 255 before the hub answered: ssh: no "
          "route");
    fails("sh -c 'kill -15 $$' %h", SSH_PROTOCOL,
          "was killed by signal 15 before the hub answered");
    if (!runs_slowly()) /* valgrind's posix_spawn does not tell of a program that is not there */
        fails("/nowhere/ssh", SSH_PROTOCOL, "ssh-command: cannot run /nowhere/ssh: No such file");
}

/* The words alone prove nothing: a server on the way can put them there. */
static void
words_of_denial_alone_are_no_denial(void **state)
{
    (void)state;
    fails("sh -c 'echo cbx@hub.example: Permission denied. >&2; exit 255' %o", SSH_PROTOCOL,
          "Permission denied.");
    fails("sh -c 'echo Host key verification failed. >&2; exit 255' %o", SSH_PROTOCOL,
          "Host key verification failed.");
}

static void
a_refused_connection_is_known(void **state)
{
    (void)state;
    fails("sh -c 'echo ssh: connect to host x port 1: Connection refused >&2; exit 255' %h",
          SSH_REFUSED, "Connection refused");
}

static void
silence_has_a_limit(void **state)
{
    (void)state;
    begin("sh -c 'echo asleep >&2; exec sleep 1000' %h", "hub.example:7000", "cbx", 300);
    run_watched(loop, NULL);
    assert_string_equal(heard.text, "ssh-command (hub.example:7000) did not reach a hub "
                                    "within 0.3 s: asleep");
    assert_int_equal(heard.error, SSH_PROTOCOL);
}

static void
a_closed_output_ends_it(void **state)
{
    (void)state;
    fails("sh -c 'exec >&-; exec sleep 1000' %h", SSH_PROTOCOL,
          "closed its output before the hub answered");
}

static void
junk_has_a_limit(void **state)
{
    (void)state;
    fails("sh -c 'printf \"HTTP/1.1 \\033[1m\\n\"; while :; do echo xxxxxxxx; done' %h",
          SSH_PROTOCOL, "printed something that is not a hub's link (\"HTTP/1.1 ?[1m\")");
}

static void
a_link_without_the_host_keys_check_is_refused(void **state)
{
    (void)state;
    fails("sh -c 'printf \"" MAGIC "\"; exec sleep 1000' %o", SSH_PROTOCOL,
          "connected without verifying the host key");
}

/* A token is from outside: its host and user go into the words of programs. */
static void
hosts_and_users_that_could_be_more_are_not_given_on(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"-oProxyCommand=x:22", "cbx"},
        {"a b:22", "cbx"},
        {"$(id):22", "cbx"},
        {"h;id:22", "cbx"},
        {"a@b:22", "cbx"},
        {"h%p:22", "cbx"},
        {"hub.example:22", "-oX=y"},
        {"hub.example:22", ""},
        {"hub.example:22", "a b"},
        {"hub.example:22", "`id`"},
        {"hub.example", "cbx"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char marked[160], script[128];
        (void)snprintf(marked, sizeof marked, "%s/ran", folder);
        (void)snprintf(script, sizeof script, "touch %s", marked);
        begin(script, cases[i][0], cases[i][1], 5000);
        run_watched(loop, NULL);
        assert_non_null(strstr(heard.text, "characters that are not passed"));
        assert_int_equal(access(marked, F_OK), -1);
    }
}

/* The words as the program gets them. */
static void
words_of(const char *text, const char *address, char *out, size_t size)
{
    char line[256], path[128];
    (void)snprintf(line, sizeof line, "sh -c 'for w do echo \"$w\"; done >\"$0\"' %s/words %s",
                   folder, text);
    (void)snprintf(path, sizeof path, "%s/words", folder);
    begin(line, address, "cbx", 5000);
    run_watched(loop, NULL);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    out[fread(out, 1, size - 1, file)] = '\0';
    fclose(file);
    assert_int_equal(unlink(path), 0);
}

static void
places_are_filled_from_the_token(void **state)
{
    (void)state;
    char seen[4096];
    words_of("%u@%h:%p 100%%", "hub.example:7000", seen, sizeof seen);
    assert_string_equal(seen, "cbx@hub.example:7000\n100%\n");
    words_of("%h", "[2001:db8::1]:7000", seen, sizeof seen);
    assert_string_equal(seen, "2001:db8::1\n");
    words_of("%o", "hub.example:7000", seen, sizeof seen);
    assert_memory_equal(seen, "-T\n-oBatchMode=yes\n", 19);
    assert_non_null(strstr(seen, "\n-l\ncbx\n-p\n7000\n"));
    assert_non_null(strstr(seen, "/exe known-host %I %H %t %K\n"));
}

/* ssh takes the first value of an option: ours must stand before the user's. */
static void
a_plain_client_gets_options_first_and_the_host_last(void **state)
{
    (void)state;
    char script[128], line[512], seen[4096];
    (void)snprintf(script, sizeof script, "%s/client", folder);
    FILE *file = fopen(script, "we");
    assert_non_null(file);
    fprintf(file, "#!/bin/sh\nfor w do echo \"$w\"; done >%s/words\n", folder);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(script, 0700), 0);
    (void)snprintf(line, sizeof line, "%s -o StrictHostKeyChecking=no -J bastion", script);
    begin(line, "hub.example:7000", "cbx", 5000);
    run_watched(loop, NULL);
    assert_int_equal(unlink(script), 0);
    (void)snprintf(script, sizeof script, "%s/words", folder);
    file = fopen(script, "re");
    assert_non_null(file);
    seen[fread(seen, 1, sizeof seen - 1, file)] = '\0';
    fclose(file);
    assert_int_equal(unlink(script), 0);
    const char *ours = strstr(seen, "-oStrictHostKeyChecking=yes\n");
    const char *theirs =
        strstr(seen, "\n-o\nStrictHostKeyChecking=no\n-J\nbastion\n--\nhub.example\n");
    assert_true(ours != NULL && theirs != NULL && ours < theirs);
    assert_string_equal(strstr(seen, "--\n"), "--\nhub.example\n");
}

static void
it_may_be_freed_at_any_moment(void **state)
{
    (void)state;
    begin("sleep 1000", "hub.example:7000", "cbx", 5000);
    ssh_command_free(command);
    begin("sh -c 'exec sleep 1000' %o", "hub.example:7000", "cbx", 5000);
    for (int i = 0; i < 5; i++)
        ev_run(loop, EVRUN_NOWAIT);
    ssh_command_free(command);
    command = NULL;
    assert_int_equal(heard.calls, 0);
}

int
main(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
    cbx_log_init("test", CBX_LOG_ERROR);
    loop = ev_default_loop(EVFLAG_AUTO);
    if (loop == NULL || sodium_init() < 0)
        return 1;
    cbx_keypair_random(&key);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_pipes_are_the_carrier, setup, teardown),
        cmocka_unit_test_setup_teardown(junk_before_the_magic_and_a_magic_in_pieces, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(held_bytes_are_told_of_until_they_are_read, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_exit_is_the_end_of_the_carrier, setup, teardown),
        cmocka_unit_test_setup_teardown(exits_are_told_with_the_last_words, setup, teardown),
        cmocka_unit_test_setup_teardown(words_of_denial_alone_are_no_denial, setup, teardown),
        cmocka_unit_test_setup_teardown(a_refused_connection_is_known, setup, teardown),
        cmocka_unit_test_setup_teardown(silence_has_a_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(a_closed_output_ends_it, setup, teardown),
        cmocka_unit_test_setup_teardown(junk_has_a_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(a_link_without_the_host_keys_check_is_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(hosts_and_users_that_could_be_more_are_not_given_on, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(places_are_filled_from_the_token, setup, teardown),
        cmocka_unit_test_setup_teardown(a_plain_client_gets_options_first_and_the_host_last, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(it_may_be_freed_at_any_moment, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
