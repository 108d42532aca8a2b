/* SPDX-License-Identifier: MIT */
/* Tested by test_strangers.py. */
#include "hub/login/conn.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/states.h"
#include "hub/login/spawner.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FIRST_BYTES = 4, NOTSENT_BYTES = 128 * 1024 };

/* ---- states ---- */

static const struct cbx_states states = {
    .what = "connection",
    .state = {
        [CONN_SILENT] = {"SILENT", CBX_STATE(CONN_LANE) | CBX_STATE(CONN_WAITING)},
        [CONN_LANE] = {"LANE", 0},
        [CONN_WAITING] = {"WAITING", CBX_STATE(CONN_SSHD)},
        [CONN_SSHD] = {"SSHD", CBX_STATE(CONN_ATTACHED) | CBX_STATE(CONN_ENDING)},
        [CONN_ATTACHED] = {"ATTACHED", CBX_STATE(CONN_ENDING)},
        [CONN_ENDING] = {"ENDING", 0},
    }};

struct conn *
door_conn(const struct door *door, uint64_t id)
{
    struct conn *conn = NULL;

    HASH_FIND(hh, door->conns, &id, sizeof id, conn);
    return conn;
}

void
door_watch_time(struct door *door)
{
    if (!ev_is_active(&door->tick))
        ev_timer_again(door->loop, &door->tick);
}

static void
set_state(struct conn *conn, enum conn_state state)
{
    struct door *door = conn->door;

    if (!cbx_states_allow_number(&states, "number", (uint32_t)conn->id, conn->state, state))
        return;
    conn->state = state;
    door->running += state == CONN_SSHD;
    door->ending += state == CONN_ENDING;
    if (state == CONN_ENDING)
        door_watch_time(door);
}

/* ---- ends ---- */

static void
let_go_of_socket(struct conn *conn)
{
    if (conn->fd < 0)
        return;
    ev_io_stop(conn->door->loop, &conn->readable);
    (void)close(conn->fd);
    conn->fd = -1;
}

void
door_conn_free(struct conn *conn)
{
    struct door *door = conn->door;

    if (conn->state >= CONN_SSHD)
        door->running--;
    if (conn->state == CONN_ENDING)
        door->ending--;
    let_go_of_socket(conn);
    HASH_DEL(door->conns, conn);
    free(conn);
}

void
door_conn_drop(struct conn *conn, uint64_t *counter)
{
    ++*counter;
    admission_drop(conn->door->admission, conn->id);
    door_conn_free(conn);
}

void
door_conn_attached(struct conn *conn)
{
    set_state(conn, CONN_ATTACHED);
}

void
door_conn_end(struct conn *conn, int64_t ms)
{
    set_state(conn, CONN_ENDING);
    conn->kill_us = cbx_clock_us() + ms * 1000;
}

/* ---- ways on ---- */

static void
start_sshd(struct conn *conn)
{
    struct door *door = conn->door;
    const int one = 1;

    /* sshd reads as it likes. */
    (void)setsockopt(conn->fd, SOL_SOCKET, SO_RCVLOWAT, &one, sizeof one);
    int result = spawner_launch(door->spawner, conn->id, conn->fd);
    if (result != 0) {
        cbx_log_warn("connection %llu from %s: cannot start an sshd: %s",
                     (unsigned long long)conn->id, conn->address, cbx_err_name(result));
        door_conn_drop(conn, &door->count.failed);
        return;
    }
    let_go_of_socket(conn);
    set_state(conn, CONN_SSHD);
}

void
door_start_waiting(struct door *door)
{
    uint64_t id;

    while ((id = admission_next(door->admission, cbx_clock_us())) != 0) {
        struct conn *conn = door_conn(door, id);

        if (conn)
            start_sshd(conn);
        else
            admission_drop(door->admission, id);
    }
}

/* The kernel wakes us again once the whole preface is there. */
static void
await_preface(struct conn *conn)
{
    const int whole = CBX_LANE_PREFACE;

    (void)setsockopt(conn->fd, SOL_SOCKET, SO_RCVLOWAT, &whole, sizeof whole);
    set_state(conn, CONN_LANE);
}

/* It leaves the door: with the preface read, the socket is the callee's. */
static void
hand_out_lane(struct conn *conn)
{
    struct door *door = conn->door;
    uint8_t preface[CBX_LANE_PREFACE];
    const int one = 1;

    if (recv(conn->fd, preface, sizeof preface, MSG_DONTWAIT) != (ssize_t)sizeof preface) {
        door_conn_drop(conn, &door->count.left);
        return;
    }
    int fd = conn->fd;
    ev_io_stop(door->loop, &conn->readable);
    conn->fd = -1;
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &one, sizeof one);
    door_conn_drop(conn, &door->count.lanes);
    door->lane(door->lane_arg, fd, preface);
    sodium_memzero(preface, sizeof preface);
}

/* ---- the beginning ---- */

static void
on_first_bytes(struct ev_loop *loop, ev_io *watcher, int events)
{
    struct conn *conn = watcher->data;
    struct door *door = conn->door;
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
        admission_spoke(door->admission, conn->id);
        door_start_waiting(door);
    } else if (got == FIRST_BYTES && door->lane &&
               memcmp(bytes, cbx_lane_magic, FIRST_BYTES) == 0) {
        await_preface(conn);
    } else if (got == FIRST_BYTES) {
        door_conn_drop(conn, &door->count.not_ssh);
    } else {
        /* Fewer than asked for: the end came first. */
        door_conn_drop(conn, &door->count.left);
    }
}

static void
set_options(int fd)
{
    const int one = 1, first = FIRST_BYTES, notsent = NOTSENT_BYTES;

    /* None of them is needed to work, so none is an error. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &notsent, sizeof notsent);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &first, sizeof first);
}

struct conn *
door_conn_new(struct door *door, int fd, const struct sockaddr *address)
{
    struct conn *conn = calloc(1, sizeof *conn);

    if (!conn)
        return NULL;
    conn->door = door;
    conn->id = ++door->last_id;
    conn->fd = fd;
    listen_format(address, conn->address);
    HASH_ADD(hh, door->conns, id, sizeof conn->id, conn);
    if (!conn->hh.tbl) {
        free(conn);
        return NULL;
    }
    ev_io_init(&conn->readable, on_first_bytes, fd, EV_READ);
    conn->readable.data = conn;
    return conn;
}

void
door_conn_watch(struct conn *conn)
{
    set_options(conn->fd);
    ev_io_start(conn->door->loop, &conn->readable);
    door_watch_time(conn->door);
}
