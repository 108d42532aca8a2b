/* SPDX-License-Identifier: MIT */
#include "hub/login/listen.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/os/accept.h"
#include "common/os/socket.h"
#include "hub/login/spawner.h"
#include <errno.h>
#include <ev.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

enum { FIRST_BYTES = 4 };

static const double tick_s = 0.25;

enum conn_state { CONN_SILENT, CONN_LANE, CONN_WAITING, CONN_SSHD, CONN_ATTACHED, CONN_ENDING };

struct conn {
    struct listen *listen;
    uint64_t id;
    enum conn_state state;
    int fd; /* -1 once sshd has it */
    ev_io readable;
    int64_t kill_us; /* ENDING: when to kill (again) */
    char address[LISTEN_TEXT_MAX];
    UT_hash_handle hh;
};

struct listener {
    struct listen *listen;
    struct cbx_acceptor acceptor;
    char text[LISTEN_TEXT_MAX];
    struct sockaddr_storage address;
};

struct listen {
    struct ev_loop *loop;
    struct spawner *spawner;
    struct admission *admission;
    struct listener listener[LISTEN_ADDRESSES_MAX];
    uint32_t listener_count;
    struct conn *conns;
    uint64_t last_id;
    ev_timer tick; /* runs while somebody's time may run out */
    uint32_t running, ending;
    void (*lane)(void *arg, int fd, const uint8_t preface[CBX_LANE_PREFACE]);
    void *lane_arg;
    struct listen_counter {
        uint64_t accepted, logged_in, not_ssh, left, silent_timeouts, silent_dropped;
        uint64_t lanes, login_timeouts, login_failures, refused_full, refused_address, exhausted,
            failed;
    } counter;
};

/* ---- one connection ---- */

static struct conn *
find(const struct listen *listen, uint64_t id)
{
    struct conn *conn = NULL;

    HASH_FIND(hh, listen->conns, &id, sizeof id, conn);
    return conn;
}

static void
set_state(struct conn *conn, enum conn_state state)
{
    struct listen *listen = conn->listen;

    if (conn->state == CONN_ENDING)
        listen->ending--;
    if (state == CONN_ENDING) {
        listen->ending++;
        if (!ev_is_active(&listen->tick))
            ev_timer_again(listen->loop, &listen->tick);
    }
    conn->state = state;
}

static void
let_go_of_socket(struct conn *conn)
{
    if (conn->fd < 0)
        return;
    ev_io_stop(conn->listen->loop, &conn->readable);
    (void)close(conn->fd);
    conn->fd = -1;
}

/* Its slot, if it has one, must have been given back. */
static void
conn_free(struct conn *conn)
{
    struct listen *listen = conn->listen;

    if (conn->state >= CONN_SSHD)
        listen->running--;
    if (conn->state == CONN_ENDING)
        listen->ending--;
    let_go_of_socket(conn);
    HASH_DEL(listen->conns, conn);
    free(conn);
}

static void
drop(struct conn *conn, uint64_t *counter)
{
    ++*counter;
    admission_drop(conn->listen->admission, conn->id);
    conn_free(conn);
}

static void
end_after(struct conn *conn, int64_t ms)
{
    set_state(conn, CONN_ENDING);
    conn->kill_us = cbx_clock_us() + ms * 1000;
}

static void
start_sshd(struct conn *conn)
{
    struct listen *listen = conn->listen;
    const int one = 1;

    /* sshd reads as it likes. */
    (void)setsockopt(conn->fd, SOL_SOCKET, SO_RCVLOWAT, &one, sizeof one);
    int result = spawner_launch(listen->spawner, conn->id, conn->fd);
    if (result != 0) {
        cbx_log_warn("connection %llu from %s: no sshd could be asked for: %s",
                     (unsigned long long)conn->id, conn->address, cbx_err_name(result));
        drop(conn, &listen->counter.failed);
        return;
    }
    let_go_of_socket(conn);
    set_state(conn, CONN_SSHD);
    listen->running++;
}

static void
start_waiting(struct listen *listen)
{
    uint64_t id;

    while ((id = admission_next(listen->admission, cbx_clock_us())) != 0) {
        struct conn *conn = find(listen, id);

        if (conn != NULL)
            start_sshd(conn);
        else
            admission_drop(listen->admission, id);
    }
}

/* The kernel wakes us again once the whole preface is there. */
static void
await_preface(struct conn *conn)
{
    const int whole = CBX_LANE_PREFACE;

    (void)setsockopt(conn->fd, SOL_SOCKET, SO_RCVLOWAT, &whole, sizeof whole);
    conn->state = CONN_LANE;
}

/* It leaves the door: with the preface read, the socket is the callee's. */
static void
hand_out_lane(struct conn *conn)
{
    struct listen *listen = conn->listen;
    uint8_t preface[CBX_LANE_PREFACE];
    const int one = 1;

    if (recv(conn->fd, preface, sizeof preface, MSG_DONTWAIT) != (ssize_t)sizeof preface) {
        drop(conn, &listen->counter.left);
        return;
    }
    int fd = conn->fd;
    ev_io_stop(listen->loop, &conn->readable);
    conn->fd = -1;
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &one, sizeof one);
    drop(conn, &listen->counter.lanes);
    listen->lane(listen->lane_arg, fd, preface);
    sodium_memzero(preface, sizeof preface);
}

static void
on_first_bytes(struct ev_loop *loop, ev_io *watcher, int events)
{
    struct conn *conn = watcher->data;
    struct listen *listen = conn->listen;
    char bytes[FIRST_BYTES];

    (void)events;
    if (conn->state == CONN_LANE) {
        hand_out_lane(conn);
        return;
    }
    ssize_t got = recv(conn->fd, bytes, sizeof bytes, MSG_PEEK | MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got == FIRST_BYTES && memcmp(bytes, "SSH-", FIRST_BYTES) == 0) {
        /* Bytes stay unread for sshd, so the socket would be readable all the time. */
        ev_io_stop(loop, watcher);
        set_state(conn, CONN_WAITING);
        admission_spoke(listen->admission, conn->id);
        start_waiting(listen);
    } else if (got == FIRST_BYTES && listen->lane != NULL &&
               memcmp(bytes, cbx_lane_magic, FIRST_BYTES) == 0) {
        await_preface(conn);
    } else if (got == FIRST_BYTES) {
        drop(conn, &listen->counter.not_ssh);
    } else {
        /* Fewer than asked for: the end came first. */
        drop(conn, &listen->counter.left);
    }
}

/* ---- accepting ---- */

static void
set_options(int fd)
{
    const int one = 1, first = FIRST_BYTES, notsent = LISTEN_NOTSENT_BYTES;

    /* None of them is needed to work, so none is an error. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &notsent, sizeof notsent);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &first, sizeof first);
}

static struct conn *
conn_new(struct listen *listen, int fd, const struct sockaddr *address)
{
    struct conn *conn = calloc(1, sizeof *conn);

    if (conn == NULL)
        return NULL;
    conn->listen = listen;
    conn->id = ++listen->last_id;
    conn->fd = fd;
    listen_format(address, conn->address);
    HASH_ADD(hh, listen->conns, id, sizeof conn->id, conn);
    if (conn->hh.tbl == NULL) {
        free(conn);
        return NULL;
    }
    ev_io_init(&conn->readable, on_first_bytes, fd, EV_READ);
    conn->readable.data = conn;
    return conn;
}

static void
admit(void *arg, int fd, const struct sockaddr *address)
{
    struct listen *listen = ((struct listener *)arg)->listen;
    struct admission_address from;
    uint64_t dropped = 0;
    struct conn *conn = admission_address_of(address, &from) ? conn_new(listen, fd, address) : NULL;

    if (conn == NULL) {
        (void)close(fd);
        listen->counter.failed++;
        return;
    }
    enum admission_verdict verdict = admission_admit(
        listen->admission, conn->id, &from, cbx_clock_us(), randombytes_random(), &dropped);
    struct conn *victim = dropped != 0 ? find(listen, dropped) : NULL;
    if (victim != NULL)
        drop(victim, &listen->counter.silent_dropped);
    if (verdict != ADMISSION_ADMITTED) {
        drop(conn, verdict == ADMISSION_FULL ? &listen->counter.refused_full
                                             : &listen->counter.refused_address);
        return;
    }
    listen->counter.accepted++;
    set_options(fd);
    cbx_socket_unpace(fd, address);
    ev_io_start(listen->loop, &conn->readable);
    if (!ev_is_active(&listen->tick))
        ev_timer_again(listen->loop, &listen->tick);
}

/* What those not attached yet are going to take: a socket and two pipes each, in place of the
 * socket that sshd gets. */
static uint32_t
promised_descriptors(void *arg)
{
    const struct listen *listen = ((const struct listener *)arg)->listen;

    return 2 * admission_count(listen->admission) +
           admission_count_state(listen->admission, ADMISSION_SSHD);
}

static void
on_paused(void *arg, int cause, bool say)
{
    struct listener *listener = arg;

    listener->listen->counter.exhausted++;
    if (say)
        cbx_log_error("cannot accept connections on %s: %s; new ones wait until a descriptor is "
                      "free (raise LimitNOFILE or ulimit -n)",
                      listener->text, strerror(cause));
}

static const struct cbx_acceptor_ops acceptor_ops = {.use = CBX_DESCRIPTORS_CLIENTS,
                                                     .take = admit,
                                                     .promised = promised_descriptors,
                                                     .paused = on_paused};

/* ---- time ---- */

static void
time_is_over(struct conn *conn)
{
    struct listen *listen = conn->listen;

    if (conn->state < CONN_SSHD) {
        listen->counter.silent_timeouts++;
        conn_free(conn); /* the slot is free already */
        return;
    }
    listen->counter.login_timeouts++;
    cbx_log_info("connection %llu from %s: neither a log-in nor a session in time, closed",
                 (unsigned long long)conn->id, conn->address);
    end_after(conn, 0);
}

static void
kill_ending(struct listen *listen, int64_t now_us)
{
    if (listen->ending == 0)
        return;
    for (struct conn *conn = listen->conns; conn != NULL; conn = conn->hh.next) {
        if (conn->state != CONN_ENDING || conn->kill_us > now_us)
            continue;
        (void)spawner_kill(listen->spawner, conn->id); /* when it did not take it: again then */
        conn->kill_us = now_us + LISTEN_ENDING_MS * 1000;
    }
}

static void
on_tick(struct ev_loop *loop, ev_timer *watcher, int events)
{
    struct listen *listen = watcher->data;
    int64_t now_us = cbx_clock_us();
    uint64_t id;

    (void)events;
    while ((id = admission_overdue(listen->admission, now_us)) != 0) {
        struct conn *conn = find(listen, id);

        if (conn != NULL)
            time_is_over(conn);
    }
    kill_ending(listen, now_us);
    start_waiting(listen);
    if (admission_count(listen->admission) == 0 && listen->ending == 0)
        ev_timer_stop(loop, watcher);
}

/* ---- the whole ---- */

struct listen *
listen_new(struct ev_loop *loop, const struct admission_config *admission, struct spawner *spawner)
{
    struct listen *listen = calloc(1, sizeof *listen);

    if (listen == NULL)
        return NULL;
    listen->admission = admission_new(admission);
    if (listen->admission == NULL) {
        free(listen);
        return NULL;
    }
    listen->loop = loop;
    listen->spawner = spawner;
    /* An attach of an earlier hub's sshd must not be taken for one of ours. */
    listen->last_id = (uint64_t)randombytes_uniform(1000000) * 1000;
    ev_timer_init(&listen->tick, on_tick, 0, tick_s);
    listen->tick.data = listen;
    return listen;
}

void
listen_lanes(struct listen *listen,
             void (*lane)(void *arg, int fd, const uint8_t preface[CBX_LANE_PREFACE]), void *arg)
{
    listen->lane = lane;
    listen->lane_arg = arg;
}

void
listen_stop(struct listen *listen)
{
    struct conn *conn = NULL, *next = NULL;

    for (uint32_t i = 0; i < listen->listener_count; i++)
        cbx_acceptor_stop(&listen->listener[i].acceptor);
    listen->listener_count = 0;
    HASH_ITER(hh, listen->conns, conn, next) {
        if (conn->state < CONN_SSHD) {
            admission_drop(listen->admission, conn->id);
            conn_free(conn);
        }
    }
}

void
listen_free(struct listen *listen)
{
    if (listen == NULL)
        return;
    listen_stop(listen);
    while (listen->conns != NULL)
        conn_free(listen->conns);
    ev_timer_stop(listen->loop, &listen->tick);
    admission_free(listen->admission);
    free(listen);
}

int
listen_add(struct listen *listen, const char *address, struct cbx_error *error)
{
    if (listen->listener_count == LISTEN_ADDRESSES_MAX)
        return cbx_fail(error, CBX_ERR_USAGE, "more than %d times --listen", LISTEN_ADDRESSES_MAX);
    int fd = listen_bind(address, error);
    if (fd < 0)
        return fd;
    struct listener *listener = &listen->listener[listen->listener_count++];
    socklen_t length = sizeof listener->address;
    (void)getsockname(fd, (struct sockaddr *)&listener->address, &length);
    listen_format((const struct sockaddr *)&listener->address, listener->text);
    listener->listen = listen;
    cbx_acceptor_start(&listener->acceptor, listen->loop, fd, &acceptor_ops, listener);
    return 0;
}

uint32_t
listen_count(const struct listen *listen)
{
    return listen->listener_count;
}

const char *
listen_text(const struct listen *listen, uint32_t index)
{
    return listen->listener[index].text;
}

const struct sockaddr *
listen_address(const struct listen *listen, uint32_t index)
{
    return (const struct sockaddr *)&listen->listener[index].address;
}

int
listen_attached(struct listen *listen, uint64_t connection, const char **address)
{
    struct conn *conn = find(listen, connection);

    if (conn == NULL || conn->state != CONN_SSHD ||
        !admission_login(listen->admission, connection, cbx_clock_us()))
        return CBX_ERR_NOTFOUND;
    listen->counter.logged_in++;
    set_state(conn, CONN_ATTACHED);
    *address = conn->address;
    start_waiting(listen);
    return 0;
}

void
listen_detached(struct listen *listen, uint64_t connection)
{
    struct conn *conn = find(listen, connection);

    if (conn != NULL && conn->state == CONN_ATTACHED)
        end_after(conn, LISTEN_ENDING_MS);
}

void
listen_exited(struct listen *listen, uint64_t connection)
{
    struct conn *conn = find(listen, connection);

    if (conn == NULL || conn->state < CONN_SSHD)
        return;
    listen->counter.login_failures += conn->state == CONN_SSHD;
    admission_drop(listen->admission, connection);
    conn_free(conn);
    start_waiting(listen);
}

struct admission *
listen_admission(struct listen *listen)
{
    return listen->admission;
}

uint32_t
listen_running(const struct listen *listen)
{
    return listen->running;
}

json_t *
listen_json(const struct listen *listen)
{
    const struct listen_counter *count = &listen->counter;
    json_t *json = json_object();
    const struct {
        const char *name;
        uint64_t value;
    } entry[] = {
        {"silent", admission_count_state(listen->admission, ADMISSION_SILENT)},
        {"waiting", admission_count_state(listen->admission, ADMISSION_WAITING)},
        {"logging_in", admission_count_state(listen->admission, ADMISSION_SSHD)},
        {"sshd", listen->running},
        {"accepted", count->accepted},
        {"logged_in", count->logged_in},
        {"lanes", count->lanes},
        {"not_ssh", count->not_ssh},
        {"left", count->left},
        {"silent_timeouts", count->silent_timeouts},
        {"silent_dropped", count->silent_dropped},
        {"login_timeouts", count->login_timeouts},
        {"login_failures", count->login_failures},
        {"refused_full", count->refused_full},
        {"refused_address", count->refused_address},
        {"descriptors_exhausted", count->exhausted},
        {"failed", count->failed},
    };

    for (size_t i = 0; i < sizeof entry / sizeof *entry; i++)
        if (json_object_set_new(json, entry[i].name, json_integer((json_int_t)entry[i].value)) !=
            0) {
            json_decref(json);
            return NULL;
        }
    return json;
}
