/* SPDX-License-Identifier: MIT */
/* Tested by test_strangers.py and test_proxy_protocol.py. */
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

enum { FIRST_BYTES = 4, NOTSENT_BYTES = 128 * 1024, ODD_LINES_BURST = 5 };
static const double ODD_LINES_PER_S = 0.1;

/* ---- states ---- */

static const struct cbx_states states = {
    .what = "connection",
    .state = {
        [CONN_NEW] = {"NEW", CBX_STATE(CONN_SILENT)},
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

static void
stop_awaiting_header(struct conn *conn)
{
    conn->door->proxies.awaited -= conn->header_wanted > 0;
    conn->header_wanted = 0;
}

void
door_conn_free(struct conn *conn)
{
    struct door *door = conn->door;

    stop_awaiting_header(conn);
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
    conn->due_us = cbx_clock_us() + ms * 1000;
}

/* ---- ways on ---- */

/* The kernel reports the socket when so many bytes are there, or their end. */
static void
wake_at(const struct conn *conn, size_t bytes)
{
    const int count = (int)bytes;

    (void)setsockopt(conn->fd, SOL_SOCKET, SO_RCVLOWAT, &count, sizeof count);
}

static void
start_sshd(struct conn *conn)
{
    struct door *door = conn->door;

    wake_at(conn, 1); /* sshd reads as it likes */
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
    wake_at(conn, CBX_LANE_PREFACE);
    set_state(conn, CONN_LANE);
}

/* It leaves the door: with the preface read, the socket is the callee's. */
static void
hand_out_lane(struct conn *conn)
{
    struct door *door = conn->door;
    uint8_t preface[CBX_LANE_PREFACE];

    if (recv(conn->fd, preface, sizeof preface, MSG_DONTWAIT) != (ssize_t)sizeof preface) {
        door_conn_drop(conn, &door->count.left);
        return;
    }
    int fd = conn->fd;
    wake_at(conn, 1);
    ev_io_stop(door->loop, &conn->readable);
    conn->fd = -1;
    door_conn_drop(conn, &door->count.lanes);
    door->lane(door->lane_arg, fd, preface);
    sodium_memzero(preface, sizeof preface);
}

/* ---- being admitted ---- */

/* By conn->from, whosever word that is. */
static void
admit(struct conn *conn)
{
    struct door *door = conn->door;
    uint64_t dropped = 0;
    enum admission_verdict verdict = admission_admit(
        door->admission, conn->id, &conn->from, cbx_clock_us(), randombytes_random(), &dropped);
    struct conn *victim = dropped != 0 ? door_conn(door, dropped) : NULL;

    if (victim)
        door_conn_drop(victim, &door->count.silent_dropped);
    if (verdict != ADMISSION_ADMITTED) {
        door_conn_drop(conn, verdict == ADMISSION_FULL ? &door->count.refused_full
                                                       : &door->count.refused_address);
        return;
    }
    door->count.accepted++;
    stop_awaiting_header(conn);
    set_state(conn, CONN_SILENT);
    wake_at(conn, FIRST_BYTES);
    ev_io_start(door->loop, &conn->readable);
    door_watch_time(door);
}

/* ---- the header of a load balancer ---- */

/* Strangers cause these lines, so they are few. */
static bool
may_say(struct door *door)
{
    struct door_proxies *proxies = &door->proxies;

    if (!cbx_rate_take(&proxies->lines, ODD_LINES_PER_S, ODD_LINES_BURST, cbx_clock_us())) {
        proxies->unsaid++;
        return false;
    }
    if (proxies->unsaid > 0)
        cbx_log_warn("%llu more connections with a PROXY protocol header too many or too few were "
                     "closed",
                     (unsigned long long)proxies->unsaid);
    proxies->unsaid = 0;
    return true;
}

static void
refuse_header(struct conn *conn, const uint8_t *bytes, size_t length)
{
    int version = proxy_header_looks_like(bytes, length);

    if (may_say(conn->door))
        cbx_log_warn("connection %llu from %s, closed: %s, and --proxy-protocol names its address",
                     (unsigned long long)conn->id, conn->address,
                     version != 0 ? "its PROXY protocol header is not legal"
                                  : "it does not begin with a PROXY protocol header");
    door_conn_drop(conn, &conn->door->count.not_proxy);
}

/* The header is read, the client's bytes behind it stay for whom they are for. */
static void
take_header(struct conn *conn, const struct proxy_header *header)
{
    uint8_t bytes[PROXY_HEADER_MAX];
    const struct sockaddr *address = (const struct sockaddr *)&header->address;

    if (recv(conn->fd, bytes, header->length, MSG_DONTWAIT) != (ssize_t)header->length) {
        door_conn_drop(conn, &conn->door->count.left);
        return;
    }
    conn->had_header = true;
    if (header->has_address && admission_address_of(address, &conn->from))
        listen_format(address, conn->address);
    admit(conn);
}

static void
look_for_header(struct conn *conn)
{
    uint8_t bytes[PROXY_HEADER_MAX];
    struct proxy_header header;
    ssize_t got = recv(conn->fd, bytes, sizeof bytes, MSG_PEEK | MSG_DONTWAIT);

    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got < (ssize_t)conn->header_wanted) { /* fewer than asked for: the end came first */
        if (got > 0 && proxy_header_parse(bytes, (size_t)got, &header, &(size_t){0}) < 0)
            refuse_header(conn, bytes, (size_t)got);
        else
            door_conn_drop(conn, &conn->door->count.left);
        return;
    }
    int result = proxy_header_parse(bytes, (size_t)got, &header, &conn->header_wanted);
    if (result < 0)
        refuse_header(conn, bytes, (size_t)got);
    else if (result > 0)
        take_header(conn, &header);
    else
        wake_at(conn, conn->header_wanted);
}

static bool
is_proxy(const struct door *door, const struct sockaddr *address)
{
    for (uint32_t i = 0; i < door->proxies.count; i++)
        if (proxy_prefix_holds(&door->proxies.prefix[i], address))
            return true;
    return false;
}

/* Connections are held in the order in which they came. */
static void
drop_oldest_without_header(struct door *door)
{
    struct conn *conn = door->conns;

    while (conn && conn->header_wanted == 0)
        conn = conn->hh.next;
    if (conn)
        door_conn_drop(conn, &door->count.silent_dropped);
}

static void
await_header(struct conn *conn)
{
    struct door_proxies *proxies = &conn->door->proxies;

    if (proxies->awaited >= proxies->awaited_max)
        drop_oldest_without_header(conn->door);
    proxies->awaited++;
    conn->header_wanted = PROXY_HEADER_FIRST;
    conn->due_us = cbx_clock_us() + proxies->wait_us;
    wake_at(conn, conn->header_wanted);
    ev_io_start(conn->door->loop, &conn->readable);
    door_watch_time(conn->door);
}

/* ---- the beginning ---- */

/* Neither SSH nor a lane. A load balancer that is not known as one is a frequent mistake, and its
 * operator sees nothing but closed connections. */
static void
refuse_other(struct conn *conn)
{
    uint8_t bytes[PROXY_HEADER_FIRST];
    ssize_t got = recv(conn->fd, bytes, sizeof bytes, MSG_PEEK | MSG_DONTWAIT);
    int version = got > 0 ? proxy_header_looks_like(bytes, (size_t)got) : 0;

    if (version != 0 && may_say(conn->door))
        cbx_log_warn("connection %llu from %s, closed: it begins with a %sPROXY protocol header "
                     "(v%d)%s",
                     (unsigned long long)conn->id, conn->address, conn->had_header ? "second " : "",
                     version,
                     conn->had_header ? ""
                                      : "; if that is your load balancer, name its address with "
                                        "--proxy-protocol");
    door_conn_drop(conn, &conn->door->count.not_ssh);
}

static void
on_first_bytes(struct conn *conn)
{
    struct door *door = conn->door;
    char bytes[FIRST_BYTES];
    ssize_t got = recv(conn->fd, bytes, sizeof bytes, MSG_PEEK | MSG_DONTWAIT);

    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got == FIRST_BYTES && memcmp(bytes, "SSH-", FIRST_BYTES) == 0) {
        /* Bytes stay unread for sshd, so the socket would be readable all the time. */
        ev_io_stop(door->loop, &conn->readable);
        set_state(conn, CONN_WAITING);
        admission_spoke(door->admission, conn->id);
        door_start_waiting(door);
    } else if (got == FIRST_BYTES && door->lane &&
               memcmp(bytes, cbx_lane_magic, FIRST_BYTES) == 0) {
        await_preface(conn);
    } else if (got == FIRST_BYTES) {
        refuse_other(conn);
    } else {
        /* Fewer than asked for: the end came first. */
        door_conn_drop(conn, &door->count.left);
    }
}

static void
on_readable(struct ev_loop *loop, ev_io *watcher, int events)
{
    struct conn *conn = watcher->data;

    (void)loop;
    (void)events;
    if (conn->state == CONN_NEW)
        look_for_header(conn);
    else if (conn->state == CONN_LANE)
        hand_out_lane(conn);
    else
        on_first_bytes(conn);
}

static void
set_options(int fd)
{
    const int one = 1, notsent = NOTSENT_BYTES;

    /* None of them is needed to work, so none is an error. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &notsent, sizeof notsent);
}

struct conn *
door_conn_new(struct door *door, int fd, const struct sockaddr *address)
{
    struct conn *conn = calloc(1, sizeof *conn);

    if (!conn || !admission_address_of(address, &conn->from)) {
        free(conn);
        return NULL;
    }
    conn->door = door;
    conn->id = ++door->last_id;
    conn->fd = fd;
    listen_format(address, conn->address);
    HASH_ADD(hh, door->conns, id, sizeof conn->id, conn);
    if (!conn->hh.tbl) {
        free(conn);
        return NULL;
    }
    ev_io_init(&conn->readable, on_readable, fd, EV_READ);
    conn->readable.data = conn;
    return conn;
}

void
door_conn_begin(struct conn *conn, const struct sockaddr *address)
{
    set_options(conn->fd);
    if (is_proxy(conn->door, address))
        await_header(conn);
    else
        admit(conn);
}
