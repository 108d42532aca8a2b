/* SPDX-License-Identifier: MIT */
/* The client's bulk: streams that move as much as they can for a while, and the check of a path. */
#include "load.h"

static void *
run_stream(void *argument)
{
    struct stream *stream = argument;
    const struct options *options = stream->options;
    int fd = stream->connection.fd;
    if (stream->kind == KIND_UP) {
        int64_t counted;
        stream->bytes = send_blocks(fd, options->milliseconds, chunk_of(options->streams));
        if (stream->bytes < 0 || read_all(fd, &counted, sizeof counted) < 0)
            die("upload: %s", why());
        if (counted != stream->bytes)
            die("upload: %lld bytes sent, %lld arrived", (long long)stream->bytes,
                (long long)counted);
    } else if (write_all(fd, "", 1) < 0 ||
               (stream->bytes = receive_blocks(fd, &stream->window)) < 0) {
        die("download: %s", why());
    }
    stream->ended = now_ns();
    return NULL;
}

struct stream *
bulk_open(const struct options *options, uint32_t up, uint32_t down)
{
    struct stream *streams = allocate((up + down) * sizeof *streams);
    for (uint32_t i = 0; i < up + down; i++) {
        streams[i].options = options;
        streams[i].kind = i < up ? KIND_UP : KIND_DOWN;
        streams[i].connection = open_connection(options, streams[i].kind);
    }
    return streams;
}

void
bulk_start(struct stream *streams, uint32_t count, uint32_t milliseconds)
{
    uint64_t start = now_ns(), length = (uint64_t)milliseconds * 1000000U;
    for (uint32_t i = 0; i < count; i++) {
        /* The first quarter belongs to those that began first. */
        streams[i].window = (struct window){.from = start + length / 4, .until = start + length};
        streams[i].began = start;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (pthread_create(&streams[i].thread, NULL, run_stream, &streams[i]) != 0)
            die("cannot start a thread");
    }
}

/* Jain's index of what each stream brought within its window: 1 when all had the same. */
static void
print_fairness(const struct stream *streams, uint32_t count)
{
    double sum = 0, squares = 0;
    for (uint32_t i = 0; i < count; i++) {
        double bytes = (double)streams[i].window.bytes;
        sum += bytes;
        squares += bytes * bytes;
    }
    if (squares > 0)
        printf(", \"jain\": %.4f", sum * sum / (count * squares));
}

void
bulk_finish(struct stream *streams, uint32_t count)
{
    uint64_t end = 0;
    int64_t up = 0, down = 0, least = INT64_MAX, most = 0;
    bool all_down = true;
    for (uint32_t i = 0; i < count; i++) {
        struct stream *stream = &streams[i];
        pthread_join(stream->thread, NULL);
        *(stream->kind == KIND_UP ? &up : &down) += stream->bytes;
        all_down = all_down && stream->kind == KIND_DOWN;
        least = stream->bytes < least ? stream->bytes : least;
        most = stream->bytes > most ? stream->bytes : most;
        end = stream->ended > end ? stream->ended : end;
        if (stream->connection.child)
            close_connection(&stream->connection); /* its CPU counts once it is waited for */
    }
    printf("\"bytes\": %lld, \"bytes_up\": %lld, \"bytes_down\": %lld, \"seconds\": %.6f, "
           "\"least\": %lld, \"most\": %lld",
           (long long)up + (long long)down, (long long)up, (long long)down,
           (double)(end - streams[0].began) / 1e9, (long long)least, (long long)most);
    if (all_down)
        print_fairness(streams, count);
}

void
bulk_close(struct stream *streams, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (!streams[i].connection.child)
            close_connection(&streams[i].connection);
    }
    free(streams);
}

/* Until our standard input ends: some paths have a process per connection, whose CPU nobody can
 * read any more once it is over. */
static void
linger(void)
{
    char byte;
    fflush(stdout);
    while (read(STDIN_FILENO, &byte, 1) > 0)
        continue;
}

void
bulk(const struct options *options)
{
    uint32_t up = strcmp(options->verb, "down") == 0 ? 0 : options->streams;
    uint32_t down = strcmp(options->verb, "up") == 0 ? 0 : options->streams;
    struct stream *streams = bulk_open(options, up, down);
    bulk_start(streams, up + down, options->milliseconds);
    putchar('{');
    bulk_finish(streams, up + down);
    print_cpu();
    linger();
    bulk_close(streams, up + down);
}

/* One payload there and back; its checksum here, there, and here again. */
void
check(const struct options *options)
{
    size_t size = options->size;
    uint8_t *payload = allocate(size), here[SUM], there[SUM], again[SUM];
    fill(payload, size);
    checksum(here, payload, size);
    struct connection connection = open_connection(options, KIND_CHECK);
    if (write_all(connection.fd, payload, size) < 0 || read_all(connection.fd, there, SUM) < 0)
        die("check: %s", why());
    memset(payload, 0, size);
    if (read_all(connection.fd, payload, size) < 0)
        die("check: %s", why());
    checksum(again, payload, size);
    close_connection(&connection);
    free(payload);
    if (memcmp(here, there, SUM) != 0 || memcmp(here, again, SUM) != 0)
        die("check: the payload was changed on its way %s",
            memcmp(here, there, SUM) != 0 ? "there" : "back");
    char text[2 * SUM + 1];
    sodium_bin2hex(text, sizeof text, here, SUM);
    printf("{\"size\": %zu, \"blake2b\": \"%s\"", size, text);
    print_cpu();
}
