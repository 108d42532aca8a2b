/* SPDX-License-Identifier: MIT */
#include "common/base/clock.h"
#include "common/base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Standard error stands aside in a pipe while one line is logged. */
struct capture {
    int saved;
    int reader;
};

static struct capture
capture_begin(void)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    struct capture capture = {.saved = dup(STDERR_FILENO), .reader = ends[0]};
    assert_true(dup2(ends[1], STDERR_FILENO) >= 0);
    close(ends[1]);
    return capture;
}

static void
capture_end(struct capture *capture, char *out, size_t size)
{
    assert_true(dup2(capture->saved, STDERR_FILENO) >= 0);
    close(capture->saved);
    ssize_t count = read(capture->reader, out, size - 1);
    close(capture->reader);
    out[count > 0 ? count : 0] = '\0';
}

static void
expect_line(const char *text, const char *line)
{
    char out[8192];
    struct capture capture = capture_begin();
    cbx_log_info("%s", text);
    capture_end(&capture, out, sizeof out);
    assert_string_equal(out, line);
}

static int
setup(void **state)
{
    (void)state;
    cbx_log_init("cbx-test", CBX_LOG_INFO);
    cbx_log_times(false);
    return 0;
}

static void
a_line_has_the_programs_name(void **state)
{
    (void)state;
    expect_line("hello", "cbx-test: hello\n");
}

static void
control_bytes_are_escaped(void **state)
{
    (void)state;
    expect_line("a\nfake: b\x1b[2J\x7f", "cbx-test: a\\x0afake: b\\x1b[2J\\x7f\n");
}

static void
utf8_is_shown_and_what_only_looks_like_it_is_escaped(void **state)
{
    (void)state;
    expect_line("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x99\x82",
                "cbx-test: gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x99\x82\n");
    expect_line("\x9b"
                "2J",
                "cbx-test: \\x9b2J\n");
    expect_line("\xc2\x9b"
                "2J",
                "cbx-test: \\xc2\\x9b2J\n");
    expect_line("\xc0\x8a", "cbx-test: \\xc0\\x8a\n");
    expect_line("\xe0\x80\x8a", "cbx-test: \\xe0\\x80\\x8a\n");
    expect_line("\xe2\x82", "cbx-test: \\xe2\\x82\n");
    expect_line("\xff", "cbx-test: \\xff\n");
}

static void
levels_above_the_chosen_one_are_silent(void **state)
{
    (void)state;
    char out[256];
    struct capture capture = capture_begin();
    cbx_log_debug("not this");
    cbx_log_warn("but this");
    capture_end(&capture, out, sizeof out);
    assert_string_equal(out, "cbx-test: but this\n");
}

static void
a_long_line_is_cut_and_says_so(void **state)
{
    (void)state;
    char text[6000];
    char out[8192];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    struct capture capture = capture_begin();
    cbx_log_info("%s", text);
    capture_end(&capture, out, sizeof out);
    assert_true(strlen(out) < 4096);
    assert_string_equal(out + strlen(out) - 5, "x...\n");
}

static void
a_line_of_escapes_stays_inside_its_buffer(void **state)
{
    (void)state;
    char text[3000];
    char out[8192];
    memset(text, 1, sizeof text - 1);
    text[sizeof text - 1] = '\0';
    struct capture capture = capture_begin();
    cbx_log_info("%s", text);
    capture_end(&capture, out, sizeof out);
    assert_true(strlen(out) <= 4096);
    assert_string_equal(out + strlen(out) - 4, "...\n");
}

static void
times_stand_in_front_when_asked(void **state)
{
    (void)state;
    char out[256];
    int year;
    int millisecond;
    char rest[64];
    cbx_log_times(true);
    struct capture capture = capture_begin();
    cbx_log_info("hello");
    capture_end(&capture, out, sizeof out);
    assert_int_equal(sscanf(out, "%d-%*d-%*dT%*d:%*d:%*d.%3dZ %63[^\n]", &year, &millisecond, rest),
                     3);
    assert_true(year >= 2024);
    assert_string_equal(rest, "cbx-test: hello");
}

static void
errno_survives_a_line(void **state)
{
    (void)state;
    int saved = dup(STDERR_FILENO);
    close(STDERR_FILENO);
    errno = ENOSPC;
    cbx_log_info("to nowhere");
    int after = errno;
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    close(saved);
    assert_int_equal(after, ENOSPC);
}

static void
the_clocks_agree_and_advance(void **state)
{
    (void)state;
    int64_t before = cbx_clock_us();
    int64_t seconds = cbx_clock_unix();
    int64_t milliseconds = cbx_clock_unix_ms();
    assert_true(milliseconds / 1000 - seconds >= 0 && milliseconds / 1000 - seconds <= 1);
    assert_true(cbx_clock_us() >= before);
}

static void
levels_have_names(void **state)
{
    (void)state;
    assert_int_equal(cbx_log_level_of("debug", CBX_LOG_INFO), CBX_LOG_DEBUG);
    assert_int_equal(cbx_log_level_of("error", CBX_LOG_INFO), CBX_LOG_ERROR);
    assert_int_equal(cbx_log_level_of("loud", CBX_LOG_INFO), CBX_LOG_INFO);
    assert_int_equal(cbx_log_level_of(NULL, CBX_LOG_WARN), CBX_LOG_WARN);
}

/* A parent that holds our standard error and does not read it. */
static void
a_full_pipe_costs_lines_and_never_waits(void **state)
{
    (void)state;
    enum { LINES = 3000 };
    int ends[2], standard_error = dup(STDERR_FILENO);
    assert_int_equal(pipe(ends), 0);
    assert_true(dup2(ends[1], STDERR_FILENO) >= 0);
    cbx_log_init("test", CBX_LOG_INFO);
    for (int i = 0; i < LINES; i++)
        cbx_log_info("a line of some length to fill a pipe of 64 KiB: %d", i);
    int shared = fcntl(ends[1], F_GETFL);
    static char text[1 << 20];
    ssize_t got = read(ends[0], text, sizeof text - 1); /* all that fitted */
    cbx_log_info("there is room again");
    ssize_t more = read(ends[0], text + got, sizeof text - 1 - (size_t)got);
    assert_true(dup2(standard_error, STDERR_FILENO) >= 0);
    close(standard_error);
    close(ends[0]);
    close(ends[1]);
    assert_int_equal(shared & O_NONBLOCK, 0); /* that flag is others', too */
    assert_true(got > 0 && more > 0);
    text[got + more] = '\0';
    unsigned long long dropped = 0, written = 0;
    for (const char *at = text; at < text + got; at++)
        written += *at == '\n';
    assert_int_equal(sscanf(text + got, "test: %llu log lines were dropped", &dropped), 1);
    assert_int_equal(written + dropped, LINES);
    assert_non_null(strstr(text + got, "there is room again\n"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_pipe_costs_lines_and_never_waits),
        cmocka_unit_test(levels_have_names),
        cmocka_unit_test_setup(a_line_has_the_programs_name, setup),
        cmocka_unit_test_setup(control_bytes_are_escaped, setup),
        cmocka_unit_test_setup(utf8_is_shown_and_what_only_looks_like_it_is_escaped, setup),
        cmocka_unit_test_setup(levels_above_the_chosen_one_are_silent, setup),
        cmocka_unit_test_setup(a_long_line_is_cut_and_says_so, setup),
        cmocka_unit_test_setup(a_line_of_escapes_stays_inside_its_buffer, setup),
        cmocka_unit_test_setup(times_stand_in_front_when_asked, setup),
        cmocka_unit_test_setup(errno_survives_a_line, setup),
        cmocka_unit_test(the_clocks_agree_and_advance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
