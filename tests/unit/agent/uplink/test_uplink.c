/* SPDX-License-Identifier: MIT */
/*
 * The uplink against real parts: OpenSSH's sshd behind an accept loop as the hub has one, libcurl,
 * libssh2, and proxies. Each lease key's forced command is `cat`, so that what goes up comes down.
 */
#include "agent/uplink/uplink.h"

#include "common/base/clock.h"
#include "common/os/tcp_path.h"
#include "scratch.h"
#include "skip.h"
#include "slow.h"

#include <arpa/inet.h>
#include <ev.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <setjmp.h>
#include <signal.h>
#include <sodium.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* libssh2 1.10 loses the host key's 51 bytes at each key exchange but the first. */
#ifndef __has_feature
#define __has_feature(name) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#include <sanitizer/lsan_interface.h>
#else
static void
__lsan_disable(void)
{
}
static void
__lsan_enable(void)
{
}
#endif

static const char sshd_path[] = "/usr/sbin/sshd";

enum {
    MIB = 1024 * 1024,
    PATTERN_SIZE = 1048583, /* a prime: no buffer size divides it */
    CHILDREN_MAX = 32,
    WATCHDOG_S = 15,
};

static struct {
    bool usable;
    char dir[SCRATCH_MAX];
    char user[CBX_USER_MAX + 1];
    uint8_t host_key[32];
    struct cbx_keypair key;
    uint8_t *pattern;
} world;

/* ---- the machine's side -------------------------------------------------------------------- */

static void
write_file(const char *name, const char *format, ...)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", world.dir, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    va_list arguments;
    va_start(arguments, format);
    assert_true(vfprintf(file, format, arguments) > 0);
    va_end(arguments);
    assert_int_equal(fclose(file), 0);
}

static size_t
read_file(const char *name, char *out, size_t size)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", world.dir, name);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return 0;
    size_t length = fread(out, 1, size - 1, file);
    out[length] = '\0';
    (void)fclose(file);
    return length;
}

static int
shell(const char *format, ...)
{
    char command[512];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(command, sizeof command, format, arguments);
    va_end(arguments);
    return system(command);
}

static void
note_host_key(void)
{
    char line[256], base64[128];
    uint8_t blob[128];
    size_t length = 0;
    assert_true(read_file("host_key.pub", line, sizeof line) > 0);
    assert_int_equal(sscanf(line, "ssh-ed25519 %127s", base64), 1);
    assert_int_equal(sodium_base642bin(blob, sizeof blob, base64, strlen(base64), NULL, &length,
                                       NULL, sodium_base64_VARIANT_ORIGINAL),
                     0);
    (void)crypto_hash_sha256(world.host_key, blob, length);
}

static int
build_world(void **state)
{
    (void)state;
    static const char *const proxies[] = {"https_proxy", "HTTPS_PROXY", "ALL_PROXY",
                                          "all_proxy",   "no_proxy",    "NO_PROXY"};
    for (size_t i = 0; i < sizeof proxies / sizeof proxies[0]; i++)
        (void)unsetenv(proxies[i]);
    (void)signal(SIGPIPE, SIG_IGN);
    assert_true(sodium_init() >= 0);
    const struct passwd *self = getpwuid(geteuid());
    const char *lack = NULL;
    if (access(sshd_path, X_OK) != 0)
        lack = "there is no /usr/sbin/sshd";
    else if (self == NULL || strlen(self->pw_name) > CBX_USER_MAX)
        lack = "this user has no passwd entry";
    else if (strstr(self->pw_shell, "nologin") != NULL || strstr(self->pw_shell, "false") != NULL)
        lack = "this user has no login shell";
    if (lack != NULL) {
        print_message("the uplink is not tested: %s\n", lack);
        return 0;
    }
    if (geteuid() == 0)
        (void)mkdir("/run/sshd", 0755); /* Debian's service does so; sshd as root insists */
    world.usable = true;
    (void)snprintf(world.user, sizeof world.user, "%s", self->pw_name);
    assert_true(scratch_folder("uplink", world.dir));
    assert_int_equal(shell("ssh-keygen -q -t ed25519 -N '' -C '' -f %s/host_key", world.dir), 0);
    note_host_key();
    cbx_keypair_random(&world.key);
    char line[84];
    cbx_ssh_line(world.key.public_key, line);
    write_file("authorized_keys", "restrict,command=\"exec cat\" %s\n", line);
    write_file("sshd_config",
               "HostKey %s/host_key\nAuthorizedKeysFile %s/authorized_keys\nUsePAM no\n"
               "StrictModes no\nPermitRootLogin yes\nAuthenticationMethods publickey\n"
               "PidFile none\nLogLevel DEBUG1\nSetEnv SHLVL=9\n",
               world.dir, world.dir);
    world.pattern = malloc(PATTERN_SIZE);
    assert_non_null(world.pattern);
    randombytes_buf(world.pattern, PATTERN_SIZE);
    return 0;
}

static int
remove_world(void **state)
{
    (void)state;
    if (world.usable)
        assert_true(scratch_remove(world.dir));
    free(world.pattern);
    cbx_keypair_wipe(&world.key);
    return 0;
}

/* A listening socket on a free loopback port. */
static int
listen_somewhere(uint16_t *port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(*port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    socklen_t length = sizeof address;
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, length), 0);
    assert_int_equal(listen(fd, 16), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    *port = ntohs(address.sin_port);
    return fd;
}

/* ---- the servers --------------------------------------------------------------------------- */

struct server {
    struct ev_loop *loop;
    ev_io io;
    int fd;
    uint16_t port;
    void (*child)(int fd, const char *option); /* runs in a process of its own, then exits */
    const char *option;
    unsigned accepted;
    pid_t children[CHILDREN_MAX];
};

static void
on_accept(struct ev_loop *loop, ev_io *io, int events)
{
    (void)loop;
    (void)events;
    struct server *server = io->data;
    int fd = accept4(server->fd, NULL, NULL, SOCK_CLOEXEC);
    assert_true(fd >= 0 && server->accepted < CHILDREN_MAX);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)setsid(); /* so that its own children can be ended with it */
        server->child(fd, server->option);
        _exit(127);
    }
    close(fd);
    server->children[server->accepted++] = pid;
}

static void
server_start(struct server *server, struct ev_loop *loop, uint16_t port,
             void (*child)(int fd, const char *option), const char *option)
{
    *server = (struct server){.loop = loop, .port = port, .child = child, .option = option};
    server->fd = listen_somewhere(&server->port);
    ev_io_init(&server->io, on_accept, server->fd, EV_READ);
    server->io.data = server;
    ev_io_start(loop, &server->io);
}

static void
server_stop(struct server *server)
{
    ev_io_stop(server->loop, &server->io);
    close(server->fd);
    for (unsigned i = 0; i < server->accepted; i++) {
        (void)kill(-server->children[i], SIGKILL);
        (void)kill(server->children[i], SIGKILL);
        (void)waitpid(server->children[i], NULL, 0);
    }
    server->accepted = 0;
}

static void
run_sshd(int fd, const char *option)
{
    char config[128], log[128];
    (void)snprintf(config, sizeof config, "%s/sshd_config", world.dir);
    (void)snprintf(log, sizeof log, "%s/log", world.dir);
    if (dup2(fd, 0) == 0 && dup2(fd, 1) == 1)
        (void)execl(sshd_path, sshd_path, "-i", "-f", config, "-E", log, "-o",
                    option != NULL ? option : "LogLevel=ERROR", (char *)NULL);
}

static void
run_web_server(int fd, const char *option)
{
    static const char answer[] = "HTTP/1.0 400 Bad Request\r\n\r\n";
    (void)option;
    (void)!write(fd, answer, sizeof answer - 1);
}

/* A banner, and packets that say nothing (SSH_MSG_IGNORE) for as long as somebody takes them. */
static void
run_flood(int fd, const char *option)
{
    (void)option;
    static uint8_t packets[64 * 1024];
    static const char banner[] = "SSH-2.0-flood\r\n";
    for (size_t at = 0; at + 32 <= sizeof packets; at += 32) {
        packets[at + 3] = 28; /* length */
        packets[at + 4] = 4;  /* padding */
        packets[at + 5] = 2;  /* IGNORE */
        packets[at + 9] = 18; /* of so many bytes */
    }
    ssize_t sent = send(fd, banner, sizeof banner - 1, MSG_NOSIGNAL);
    size_t total = 0;
    for (; sent > 0 && total < 512 * 1024 * 1024; total += (size_t)sent)
        sent = send(fd, packets, sizeof packets, MSG_NOSIGNAL);
    _exit(0);
}

static void
run_silence(int fd, const char *option)
{
    (void)option;
    struct pollfd nothing = {.fd = fd};
    (void)poll(&nothing, 1, WATCHDOG_S * 1000);
}

/* Copies one way; false at the end. */
static bool
copy_bytes(int from, int to)
{
    char buffer[65536];
    ssize_t got = read(from, buffer, sizeof buffer);
    for (ssize_t done = 0; done < got;) {
        ssize_t sent = write(to, buffer + done, (size_t)(got - done));
        if (sent <= 0)
            return false;
        done += sent;
    }
    return got > 0;
}

/* An HTTP proxy that knows CONNECT to 127.0.0.1. A status as option is all it answers. */
static void
run_proxy(int fd, const char *status)
{
    char request[2048] = "", *end = request;
    while (strstr(request, "\r\n\r\n") == NULL) {
        if (end == request + sizeof request - 1 || read(fd, end, 1) != 1)
            return;
        end++;
    }
    unsigned port = 0;
    if (sscanf(request, "CONNECT 127.0.0.1:%u HTTP/1.1", &port) != 1 || status != NULL) {
        (void)dprintf(fd, "HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n",
                      status != NULL ? status : "405 Method Not Allowed");
        return;
    }
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    int far = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (far < 0 || connect(far, (const struct sockaddr *)&address, sizeof address) != 0) {
        (void)dprintf(fd, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n");
        return;
    }
    (void)dprintf(fd, "HTTP/1.1 200 Connection established\r\n\r\n");
    pid_t up = fork(); /* a process per direction: neither waits for the other */
    int from = up == 0 ? fd : far, to = up == 0 ? far : fd;
    while (copy_bytes(from, to))
        continue;
    (void)shutdown(to, SHUT_WR);
}

/* The same behind TLS, for one connection. The listening socket is its standard input. */
static const char tls_proxy[] =
    "import re, socket, ssl, sys, threading\n"
    "listener = socket.socket(fileno=0)\n"
    "context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n"
    "context.load_cert_chain(sys.argv[1])\n"
    "near = context.wrap_socket(listener.accept()[0], server_side=True)\n"
    "request = b''\n"
    "while b'\\r\\n\\r\\n' not in request: request += near.recv(1)\n"
    "port = int(re.match(rb'CONNECT 127.0.0.1:(\\d+) ', request)[1])\n"
    "far = socket.create_connection(('127.0.0.1', port))\n"
    "near.sendall(b'HTTP/1.1 200 OK\\r\\n\\r\\n')\n"
    "def copy(a, b):\n"
    "    while data := a.recv(65536): b.sendall(data)\n"
    "threading.Thread(target=copy, args=(near, far), daemon=True).start()\n"
    "copy(far, near)\n";

/* ---- the agent's side ---------------------------------------------------------------------- */

struct client {
    struct ev_loop *loop;
    struct uplink *uplink;
    struct cbx_carrier *carrier;
    unsigned ups, failures, failures_wanted;
    enum uplink_error error;
    int64_t retry_ms, slowest_retry_ms;
    char text[CBX_ERROR_TEXT_MAX];
    uint64_t total, sent, received; /* of the echo */
    bool wrong_bytes, over;         /* over: the carrier said CLOSED */
    int broken;                     /* the carrier said something else */
};

static void
echo_read(struct client *client)
{
    static uint8_t buffer[200000];
    ssize_t got;
    while ((got = client->carrier->ops->read(client->carrier, buffer, sizeof buffer)) > 0) {
        for (size_t done = 0; done < (size_t)got;) {
            size_t at = (size_t)(client->received % PATTERN_SIZE);
            size_t count = (size_t)got - done;
            if (count > PATTERN_SIZE - at)
                count = PATTERN_SIZE - at;
            if (memcmp(buffer + done, world.pattern + at, count) != 0)
                client->wrong_bytes = true;
            done += count;
            client->received += count;
        }
    }
    client->over = client->over || got == CBX_ERR_CLOSED;
    if (got != CBX_ERR_AGAIN && got != CBX_ERR_CLOSED)
        client->broken = (int)got;
}

static void
echo_write(struct client *client)
{
    while (client->sent < client->total) {
        size_t at = (size_t)(client->sent % PATTERN_SIZE);
        uint64_t count = PATTERN_SIZE - at;
        if (count > client->total - client->sent)
            count = client->total - client->sent;
        struct iovec vector[2] = {
            {.iov_base = world.pattern + at, .iov_len = (size_t)(count / 3)},
            {.iov_base = world.pattern + at + count / 3, .iov_len = (size_t)(count - count / 3)},
        };
        ssize_t taken = client->carrier->ops->writev(client->carrier, vector, 2);
        if (taken == CBX_ERR_AGAIN)
            break;
        if (taken <= 0) {
            client->broken = (int)taken;
            return;
        }
        client->sent += (uint64_t)taken;
    }
}

static void
on_ready(void *arg)
{
    struct client *client = arg;
    echo_read(client);
    if (!client->over)
        echo_write(client);
    client->carrier->ops->want(client->carrier, true, client->sent < client->total);
    bool done = client->total > 0 && client->received >= client->total;
    if (done || client->over || client->broken != 0 || client->wrong_bytes)
        ev_break(client->loop, EVBREAK_ALL);
}

static void
on_up(void *arg, struct cbx_carrier *carrier)
{
    struct client *client = arg;
    client->carrier = carrier;
    client->ups++;
    carrier->ready = on_ready;
    carrier->arg = client;
    ev_break(client->loop, EVBREAK_ALL);
}

static void
on_failed(void *arg, enum uplink_error error, int64_t retry_ms, const char *text)
{
    struct client *client = arg;
    client->error = error;
    client->retry_ms = retry_ms;
    if (retry_ms > client->slowest_retry_ms)
        client->slowest_retry_ms = retry_ms;
    (void)snprintf(client->text, sizeof client->text, "%s", text);
    if (++client->failures >= client->failures_wanted)
        ev_break(client->loop, EVBREAK_ALL);
}

static const struct uplink_ops uplink_ops = {.up = on_up, .failed = on_failed};

static void
on_watchdog(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)events;
    *(bool *)timer->data = true;
    ev_break(loop, EVBREAK_ALL);
}

/* Runs until a callback has seen what the test waits for; false when the time was up first. */
static bool
run(struct client *client, double seconds)
{
    bool expired = false;
    ev_timer watchdog;
    if (runs_slowly() && seconds >= WATCHDOG_S)
        seconds *= 6;
    ev_now_update(client->loop);
    ev_timer_init(&watchdog, on_watchdog, seconds, 0.);
    watchdog.data = &expired;
    ev_timer_start(client->loop, &watchdog);
    (void)ev_run(client->loop, 0);
    ev_timer_stop(client->loop, &watchdog);
    return !expired;
}

static void
client_new(struct client *client, uint16_t first_port, uint16_t second_port,
           const struct uplink_config *settings)
{
    struct cbx_token token = {.address_count = second_port != 0 ? 2 : 1};
    (void)snprintf(token.address[0], sizeof token.address[0], "127.0.0.1:%u", first_port);
    (void)snprintf(token.address[1], sizeof token.address[1], "127.0.0.1:%u", second_port);
    memcpy(token.host_key_sha256, world.host_key, sizeof token.host_key_sha256);
    (void)snprintf(token.user, sizeof token.user, "%s", world.user);
    struct uplink_config config = settings != NULL ? *settings : (struct uplink_config){0};
    struct cbx_token changed =
        settings != NULL && settings->where != NULL ? *settings->where : token;
    if (settings != NULL && settings->where != NULL)
        memcpy(changed.address, token.address, sizeof token.address);
    config.where = &changed;
    client->uplink = uplink_new(client->loop, &config, &uplink_ops, client);
    assert_non_null(client->uplink);
    uplink_login(client->uplink, &world.key);
}

static void
client_free(struct client *client)
{
    if (client->carrier != NULL)
        client->carrier->ops->close(client->carrier);
    uplink_free(client->uplink);
}

/* What a test has: a loop, a client, and an sshd if it starts one. */
struct stage {
    struct client client;
    struct server sshd, other;
};

static int
set_up(void **state)
{
    struct stage *stage = calloc(1, sizeof *stage);
    assert_non_null(stage);
    stage->client.loop = ev_loop_new(EVFLAG_AUTO);
    assert_non_null(stage->client.loop);
    stage->client.failures_wanted = 1;
    *state = stage;
    return 0;
}

static int
tear_down(void **state)
{
    struct stage *stage = *state;
    client_free(&stage->client);
    if (stage->sshd.loop != NULL)
        server_stop(&stage->sshd);
    if (stage->other.loop != NULL)
        server_stop(&stage->other);
    ev_loop_destroy(stage->client.loop);
    free(stage);
    return 0;
}

static struct stage *
begin(void **state)
{
    if (!world.usable)
        skip_because("sshd does not run for this account");
    return *state;
}

/* From uplink_start to an open channel. */
static void
come_up(struct client *client)
{
    uplink_start(client->uplink);
    bool in_time = run(client, WATCHDOG_S);
    if (client->failures > 0)
        print_message("%s\n", client->text);
    assert_true(in_time);
    assert_int_equal(client->failures, 0);
    assert_int_equal(client->ups, 1);
    assert_string_equal(uplink_state(client->uplink), "up");
}

static void
echo(struct client *client, uint64_t total)
{
    struct cbx_carrier *carrier = client->carrier;
    if (carrier == NULL) {
        fail_msg("no carrier");
        return;
    }
    client->total += total;
    carrier->ops->want(carrier, true, true);
    assert_true(run(client, WATCHDOG_S));
    assert_false(client->wrong_bytes);
    assert_false(client->over);
    assert_int_equal(client->broken, 0);
    assert_int_equal(client->received, client->total);
}

static void
expect_failure(struct client *client, enum uplink_error error, const char *words)
{
    uplink_start(client->uplink);
    assert_true(run(client, WATCHDOG_S));
    assert_int_equal(client->ups, 0);
    assert_int_equal(client->failures, 1);
    if (client->error != error || strstr(client->text, words) == NULL)
        fail_msg("error %d, text: %s", (int)client->error, client->text);
}

/* ---- the tests ----------------------------------------------------------------------------- */

static void
echo_of_64_mib_is_exact_both_ways_at_once(void **state)
{
    struct stage *stage = begin(state);
    server_start(&stage->sshd, stage->client.loop, 0, run_sshd, NULL);
    client_new(&stage->client, stage->sshd.port, 0, NULL);
    come_up(&stage->client);
    int64_t begun = cbx_clock_us();
    echo(&stage->client, (runs_slowly() ? 4 : 64) * (uint64_t)MIB);
    print_message("64 MiB up and down in %.2f s\n", (double)(cbx_clock_us() - begun) / 1e6);
}

static void
small_writes_come_back(void **state)
{
    struct stage *stage = begin(state);
    server_start(&stage->sshd, stage->client.loop, 0, run_sshd, NULL);
    client_new(&stage->client, stage->sshd.port, 0, NULL);
    come_up(&stage->client);
    for (uint64_t i = 1; i <= 50; i++)
        echo(&stage->client, i);
}

/* What the account's programs say on standard error is no part of the link. */
static void
extended_data_is_ignored(void **state)
{
    struct stage *stage = begin(state);
    server_start(&stage->sshd, stage->client.loop, 0, run_sshd,
                 "ForceCommand=(while echo warning; do sleep 0.002; done) >&2 & exec cat");
    client_new(&stage->client, stage->sshd.port, 0, NULL);
    come_up(&stage->client);
    for (uint64_t i = 1; i <= 20; i++)
        echo(&stage->client, i * 10133);
}

static void
a_rekey_in_mid_transfer_loses_nothing(void **state)
{
    static char log[MIB];
    struct stage *stage = begin(state);
    server_start(&stage->sshd, stage->client.loop, 0, run_sshd, "RekeyLimit=1M none");
    client_new(&stage->client, stage->sshd.port, 0, NULL);
    __lsan_disable();
    come_up(&stage->client);
    echo(&stage->client, (runs_slowly() ? 6 : 16) * (uint64_t)MIB);
    __lsan_enable();
    unsigned exchanges = 0;
    assert_true(read_file("log", log, sizeof log) > 0);
    for (const char *at = log; (at = strstr(at, "SSH2_MSG_KEXINIT sent")) != NULL; at++)
        exchanges++;
    assert_true(exchanges >= 5);
}

static void
an_owner_who_does_not_read_costs_nothing(void **state)
{
    struct stage *stage = begin(state);
    struct client *client = &stage->client;
    server_start(&stage->sshd, client->loop, 0, run_sshd, NULL);
    client_new(client, stage->sshd.port, 0, NULL);
    come_up(client);
    client->total = MIB;
    echo_write(client);
    assert_true(client->sent > 0);
    client->carrier->ops->want(client->carrier, false, false);
    assert_false(run(client, 0.2)); /* the echo is on its way, and nobody asks for it */
    unsigned turns = ev_iteration(client->loop);
    assert_false(run(client, 0.3));
    assert_true(ev_iteration(client->loop) - turns < 10);
    assert_int_equal(client->received, 0);
    echo(client, 0);
    turns = ev_iteration(client->loop);
    assert_false(run(client, 0.3)); /* and it costs nothing to wait for bytes */
    assert_true(ev_iteration(client->loop) - turns < 10);
}

/* cat stops when its pipe and the channel's window are full: then writing must stall. Reading must
 * free it again, also after the owner had asked for nothing but to write. */
static void
writing_stalls_without_a_reader_and_goes_on_with_one(void **state)
{
    if (runs_slowly())
        skip_because("it has to fill the kernel's buffers, which takes too long under valgrind");
    struct stage *stage = begin(state);
    struct client *client = &stage->client;
    server_start(&stage->sshd, client->loop, 0, run_sshd, NULL);
    client_new(client, stage->sshd.port, 0, NULL);
    come_up(client);
    client->total = 48 * (uint64_t)MIB;
    for (int i = 0; i < 60; i++) {
        echo_write(client);
        client->carrier->ops->want(client->carrier, false, false);
        (void)run(client, 0.02);
    }
    assert_true(client->sent < client->total);
    unsigned turns = ev_iteration(client->loop);
    client->carrier->ops->want(client->carrier, false, false);
    (void)run(client, 0.3);
    assert_true(ev_iteration(client->loop) - turns < 10);
    echo(client, 0);
}

static void
a_wrong_host_key_is_refused(void **state)
{
    struct stage *stage = begin(state);
    struct cbx_token other = {.address_count = 1};
    memcpy(other.host_key_sha256, world.host_key, 32);
    other.host_key_sha256[31] ^= 1;
    memcpy(other.user, world.user, sizeof other.user);
    const struct uplink_config config = {.where = &other};
    server_start(&stage->sshd, stage->client.loop, 0, run_sshd, NULL);
    client_new(&stage->client, stage->sshd.port, 0, &config);
    char seen[CBX_FINGERPRINT_TEXT_MAX], pinned[CBX_FINGERPRINT_TEXT_MAX];
    cbx_fingerprint_text(world.host_key, seen);
    cbx_fingerprint_text(other.host_key_sha256, pinned);
    expect_failure(&stage->client, UPLINK_HOST_KEY, seen);
    assert_non_null(strstr(stage->client.text, pinned));
    assert_int_equal(stage->client.retry_ms, 15000);
    assert_string_equal(uplink_state(stage->client.uplink), "waiting 15 s");
}

static void
an_unknown_login_key_is_denied(void **state)
{
    struct stage *stage = begin(state);
    struct cbx_keypair unknown;
    cbx_keypair_random(&unknown);
    server_start(&stage->sshd, stage->client.loop, 0, run_sshd, NULL);
    client_new(&stage->client, stage->sshd.port, 0, NULL);
    uplink_login(stage->client.uplink, &unknown);
    expect_failure(&stage->client, UPLINK_LOGIN_DENIED, "refused the login as");
    cbx_keypair_wipe(&unknown);
}

static void
a_refused_port_is_tried_again_until_the_hub_is_back(void **state)
{
    struct stage *stage = begin(state);
    struct client *client = &stage->client;
    uint16_t port = 0;
    close(listen_somewhere(&port));
    const struct uplink_config config = {.backoff_min_ms = 20, .backoff_refused_max_ms = 60};
    client_new(client, port, 0, &config);
    client->failures_wanted = 6;
    uplink_start(client->uplink);
    assert_true(run(client, WATCHDOG_S));
    assert_int_equal(client->error, UPLINK_UNREACHABLE);
    assert_non_null(strstr(client->text, "connection refused by 127.0.0.1:"));
    assert_in_range(client->slowest_retry_ms, 1, 60);
    server_start(&stage->sshd, client->loop, port, run_sshd, NULL);
    assert_true(run(client, WATCHDOG_S));
    assert_int_equal(client->ups, 1);
}

static void
the_next_address_is_tried_when_one_refuses(void **state)
{
    struct stage *stage = begin(state);
    uint16_t port = 0;
    close(listen_somewhere(&port));
    server_start(&stage->sshd, stage->client.loop, 0, run_sshd, NULL);
    client_new(&stage->client, port, stage->sshd.port, NULL);
    come_up(&stage->client);
    echo(&stage->client, 1000);
}

static void
a_killed_server_is_seen_as_the_end(void **state)
{
    struct stage *stage = begin(state);
    struct client *client = &stage->client;
    server_start(&stage->sshd, client->loop, 0, run_sshd, NULL);
    client_new(client, stage->sshd.port, 0, NULL);
    come_up(client);
    echo(client, 1000);
    server_stop(&stage->sshd);
    stage->sshd.loop = NULL;
    assert_true(run(client, WATCHDOG_S));
    assert_true(client->over);
    assert_int_equal(client->broken, 0);
}

static void
a_lost_link_comes_back_after_the_wait_the_hub_asked_for(void **state)
{
    struct stage *stage = begin(state);
    struct client *client = &stage->client;
    server_start(&stage->sshd, client->loop, 0, run_sshd, NULL);
    client_new(client, stage->sshd.port, 0, NULL);
    come_up(client);
    client->carrier->ops->close(client->carrier);
    client->carrier = NULL;
    int64_t lost = cbx_clock_us();
    uplink_lost(client->uplink, 300);
    assert_true(run(client, WATCHDOG_S));
    assert_int_equal(client->ups, 2);
    assert_true(cbx_clock_us() - lost >= 300000);
    echo(client, 1000);
}

/* Bytes in a full segment of the connection; 0: this system does not tell. */
static int
segment_of(const struct client *client)
{
    struct cbx_tcp_path path;
    (void)cbx_tcp_path(client->carrier->ops->socket(client->carrier), &path);
    return path.segment;
}

static void
segments_are_as_short_as_they_have_to_be_there(void **state)
{
    struct stage *stage = begin(state);
    struct client *client = &stage->client;
    struct segments segments = {0};
    const struct uplink_config config = {.segments = &segments};
    server_start(&stage->sshd, client->loop, 0, run_sshd, NULL);
    client_new(client, stage->sshd.port, 0, &config);
    come_up(client);
    if (segment_of(client) == 0)
        skip_because("this system does not tell of a connection's path");
    assert_true(segment_of(client) > CBX_SEGMENT_SHORT);
    static const int limits[] = {CBX_SEGMENT_SHORT, CBX_SEGMENT_LEAST, 0};
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        client->carrier->ops->close(client->carrier);
        client->carrier = NULL;
        uplink_stood_still(client->uplink);
        uplink_lost(client->uplink, 1);
        assert_true(run(client, WATCHDOG_S));
        assert_int_equal(segments_limit(&segments, uplink_address(client->uplink), cbx_clock_us()),
                         limits[i]);
        assert_int_equal(segment_of(client) > CBX_SEGMENT_SHORT, limits[i] == 0);
        assert_int_equal(segment_of(client) <= CBX_SEGMENT_LEAST, limits[i] == CBX_SEGMENT_LEAST);
        echo(client, 10000);
    }
}

static void
a_stopped_uplink_stays_stopped(void **state)
{
    struct stage *stage = begin(state);
    struct client *client = &stage->client;
    server_start(&stage->sshd, client->loop, 0, run_sshd, NULL);
    client_new(client, stage->sshd.port, 0, NULL);
    uplink_start(client->uplink);
    (void)run(client, 0.01); /* somewhere in the login */
    uplink_stop(client->uplink);
    assert_false(run(client, 0.3));
    assert_int_equal(client->ups + client->failures, 0);
    assert_string_equal(uplink_state(client->uplink), "stopped");
    come_up(client);
}

static void
a_web_server_is_no_hub(void **state)
{
    struct stage *stage = begin(state);
    server_start(&stage->other, stage->client.loop, 0, run_web_server, NULL);
    client_new(&stage->client, stage->other.port, 0, NULL);
    expect_failure(&stage->client, UPLINK_PROTOCOL, "does not answer as an SSH server");
}

/* Nobody but the hub with the pinned key may fill our memory. */
static void
a_flood_before_the_host_key_is_cut_short(void **state)
{
    struct stage *stage = begin(state);
    server_start(&stage->other, stage->client.loop, 0, run_flood, NULL);
    client_new(&stage->client, stage->other.port, 0, NULL);
    expect_failure(&stage->client, UPLINK_PROTOCOL, "more than 64 KiB before its host key");
}

static void
a_silent_server_is_given_up(void **state)
{
    struct stage *stage = begin(state);
    const struct uplink_config config = {.connect_timeout_ms = 200};
    server_start(&stage->other, stage->client.loop, 0, run_silence, NULL);
    client_new(&stage->client, stage->other.port, 0, &config);
    expect_failure(&stage->client, UPLINK_PROTOCOL, "did not finish within 0.2 s");
}

static void
an_http_proxy_is_passed(void **state)
{
    struct stage *stage = begin(state);
    char via[64];
    server_start(&stage->sshd, stage->client.loop, 0, run_sshd, NULL);
    server_start(&stage->other, stage->client.loop, 0, run_proxy, NULL);
    (void)snprintf(via, sizeof via, "http://127.0.0.1:%u", stage->other.port);
    const struct uplink_config config = {.via = via};
    client_new(&stage->client, stage->sshd.port, 0, &config);
    come_up(&stage->client);
    assert_int_equal(stage->other.accepted, 1);
    echo(&stage->client, (runs_slowly() ? 1 : 4) * (uint64_t)MIB);
}

static void
the_proxy_of_the_environment_is_used(void **state)
{
    struct stage *stage = begin(state);
    char via[64];
    server_start(&stage->sshd, stage->client.loop, 0, run_sshd, NULL);
    server_start(&stage->other, stage->client.loop, 0, run_proxy, NULL);
    (void)snprintf(via, sizeof via, "127.0.0.1:%u", stage->other.port);
    assert_int_equal(setenv("https_proxy", via, 1), 0);
    client_new(&stage->client, stage->sshd.port, 0, NULL);
    come_up(&stage->client);
    (void)unsetenv("https_proxy");
    assert_int_equal(stage->other.accepted, 1);
}

static void
a_proxy_that_says_no_is_quoted_without_its_password(void **state)
{
    struct stage *stage = begin(state);
    char via[64];
    server_start(&stage->other, stage->client.loop, 0, run_proxy, "403 Forbidden");
    (void)snprintf(via, sizeof via, "http://me:hush@127.0.0.1:%u", stage->other.port);
    const struct uplink_config config = {.via = via};
    client_new(&stage->client, 22, 0, &config);
    expect_failure(&stage->client, UPLINK_UNREACHABLE, "does not allow CONNECT to 127.0.0.1:22");
    assert_null(strstr(stage->client.text, "hush"));
}

static void
a_proxy_whose_url_cannot_be_read_is_explained(void **state)
{
    struct stage *stage = begin(state);
    const struct uplink_config config = {0};
    assert_int_equal(setenv("https_proxy", "http://me:hu@sh:3128@127.0.0.1", 1), 0);
    client_new(&stage->client, 22, 0, &config);
    expect_failure(&stage->client, UPLINK_UNREACHABLE,
                   "the proxy in https_proxy: write '@' in its user name or password as %40");
    (void)unsetenv("https_proxy");
    assert_null(strstr(stage->client.text, "hu"));
}

static void
a_refused_proxy_is_named(void **state)
{
    struct stage *stage = begin(state);
    uint16_t port = 0;
    close(listen_somewhere(&port));
    char via[64];
    (void)snprintf(via, sizeof via, "http://127.0.0.1:%u", port);
    const struct uplink_config config = {.via = via};
    client_new(&stage->client, 22, 0, &config);
    expect_failure(&stage->client, UPLINK_UNREACHABLE, "connection refused by the proxy http://");
}

static void
an_https_proxy_is_passed(void **state)
{
    struct stage *stage = begin(state);
    struct client *client = &stage->client;
    if (access("/usr/bin/python3", X_OK) != 0 || access("/usr/bin/openssl", X_OK) != 0) {
        skip_because("no python3 or no openssl for a proxy with TLS");
    }
    char pem[128], via[64];
    (void)snprintf(pem, sizeof pem, "%s/proxy.pem", world.dir);
    assert_int_equal(shell("openssl req -x509 -newkey rsa:2048 -nodes -keyout %s -out %s.crt "
                           "-subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 -days 2 "
                           "2>/dev/null && cat %s.crt >>%s",
                           pem, pem, pem, pem),
                     0);
    uint16_t port = 0;
    int fd = listen_somewhere(&port);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (dup2(fd, 0) == 0)
            (void)execl("/usr/bin/python3", "python3", "-c", tls_proxy, pem, (char *)NULL);
        _exit(127);
    }
    close(fd);
    server_start(&stage->sshd, client->loop, 0, run_sshd, NULL);
    (void)snprintf(via, sizeof via, "https://127.0.0.1:%u", port);
    const struct uplink_config config = {.via = via};
    client_new(client, stage->sshd.port, 0, &config);
    assert_int_equal(setenv("CURL_CA_BUNDLE", pem, 1), 0);
    come_up(client);
    (void)unsetenv("CURL_CA_BUNDLE");
    echo(client, (runs_slowly() ? 1 : 4) * (uint64_t)MIB);
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
    assert_true(run(client, WATCHDOG_S));
    assert_true(client->over || client->broken != 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(echo_of_64_mib_is_exact_both_ways_at_once),
        TEST(small_writes_come_back),
        TEST(extended_data_is_ignored),
        TEST(a_rekey_in_mid_transfer_loses_nothing),
        TEST(an_owner_who_does_not_read_costs_nothing),
        TEST(writing_stalls_without_a_reader_and_goes_on_with_one),
        TEST(a_wrong_host_key_is_refused),
        TEST(an_unknown_login_key_is_denied),
        TEST(a_refused_port_is_tried_again_until_the_hub_is_back),
        TEST(the_next_address_is_tried_when_one_refuses),
        TEST(a_killed_server_is_seen_as_the_end),
        TEST(a_lost_link_comes_back_after_the_wait_the_hub_asked_for),
        TEST(segments_are_as_short_as_they_have_to_be_there),
        TEST(a_stopped_uplink_stays_stopped),
        TEST(a_web_server_is_no_hub),
        TEST(a_flood_before_the_host_key_is_cut_short),
        TEST(a_silent_server_is_given_up),
        TEST(an_http_proxy_is_passed),
        TEST(a_proxy_whose_url_cannot_be_read_is_explained),
        TEST(the_proxy_of_the_environment_is_used),
        TEST(a_proxy_that_says_no_is_quoted_without_its_password),
        TEST(a_refused_proxy_is_named),
        TEST(an_https_proxy_is_passed),
    };
    return cmocka_run_group_tests(tests, build_world, remove_world);
}
