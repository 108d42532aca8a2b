/* SPDX-License-Identifier: MIT */
/*
 * What both ends of a benchmark's traffic do with bytes: whole reads and writes, and bulk in
 * blocks.
 *
 * A block's first eight bytes hold its number and, in the lowest bit, whether it is the last. So
 * the receiver proves that nothing was lost, doubled or moved, and the end needs no half-close,
 * which some tunnels break.
 */
#ifndef CBX_BENCH_BLOCKS_H
#define CBX_BENCH_BLOCKS_H

#include <errno.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 64 * 1024, CHUNK = 4 * BLOCK, HEADER = 8 };
enum { SUM = 32, CHECK_MAX = 64 * 1024 * 1024 };

static inline _Noreturn void __attribute__((format(printf, 1, 2))) die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

static inline uint64_t
now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static inline void *
allocate(size_t size)
{
    void *memory = calloc(1, size);
    if (!memory)
        die("out of memory");
    return memory;
}

/* ---- bytes in and out: 0, or -1 with errno, 0 in errno at the end of input ---- */

static inline int
read_all(int fd, void *buffer, size_t length)
{
    uint8_t *at = buffer;
    while (length) {
        ssize_t got = read(fd, at, length);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            errno = got < 0 ? errno : 0;
            return -1;
        }
        at += got;
        length -= (size_t)got;
    }
    return 0;
}

static inline int
write_all(int fd, const void *buffer, size_t length)
{
    const uint8_t *at = buffer;
    while (length) {
        ssize_t put = write(fd, at, length);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return -1;
        at += put;
        length -= (size_t)put;
    }
    return 0;
}

static inline const char *
why(void)
{
    return errno ? strerror(errno) : "the connection ended early";
}

/* BLAKE2b. */
static inline void
checksum(uint8_t sum[SUM], const uint8_t *bytes, size_t length)
{
    crypto_generichash(sum, SUM, bytes, length, NULL, 0);
}

/* ---- bulk ---- */

/* Bytes without a pattern, so that a path that compresses gains nothing. */
static inline void
fill(uint8_t *bytes, size_t length)
{
    uint64_t state = 88172645463325252U;
    for (size_t i = 0; i + sizeof state <= length; i += sizeof state) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        memcpy(bytes + i, &state, sizeof state);
    }
}

/* What one write of a bulk stream takes: of many streams less, so that each has its turn. */
static inline uint32_t
chunk_of(uint32_t streams)
{
    return streams > 16 ? BLOCK : CHUNK;
}

/* Sends blocks for so long, whole chunks of them. The bytes sent, or -1. */
static inline int64_t
send_blocks(int fd, uint32_t milliseconds, size_t length)
{
    uint8_t *chunk = allocate(CHUNK);
    fill(chunk, CHUNK);
    uint64_t stop = now_ns() + (uint64_t)milliseconds * 1000000U;
    uint64_t number = 0;
    int result = 0;
    for (bool last = false; !last && result == 0;) {
        last = now_ns() >= stop;
        for (size_t at = 0; at < length; at += BLOCK, number++) {
            uint64_t header = number << 1 | (last && at + BLOCK == length);
            memcpy(chunk + at, &header, sizeof header);
        }
        result = write_all(fd, chunk, length);
    }
    free(chunk);
    return result < 0 ? -1 : (int64_t)(number * BLOCK);
}

/* Counts what arrives between two moments. */
struct window {
    uint64_t from, until; /* ns */
    uint64_t bytes;
};

struct blocks {
    uint64_t offset; /* bytes received */
    uint8_t header[HEADER];
    bool last; /* the block now coming in is the last */
};

/* Checks the headers among these bytes, which may be cut anywhere. False: not what was sent. */
static inline bool
take_blocks(struct blocks *blocks, const uint8_t *bytes, size_t length)
{
    while (length) {
        size_t in_block = blocks->offset % BLOCK;
        if (in_block == 0 && blocks->last)
            return false;
        size_t part = in_block < HEADER ? HEADER - in_block : BLOCK - in_block;
        if (part > length)
            part = length;
        if (in_block < HEADER)
            memcpy(blocks->header + in_block, bytes, part);
        if (in_block < HEADER && in_block + part == HEADER) {
            uint64_t header;
            memcpy(&header, blocks->header, sizeof header);
            if (header >> 1 != blocks->offset / BLOCK)
                return false;
            blocks->last = header & 1;
        }
        blocks->offset += part;
        bytes += part;
        length -= part;
    }
    return true;
}

/* Receives until the last block is whole. The bytes received, or -1. */
static inline int64_t
receive_blocks(int fd, struct window *window)
{
    uint8_t *buffer = allocate(CHUNK);
    struct blocks blocks = {0};
    while (!blocks.last || blocks.offset % BLOCK) {
        ssize_t got = read(fd, buffer, CHUNK);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            errno = got < 0 ? errno : 0;
            break;
        }
        uint64_t now = window ? now_ns() : 0;
        if (window && now >= window->from && now < window->until)
            window->bytes += (uint64_t)got;
        if (!take_blocks(&blocks, buffer, (size_t)got))
            die("bytes were lost, doubled or changed near offset %llu",
                (unsigned long long)blocks.offset);
    }
    free(buffer);
    return blocks.last && blocks.offset % BLOCK == 0 ? (int64_t)blocks.offset : -1;
}

#endif
