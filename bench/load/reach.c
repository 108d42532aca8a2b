/* SPDX-License-Identifier: MIT */
/*
 * How a client reaches the server: by plain TCP, through a SOCKS5 proxy, or over the standard input
 * and output of a command.
 */
#include "load.h"
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>

enum { STUCK_SECONDS = 20 };

_Thread_local char reach_error[200];

/* Says why, and is false. */
#define no(...) (snprintf(reach_error, sizeof reach_error, __VA_ARGS__), false)

/* RFC 1928, step by step as most clients do it. */
static bool
socks_connect(int fd, const struct options *options)
{
    size_t length = strlen(options->host);
    uint8_t message[5 + 255 + 2] = {5, 1, 0, 3, (uint8_t)length};
    uint8_t answer[4 + 1 + 255 + 2];
    if (write_all(fd, "\5\1\0", 3) < 0 || read_all(fd, answer, 2) < 0 || answer[1] != 0)
        return no("the proxy refused its greeting: %s", why());
    memcpy(message + 5, options->host, length);
    message[5 + length] = (uint8_t)(options->port >> 8);
    message[6 + length] = (uint8_t)options->port;
    if (write_all(fd, message, 7 + length) < 0 || read_all(fd, answer, 5) < 0)
        return no("the proxy ended: %s", why());
    if (answer[1] != 0)
        return no("the proxy refused %s:%u with reply %u", options->host, options->port, answer[1]);
    size_t address = answer[3] == 1 ? 4 : answer[3] == 4 ? 16 : 1U + answer[4];
    return read_all(fd, answer + 5, address + 2 - 1) == 0 || no("the proxy ended: %s", why());
}

static bool
connect_tcp(const struct options *options, int fd)
{
    if (connect(fd, (const struct sockaddr *)&options->first, sizeof options->first) < 0)
        return no("cannot connect: %s", strerror(errno));
    no_delay(fd);
    return !options->socks || socks_connect(fd, options);
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

struct connection
try_connection(const struct options *options, enum kind kind)
{
    struct connection connection = {0};
    struct request request = {.magic = "load",
                              .kind = kind,
                              .size = options->size,
                              .milliseconds = options->milliseconds,
                              .chunk = chunk_of(options->streams)};
    struct timeval stuck = {.tv_sec = STUCK_SECONDS + options->milliseconds / 1000};
    bool good = true;
    connection.fd = options->command ? connect_command(options, &connection.child)
                                     : socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection.fd < 0)
        die("socket: %s", strerror(errno));
    setsockopt(connection.fd, SOL_SOCKET, SO_RCVTIMEO, &stuck, sizeof stuck);
    setsockopt(connection.fd, SOL_SOCKET, SO_SNDTIMEO, &stuck, sizeof stuck);
    if (!options->command)
        good = connect_tcp(options, connection.fd);
    char answer;
    if (good && (write_all(connection.fd, &request, sizeof request) < 0 ||
                 read_all(connection.fd, &answer, 1) < 0))
        good = no("no answer from the server: %s", why());
    if (!good) {
        close_connection(&connection);
        connection.fd = -1;
    }
    return connection;
}

struct connection
open_connection(const struct options *options, enum kind kind)
{
    struct connection connection = try_connection(options, kind);
    if (connection.fd < 0)
        die("%s", reach_error);
    return connection;
}

void
close_connection(struct connection *connection)
{
    close(connection->fd);
    if (connection->child)
        waitpid(connection->child, NULL, 0);
}
