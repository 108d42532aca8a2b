/* SPDX-License-Identifier: MIT */
/* The control socket, both sides, and the state folder it lives in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/log.h"
#include "common/command/control.h"
#include "common/command/control_call.h"
#include "common/command/state_dir.h"
#include "scratch.h"

#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

struct fixture {
    struct ev_loop *loop;
    struct cbx_control *control;
    char folder[PATH_MAX / 2];
    int requests, gone;
    struct cbx_control_client *held; /* of the command "hold" */
};

/* The owner of the tests: echo, twice, hold, write (to the descriptor), big, error. */
static void
on_request(void *arg, struct cbx_control_client *client, json_t *request, int fd)
{
    struct fixture *f = arg;
    const char *command = json_string_value(json_object_get(request, "cmd"));
    f->requests++;
    if (strcmp(command, "hold") == 0) {
        f->held = client;
        cbx_control_set_user(client, f);
        return;
    }
    if (strcmp(command, "write") == 0) {
        assert_int_not_equal(fd, -1);
        assert_int_equal(write(fd, "hello", 5), 5);
        close(fd);
        fd = -1;
        cbx_control_reply(client, json_pack("{s:b}", "ok", 1));
    } else if (strcmp(command, "big") == 0) {
        char *text = malloc(8 * 1024 * 1024 + 1);
        memset(text, 'x', 8 * 1024 * 1024);
        text[8 * 1024 * 1024] = '\0';
        cbx_control_reply(client, json_pack("{s:b, s:s}", "ok", 1, "text", text));
        free(text);
    } else if (strcmp(command, "error") == 0) {
        cbx_control_reply_error(client, "no %s", "luck");
    } else if (strcmp(command, "twice") == 0) {
        cbx_control_reply(client, json_pack("{s:b, s:i}", "ok", 1, "n", 1));
        cbx_control_reply(client, json_pack("{s:b, s:i}", "ok", 1, "n", 2));
    } else {
        cbx_control_reply(client, json_pack("{s:b, s:O}", "ok", 1, "you", request));
    }
    assert_int_equal(fd, -1);
    cbx_control_finish(client);
}

static void
on_gone(void *arg, struct cbx_control_client *client)
{
    struct fixture *f = arg;
    f->gone++;
    if (client == f->held) {
        assert_ptr_equal(cbx_control_user(client), f);
        f->held = NULL;
        cbx_control_finish(client); /* harmless */
    }
}

static const struct cbx_control_ops ops = {on_request, on_gone};

static int
setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->loop = ev_loop_new(EVFLAG_AUTO);
    char folder[SCRATCH_MAX];
    assert_true(scratch_folder("control", folder));
    (void)snprintf(f->folder, sizeof f->folder, "%s", folder);
    struct cbx_error error;
    f->control = cbx_control_listen(f->loop, f->folder, &ops, f, &error);
    assert_non_null(f->control);
    *state = f;
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;
    cbx_control_free(f->control);
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/control.sock", f->folder);
    assert_int_equal(access(path, F_OK), -1);
    assert_true(scratch_remove(f->folder));
    ev_loop_destroy(f->loop);
    free(f);
    return 0;
}

static void
turn(struct fixture *f)
{
    for (int i = 0; i < 20; i++)
        ev_run(f->loop, EVRUN_NOWAIT);
}

static int
raw_client(const struct fixture *f)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%.80s/control.sock", f->folder);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

/* What is there to read now; "" at the end. */
static const char *
answer(int fd)
{
    static char text[65536];
    ssize_t length = recv(fd, text, sizeof text - 1, MSG_DONTWAIT);
    assert_true(length >= 0);
    text[length] = '\0';
    return text;
}

static void
say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Runs act in a child, as a command would, and the server here until it has ended. */
static int
with_child(struct fixture *f, int (*act)(const char *folder))
{
    pid_t child = fork();
    if (child == 0)
        _exit(act(f->folder));
    int status;
    while (waitpid(child, &status, WNOHANG) == 0) {
        ev_run(f->loop, EVRUN_NOWAIT);
        usleep(500);
    }
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void
requests_are_answered(void **state)
{
    struct fixture *f = *state;
    int fd = raw_client(f);
    say(fd, "{\"cmd\":\"echo\",\"n\":3}\n");
    turn(f);
    assert_string_equal(answer(fd), "{\"ok\":true,\"you\":{\"cmd\":\"echo\",\"n\":3}}\n");
    assert_string_equal(answer(fd), "");
    assert_int_equal(f->gone, 1);
    close(fd);
}

static void
a_request_may_come_byte_by_byte(void **state)
{
    struct fixture *f = *state;
    int fd = raw_client(f);
    for (const char *at = "{\"cmd\":\"error\"}\n"; *at != '\0'; at++) {
        assert_int_equal(send(fd, at, 1, 0), 1);
        turn(f);
    }
    assert_string_equal(answer(fd), "{\"ok\":false,\"error\":\"no luck\"}\n");
    close(fd);
}

static void
bad_json_is_refused_and_closed(void **state)
{
    struct fixture *f = *state;
    static const char *const bad[] = {
        "nonsense\n",          "[1]\n", "{}\n",
        "{\"cmd\":3}\n",       "\n",    "{\"cmd\":\"a\",\"cmd\":\"b\"}\n",
        "{\"cmd\":\"\xff\"}\n"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        int fd = raw_client(f);
        say(fd, bad[i]);
        turn(f);
        assert_non_null(strstr(answer(fd), "{\"ok\":false,\"error\":\"not a request"));
        assert_string_equal(answer(fd), "");
        close(fd);
    }
    assert_int_equal(f->requests, 0);
    assert_int_equal(f->gone, 0);
}

static void
a_line_that_is_too_long_is_refused(void **state)
{
    struct fixture *f = *state;
    int fd = raw_client(f);
    static char junk[8192];
    memset(junk, ' ', sizeof junk);
    size_t sent = 0;
    while (sent < CBX_CONTROL_LINE_MAX + sizeof junk) {
        ssize_t part = send(fd, junk, sizeof junk, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (part > 0)
            sent += (size_t)part;
        else if (errno == EPIPE)
            break;
        turn(f);
    }
    turn(f);
    assert_non_null(strstr(answer(fd), "a request of more than"));
    close(fd);
}

static void
the_longest_line_is_taken(void **state)
{
    struct fixture *f = *state;
    int fd = raw_client(f);
    char *line = malloc(CBX_CONTROL_LINE_MAX + 2);
    memset(line, ' ', CBX_CONTROL_LINE_MAX);
    memcpy(line, "{\"cmd\":\"error\"}", 15);
    line[CBX_CONTROL_LINE_MAX] = '\n';
    for (size_t sent = 0; sent <= CBX_CONTROL_LINE_MAX;) {
        ssize_t part =
            send(fd, line + sent, CBX_CONTROL_LINE_MAX + 1 - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        assert_true(part > 0 || errno == EAGAIN);
        sent += part > 0 ? (size_t)part : 0;
        turn(f);
    }
    free(line);
    assert_non_null(strstr(answer(fd), "no luck"));
    close(fd);
}

static void
only_our_own_uid_is_served(void **state)
{
    (void)state;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_true(cbx_peer_is_uid(pair[0], geteuid()));
    assert_false(cbx_peer_is_uid(pair[0], geteuid() + 1));
    close(pair[0]);
    close(pair[1]);
    assert_int_equal(pipe(pair), 0);
    assert_false(cbx_peer_is_uid(pair[0], geteuid()));
    close(pair[0]);
    close(pair[1]);
}

static void
a_client_that_goes_is_reported(void **state)
{
    struct fixture *f = *state;
    int fd = raw_client(f);
    say(fd, "{\"cmd\":\"hold\"}\n");
    turn(f);
    assert_non_null(f->held);
    close(fd);
    turn(f);
    assert_null(f->held);
    assert_int_equal(f->gone, 1);
}

static void
a_held_client_is_answered_later(void **state)
{
    struct fixture *f = *state;
    int fd = raw_client(f);
    say(fd, "{\"cmd\":\"hold\"}\n");
    turn(f);
    assert_non_null(f->held);
    cbx_control_reply(f->held, json_pack("{s:b}", "ok", 1));
    turn(f);
    assert_string_equal(answer(fd), "{\"ok\":true}\n");
    cbx_control_reply_error(f->held, "over");
    cbx_control_finish(f->held);
    turn(f);
    assert_string_equal(answer(fd), "{\"ok\":false,\"error\":\"over\"}\n");
    close(fd);
}

static void
many_clients_are_served_and_one_more_is_turned_away(void **state)
{
    struct fixture *f = *state;
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    static int fds[CBX_CONTROL_CLIENTS_MAX + 1];
    for (int i = 0; i <= CBX_CONTROL_CLIENTS_MAX; i++) {
        fds[i] = raw_client(f);
        turn(f);
    }
    assert_string_equal(answer(fds[CBX_CONTROL_CLIENTS_MAX]), "");
    for (int i = 0; i < CBX_CONTROL_CLIENTS_MAX; i++)
        say(fds[i], "{\"cmd\":\"error\"}\n");
    for (int i = 0; i < 10; i++)
        turn(f);
    for (int i = 0; i < CBX_CONTROL_CLIENTS_MAX; i++)
        assert_non_null(strstr(answer(fds[i]), "no luck"));
    assert_int_equal(f->gone, CBX_CONTROL_CLIENTS_MAX);
    for (int i = 0; i <= CBX_CONTROL_CLIENTS_MAX; i++)
        close(fds[i]);
}

static int
act_pass_descriptor(const char *folder)
{
    struct cbx_call *call;
    int pair[2];
    char text[6] = "";
    if (pipe(pair) != 0 || cbx_call_open(&call, folder, 0, NULL) != 0 ||
        cbx_call_send(call, json_pack("{s:s}", "cmd", "write"), pair[1], NULL) != 0 ||
        cbx_call_next(call, 5000, NULL, NULL) != 0 || read(pair[0], text, 5) != 5)
        return 1;
    close(pair[0]);
    close(pair[1]);
    cbx_call_close(call);
    return strcmp(text, "hello") == 0 ? 0 : 2;
}

static void
a_descriptor_reaches_the_owner(void **state)
{
    assert_int_equal(with_child(*state, act_pass_descriptor), 0);
}

static void
a_second_descriptor_ends_the_client(void **state)
{
    struct fixture *f = *state;
    int fd = raw_client(f);
    union {
        char bytes[CMSG_SPACE(2 * sizeof(int))];
        struct cmsghdr align;
    } control = {{0}};
    struct iovec part = {"x", 1};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(2 * sizeof(int));
    memcpy(CMSG_DATA(header), (int[]){1, 2}, 2 * sizeof(int));
    assert_int_equal(sendmsg(fd, &message, 0), 1);
    turn(f);
    assert_string_equal(answer(fd), "");
    assert_int_equal(f->gone, 0);
    close(fd);
}

static int
act_several_answers(const char *folder)
{
    struct cbx_call *call;
    json_t *first = NULL, *second = NULL, *third = NULL;
    if (cbx_call_open(&call, folder, 0, NULL) != 0 ||
        cbx_call_send(call, json_pack("{s:s}", "cmd", "twice"), -1, NULL) != 0 ||
        cbx_call_next(call, 5000, &first, NULL) != 0 ||
        cbx_call_next(call, 5000, &second, NULL) != 0 ||
        cbx_call_next(call, 5000, &third, NULL) != CBX_ERR_CLOSED)
        return 1;
    int n = (int)json_integer_value(json_object_get(first, "n")) * 10 +
            (int)json_integer_value(json_object_get(second, "n"));
    json_decref(first);
    json_decref(second);
    cbx_call_close(call);
    return n;
}

static void
a_command_hears_several_answers(void **state)
{
    assert_int_equal(with_child(*state, act_several_answers), 12);
}

static int
act_big_answer(const char *folder)
{
    struct cbx_call *call;
    json_t *object = NULL;
    if (cbx_call_open(&call, folder, 0, NULL) != 0 ||
        cbx_call_send(call, json_pack("{s:s}", "cmd", "big"), -1, NULL) != 0 ||
        cbx_call_next(call, 20000, &object, NULL) != 0)
        return 1;
    size_t length = json_string_length(json_object_get(object, "text"));
    json_decref(object);
    cbx_call_close(call);
    return length == 8 * 1024 * 1024 ? 0 : 2;
}

static void
an_answer_may_be_long(void **state)
{
    assert_int_equal(with_child(*state, act_big_answer), 0);
}

static int
act_refused(const char *folder)
{
    struct cbx_call *call;
    struct cbx_error error;
    json_t *object = NULL;
    if (cbx_call_open(&call, folder, 0, NULL) != 0 ||
        cbx_call_send(call, json_pack("{s:s}", "cmd", "error"), -1, NULL) != 0 ||
        cbx_call_next(call, 5000, &object, &error) != CBX_ERR_STATE || object == NULL)
        return 1;
    json_decref(object);
    cbx_call_close(call);
    return strcmp(error.text, "no luck") == 0 ? 0 : 2;
}

static void
a_refusal_is_an_error_with_its_text(void **state)
{
    assert_int_equal(with_child(*state, act_refused), 0);
}

static int
act_no_answer(const char *folder)
{
    struct cbx_call *call;
    if (cbx_call_open(&call, folder, 0, NULL) != 0 ||
        cbx_call_send(call, json_pack("{s:s}", "cmd", "hold"), -1, NULL) != 0)
        return 1;
    int result = cbx_call_next(call, 50, NULL, NULL);
    cbx_call_close(call);
    return result == CBX_ERR_AGAIN ? 0 : 2;
}

static void
a_command_gives_up_in_time(void **state)
{
    assert_int_equal(with_child(*state, act_no_answer), 0);
}

static void
nothing_running_is_said(void **state)
{
    (void)state;
    struct cbx_call *call = NULL;
    struct cbx_error error;
    assert_int_equal(cbx_call_open(&call, "/tmp/cbx-no-such-folder", 30, &error), CBX_ERR_NOTFOUND);
    assert_string_equal(error.text, "nothing runs with the state folder /tmp/cbx-no-such-folder");
}

static void
a_stale_socket_is_taken_over(void **state)
{
    struct fixture *f = *state;
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/sub", f->folder);
    assert_int_equal(mkdir(path, 0700), 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%.80s/sub/control.sock", f->folder);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    close(fd);
    struct cbx_control *second = cbx_control_listen(f->loop, path, &ops, f, NULL);
    assert_non_null(second);
    cbx_control_free(second);
}

static void
another_kind_of_file_is_left_alone(void **state)
{
    struct fixture *f = *state;
    char folder[PATH_MAX / 2 + 8], path[PATH_MAX];
    (void)snprintf(folder, sizeof folder, "%s/sub", f->folder);
    assert_int_equal(mkdir(folder, 0700), 0);
    (void)snprintf(path, sizeof path, "%s/control.sock", folder);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    struct cbx_error error;
    assert_null(cbx_control_listen(f->loop, folder, &ops, f, &error));
    assert_non_null(strstr(error.text, "is in the way"));
    assert_int_equal(access(path, F_OK), 0);
}

/* A folder far longer than the 108 bytes of a socket's address. */
static const char *
long_folder(const struct fixture *f)
{
    static char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%.500s", f->folder);
    for (int i = 0; i < 4; i++) {
        size_t used = strlen(path);
        memset(path + used, 'd', 60);
        path[used] = '/';
        path[used + 60] = '\0';
    }
    return path;
}

static void
a_state_path_may_be_long(void **state)
{
    struct fixture *f = *state;
    const char *folder = long_folder(f);
    size_t length = strlen(f->folder);
    assert_true(strlen(folder) > 200);
    long pid;
    int lock = cbx_state_lock(folder, &pid, NULL);
    assert_true(lock >= 0);
    cbx_control_free(f->control);
    f->control = cbx_control_listen(f->loop, folder, &ops, f, NULL);
    assert_non_null(f->control);
    (void)snprintf(f->folder, sizeof f->folder, "%s", folder);
    assert_int_equal(with_child(f, act_refused), 0);
    f->folder[length] = '\0';
    close(lock);
}

static void
the_lock_is_held_once_and_names_its_holder(void **state)
{
    struct fixture *f = *state;
    char folder[PATH_MAX];
    (void)snprintf(folder, sizeof folder, "%s/a/b", f->folder);
    long pid;
    int lock = cbx_state_lock(folder, &pid, NULL);
    assert_true(lock >= 0);
    struct stat status;
    assert_int_equal(stat(folder, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0700);
    struct cbx_error error;
    assert_int_equal(cbx_state_lock(folder, &pid, &error), CBX_ERR_BUSY);
    assert_int_equal(pid, getpid());
    close(lock);
    lock = cbx_state_lock(folder, &pid, NULL);
    assert_true(lock >= 0);
    close(lock);
}

static void
a_folder_that_others_may_write_is_refused(void **state)
{
    struct fixture *f = *state;
    long pid;
    struct cbx_error error;
    assert_int_equal(chmod(f->folder, 0777), 0);
    assert_int_equal(cbx_state_lock(f->folder, &pid, &error), CBX_ERR_IO);
    assert_non_null(strstr(error.text, "chmod 700"));
}

static void
the_state_folder_is_found(void **state)
{
    (void)state;
    char out[PATH_MAX], here[PATH_MAX / 2], expected[PATH_MAX];
    assert_non_null(getcwd(here, sizeof here));
    unsetenv("CBX_STATE");
    unsetenv("STATE_DIRECTORY");
    unsetenv("XDG_STATE_HOME");
    setenv("HOME", "/home/ann", 1);
    assert_int_equal(cbx_state_dir(NULL, "hub", out, sizeof out, NULL), 0);
    assert_string_equal(out, "/home/ann/.local/state/cbx/hub");
    setenv("XDG_STATE_HOME", "relative", 1);
    assert_int_equal(cbx_state_dir(NULL, "hub", out, sizeof out, NULL), 0);
    assert_string_equal(out, "/home/ann/.local/state/cbx/hub");
    setenv("XDG_STATE_HOME", "/xdg/", 1);
    assert_int_equal(cbx_state_dir(NULL, "agent", out, sizeof out, NULL), 0);
    assert_string_equal(out, "/xdg/cbx/agent");
    setenv("STATE_DIRECTORY", "/var/lib/cbx:/var/lib/other", 1);
    assert_int_equal(cbx_state_dir(NULL, "agent", out, sizeof out, NULL), 0);
    assert_string_equal(out, "/var/lib/cbx");
    setenv("CBX_STATE", "s", 1);
    assert_int_equal(cbx_state_dir(NULL, "agent", out, sizeof out, NULL), 0);
    (void)snprintf(expected, sizeof expected, "%s/s", here);
    assert_string_equal(out, expected);
    assert_int_equal(cbx_state_dir("/o", "agent", out, sizeof out, NULL), 0);
    assert_string_equal(out, "/o");
    assert_int_equal(cbx_state_dir("", "agent", out, sizeof out, NULL), CBX_ERR_USAGE);
    assert_int_equal(cbx_state_dir("/oo", "agent", out, 3, NULL), CBX_ERR_LIMIT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    cbx_log_init("test", CBX_LOG_ERROR);
    (void)signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        TEST(requests_are_answered),
        TEST(a_request_may_come_byte_by_byte),
        TEST(bad_json_is_refused_and_closed),
        TEST(a_line_that_is_too_long_is_refused),
        TEST(the_longest_line_is_taken),
        TEST(a_client_that_goes_is_reported),
        TEST(a_held_client_is_answered_later),
        TEST(many_clients_are_served_and_one_more_is_turned_away),
        TEST(a_descriptor_reaches_the_owner),
        TEST(a_second_descriptor_ends_the_client),
        TEST(a_command_hears_several_answers),
        TEST(an_answer_may_be_long),
        TEST(a_refusal_is_an_error_with_its_text),
        TEST(a_command_gives_up_in_time),
        TEST(a_stale_socket_is_taken_over),
        TEST(another_kind_of_file_is_left_alone),
        TEST(a_state_path_may_be_long),
        TEST(the_lock_is_held_once_and_names_its_holder),
        TEST(a_folder_that_others_may_write_is_refused),
        cmocka_unit_test(only_our_own_uid_is_served),
        cmocka_unit_test(nothing_running_is_said),
        cmocka_unit_test(the_state_folder_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
