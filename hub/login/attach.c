/* SPDX-License-Identifier: MIT */
/* The forced command. One of these sleeps per login, so it takes nothing that it need not. */
#include "hub/login/attach.h"
#include "common/base/log.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int
connect_to_hub(const char *state_dir)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "attach.sock"};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    /* From inside the folder: its name may be longer than a socket address. */
    if (chdir(state_dir) != 0 ||
        connect(fd, (const struct sockaddr *)(const void *)&address, sizeof address) != 0) {
        int code = errno;
        (void)close(fd);
        errno = code;
        return -1;
    }
    if (chdir("/") != 0) {
        /* Then the state folder's file system stays busy, no more. */
    }
    return fd;
}

static int
send_pipes(int fd, const struct attach_message *message)
{
    const int pipes[2] = {STDIN_FILENO, STDOUT_FILENO};
    struct iovec vector = {.iov_base = (void *)(uintptr_t)message, .iov_len = sizeof *message};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof pipes)];
    } control = {.bytes = {0}};
    struct msghdr header = {.msg_iov = &vector,
                            .msg_iovlen = 1,
                            .msg_control = control.bytes,
                            .msg_controllen = sizeof control.bytes};
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&header);

    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(sizeof pipes);
    memcpy(CMSG_DATA(cmsg), pipes, sizeof pipes);
    ssize_t sent;
    do
        sent = sendmsg(fd, &header, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent == (ssize_t)sizeof *message ? 0 : -1;
}

static int
read_number(uint64_t *out)
{
    const char *text = getenv("CBX_CONN");
    char *end = NULL;

    if (!text || text[0] < '1' || text[0] > '9')
        return -1;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0')
        return -1;
    *out = number;
    return 0;
}

/* The hub's socket ends when the hub lets go; our output pipe breaks when sshd does. */
static void
sleep_until_an_end(int hub)
{
    struct pollfd wait[2] = {{.fd = hub, .events = POLLIN}, {.fd = STDOUT_FILENO}};

    while (poll(wait, 2, -1) < 0 && errno == EINTR)
        continue;
}

int
attach_run(const char *state_dir, const char *fingerprint)
{
    struct attach_message message = {.magic = ATTACH_MAGIC};
    size_t length = strlen(fingerprint);

    /* By our name it is meant for the hub. */
    (void)signal(SIGHUP, SIG_IGN);
    if (read_number(&message.connection) != 0) {
        cbx_log_error("attach: CBX_CONN is not set: this command is run by the hub's sshd");
        return 1;
    }
    if (length >= sizeof message.fingerprint) {
        cbx_log_error("attach: --key is too long for a fingerprint");
        return 1;
    }
    memcpy(message.fingerprint, fingerprint, length);
    int hub = connect_to_hub(state_dir);
    if (hub < 0) {
        cbx_log_error("attach: cannot reach the hub at %s/attach.sock: %s", state_dir,
                      strerror(errno));
        return 1;
    }
    if (send_pipes(hub, &message) != 0) {
        cbx_log_error("attach: cannot hand the pipes to the hub: %s", strerror(errno));
        (void)close(hub);
        return 1;
    }
    /* Our copies stay open: pipes that close before this process ends would end the session early.
     */
    sleep_until_an_end(hub);
    (void)close(hub);
    return 0;
}
