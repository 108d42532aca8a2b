/* SPDX-License-Identifier: MIT */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "common/disk/file.h"
#include "common/disk/store.h"
#include "common/disk/vault.h"
#include "scratch.h"

#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_SIZE = 96, EVENTS_MAX = 64 };

struct fixture {
    char folder[SCRATCH_MAX];
    char a[PATH_SIZE], b[PATH_SIZE];
    struct ev_loop *loop;
    struct cbx_store *store;
    char events[EVENTS_MAX + 1]; /* a letter per callback, in order */
    size_t event_count;
    int result;
    char text[CBX_ERROR_TEXT_MAX];
};

/* One callback's argument. */
struct mark {
    struct fixture *fixture;
    char letter;
};

static int
setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    if (f == NULL)
        return -1;
    if (!scratch_folder("store", f->folder))
        return -1;
    (void)snprintf(f->a, sizeof f->a, "%s/a", f->folder);
    (void)snprintf(f->b, sizeof f->b, "%s/b", f->folder);
    f->loop = ev_loop_new(EVFLAG_AUTO);
    f->store = cbx_store_new(f->loop);
    *state = f;
    return f->store == NULL;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;
    cbx_store_free(f->store);
    ev_loop_destroy(f->loop);
    bool alone = scratch_end(f->folder, "a", "b", NULL); /* no temporary file was left */
    free(f);
    return alone ? 0 : -1;
}

static void
on_done(void *arg, int result, const char *text)
{
    const struct mark *mark = arg;
    struct fixture *f = mark->fixture;
    assert_true(f->event_count < EVENTS_MAX);
    f->events[f->event_count++] = mark->letter;
    f->result = result;
    (void)snprintf(f->text, sizeof f->text, "%s", text);
}

static void
put(struct fixture *f, const char *path, const char *content, struct mark *mark)
{
    uint8_t *bytes = (uint8_t *)strdup(content);
    assert_non_null(bytes);
    size_t before = f->event_count;
    int result = cbx_store_put(f->store, path, bytes, strlen(content), 0640,
                               mark != NULL ? on_done : NULL, mark);
    assert_int_equal(result, 0);
    assert_int_equal(f->event_count, before);
}

static void
assert_holds(const char *path, const char *content)
{
    uint8_t *bytes;
    size_t length;
    assert_int_equal(cbx_file_load(path, 4096, &bytes, &length, NULL), 0);
    assert_string_equal((const char *)bytes, content);
    free(bytes);
}

static void
a_file_is_on_disk_when_its_callback_runs(void **state)
{
    struct fixture *f = *state;
    struct mark mark = {f, '1'};
    struct stat status;
    put(f, f->a, "hello", &mark);
    (void)ev_run(f->loop, 0);
    assert_string_equal(f->events, "1");
    assert_int_equal(f->result, 0);
    assert_holds(f->a, "hello");
    assert_int_equal(stat(f->a, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0640);
}

static void
no_callback_is_needed(void **state)
{
    struct fixture *f = *state;
    put(f, f->a, "hello", NULL);
    (void)ev_run(f->loop, 0);
    assert_holds(f->a, "hello");
}

static void
an_idle_store_does_not_keep_the_loop_alive(void **state)
{
    struct fixture *f = *state;
    struct mark mark = {f, '1'};
    assert_int_equal(ev_run(f->loop, 0), 0);
    put(f, f->a, "x", &mark);
    assert_int_equal(ev_run(f->loop, 0), 0);
    assert_string_equal(f->events, "1");
}

static void
puts_of_several_paths_keep_their_order(void **state)
{
    struct fixture *f = *state;
    struct mark marks[4] = {{f, '1'}, {f, '2'}, {f, '3'}, {f, '4'}};
    put(f, f->a, "one", &marks[0]);
    put(f, f->b, "two", &marks[1]);
    put(f, f->a, "three", &marks[2]);
    put(f, f->b, "four", &marks[3]);
    (void)ev_run(f->loop, 0);
    /* 1 was at the thread at once; 2 and 4 are for one path, which leaves 4's place. */
    assert_string_equal(f->events, "1324");
    assert_holds(f->a, "three");
    assert_holds(f->b, "four");
}

/* Keeps the thread busy. What is put before the loop runs again waits behind it in any case. */
static void
put_large(struct fixture *f, struct mark *mark)
{
    const size_t size = 16 * 1024 * 1024;
    uint8_t *bytes = calloc(1, size);
    assert_non_null(bytes);
    assert_int_equal(cbx_store_put(f->store, f->a, bytes, size, 0600, on_done, mark), 0);
}

static void
waiting_puts_fold_into_the_newest(void **state)
{
    struct fixture *f = *state;
    struct mark large = {f, 'L'}, marks[3] = {{f, '1'}, {f, '2'}, {f, '3'}};
    struct stat before, after;
    put(f, f->b, "old", NULL);
    (void)ev_run(f->loop, 0);
    assert_int_equal(stat(f->b, &before), 0);
    put_large(f, &large);
    put(f, f->b, "one", &marks[0]);
    put(f, f->b, "two", &marks[1]);
    put(f, f->b, "three", &marks[2]);
    while (f->event_count == 0)
        (void)ev_run(f->loop, EVRUN_ONCE);
    assert_string_equal(f->events, "L");
    (void)ev_run(f->loop, 0);
    assert_string_equal(f->events, "L123");
    assert_holds(f->b, "three");
    assert_int_equal(stat(f->b, &after), 0);
    assert_int_not_equal(before.st_ino, after.st_ino);
}

static void
a_folded_put_comes_after_what_was_put_before_it(void **state)
{
    struct fixture *f = *state;
    struct mark large = {f, 'L'}, marks[3] = {{f, '1'}, {f, '2'}, {f, '3'}};
    put_large(f, &large);
    put(f, f->b, "one", &marks[0]);
    put(f, f->a, "two", &marks[1]);
    put(f, f->b, "three", &marks[2]);
    (void)ev_run(f->loop, 0);
    assert_string_equal(f->events, "L213");
    assert_holds(f->a, "two");
    assert_holds(f->b, "three");
}

static void
put_again(void *arg, int result, const char *text)
{
    static struct mark again;
    struct mark *mark = arg;
    on_done(mark, result, text);
    again = (struct mark){mark->fixture, 'B'};
    put(mark->fixture, mark->fixture->b, "again", &again);
}

static void
a_callback_may_put(void **state)
{
    struct fixture *f = *state;
    struct mark mark = {f, 'A'};
    uint8_t *bytes = (uint8_t *)strdup("x");
    assert_int_equal(cbx_store_put(f->store, f->a, bytes, 1, 0600, put_again, &mark), 0);
    (void)ev_run(f->loop, 0);
    assert_string_equal(f->events, "AB");
    assert_holds(f->b, "again");
}

static void
a_missing_folder_is_told(void **state)
{
    struct fixture *f = *state;
    struct mark mark = {f, '1'};
    char path[2 * PATH_SIZE];
    (void)snprintf(path, sizeof path, "%s/none/file", f->folder);
    put(f, path, "x", &mark);
    (void)ev_run(f->loop, 0);
    assert_int_equal(f->result, CBX_ERR_IO);
    assert_non_null(strstr(f->text, path));
    assert_non_null(strstr(f->text, strerror(ENOENT)));
}

static void
a_folder_that_is_a_file_is_told(void **state)
{
    struct fixture *f = *state;
    struct mark mark = {f, '1'};
    char path[2 * PATH_SIZE];
    (void)snprintf(path, sizeof path, "%s/file", f->a);
    put(f, f->a, "x", NULL);
    put(f, path, "y", &mark);
    (void)ev_run(f->loop, 0);
    assert_int_equal(f->result, CBX_ERR_IO);
    assert_non_null(strstr(f->text, strerror(ENOTDIR)));
    assert_holds(f->a, "x");
}

static void
a_failure_does_not_stop_what_follows(void **state)
{
    struct fixture *f = *state;
    struct mark failing = {f, '1'}, mark = {f, '2'};
    put(f, "/nonexistent-folder/file", "x", &failing);
    put(f, f->a, "y", &mark);
    (void)ev_run(f->loop, 0);
    assert_string_equal(f->events, "12");
    assert_int_equal(f->result, 0);
    assert_string_equal(f->text, "");
    assert_holds(f->a, "y");
}

static void
free_writes_all_and_drops_callbacks(void **state)
{
    struct fixture *f = *state;
    struct mark large = {f, 'L'}, mark = {f, '1'};
    put_large(f, &large);
    put(f, f->b, "last", &mark);
    cbx_store_free(f->store);
    f->store = NULL;
    assert_string_equal(f->events, "");
    assert_holds(f->b, "last");
    (void)ev_run(f->loop, 0);
    assert_string_equal(f->events, "");
    f->store = cbx_store_new(f->loop);
    assert_non_null(f->store);
}

static volatile sig_atomic_t signalled;

static void
on_signal(int number)
{
    signalled = number;
}

static void
signals_still_reach_this_thread(void **state)
{
    (void)state;
    struct sigaction action = {.sa_handler = on_signal};
    assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
    assert_int_equal(raise(SIGUSR1), 0);
    assert_int_equal(signalled, SIGUSR1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_file_is_on_disk_when_its_callback_runs),
        TEST(no_callback_is_needed),
        TEST(an_idle_store_does_not_keep_the_loop_alive),
        TEST(puts_of_several_paths_keep_their_order),
        TEST(waiting_puts_fold_into_the_newest),
        TEST(a_folded_put_comes_after_what_was_put_before_it),
        TEST(a_callback_may_put),
        TEST(a_missing_folder_is_told),
        TEST(a_folder_that_is_a_file_is_told),
        TEST(a_failure_does_not_stop_what_follows),
        TEST(free_writes_all_and_drops_callbacks),
        TEST(signals_still_reach_this_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
