/* SPDX-License-Identifier: MIT */
/*
 * load: the traffic of the benchmarks, both ends of it, and nothing of cbx.
 *
 *     load serve [ADDR:]PORT                 prints "listening PORT"
 *     load VERB --to HOST:PORT ...           prints one JSON object
 *
 *     up, down, both    bulk for --ms over --streams (each way); stays until its input ends
 *     ping              round trips of --size, one after the other, for --ms
 *     keys              messages of --size each --gap ms for --ms, timed from when they are due
 *     dial              --count dials one after the other; dials: from --streams threads at once
 *     hold              --count streams that only stand; prints "held N", waits for a signal
 *     check             a payload of --size there and back, and its checksums
 *
 * ping and keys run beside --beside-up and --beside-down bulk streams that began --lead ms before.
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
#include "load.h"
#include <arpa/inet.h>
#include <getopt.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>

static double
cpu_of(int who)
{
    struct rusage usage;
    getrusage(who, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

void
print_cpu(void)
{
    printf(", \"cpu\": %.6f, \"children_cpu\": %.6f}\n", cpu_of(RUSAGE_SELF),
           cpu_of(RUSAGE_CHILDREN));
}

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
take_option(struct options *options, int letter, char *value)
{
    if (letter == 't') {
        options->host = value;
        options->port = split(value);
    } else if (letter == 's') {
        uint16_t port = split(value);
        options->first = address(value, port);
        options->socks = true;
    } else if (letter == 'c') {
        options->command = value;
    } else if (letter == 'n') {
        options->streams = number(value, 1, STREAMS_MAX);
    } else if (letter == 'z') {
        options->size = number(value, 1, CHECK_MAX);
    } else if (letter == 'm') {
        options->milliseconds = number(value, 1, 3600000);
    } else if (letter == 'k') {
        options->count = number(value, 1, 10000000);
    } else if (letter == 'g') {
        options->gap = number(value, 1, 60000);
    } else if (letter == 'u') {
        options->beside_up = number(value, 0, STREAMS_MAX);
    } else if (letter == 'd') {
        options->beside_down = number(value, 0, STREAMS_MAX);
    } else if (letter == 'l') {
        options->lead = number(value, 0, 60000);
    } else {
        exit(2);
    }
}

static void
parse(struct options *options, int argc, char **argv)
{
    static const struct option known[] = {
        {"to", 1, NULL, 't'},      {"socks", 1, NULL, 's'},       {"command", 1, NULL, 'c'},
        {"streams", 1, NULL, 'n'}, {"size", 1, NULL, 'z'},        {"ms", 1, NULL, 'm'},
        {"count", 1, NULL, 'k'},   {"gap", 1, NULL, 'g'},         {"beside-up", 1, NULL, 'u'},
        {"lead", 1, NULL, 'l'},    {"beside-down", 1, NULL, 'd'}, {NULL, 0, NULL, 0},
    };
    for (int letter; (letter = getopt_long(argc, argv, "", known, NULL)) != -1;)
        take_option(options, letter, optarg);
    if (!options->command && !options->host)
        die("--to HOST:PORT is missing");
    if (!options->command && !options->socks)
        options->first = address(options->host, options->port);
    if (strcmp(options->verb, "keys") == 0 && options->gap == 0)
        options->gap = 50;
}

/* As many descriptors as may be. */
static void
raise_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int
main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(const struct options *options);
    } verbs[] = {{"up", bulk},   {"down", bulk},   {"both", bulk}, {"ping", ping},  {"keys", keys},
                 {"dial", dial}, {"dials", dials}, {"hold", hold}, {"check", check}};
    struct options options = {.streams = 1, .size = 64, .milliseconds = 1000, .count = 1000000};
    if (argc < 3 || sodium_init() < 0)
        die("usage: load serve ADDR:PORT | load up|down|both|ping|keys|dial|dials|hold|check "
            "--to HOST:PORT [--socks ADDR:PORT | --command CMD] [OPTIONS]");
    signal(SIGPIPE, SIG_IGN);
    raise_limit();
    options.verb = argv[1];
    if (strcmp(options.verb, "serve") == 0) {
        uint16_t port = split(argv[2]);
        struct sockaddr_in where = address(argv[2], port);
        return serve(&where);
    }
    parse(&options, argc - 1, argv + 1);
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        if (strcmp(options.verb, verbs[i].name) == 0) {
            verbs[i].run(&options);
            return 0;
        }
    }
    die("%s: not a verb", options.verb);
}
