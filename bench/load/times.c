/* SPDX-License-Identifier: MIT */
/* The client's clocks: round trips, keystrokes, dials; and streams that stand. */
#include "load.h"
#include <signal.h>
#include <stdatomic.h>

enum { WARM_PINGS = 100, WARM_DIALS = 2, HOLD_THREADS = 8, HOLD_TRIES = 400, AFTER_MS = 300 };

static int
compare(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

/* The nearest-rank percentile of sorted nanoseconds, in microseconds. */
static double
percentile(const uint64_t *sorted, uint32_t count, double part)
{
    uint32_t rank = (uint32_t)(part * count);
    return (double)sorted[rank < count ? rank : count - 1] / 1e3;
}

static void
print_times(uint64_t *times, uint32_t count)
{
    if (count == 0)
        die("not one sample in the time given");
    qsort(times, count, sizeof *times, compare);
    printf("\"count\": %u, \"p50_us\": %.2f, \"p90_us\": %.2f", count,
           percentile(times, count, 0.5), percentile(times, count, 0.9));
    /* A tail of less than one sample is nobody's. */
    if (count >= 100)
        printf(", \"p99_us\": %.2f", percentile(times, count, 0.99));
    if (count >= 1000)
        printf(", \"p999_us\": %.2f", percentile(times, count, 0.999));
    printf(", \"max_us\": %.2f", (double)times[count - 1] / 1e3);
}

static void
wait_ms(uint32_t milliseconds)
{
    struct timespec time = {.tv_sec = milliseconds / 1000,
                            .tv_nsec = (long)(milliseconds % 1000) * 1000000};
    while (nanosleep(&time, &time) < 0 && errno == EINTR)
        continue;
}

/* Bulk streams beside what is timed; they go on a little longer than it. */
struct beside {
    struct options options;
    struct stream *streams;
    uint32_t count;
};

static void
beside_start(struct beside *beside, const struct options *options)
{
    *beside =
        (struct beside){.options = *options, .count = options->beside_up + options->beside_down};
    if (beside->count == 0)
        return;
    beside->options.streams = beside->count;
    beside->options.milliseconds += options->lead + AFTER_MS;
    beside->streams = bulk_open(&beside->options, options->beside_up, options->beside_down);
    bulk_start(beside->streams, beside->count, beside->options.milliseconds);
    wait_ms(options->lead);
}

static void
finish(struct beside *beside, uint64_t *times, uint32_t count)
{
    putchar('{');
    print_times(times, count);
    if (beside->count) {
        fputs(", \"beside\": {", stdout);
        bulk_finish(beside->streams, beside->count);
        bulk_close(beside->streams, beside->count);
        putchar('}');
    }
    print_cpu();
    free(times);
}

void
ping(const struct options *options)
{
    struct connection connection = open_connection(options, KIND_PING);
    uint8_t *message = allocate(options->size);
    uint64_t *times = allocate(options->count * sizeof *times);
    uint64_t stop = 0, warm_until;
    uint32_t count = 0;
    struct beside beside;
    fill(message, options->size);
    beside_start(&beside, options);
    warm_until = now_ns() + (uint64_t)options->milliseconds * 1000000U / 8;
    for (uint32_t i = 0; count < options->count; i++) {
        uint64_t sent = now_ns();
        if (!stop && (i == WARM_PINGS || sent > warm_until || beside.count))
            stop = sent + (uint64_t)options->milliseconds * 1000000U;
        if (stop && sent >= stop)
            break;
        if (write_all(connection.fd, message, options->size) < 0 ||
            read_all(connection.fd, message, options->size) < 0)
            die("ping: %s", why());
        if (stop)
            times[count++] = now_ns() - sent;
    }
    close_connection(&connection);
    free(message);
    finish(&beside, times, count);
}

/* ---- keystrokes: sent by the clock, whatever has come back ---- */

struct typing {
    const struct options *options;
    struct connection connection;
    uint64_t start, *times;
    uint32_t count;
};

static void *
read_echoes(void *argument)
{
    struct typing *typing = argument;
    uint8_t *message = allocate(typing->options->size);
    for (uint32_t i = 0; i < typing->count; i++) {
        if (read_all(typing->connection.fd, message, typing->options->size) < 0)
            die("keys: %s", why());
        /* From when it was due, so that a sender held up is not a faster one. */
        typing->times[i] =
            now_ns() - (typing->start + (uint64_t)i * typing->options->gap * 1000000U);
    }
    free(message);
    return NULL;
}

void
keys(const struct options *options)
{
    struct typing typing = {.options = options, .count = options->milliseconds / options->gap};
    struct beside beside;
    pthread_t reader;
    uint8_t *message = allocate(options->size);
    typing.connection = open_connection(options, KIND_PING);
    typing.times = allocate((typing.count + 1) * sizeof *typing.times);
    beside_start(&beside, options);
    typing.start = now_ns();
    if (pthread_create(&reader, NULL, read_echoes, &typing) != 0)
        die("cannot start a thread");
    for (uint32_t i = 0; i < typing.count; i++) {
        uint64_t due = typing.start + (uint64_t)i * options->gap * 1000000U;
        struct timespec at = {.tv_sec = (time_t)(due / 1000000000U),
                              .tv_nsec = (long)(due % 1000000000U)};
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR)
            continue;
        if (write_all(typing.connection.fd, message, options->size) < 0)
            die("keys: %s", why());
    }
    pthread_join(reader, NULL);
    close_connection(&typing.connection);
    free(message);
    finish(&beside, typing.times, typing.count);
}

/* ---- dials ---- */

void
dial(const struct options *options)
{
    uint64_t *times = allocate(options->count * sizeof *times);
    uint64_t stop = now_ns() + (uint64_t)options->milliseconds * 1000000U;
    uint32_t count = 0;
    for (uint32_t i = 0; count < options->count && (now_ns() < stop || count == 0); i++) {
        uint64_t start = now_ns();
        struct connection connection = open_connection(options, KIND_PING);
        if (i >= WARM_DIALS)
            times[count++] = now_ns() - start;
        close_connection(&connection);
    }
    finish(&(struct beside){0}, times, count);
}

/* Several dialers at once, each one dial after the other. */
struct dialing {
    const struct options *options;
    uint64_t stop;
    atomic_uint taken, done, refused;
};

static void *
dial_on(void *argument)
{
    struct dialing *dialing = argument;
    while (now_ns() < dialing->stop &&
           atomic_fetch_add(&dialing->taken, 1) < dialing->options->count) {
        struct connection connection = try_connection(dialing->options, KIND_PING);
        if (connection.fd < 0) {
            atomic_fetch_add(&dialing->refused, 1);
            continue;
        }
        atomic_fetch_add(&dialing->done, 1);
        close_connection(&connection);
    }
    return NULL;
}

void
dials(const struct options *options)
{
    uint64_t start = now_ns();
    struct dialing dialing = {.options = options,
                              .stop = start + (uint64_t)options->milliseconds * 1000000U};
    pthread_t *thread = allocate(options->streams * sizeof *thread);
    for (uint32_t i = 0; i < options->streams; i++) {
        if (pthread_create(&thread[i], NULL, dial_on, &dialing) != 0)
            die("cannot start a thread");
    }
    for (uint32_t i = 0; i < options->streams; i++)
        pthread_join(thread[i], NULL);
    free(thread);
    if (dialing.done == 0)
        die("not one dial succeeded");
    printf("{\"count\": %u, \"refused\": %u, \"seconds\": %.6f", dialing.done, dialing.refused,
           (double)(now_ns() - start) / 1e9);
    print_cpu();
}

/* ---- streams that stand ---- */

static void *
open_and_leave(void *argument)
{
    struct dialing *dialing = argument;
    uint32_t tries = 0;
    while (atomic_fetch_add(&dialing->taken, 1) < dialing->options->count) {
        struct connection connection = try_connection(dialing->options, KIND_HOLD);
        for (; connection.fd < 0; tries++) {
            if (tries == HOLD_TRIES)
                die("hold: %u streams stand, then: %s", dialing->done, reach_error);
            wait_ms(20); /* a path may limit the dials of a second */
            connection = try_connection(dialing->options, KIND_HOLD);
        }
        atomic_fetch_add(&dialing->done, 1);
    }
    return NULL;
}

void
hold(const struct options *options)
{
    struct dialing dialing = {.options = options};
    pthread_t thread[HOLD_THREADS];
    for (int i = 0; i < HOLD_THREADS; i++) {
        if (pthread_create(&thread[i], NULL, open_and_leave, &dialing) != 0)
            die("cannot start a thread");
    }
    for (int i = 0; i < HOLD_THREADS; i++)
        pthread_join(thread[i], NULL);
    printf("held %u\n", dialing.done);
    fflush(stdout);
    for (;;)
        pause();
}
