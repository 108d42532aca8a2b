/* SPDX-License-Identifier: MIT */
/*
 * One line is one write(2), so that lines of several processes on one standard error do not mix.
 * Logging never waits and never fails its caller: a line that cannot be written now is dropped and
 * counted, and the count is said when there is room again. Who reads our standard error may stop
 * reading it. Its descriptor may be shared with others, so O_NONBLOCK is not set on it: a pipe is
 * opened a second time for that, a socket is asked not to wait, anything else is polled before.
 */
#include "common/base/log.h"

#include "common/base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* NAME_END: the time stamp and the program's name end before this byte. */
enum { TEXT_MAX = 2048, LINE_MAX_BYTES = 4096, NAME_END = 128 };

static const char *log_name = "cbx";
static enum cbx_log_level log_level = CBX_LOG_INFO;
static bool log_times;

void
cbx_log_init(const char *name, enum cbx_log_level level)
{
    log_name = name;
    log_level = level;
}

enum cbx_log_level
cbx_log_level_of(const char *name, enum cbx_log_level otherwise)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    for (unsigned i = 0; name && i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(name, names[i]) == 0)
            return (enum cbx_log_level)i;
    }
    return otherwise;
}

void
cbx_log_times(bool on)
{
    log_times = on;
}

bool
cbx_log_wants_times(void)
{
    return !isatty(STDERR_FILENO) && !getenv("JOURNAL_STREAM");
}

bool
cbx_log_wants(enum cbx_log_level level)
{
    return level <= log_level;
}

/* Bytes of the UTF-8 sequence at text when a terminal shows it as a character, else 0. Overlong
 * forms do not count, nor do the control characters U+0080 to U+009F. */
static size_t
utf8_length(const unsigned char *text)
{
    size_t length;
    if (text[0] >= 0xc2 && text[0] <= 0xdf)
        length = 2;
    else if ((text[0] & 0xf0) == 0xe0)
        length = 3;
    else if (text[0] >= 0xf0 && text[0] <= 0xf4)
        length = 4;
    else
        return 0;
    for (size_t i = 1; i < length; i++) {
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    }
    if (text[0] == 0xc2 && text[1] < 0xa0)
        return 0;
    if ((text[0] == 0xe0 && text[1] < 0xa0) || (text[0] == 0xf0 && text[1] < 0x90))
        return 0;
    return length;
}

/* Appends text with everything escaped that could steer a terminal or forge a line. */
static size_t
append_escaped(char *line, size_t used, size_t size, const char *text)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *at = (const unsigned char *)text;
    while (*at != '\0' && size - used >= 5) {
        bool ascii = *at >= 0x20 && *at < 0x7f;
        size_t plain = ascii ? 1 : utf8_length(at);
        if (plain > 0) {
            memcpy(line + used, at, plain);
            used += plain;
            at += plain;
            continue;
        }
        line[used++] = '\\';
        line[used++] = 'x';
        line[used++] = digits[*at >> 4];
        line[used++] = digits[*at & 15];
        at++;
    }
    return used;
}

static size_t
append_time(char *line, size_t size)
{
    int64_t milliseconds = cbx_clock_unix_ms();
    time_t seconds = (time_t)(milliseconds / 1000);
    struct tm utc;
    if (!gmtime_r(&seconds, &utc))
        return 0;
    size_t used = strftime(line, size, "%Y-%m-%dT%H:%M:%S", &utc);
    int more = snprintf(line + used, size - used, ".%03dZ ", (int)(milliseconds % 1000));
    return more > 0 && (size_t)more < size - used ? used + (size_t)more : used;
}

/* The pipe that is standard error, opened by us and so with a flag of our own; -1 where that cannot
 * be done (no /proc, or the pipe is another account's). */
static int
own_pipe(const struct stat *status)
{
    static struct stat opened;
    static int fd = -1;
    if (fd >= 0 && (opened.st_dev != status->st_dev || opened.st_ino != status->st_ino)) {
        (void)close(fd);
        fd = -1;
    }
    if (fd < 0) {
        fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_CLOEXEC);
        opened = *status;
    }
    return fd;
}

static bool
write_line(const char *line, size_t length)
{
    struct stat status;
    int fd = STDERR_FILENO;
    if (fstat(fd, &status) != 0)
        return false;
    if (S_ISSOCK(status.st_mode))
        return send(fd, line, length, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)length;
    int own = S_ISFIFO(status.st_mode) ? own_pipe(&status) : -1;
    struct pollfd room = {.fd = fd, .events = POLLOUT};
    if (own < 0 && !S_ISREG(status.st_mode) && poll(&room, 1, 0) != 1)
        return false;
    return write(own >= 0 ? own : fd, line, length) == (ssize_t)length;
}

/* Ends the line, and tells before it how many were dropped. */
static void
put_line(char *line, size_t used, size_t begin)
{
    static uint64_t dropped;
    char notice[NAME_END + 80];
    line[used++] = '\n';
    if (dropped > 0) {
        memcpy(notice, line, begin);
        int more = snprintf(notice + begin, sizeof notice - begin,
                            "%llu log lines were dropped: nothing took them\n",
                            (unsigned long long)dropped);
        if (more > 0 && write_line(notice, begin + (size_t)more))
            dropped = 0;
    }
    dropped += dropped > 0 || !write_line(line, used);
}

void
cbx_log(enum cbx_log_level level, const char *format, ...)
{
    if (!cbx_log_wants(level))
        return;
    int saved_errno = errno;
    char text[TEXT_MAX];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (length >= 0) {
        char line[LINE_MAX_BYTES];
        size_t used = log_times ? append_time(line, sizeof line) : 0;
        used = append_escaped(line, used, NAME_END, log_name);
        line[used++] = ':';
        line[used++] = ' ';
        size_t begin = used;
        used = append_escaped(line, used, sizeof line - 4, text);
        if ((size_t)length >= sizeof text) {
            memcpy(line + used, "...", 3);
            used += 3;
        }
        put_line(line, used, begin);
    }
    errno = saved_errno;
}
