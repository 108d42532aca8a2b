/* SPDX-License-Identifier: MIT */
#include "common/os/host_mark.h"
#include "skip.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <sched.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const uint8_t key[32] = {1, 2, 3}, other_key[32] = {1, 2, 4};

static void
one_host_one_mark(void **state)
{
    uint8_t first[HOST_MARK_SIZE], second[HOST_MARK_SIZE];
    (void)state;
    if (!host_mark(key, 1, first))
        skip_because("this system does not tell hosts apart");
    assert_true(host_mark(key, 1, second));
    assert_memory_equal(first, second, sizeof first);
    assert_false(sodium_is_zero(first, sizeof first)); /* zeros: no mark */
}

/* Else a peer could send back what it got, or show one session's mark in another. */
static void
role_and_key_make_another_mark(void **state)
{
    uint8_t mark[HOST_MARK_SIZE], other[HOST_MARK_SIZE];
    (void)state;
    if (!host_mark(key, 1, mark))
        skip_because("this system does not tell hosts apart");
    assert_true(host_mark(key, 2, other));
    assert_memory_not_equal(mark, other, sizeof mark);
    assert_true(host_mark(other_key, 1, other));
    assert_memory_not_equal(mark, other, sizeof mark);
}

/* Exit status 2: no namespace can be made here. */
static void
show_mark_of_another_namespace(int fd)
{
    uint8_t mark[HOST_MARK_SIZE];
    if (unshare(CLONE_NEWNET) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0)
        _exit(2);
    bool made = host_mark(key, 1, mark);
    _exit(made && write(fd, mark, sizeof mark) == sizeof mark ? 0 : 1);
}

static void
another_network_namespace_is_another_host(void **state)
{
    uint8_t mark[HOST_MARK_SIZE], theirs[HOST_MARK_SIZE];
    int ends[2], status = 0;
    (void)state;
    if (!host_mark(key, 1, mark))
        skip_because("this system does not tell hosts apart");
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        show_mark_of_another_namespace(ends[1]);
    close(ends[1]);
    ssize_t got = read(ends[0], theirs, sizeof theirs);
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 2)
        skip_because("no network namespaces for this account");
    assert_int_equal(status, 0);
    assert_int_equal(got, sizeof theirs);
    assert_memory_not_equal(mark, theirs, sizeof mark);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_host_one_mark),
        cmocka_unit_test(role_and_key_make_another_mark),
        cmocka_unit_test(another_network_namespace_is_another_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
