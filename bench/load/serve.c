/* SPDX-License-Identifier: MIT */
/* The server: it answers each request with one byte, and then does what was asked for. */
#include "load.h"
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum { STACK = 64 * 1024 };

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
    int64_t count = receive_blocks(fd, NULL);
    char end;
    if (count >= 0 && write_all(fd, &count, sizeof count) == 0)
        (void)read_all(fd, &end, 1); /* the client closes first: no answer is cut off */
}

static void
serve_down(int fd, const struct request *request)
{
    char go;
    if (read_all(fd, &go, 1) == 0 && send_blocks(fd, request->milliseconds, request->chunk) >= 0)
        (void)read_all(fd, &go, 1);
}

/* The same payload both ways, and what its checksum is here. */
static void
serve_check(int fd, size_t size)
{
    uint8_t *payload = allocate(size), sum[SUM];
    if (read_all(fd, payload, size) == 0) {
        checksum(sum, payload, size);
        if (write_all(fd, sum, SUM) == 0 && write_all(fd, payload, size) == 0)
            (void)read_all(fd, payload, 1);
    }
    free(payload);
}

/* ---- streams that only stand there: no thread each ---- */

static int standing = -1; /* an epoll descriptor */

static void *
close_ended(void *argument)
{
    for (;;) {
        struct epoll_event event;
        char byte;
        if (epoll_wait(standing, &event, 1, -1) == 1 && read(event.data.fd, &byte, 1) <= 0)
            close(event.data.fd);
    }
    return argument;
}

static void
stand(int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(standing, EPOLL_CTL_ADD, fd, &event) < 0)
        close(fd);
}

/* ---- connections ---- */

static void
answer(int fd, const struct request *request)
{
    if (request->kind == KIND_UP)
        serve_up(fd);
    else if (request->kind == KIND_DOWN)
        serve_down(fd, request);
    else if (request->kind == KIND_CHECK)
        serve_check(fd, request->size);
    else
        echo(fd, request->size);
}

static void *
serve_one(void *argument)
{
    int fd = (int)(intptr_t)argument;
    struct request request;
    bool fine = read_all(fd, &request, sizeof request) == 0 &&
                memcmp(request.magic, "load", 4) == 0 && request.chunk <= CHUNK &&
                (request.size <= PING_MAX || request.kind == KIND_CHECK) &&
                request.size <= CHECK_MAX && write_all(fd, "", 1) == 0;
    if (fine && request.kind == KIND_HOLD) {
        stand(fd);
        return NULL;
    }
    if (fine)
        answer(fd, &request);
    close(fd);
    return NULL;
}

void
no_delay(int fd)
{
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* not on a unix socket */
}

int
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
    pthread_t thread;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&detached, STACK);
    standing = epoll_create1(EPOLL_CLOEXEC);
    if (standing < 0 || pthread_create(&thread, &detached, close_ended, NULL) != 0)
        die("cannot start");
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            continue;
        no_delay(fd);
        if (pthread_create(&thread, &detached, serve_one, (void *)(intptr_t)fd) != 0)
            close(fd);
    }
}
