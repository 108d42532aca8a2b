/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/os/descriptors.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

enum { ROOM = 256 };

struct opened {
    int fd[ROOM];
    int count;
};

static struct rlimit before;

static int
remember_limit(void **state)
{
    (void)state;
    return getrlimit(RLIMIT_NOFILE, &before);
}

static int
restore_limit(void **state)
{
    (void)state;
    return setrlimit(RLIMIT_NOFILE, &before);
}

static void
set_limit(rlim_t soft)
{
    struct rlimit limit = {.rlim_cur = soft, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* Opens until clients get no more; returns how many numbers below the limit are then left. */
static int
fill(struct opened *opened, int limit)
{
    opened->count = 0;
    while (!cbx_descriptors_scarce(CBX_DESCRIPTORS_CLIENTS, STDERR_FILENO, 0)) {
        assert_true(opened->count < ROOM);
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_false(cbx_descriptor_is_reserved(fd));
        opened->fd[opened->count++] = fd;
    }
    int next = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_true(next >= 0);
    assert_true(cbx_descriptor_is_reserved(next));
    (void)close(next);
    return limit - next;
}

static void
drain(struct opened *opened)
{
    while (opened->count > 0)
        (void)close(opened->fd[--opened->count]);
}

static void
test_the_last_32_are_kept_back(void **state)
{
    (void)state;
    struct opened opened;
    set_limit(200);
    assert_int_equal(fill(&opened, 200), CBX_DESCRIPTORS_RESERVE);
    drain(&opened);
}

static void
test_a_quarter_of_a_low_limit_is_kept_back(void **state)
{
    (void)state;
    struct opened opened;
    set_limit(64);
    assert_int_equal(fill(&opened, 64), 16);
    drain(&opened);
}

static void
test_one_that_is_closed_is_free_for_a_client(void **state)
{
    (void)state;
    struct opened opened;
    set_limit(64);
    (void)fill(&opened, 64);
    (void)close(opened.fd[--opened.count]);
    assert_false(cbx_descriptors_scarce(CBX_DESCRIPTORS_CLIENTS, STDERR_FILENO, 0));
    drain(&opened);
}

static void
test_what_is_promised_counts_as_taken(void **state)
{
    (void)state;
    struct opened opened;
    set_limit(64);
    (void)fill(&opened, 64);
    for (int i = 0; i < 3; i++)
        (void)close(opened.fd[--opened.count]);
    assert_false(cbx_descriptors_scarce(CBX_DESCRIPTORS_CLIENTS, STDERR_FILENO, 2));
    assert_true(cbx_descriptors_scarce(CBX_DESCRIPTORS_CLIENTS, STDERR_FILENO, 3));
    assert_true(cbx_descriptors_scarce(CBX_DESCRIPTORS_CLIENTS, STDERR_FILENO, UINT32_MAX));
    drain(&opened);
}

/* Three low numbers are free, and all between them and the reserve are in use. */
static void
test_what_is_promised_does_not_fit_a_hole(void **state)
{
    (void)state;
    struct opened opened;
    set_limit(64);
    (void)fill(&opened, 64);
    for (int i = 0; i < 3; i++) {
        (void)close(opened.fd[i]);
        opened.fd[i] = -1;
    }
    assert_false(cbx_descriptors_scarce(CBX_DESCRIPTORS_CLIENTS, STDERR_FILENO, 2));
    assert_true(cbx_descriptors_scarce(CBX_DESCRIPTORS_CLIENTS, STDERR_FILENO, 3));
    drain(&opened);
}

static void
test_commands_may_use_half_of_what_clients_leave(void **state)
{
    (void)state;
    struct opened opened;
    set_limit(64);
    (void)fill(&opened, 64);
    assert_false(cbx_descriptors_scarce(CBX_DESCRIPTORS_COMMANDS, STDERR_FILENO, 7));
    assert_true(cbx_descriptors_scarce(CBX_DESCRIPTORS_COMMANDS, STDERR_FILENO, 8));
    drain(&opened);
}

static void
test_none_left_at_all_is_scarce(void **state)
{
    (void)state;
    set_limit(0);
    assert_true(cbx_descriptors_scarce(CBX_DESCRIPTORS_CLIENTS, STDERR_FILENO, 0));
}

static void
test_standard_descriptors_are_filled(void **state)
{
    (void)state;
    int saved = dup(STDIN_FILENO);
    assert_true(saved >= 0);
    (void)close(STDIN_FILENO);
    unsigned lowest = (unsigned)saved + 1;
    cbx_descriptors_fill_standard();
    assert_true(fcntl(STDIN_FILENO, F_GETFD) >= 0);
    int next = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_in_range(next, STDERR_FILENO + 1, lowest);
    (void)close(next);
    assert_int_equal(dup2(saved, STDIN_FILENO), STDIN_FILENO);
    (void)close(saved);
}

static void
test_raising_goes_to_the_hard_limit(void **state)
{
    (void)state;
    struct rlimit now;
    set_limit(64);
    cbx_descriptors_raise();
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &now), 0);
    assert_int_equal(now.rlim_cur, now.rlim_max);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_the_last_32_are_kept_back, remember_limit,
                                        restore_limit),
        cmocka_unit_test_setup_teardown(test_a_quarter_of_a_low_limit_is_kept_back, remember_limit,
                                        restore_limit),
        cmocka_unit_test_setup_teardown(test_one_that_is_closed_is_free_for_a_client,
                                        remember_limit, restore_limit),
        cmocka_unit_test_setup_teardown(test_what_is_promised_counts_as_taken, remember_limit,
                                        restore_limit),
        cmocka_unit_test_setup_teardown(test_what_is_promised_does_not_fit_a_hole, remember_limit,
                                        restore_limit),
        cmocka_unit_test_setup_teardown(test_commands_may_use_half_of_what_clients_leave,
                                        remember_limit, restore_limit),
        cmocka_unit_test_setup_teardown(test_none_left_at_all_is_scarce, remember_limit,
                                        restore_limit),
        cmocka_unit_test(test_standard_descriptors_are_filled),
        cmocka_unit_test_setup_teardown(test_raising_goes_to_the_hard_limit, remember_limit,
                                        restore_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
