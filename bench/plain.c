/* SPDX-License-Identifier: MIT */
/*
 * plain: a relay that only copies: read, write, 256 KiB. Three in a row are what any path through
 * agent, hub and agent costs before it does anything of use.
 *
 *     plain LISTEN_ADDR:PORT TO_ADDR:PORT
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CHUNK = 256 * 1024, STACK = 64 * 1024 };

struct pair {
    int a, b;
};

static struct sockaddr_in target;

static struct sockaddr_in
address(char *text)
{
    struct sockaddr_in result = {.sin_family = AF_INET};
    char *colon = strrchr(text, ':');
    if (colon)
        *colon = '\0';
    if (!colon || inet_pton(AF_INET, text, &result.sin_addr) != 1) {
        fprintf(stderr, "plain: %s: not ADDR:PORT\n", text);
        exit(2);
    }
    result.sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
    return result;
}

/* One direction until its end, which is passed on as a half-close. */
static void
copy(int from, int to)
{
    char *buffer = malloc(CHUNK);
    ssize_t got = 1;
    while (buffer && (got = read(from, buffer, CHUNK)) > 0) {
        for (ssize_t at = 0, put; at < got; at += put) {
            put = write(to, buffer + at, (size_t)(got - at));
            if (put <= 0)
                goto broken;
        }
    }
    shutdown(to, SHUT_WR);
    free(buffer);
    return;
broken:
    shutdown(from, SHUT_RDWR);
    free(buffer);
}

static void *
back(void *argument)
{
    struct pair *pair = argument;
    copy(pair->b, pair->a);
    return NULL;
}

static void *
forth(void *argument)
{
    struct pair pair = {.a = (int)(intptr_t)argument};
    pthread_t other;
    int on = 1;
    pair.b = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(pair.b, (struct sockaddr *)&target, sizeof target) == 0 &&
        setsockopt(pair.b, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0 &&
        setsockopt(pair.a, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0 &&
        pthread_create(&other, NULL, back, &pair) == 0) {
        copy(pair.a, pair.b);
        pthread_join(other, NULL);
    }
    close(pair.a);
    close(pair.b);
    return NULL;
}

int
main(int argc, char **argv)
{
    if (argc != 3) {
        fputs("usage: plain LISTEN_ADDR:PORT TO_ADDR:PORT\n", stderr);
        return 2;
    }
    struct sockaddr_in own = address(argv[1]);
    target = address(argv[2]);
    int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    signal(SIGPIPE, SIG_IGN);
    if (setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        bind(listener, (struct sockaddr *)&own, sizeof own) < 0 || listen(listener, 1024) < 0) {
        perror("plain: listen");
        exit(1);
    }
    pthread_attr_t detached;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&detached, STACK);
    for (;;) {
        pthread_t thread;
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0 && pthread_create(&thread, &detached, forth, (void *)(intptr_t)fd) != 0)
            close(fd);
    }
}
