/* SPDX-License-Identifier: MIT */
/*
 * The socket of ssh_agent.h, there for as long as one login takes. A client is read until it has
 * said one request, then answered, and not read while an answer waits to be written: so each costs
 * one request's buffer, whatever it does. What cannot be a request ends that client alone. Tested
 * by test_ssh_agent.
 */
#include "agent/uplink/ssh_agent_socket.h"

#include "common/base/bytes.h"
#include "common/command/state_dir.h"

#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { LENGTH_SIZE = 4 };

struct client {
    struct ssh_agent_socket *socket; /* NULL: the place is free */
    int fd;
    ev_io io;
    size_t in, out, sent; /* bytes received, to be sent, sent of those */
    uint8_t request[LENGTH_SIZE + SSH_AGENT_REQUEST_MAX];
    uint8_t reply[LENGTH_SIZE + SSH_AGENT_REPLY_MAX];
};

struct ssh_agent_socket {
    struct ev_loop *loop;
    struct ssh_agent *agent;
    int fd;
    int folder; /* open: its number may stand in the path below */
    ev_io accepts;
    char file[PATH_MAX];
    char path[SSH_AGENT_PATH_MAX];
    struct client clients[SSH_AGENT_CLIENTS_MAX];
};

static void
client_end(struct client *client)
{
    if (!client->socket)
        return;
    ev_io_stop(client->socket->loop, &client->io);
    (void)close(client->fd);
    sodium_memzero(client, sizeof *client);
}

static void
client_watch(struct client *client, int events)
{
    struct ev_loop *loop = client->socket->loop;
    ev_io_stop(loop, &client->io);
    ev_io_set(&client->io, client->fd, events);
    ev_io_start(loop, &client->io);
}

/* The whole length of the request that the received bytes begin; 0 when it cannot be one. */
static size_t
request_length(const struct client *client)
{
    uint32_t length = cbx_get_be32(client->request);
    return length >= 1 && length <= SSH_AGENT_REQUEST_MAX ? LENGTH_SIZE + length : 0;
}

/* Answers the first whole request, if there is one. False: the client is no client of ours. */
static bool
client_answer(struct client *client)
{
    if (client->in < LENGTH_SIZE)
        return true;
    size_t whole = request_length(client);
    if (whole == 0)
        return false;
    if (client->in < whole)
        return true;
    size_t length = ssh_agent_answer(client->socket->agent, client->request + LENGTH_SIZE,
                                     whole - LENGTH_SIZE, client->reply + LENGTH_SIZE);
    client->reply[0] = client->reply[1] = client->reply[2] = 0;
    client->reply[3] = (uint8_t)length;
    client->out = LENGTH_SIZE + length;
    client->sent = 0;
    client->in -= whole;
    memmove(client->request, client->request + whole, client->in);
    return true;
}

/* False: the connection is over. */
static bool
client_write(struct client *client)
{
    ssize_t count = send(client->fd, client->reply + client->sent, client->out - client->sent,
                         MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count < 0)
        return errno == EAGAIN || errno == EINTR;
    client->sent += (size_t)count;
    if (client->sent == client->out)
        client->out = client->sent = 0;
    return true;
}

/* False: the connection is over. */
static bool
client_read(struct client *client)
{
    ssize_t count = recv(client->fd, client->request + client->in,
                         sizeof client->request - client->in, MSG_DONTWAIT);
    if (count < 0)
        return errno == EAGAIN || errno == EINTR;
    client->in += (size_t)count;
    return count > 0;
}

static void
on_client(struct ev_loop *loop, ev_io *io, int events)
{
    (void)loop;
    struct client *client = io->data;
    bool goes_on = (events & EV_WRITE) != 0 ? client_write(client) : client_read(client);
    if (goes_on && client->out == 0)
        goes_on = client_answer(client);
    if (goes_on)
        client_watch(client, client->out > 0 ? EV_WRITE : EV_READ);
    else
        client_end(client);
}

static void
on_accept(struct ev_loop *loop, ev_io *io, int events)
{
    (void)events;
    struct ssh_agent_socket *owner = io->data;
    int fd = accept4(owner->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct client *client = NULL;
    if (fd < 0) {
        /* Without a descriptor to spare this login fails, and a later one has another socket. */
        if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
            ev_io_stop(loop, io);
        return;
    }
    for (size_t i = 0; i < SSH_AGENT_CLIENTS_MAX && !client; i++) {
        if (!owner->clients[i].socket)
            client = &owner->clients[i];
    }
    if (!client || !cbx_peer_is_uid(fd, geteuid())) {
        (void)close(fd);
        return;
    }
    client->socket = owner;
    client->fd = fd;
    ev_io_init(&client->io, on_client, fd, EV_READ);
    client->io.data = client;
    ev_io_start(loop, &client->io);
}

/* ---- the socket ---- */

/* A socket's address has 108 bytes: through a descriptor of ours a long path has a short name. */
static int
name_socket(struct ssh_agent_socket *owner, const char *folder, struct cbx_error *error)
{
    static const char name[] = "ssh-agent.sock";
    if (snprintf(owner->file, sizeof owner->file, "%s/%s", folder, name) >= (int)sizeof owner->file)
        return cbx_fail(error, CBX_ERR_LIMIT, "the path of the state folder is too long");
    if (strlen(owner->file) < sizeof owner->path) {
        memcpy(owner->path, owner->file, strlen(owner->file) + 1);
        return CBX_OK;
    }
    owner->folder = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (owner->folder < 0)
        return cbx_fail(error, CBX_ERR_IO, "cannot open %s: %s", folder, strerror(errno));
    (void)snprintf(owner->path, sizeof owner->path, "/proc/%ld/fd/%d/%s", (long)getpid(),
                   owner->folder, name);
    return CBX_OK;
}

static int
bind_socket(struct ssh_agent_socket *owner, struct cbx_error *error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat status;
    memcpy(address.sun_path, owner->path, strlen(owner->path) + 1);
    if (lstat(owner->file, &status) == 0 && !S_ISSOCK(status.st_mode))
        return cbx_fail(error, CBX_ERR_IO, "%s exists and is not a socket: remove it", owner->file);
    (void)unlink(owner->file); /* of an agent that was killed */
    owner->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (owner->fd < 0 || bind(owner->fd, (struct sockaddr *)&address, sizeof address) != 0 ||
        chmod(owner->path, 0600) != 0 || listen(owner->fd, SSH_AGENT_CLIENTS_MAX) != 0)
        return cbx_fail(error, CBX_ERR_IO, "cannot listen on %s: %s", owner->file, strerror(errno));
    return CBX_OK;
}

struct ssh_agent_socket *
ssh_agent_listen(struct ev_loop *loop, const char *folder, struct ssh_agent *agent,
                 struct cbx_error *error)
{
    struct ssh_agent_socket *owner = calloc(1, sizeof *owner);
    if (!owner) {
        cbx_fail(error, CBX_ERR_NOMEM, "out of memory");
        return NULL;
    }
    owner->loop = loop;
    owner->agent = agent;
    owner->fd = owner->folder = -1;
    ev_init(&owner->accepts, on_accept);
    if (name_socket(owner, folder, error) != CBX_OK || bind_socket(owner, error) != CBX_OK) {
        ssh_agent_close(owner);
        return NULL;
    }
    ev_io_set(&owner->accepts, owner->fd, EV_READ);
    owner->accepts.data = owner;
    ev_io_start(loop, &owner->accepts);
    return owner;
}

const char *
ssh_agent_path(const struct ssh_agent_socket *socket)
{
    return socket->path;
}

void
ssh_agent_close(struct ssh_agent_socket *socket)
{
    if (!socket)
        return;
    for (size_t i = 0; i < SSH_AGENT_CLIENTS_MAX; i++)
        client_end(&socket->clients[i]);
    ev_io_stop(socket->loop, &socket->accepts);
    if (socket->fd >= 0) {
        (void)close(socket->fd);
        (void)unlink(socket->file);
    }
    if (socket->folder >= 0)
        (void)close(socket->folder);
    free(socket);
}
