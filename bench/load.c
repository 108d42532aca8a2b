/* SPDX-License-Identifier: MIT */
/*
 * load: the traffic of the benchmarks, both ends of it, and nothing of cbx.
 *
 *     load serve [ADDR:]PORT                   prints "listening PORT"
 *     load up|down|ping|dial --to HOST:PORT    prints one JSON object
 *
 * A client reaches the server by plain TCP, through a SOCKS5 proxy that resolves HOST, or over the
 * standard input and output of a command. Its connection begins with a struct request, and the
 * server answers with one byte; only then the clock of a bulk run starts, so that it measures an
 * open stream whatever the path does at connect. A dial is timed from before connect to that byte.
 *
 * An upload is over when the server's count of its bytes has come back, a download when the last
 * block is here: what still sits in buffers is never counted as moved.
 *
 * One thread per connection, blocking calls, and the same code on every path.
 */
#include "blocks.h"
#include <arpa/inet.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>

enum {
    STREAMS_MAX = 1024,
    PING_MAX = 1024 * 1024,
    WARM_PINGS = 100,
    WARM_DIALS = 2,
    STUCK_SECONDS = 20
};

enum kind { KIND_UP, KIND_DOWN, KIND_PING };

/* Both ends are this program on one kind of machine: the bytes go as they lie. */
struct request {
    char magic[4];
    uint32_t kind, size, milliseconds;
};

struct options {
    const char *verb, *host, *command;
    uint16_t port;
    struct sockaddr_in first; /* where TCP connects: the proxy, or the server */
    bool socks;
    uint32_t streams, size, milliseconds, count;
};

struct connection {
    int fd;
    pid_t child; /* of --command, else 0 */
};

/* ---- the server ---- */

static void
echo(int fd, uint32_t size)
{
    uint8_t *message = allocate(size);
    while (read_all(fd, message, size) == 0 && write_all(fd, message, size) == 0)
        continue;
    free(message);
}

static void
serve_up(int fd)
{
    int64_t count = receive_blocks(fd);
    char end;
    if (count >= 0 && write_all(fd, &count, sizeof count) == 0)
        (void)read_all(fd, &end, 1); /* the client closes first: no answer is cut off */
}

static void
serve_down(int fd, uint32_t milliseconds)
{
    char go;
    if (read_all(fd, &go, 1) == 0 && send_blocks(fd, milliseconds) >= 0)
        (void)read_all(fd, &go, 1);
}

static void *
serve_one(void *argument)
{
    int fd = (int)(intptr_t)argument;
    struct request request;
    if (read_all(fd, &request, sizeof request) == 0 && memcmp(request.magic, "load", 4) == 0 &&
        request.size <= PING_MAX && write_all(fd, "", 1) == 0) {
        if (request.kind == KIND_UP)
            serve_up(fd);
        else if (request.kind == KIND_DOWN)
            serve_down(fd, request.milliseconds);
        else
            echo(fd, request.size);
    }
    close(fd);
    return NULL;
}

static void
no_delay(int fd)
{
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* not on a unix socket */
}

static int
serve(const struct sockaddr_in *address)
{
    int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in bound = *address;
    socklen_t length = sizeof bound;
    if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        bind(listener, (const struct sockaddr *)&bound, sizeof bound) < 0 ||
        listen(listener, 1024) < 0 || getsockname(listener, (struct sockaddr *)&bound, &length) < 0)
        die("cannot listen: %s", strerror(errno));
    printf("listening %u\n", ntohs(bound.sin_port));
    fflush(stdout);
    pthread_attr_t detached;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        pthread_t thread;
        if (fd < 0)
            continue;
        no_delay(fd);
        if (pthread_create(&thread, &detached, serve_one, (void *)(intptr_t)fd) != 0)
            close(fd);
    }
}

/* ---- reaching the server ---- */

/* RFC 1928, step by step as most clients do it. */
static void
socks_connect(int fd, const struct options *options)
{
    size_t length = strlen(options->host);
    uint8_t message[5 + 255 + 2] = {5, 1, 0, 3, (uint8_t)length};
    uint8_t answer[4 + 1 + 255 + 2];
    if (write_all(fd, "\5\1\0", 3) < 0 || read_all(fd, answer, 2) < 0 || answer[1] != 0)
        die("the proxy refused its greeting: %s", why());
    memcpy(message + 5, options->host, length);
    message[5 + length] = (uint8_t)(options->port >> 8);
    message[6 + length] = (uint8_t)options->port;
    if (write_all(fd, message, 7 + length) < 0 || read_all(fd, answer, 5) < 0)
        die("the proxy ended: %s", why());
    if (answer[1] != 0)
        die("the proxy refused %s:%u with reply %u", options->host, options->port, answer[1]);
    size_t address = answer[3] == 1 ? 4 : answer[3] == 4 ? 16 : 1U + answer[4];
    if (read_all(fd, answer + 5, address + 2 - 1) < 0)
        die("the proxy ended: %s", why());
}

static int
connect_tcp(const struct options *options)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&options->first, sizeof options->first) < 0)
        die("cannot connect: %s", strerror(errno));
    no_delay(fd);
    if (options->socks)
        socks_connect(fd, options);
    return fd;
}

/* As ssh runs a ProxyCommand: one socket is the command's standard input and output. */
static int
connect_command(const struct options *options, pid_t *child)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        die("socketpair: %s", strerror(errno));
    *child = fork();
    if (*child < 0)
        die("fork: %s", strerror(errno));
    if (*child == 0) {
        dup2(pair[1], STDIN_FILENO);
        dup2(pair[1], STDOUT_FILENO);
        execl("/bin/sh", "sh", "-c", options->command, (char *)NULL);
        _exit(127);
    }
    close(pair[1]);
    return pair[0];
}

static struct connection
open_connection(const struct options *options, enum kind kind)
{
    struct connection connection = {0};
    struct request request = {.magic = "load",
                              .kind = kind,
                              .size = options->size,
                              .milliseconds = options->milliseconds};
    struct timeval stuck = {.tv_sec = STUCK_SECONDS + options->milliseconds / 1000};
    connection.fd =
        options->command ? connect_command(options, &connection.child) : connect_tcp(options);
    setsockopt(connection.fd, SOL_SOCKET, SO_RCVTIMEO, &stuck, sizeof stuck);
    setsockopt(connection.fd, SOL_SOCKET, SO_SNDTIMEO, &stuck, sizeof stuck);
    char answer;
    if (write_all(connection.fd, &request, sizeof request) < 0 ||
        read_all(connection.fd, &answer, 1) < 0)
        die("no answer from the server: %s", why());
    return connection;
}

static void
close_connection(struct connection *connection)
{
    close(connection->fd);
    if (connection->child)
        waitpid(connection->child, NULL, 0);
}

/* ---- the clients ---- */

static double
cpu_of(int who)
{
    struct rusage usage;
    getrusage(who, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void
print_cpu(void)
{
    printf(", \"cpu\": %.6f, \"children_cpu\": %.6f}\n", cpu_of(RUSAGE_SELF),
           cpu_of(RUSAGE_CHILDREN));
}

struct stream {
    const struct options *options;
    struct connection connection;
    pthread_t thread;
    int64_t bytes;
    uint64_t ended;
};

static void *
run_stream(void *argument)
{
    struct stream *stream = argument;
    int fd = stream->connection.fd;
    if (strcmp(stream->options->verb, "up") == 0) {
        int64_t counted;
        stream->bytes = send_blocks(fd, stream->options->milliseconds);
        if (stream->bytes < 0 || read_all(fd, &counted, sizeof counted) < 0)
            die("upload: %s", why());
        if (counted != stream->bytes)
            die("upload: %lld bytes sent, %lld arrived", (long long)stream->bytes,
                (long long)counted);
    } else if (write_all(fd, "", 1) < 0 || (stream->bytes = receive_blocks(fd)) < 0) {
        die("download: %s", why());
    }
    stream->ended = now_ns();
    return NULL;
}

static void
bulk(const struct options *options)
{
    struct stream *streams = allocate(options->streams * sizeof *streams);
    enum kind kind = strcmp(options->verb, "up") == 0 ? KIND_UP : KIND_DOWN;
    for (uint32_t i = 0; i < options->streams; i++) {
        streams[i].options = options;
        streams[i].connection = open_connection(options, kind);
    }
    uint64_t start = now_ns(), end = start;
    for (uint32_t i = 0; i < options->streams; i++) {
        if (pthread_create(&streams[i].thread, NULL, run_stream, &streams[i]) != 0)
            die("cannot start a thread");
    }
    int64_t bytes = 0, least = INT64_MAX, most = 0;
    for (uint32_t i = 0; i < options->streams; i++) {
        pthread_join(streams[i].thread, NULL);
        bytes += streams[i].bytes;
        least = streams[i].bytes < least ? streams[i].bytes : least;
        most = streams[i].bytes > most ? streams[i].bytes : most;
        end = streams[i].ended > end ? streams[i].ended : end;
        close_connection(&streams[i].connection);
    }
    free(streams);
    printf("{\"bytes\": %lld, \"seconds\": %.6f, \"least\": %lld, \"most\": %lld", (long long)bytes,
           (double)(end - start) / 1e9, (long long)least, (long long)most);
    print_cpu();
}

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
    printf("{\"count\": %u, \"p50_us\": %.2f, \"p90_us\": %.2f", count,
           percentile(times, count, 0.5), percentile(times, count, 0.9));
    /* A tail of less than one sample is nobody's. */
    if (count >= 100)
        printf(", \"p99_us\": %.2f", percentile(times, count, 0.99));
    if (count >= 1000)
        printf(", \"p999_us\": %.2f", percentile(times, count, 0.999));
    printf(", \"max_us\": %.2f", (double)times[count - 1] / 1e3);
    print_cpu();
}

static void
ping(const struct options *options)
{
    struct connection connection = open_connection(options, KIND_PING);
    uint8_t *message = allocate(options->size);
    uint64_t *times = allocate(options->count * sizeof *times);
    uint64_t stop = 0;
    uint32_t count = 0;
    fill(message, options->size);
    for (uint32_t i = 0; count < options->count; i++) {
        uint64_t sent = now_ns();
        if (i == WARM_PINGS)
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
    print_times(times, count);
    free(message);
    free(times);
}

static void
dial(const struct options *options)
{
    uint64_t *times = allocate(options->count * sizeof *times);
    for (uint32_t i = 0; i < options->count + WARM_DIALS; i++) {
        uint64_t start = now_ns();
        struct connection connection = open_connection(options, KIND_PING);
        if (i >= WARM_DIALS)
            times[i - WARM_DIALS] = now_ns() - start;
        close_connection(&connection);
    }
    print_times(times, options->count);
    free(times);
}

/* ---- the command line ---- */

static uint32_t
number(const char *text, uint32_t least, uint32_t most)
{
    char *end;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (errno || *end || end == text || value < least || value > most)
        die("%s: not a number from %u to %u", text, least, most);
    return (uint32_t)value;
}

/* HOST:PORT in two; HOST stays where it is. */
static uint16_t
split(char *text)
{
    char *colon = strrchr(text, ':');
    if (!colon || colon - text > 255)
        die("%s: not HOST:PORT", text);
    *colon = '\0';
    return (uint16_t)number(colon + 1, 0, 65535);
}

static struct sockaddr_in
address(const char *host, uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1)
        die("%s: not an IPv4 address", host);
    return address;
}

static void
parse(struct options *options, int argc, char **argv)
{
    static const struct option known[] = {
        {"to", 1, NULL, 't'},      {"socks", 1, NULL, 's'}, {"command", 1, NULL, 'c'},
        {"streams", 1, NULL, 'n'}, {"size", 1, NULL, 'z'},  {"ms", 1, NULL, 'm'},
        {"count", 1, NULL, 'k'},   {NULL, 0, NULL, 0},
    };
    for (int letter; (letter = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        if (letter == 't') {
            options->host = optarg;
            options->port = split(optarg);
        } else if (letter == 's') {
            uint16_t port = split(optarg);
            options->first = address(optarg, port);
            options->socks = true;
        } else if (letter == 'c') {
            options->command = optarg;
        } else if (letter == 'n') {
            options->streams = number(optarg, 1, STREAMS_MAX);
        } else if (letter == 'z') {
            options->size = number(optarg, 1, PING_MAX);
        } else if (letter == 'm') {
            options->milliseconds = number(optarg, 1, 3600000);
        } else if (letter == 'k') {
            options->count = number(optarg, 1, 10000000);
        } else {
            exit(2);
        }
    }
    if (!options->command && !options->host)
        die("--to HOST:PORT is missing");
    if (!options->command && !options->socks)
        options->first = address(options->host, options->port);
}

int
main(int argc, char **argv)
{
    struct options options = {.streams = 1, .size = 64, .milliseconds = 1000, .count = 1000000};
    if (argc < 3)
        die("usage: load serve ADDR:PORT | load up|down|ping|dial --to HOST:PORT [--socks "
            "ADDR:PORT |"
            " --command CMD] [--streams N] [--size BYTES] [--ms N] [--count N]");
    signal(SIGPIPE, SIG_IGN);
    options.verb = argv[1];
    if (strcmp(options.verb, "serve") == 0) {
        uint16_t port = split(argv[2]);
        struct sockaddr_in where = address(argv[2], port);
        return serve(&where);
    }
    parse(&options, argc - 1, argv + 1);
    if (strcmp(options.verb, "up") == 0 || strcmp(options.verb, "down") == 0)
        bulk(&options);
    else if (strcmp(options.verb, "ping") == 0)
        ping(&options);
    else if (strcmp(options.verb, "dial") == 0)
        dial(&options);
    else
        die("%s: neither serve, up, down, ping nor dial", options.verb);
    return 0;
}
