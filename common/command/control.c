/* SPDX-License-Identifier: MIT */
/* The listener of control.sock, on the loop of the process: whom it lets in, and where it lies. */
#include "common/command/control.h"

#include "common/base/log.h"
#include "common/command/state_dir.h"
#include "common/os/accept.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

struct cbx_control {
    struct cbx_control_clients clients;
    struct cbx_acceptor acceptor;
    char path[PATH_MAX];
};

/* Descriptors that those without a request yet may bring, and that of who comes next. */
static uint32_t
promised(void *arg)
{
    const struct cbx_control *control = arg;
    return 1 + cbx_control_clients_promised(&control->clients);
}

static void
take_client(void *arg, int fd, const struct sockaddr *from)
{
    (void)from;
    struct cbx_control *control = arg;
    if (!cbx_peer_is_uid(fd, geteuid())) {
        cbx_log_warn("control: rejected a process of another user");
        close(fd);
    } else if (control->clients.count >= CBX_CONTROL_CLIENTS_MAX) {
        cbx_log_warn("control: rejected a command, since more than %d run at once",
                     CBX_CONTROL_CLIENTS_MAX);
        close(fd);
    } else {
        cbx_control_client_new(&control->clients, fd);
    }
}

static void
on_paused(void *arg, int cause, bool say)
{
    (void)arg;
    if (say)
        cbx_log_warn("control: cannot accept: %s; commands wait", strerror(cause));
}

static const struct cbx_acceptor_ops acceptor_ops = {
    .use = CBX_DESCRIPTORS_COMMANDS,
    .take = take_client,
    .promised = promised,
    .paused = on_paused,
};

/* A socket that a dead process left is taken away, anything else of that name is not. */
static int
remove_stale(const char *path, struct cbx_error *error)
{
    struct stat status;
    if (lstat(path, &status) != 0)
        return errno == ENOENT
                   ? CBX_OK
                   : cbx_fail(error, CBX_ERR_IO, "cannot look at %s: %s", path, strerror(errno));
    if (!S_ISSOCK(status.st_mode))
        return cbx_fail(error, CBX_ERR_IO, "%s is in the way: remove it", path);
    if (unlink(path) != 0)
        return cbx_fail(error, CBX_ERR_IO, "cannot remove %s: %s", path, strerror(errno));
    return CBX_OK;
}

static int
listen_at(const char *path, struct cbx_error *error)
{
    struct sockaddr_un address;
    int folder;
    int result = cbx_unix_address(path, &address, &folder, error);
    if (result != CBX_OK)
        return result;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        result = cbx_fail(error, CBX_ERR_IO, "cannot make a socket: %s", strerror(errno));
    } else if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 ||
               chmod(address.sun_path, 0600) != 0 || listen(fd, CBX_CONTROL_CLIENTS_MAX) != 0) {
        result = cbx_fail(error, CBX_ERR_IO, "cannot listen on %s: %s", path, strerror(errno));
        close(fd);
    }
    if (folder >= 0)
        close(folder);
    return result == CBX_OK ? fd : result;
}

struct cbx_control *
cbx_control_listen(struct ev_loop *loop, const char *state_dir, const struct cbx_control_ops *ops,
                   void *arg, struct cbx_error *error)
{
    struct cbx_control *control = calloc(1, sizeof *control);
    if (!control) {
        cbx_fail(error, CBX_ERR_NOMEM, "out of memory");
        return NULL;
    }
    control->clients = (struct cbx_control_clients){.loop = loop, .ops = ops, .arg = arg};
    int used = snprintf(control->path, sizeof control->path, "%s/control.sock", state_dir);
    int result = CBX_OK;
    if (used < 0 || (size_t)used >= sizeof control->path)
        result = cbx_fail(error, CBX_ERR_LIMIT, "the path of the state folder is too long");
    if (result == CBX_OK && mkdir(state_dir, 0700) != 0 && errno != EEXIST)
        result = cbx_fail(error, CBX_ERR_IO, "cannot make %s: %s", state_dir, strerror(errno));
    if (result == CBX_OK)
        result = remove_stale(control->path, error);
    if (result == CBX_OK)
        result = listen_at(control->path, error);
    if (result < 0) {
        free(control);
        return NULL;
    }
    cbx_acceptor_start(&control->acceptor, loop, result, &acceptor_ops, control);
    return control;
}

void
cbx_control_free(struct cbx_control *control)
{
    if (!control)
        return;
    cbx_control_clients_free(&control->clients);
    cbx_acceptor_stop(&control->acceptor);
    (void)unlink(control->path);
    free(control);
}
