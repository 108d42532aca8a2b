/* SPDX-License-Identifier: MIT */
/* What the files of load share: main.c says what it is. */
#ifndef CBX_BENCH_LOAD_H
#define CBX_BENCH_LOAD_H

#include "blocks.h"
#include <netinet/in.h>
#include <pthread.h>
#include <sys/types.h>

enum { STREAMS_MAX = 1024, PING_MAX = 1024 * 1024 };

enum kind { KIND_UP, KIND_DOWN, KIND_PING, KIND_HOLD, KIND_CHECK };

/* Both ends are this program on one kind of machine: the bytes go as they lie. */
struct request {
    char magic[4];
    uint32_t kind, size, milliseconds, chunk;
};

struct options {
    const char *verb, *host, *command;
    uint16_t port;
    struct sockaddr_in first; /* where TCP connects: the proxy, or the server */
    bool socks;
    uint32_t streams, size, milliseconds, count, gap;
    uint32_t beside_up, beside_down, lead; /* bulk streams beside a ping, begun so long before */
};

struct connection {
    int fd;
    pid_t child; /* of --command, else 0 */
};

/* One bulk stream of a client, in a thread of its own. */
struct stream {
    const struct options *options;
    enum kind kind;
    struct connection connection;
    pthread_t thread;
    struct window window;
    int64_t bytes;
    uint64_t began, ended;
};

/* serve.c: never returns. */
int serve(const struct sockaddr_in *address);
void no_delay(int fd);

/* reach.c: a stream to the server; it has answered. fd is -1 when that failed, why is said in
 * reach_error; open_connection ends the program then. */
struct connection try_connection(const struct options *options, enum kind kind);
struct connection open_connection(const struct options *options, enum kind kind);
void close_connection(struct connection *connection);
extern _Thread_local char reach_error[200];

/* bulk.c */
void bulk(const struct options *options); /* up, down, both */
void check(const struct options *options);
struct stream *bulk_open(const struct options *options, uint32_t up, uint32_t down);
void bulk_start(struct stream *streams, uint32_t count, uint32_t milliseconds);
/* Waits for all; prints "bytes", "seconds" and so on, without braces. */
void bulk_finish(struct stream *streams, uint32_t count);
void bulk_close(struct stream *streams, uint32_t count);

/* times.c */
void ping(const struct options *options);
void keys(const struct options *options);
void dial(const struct options *options);
void dials(const struct options *options);
void hold(const struct options *options);

/* main.c: ends the object that a client prints. */
void print_cpu(void);

#endif
