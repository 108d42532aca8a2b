/* SPDX-License-Identifier: MIT */
/* The hash of tables whose keys others choose. */
#include "common/base/hash_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct entry {
    uint32_t key;
    UT_hash_handle hh;
};

/* uthash's own hash, which anybody can compute. */
static unsigned
jenkins(uint32_t key)
{
    unsigned value;
    HASH_JEN(&key, sizeof key, value);
    return value;
}

static void
keys_that_collide_without_the_secret_do_not(void **state)
{
    (void)state;
    enum { KEYS = 512, BUCKETS = 4096 };
    static struct entry entry[KEYS];
    struct entry *table = NULL;
    uint32_t key = 0;
    for (int i = 0; i < KEYS; i++) {
        while (jenkins(++key) % BUCKETS != 0)
            continue;
        entry[i].key = key;
        HASH_ADD(hh, table, key, sizeof entry[i].key, &entry[i]);
    }
    unsigned longest = 0;
    for (unsigned i = 0; i < table->hh.tbl->num_buckets; i++) {
        unsigned count = table->hh.tbl->buckets[i].count;
        longest = count > longest ? count : longest;
    }
    assert_true(longest < 24); /* all of them, with the secret known */
    for (int i = 0; i < KEYS; i++) {
        struct entry *found = NULL;
        HASH_FIND(hh, table, &entry[i].key, sizeof entry[i].key, found);
        assert_ptr_equal(found, &entry[i]);
    }
    HASH_CLEAR(hh, table);
}

static void
one_key_has_one_hash_in_a_process(void **state)
{
    (void)state;
    assert_int_equal(cbx_hash("label", 5), cbx_hash("label", 5));
    assert_int_not_equal(cbx_hash("label", 5), cbx_hash("lobel", 5));
}

static const char *program;

/* Eight bytes, so that chance does not make them equal. */
static void
of_a_fresh_process(uint64_t *out)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        execl(program, program, "print", NULL);
        _exit(1);
    }
    close(ends[1]);
    assert_int_equal(read(ends[0], out, sizeof *out), sizeof *out);
    close(ends[0]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void
another_process_has_another_secret(void **state)
{
    (void)state;
    uint64_t one, two;
    of_a_fresh_process(&one);
    of_a_fresh_process(&two);
    assert_int_not_equal(one, two);
}

static int
print_hash(void)
{
    unsigned hash[2] = {cbx_hash("a", 1), cbx_hash("b", 1)};
    return write(STDOUT_FILENO, hash, sizeof hash) == sizeof hash ? 0 : 1;
}

int
main(int count, char **word)
{
    program = word[0];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_that_collide_without_the_secret_do_not),
        cmocka_unit_test(one_key_has_one_hash_in_a_process),
        cmocka_unit_test(another_process_has_another_secret),
    };
    return count > 1 ? print_hash() : cmocka_run_group_tests(tests, NULL, NULL);
}
