/* SPDX-License-Identifier: MIT */
/* Tested by test_attach. */
#include "hub/login/attach_server.h"
#include "common/base/log.h"
#include "common/os/accept.h"
#include "hub/login/attach.h"
#include "hub/login/attach_carrier.h"
#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { DESCRIPTORS_MAX = 8 };

struct waiting {
    struct attach_server *server;
    ev_io readable;
    ev_timer deadline;
    struct waiting *next, *previous;
};

struct attach_server {
    struct ev_loop *loop;
    const struct attach_server_ops *ops;
    void *arg;
    struct cbx_acceptor acceptor;
    int folder; /* the state folder, to reach the socket whatever the length of its name */
    struct waiting *waiting;
    uint32_t waiting_count;
    struct attach_carriers carriers;
    uint64_t refused;
};

/* ---- messages ---- */

/* Takes the descriptors out of a message; returns how many there were. */
static int
take_descriptors(struct msghdr *header, int fds[DESCRIPTORS_MAX])
{
    int count = 0;

    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(header); cmsg != NULL;
         cmsg = CMSG_NXTHDR(header, cmsg)) {
        if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
            continue;
        size_t size = cmsg->cmsg_len - CMSG_LEN(0);
        for (size_t at = 0; at + sizeof(int) <= size && count < DESCRIPTORS_MAX;
             at += sizeof(int)) {
            memcpy(&fds[count], CMSG_DATA(cmsg) + at, sizeof(int));
            count++;
        }
    }
    return count;
}

static bool
message_is_sound(const struct attach_message *message)
{
    size_t length = strnlen(message->fingerprint, sizeof message->fingerprint);

    if (memcmp(message->magic, ATTACH_MAGIC, sizeof message->magic) != 0 ||
        message->connection == 0 || message->zero != 0)
        return false;
    if (length == sizeof message->fingerprint || strncmp(message->fingerprint, "SHA256:", 7) != 0)
        return false;
    for (size_t i = length; i < sizeof message->fingerprint; i++)
        if (message->fingerprint[i] != '\0')
            return false;
    return true;
}

static bool
is_pipe(int fd, int access_mode, ino_t *inode)
{
    struct stat status;
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || (flags & O_ACCMODE) != access_mode || fstat(fd, &status) != 0)
        return false;
    *inode = status.st_ino;
    return S_ISFIFO(status.st_mode);
}

/* NULL when the message is as it must be, else what is wrong with it. */
static const char *
judge(const struct attach_message *message, ssize_t length, int flags, const int *fds, int count)
{
    ino_t in, out;

    if (length != (ssize_t)sizeof *message || (flags & MSG_TRUNC) != 0 ||
        !message_is_sound(message))
        return "malformed message";
    if (count != 2 || (flags & MSG_CTRUNC) != 0)
        return "not exactly two descriptors came with it (or none was free to receive them)";
    if (!is_pipe(fds[0], O_RDONLY, &in) || !is_pipe(fds[1], O_WRONLY, &out) || in == out)
        return "its descriptors are not a readable and a writable pipe";
    return NULL;
}

static void
waiting_free(struct waiting *waiting)
{
    struct attach_server *server = waiting->server;

    ev_io_stop(server->loop, &waiting->readable);
    ev_timer_stop(server->loop, &waiting->deadline);
    if (waiting->next)
        waiting->next->previous = waiting->previous;
    if (waiting->previous)
        waiting->previous->next = waiting->next;
    else
        server->waiting = waiting->next;
    server->waiting_count--;
    free(waiting);
}

static void
refuse(struct attach_server *server, int socket, const char *why)
{
    server->refused++;
    cbx_log_warn("attach refused: %s", why);
    (void)close(socket);
}

static void
take(struct attach_server *server, int socket, const struct attach_message *message,
     const int pipes[2])
{
    struct cbx_carrier *carrier =
        attach_carrier_new(&server->carriers, message->connection, socket, pipes);

    if (!carrier) {
        (void)close(pipes[0]);
        (void)close(pipes[1]);
        refuse(server, socket, "out of memory");
        return;
    }
    server->ops->attached(server->arg, message->connection, message->fingerprint, carrier);
}

static void
on_message(struct ev_loop *loop, ev_io *watcher, int events)
{
    struct waiting *waiting = watcher->data;
    struct attach_server *server = waiting->server;
    struct attach_message message;
    int socket = watcher->fd, fds[DESCRIPTORS_MAX];
    struct iovec vector = {.iov_base = &message, .iov_len = sizeof message};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof fds)];
    } control;
    struct msghdr header = {.msg_iov = &vector,
                            .msg_iovlen = 1,
                            .msg_control = control.bytes,
                            .msg_controllen = sizeof control.bytes};

    (void)loop;
    (void)events;
    ssize_t length = recvmsg(socket, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (length < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    int count = length >= 0 ? take_descriptors(&header, fds) : 0;
    const char *wrong = judge(&message, length, header.msg_flags, fds, count);
    waiting_free(waiting);
    if (!wrong) {
        take(server, socket, &message, fds);
        return;
    }
    for (int i = 0; i < count; i++)
        (void)close(fds[i]);
    refuse(server, socket, wrong);
}

static void
on_deadline(struct ev_loop *loop, ev_timer *watcher, int events)
{
    struct waiting *waiting = watcher->data;
    struct attach_server *server = waiting->server;
    int socket = waiting->readable.fd;

    (void)loop;
    (void)events;
    waiting_free(waiting);
    refuse(server, socket, "no message in time");
}

/* ---- the socket ---- */

static bool
is_ours(int socket)
{
    struct ucred peer;
    socklen_t length = sizeof peer;

    return getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 &&
           length == sizeof peer && peer.uid == geteuid();
}

static void
admit(void *arg, int socket, const struct sockaddr *from)
{
    struct attach_server *server = arg;

    (void)from;
    if (!is_ours(socket)) {
        refuse(server, socket, "from a process of another user");
        return;
    }
    struct waiting *waiting =
        server->waiting_count < ATTACH_WAITING_MAX ? calloc(1, sizeof *waiting) : NULL;
    if (!waiting) {
        refuse(server, socket, "too many wait at once");
        return;
    }
    waiting->server = server;
    waiting->next = server->waiting;
    if (waiting->next)
        waiting->next->previous = waiting;
    server->waiting = waiting;
    server->waiting_count++;
    ev_io_init(&waiting->readable, on_message, socket, EV_READ);
    ev_timer_init(&waiting->deadline, on_deadline, ATTACH_WAITING_MS / 1000.0, 0);
    waiting->readable.data = waiting->deadline.data = waiting;
    ev_io_start(server->loop, &waiting->readable);
    ev_timer_start(server->loop, &waiting->deadline);
}

/* What it takes was promised when the connection was let in (listen.c). */
static const struct cbx_acceptor_ops acceptor_ops = {.use = CBX_DESCRIPTORS_PROMISED,
                                                     .take = admit};

/* Through the folder's descriptor, since the folder's name may be longer than a socket address. */
static int
bind_socket(int folder)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    (void)snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/attach.sock",
                   folder);
    (void)unlinkat(folder, "attach.sock", 0);
    if (bind(fd, (const struct sockaddr *)(const void *)&address, sizeof address) != 0 ||
        fchmodat(folder, "attach.sock", 0600, 0) != 0 || listen(fd, 128) != 0) {
        int code = errno;
        (void)close(fd);
        errno = code;
        return -1;
    }
    return fd;
}

struct attach_server *
attach_server_new(struct ev_loop *loop, const char *state_dir, const struct attach_server_ops *ops,
                  void *arg, struct cbx_error *error)
{
    struct attach_server *server = calloc(1, sizeof *server);

    if (!server) {
        (void)cbx_fail(error, CBX_ERR_NOMEM, "out of memory");
        return NULL;
    }
    server->folder = open(state_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int fd = server->folder >= 0 ? bind_socket(server->folder) : -1;
    if (fd < 0) {
        (void)cbx_fail(error, CBX_ERR_IO, "cannot listen on %s/attach.sock: %s", state_dir,
                       strerror(errno));
        if (server->folder >= 0)
            (void)close(server->folder);
        free(server);
        return NULL;
    }
    server->loop = loop;
    server->ops = ops;
    server->arg = arg;
    server->carriers =
        (struct attach_carriers){.loop = loop, .detached = ops->detached, .arg = arg};
    cbx_acceptor_start(&server->acceptor, loop, fd, &acceptor_ops, server);
    return server;
}

void
attach_server_free(struct attach_server *server)
{
    if (!server)
        return;
    while (server->waiting) {
        int socket = server->waiting->readable.fd;
        waiting_free(server->waiting);
        (void)close(socket);
    }
    attach_carriers_abandon(&server->carriers);
    cbx_acceptor_stop(&server->acceptor);
    (void)unlinkat(server->folder, "attach.sock", 0);
    (void)close(server->folder);
    free(server);
}

uint64_t
attach_server_refused(const struct attach_server *server)
{
    return server->refused;
}
