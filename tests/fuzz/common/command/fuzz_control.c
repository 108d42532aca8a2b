/* SPDX-License-Identifier: MIT */
/*
 * The hub's control socket, its requests and the commands behind them, from a client that writes
 * what the input says, in pieces, with descriptors, and goes when it likes. Every line of an answer
 * is an object that says whether it went well. The port that the hub listens on is left out.
 */
#include "hub/daemon/control.h"

#include "common/base/log.h"
#include "pond.h"
#include "scratch.h"

#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TICKETS = 64 };

static struct ev_loop *loop;
static char folder[SCRATCH_MAX];
static struct sockaddr_un address = {.sun_family = AF_UNIX};
static char cert_hex[2 * CBX_CERT_MAX + 1], pond_hex[65], login_hex[65];
static uint64_t ticket;

/* ---- what the hub has beside ---- */

uint32_t
listen_count(const struct listen *listen)
{
    (void)listen;
    return 0;
}

const char *
listen_text(const struct listen *listen, uint32_t index)
{
    (void)listen;
    (void)index;
    return "";
}

const struct sockaddr *
listen_address(const struct listen *listen, uint32_t index)
{
    (void)listen;
    (void)index;
    return NULL;
}

json_t *
listen_json(const struct listen *listen)
{
    (void)listen;
    return json_object();
}

uint64_t
attach_server_refused(const struct attach_server *server)
{
    (void)server;
    return 0;
}

static int64_t
now_us(void *arg)
{
    (void)arg;
    return 1000000;
}

static int64_t
now_unix_ms(void *arg)
{
    (void)arg;
    return pond_time * 1000;
}

static void
on_commit(void *arg, uint64_t number)
{
    (void)arg;
    ticket = number;
}

static void
on_nothing(void *arg)
{
    (void)arg;
}

static const struct hub_core_ops ops = {
    .commit = on_commit, .now_us = now_us, .now_unix_ms = now_unix_ms, .wake = on_nothing};

/* ---- the client ---- */

static void
remove_folder(void)
{
    (void)scratch_remove(folder);
}

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    pond_init();
    cbx_log_init("fuzz", CBX_LOG_ERROR);
    loop = ev_loop_new(EVBACKEND_POLL);
    check(loop && scratch_folder("fuzz-control", folder));
    snprintf(address.sun_path, sizeof address.sun_path, "%s/control.sock", folder);
    atexit(remove_folder);
    sodium_bin2hex(cert_hex, sizeof cert_hex, pond[4].invite_cert.bytes,
                   pond[4].invite_cert.length);
    sodium_bin2hex(pond_hex, sizeof pond_hex, pond_key.public_key, 32);
    sodium_bin2hex(login_hex, sizeof login_hex, pond[4].login.public_key, 32);
    return 0;
}

static int
connect_client(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    check(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
    return fd;
}

static void
send_bytes(int fd, const void *bytes, size_t length, bool with_descriptor)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec part = {(void *)(uintptr_t)bytes, length};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    int passed = STDERR_FILENO;
    if (with_descriptor && length) {
        message.msg_control = &control;
        message.msg_controllen = sizeof control;
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        *head = (struct cmsghdr){
            .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof passed)};
        memcpy(CMSG_DATA(head), &passed, sizeof passed);
    }
    ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    check(sent >= 0 || errno == EPIPE || errno == EAGAIN || errno == ECONNRESET);
}

static void
send_request(struct feed *feed, int fd)
{
    static char line[3 * CBX_CERT_MAX];
    static const char *const texts[] = {
        "{\"cmd\":\"status\"}",
        "{\"cmd\":\"peers\",\"pond\":\"demo\"}",
        "{\"cmd\":\"peers\"}",
        "{\"cmd\":\"invites\"}",
        "{\"cmd\":\"uninvite\",\"id\":\"0000\"}",
        "{\"cmd\":\"revoke\",\"pond\":\"demo\",\"slug\":\"web\"}",
        "{\"cmd\":\"shutdown\"}",
    };
    uint8_t pick = feed_byte(feed);
    if (pick % 8 < 7)
        snprintf(line, sizeof line, "%s\n", texts[pick % 8]);
    else
        snprintf(
            line, sizeof line,
            "{\"cmd\":\"invite\",\"pond_public\":\"%s\",\"login_key\":\"%s\",\"cert\":\"%s\"}\n",
            pond_hex, login_hex, cert_hex);
    size_t length = strlen(line);
    if (pick >= 128)
        line[feed_number(feed) % length] = (char)feed_byte(feed);
    send_bytes(fd, line, length, pick & 64);
}

static void
check_answer(const char *line, size_t length)
{
    json_t *answer = json_loadb(line, length, 0, NULL);
    check(json_is_object(answer) && json_is_boolean(json_object_get(answer, "ok")));
    check(json_is_true(json_object_get(answer, "ok")) ||
          json_is_string(json_object_get(answer, "error")));
    json_decref(answer);
}

/* All that has come. True when the connection is closed. */
static bool
take_answers(int fd)
{
    static char bytes[256 * 1024];
    ssize_t got = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
    const char *at = bytes;
    for (const char *end; got > 0 && (end = memchr(at, '\n', (size_t)(bytes + got - at)));
         at = end + 1)
        check_answer(at, (size_t)(end - at));
    return got == 0 || (got < 0 && errno != EAGAIN);
}

static int
step(struct feed *feed, int fd, struct control_server *server)
{
    const uint8_t *bytes;
    uint8_t op = feed_byte(feed);
    size_t length;
    switch (op % 8) {
    case 0:
    case 1:
        length = feed_bytes(feed, feed_byte(feed), &bytes);
        send_bytes(fd, bytes, length, op & 64);
        break;
    case 2:
        send_bytes(fd, "\n", 1, false);
        break;
    case 3:
        control_server_committed(server, ticket, op & 8 ? CBX_ERR_IO : 0, "the disk is full");
        break;
    case 4:
        shutdown(fd, SHUT_WR);
        break;
    case 5:
        close(fd);
        return connect_client();
    default:
        send_request(feed, fd);
        break;
    }
    ev_run(loop, EVRUN_NOWAIT);
    if (op & 128 && take_answers(fd)) {
        close(fd);
        return connect_client();
    }
    return fd;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct cbx_vault_key no_key;
    static const char *const addresses[] = {"hub.example.org:7000"};
    struct feed feed = {data, data + size};
    struct registry *registry = registry_new("/nonexistent", &no_key);
    struct hub_core_config core_config = {.software = "fuzz"};
    struct hub_core *core = hub_core_new(&core_config, registry, &ops, NULL);
    struct control_server_config config = {.state_dir = folder,
                                           .user = "cbx",
                                           .host_key_sha256 = pond[0].chain_hash,
                                           .public_addresses = addresses,
                                           .public_count = 1,
                                           .core = core,
                                           .shutdown = on_nothing};
    struct control_server *server = control_server_new(loop, &config, NULL);
    check(server != NULL);
    int fd = connect_client();
    for (int i = 0; feed_left(&feed) && i < 32; i++)
        fd = step(&feed, fd, server);
    ev_run(loop, EVRUN_NOWAIT);
    ev_run(loop, EVRUN_NOWAIT);
    take_answers(fd);
    close(fd);
    ev_run(loop, EVRUN_NOWAIT);
    control_server_free(server);
    hub_core_free(core);
    registry_free(registry);
    return 0;
}
