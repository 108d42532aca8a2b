/* SPDX-License-Identifier: MIT */
/* Tested by test_strangers.py and test_lanes.py. */
#include "hub/login/listen.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/os/accept.h"
#include "common/os/socket.h"
#include "hub/login/conn.h"
#include "hub/login/spawner.h"
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const double TICK_S = 0.25;
enum { LOGIN_LINES_PER_S = 20, LOGIN_LINES_BURST = 50 }; /* as many as of sshd's own */

struct listener {
    struct listen *listen;
    struct cbx_acceptor acceptor;
    char text[LISTEN_TEXT_MAX];
    struct sockaddr_storage address;
};

struct listen {
    struct door door;
    struct listener listener[LISTEN_ADDRESSES_MAX];
    uint32_t listener_count;
};

/* ---- accepting ---- */

static void
take(void *arg, int fd, const struct sockaddr *address)
{
    struct door *door = &((struct listener *)arg)->listen->door;
    struct conn *conn = door_conn_new(door, fd, address);

    if (!conn) {
        (void)close(fd);
        door->count.failed++;
        return;
    }
    cbx_socket_unpace(fd, address);
    door_conn_begin(conn, address);
}

/* What those not attached yet are going to take: a socket and two pipes each, in place of the
 * socket that sshd gets. */
static uint32_t
promised_descriptors(void *arg)
{
    const struct door *door = &((const struct listener *)arg)->listen->door;

    return 2 * (admission_count(door->admission) + door->proxies.awaited) +
           admission_count_state(door->admission, ADMISSION_SSHD);
}

static void
on_paused(void *arg, int cause, bool say)
{
    struct listener *listener = arg;

    listener->listen->door.count.exhausted++;
    if (say)
        cbx_log_error("cannot accept connections on %s: %s; new ones wait until a descriptor is "
                      "free (raise LimitNOFILE or ulimit -n)",
                      listener->text, strerror(cause));
}

static const struct cbx_acceptor_ops acceptor_ops = {.use = CBX_DESCRIPTORS_CLIENTS,
                                                     .take = take,
                                                     .promised = promised_descriptors,
                                                     .paused = on_paused};

/* ---- time ---- */

static void
time_is_over(struct conn *conn)
{
    struct door *door = conn->door;

    if (conn->state < CONN_SSHD) {
        door->count.silent_timeouts++;
        door_conn_free(conn); /* the slot is free already */
        return;
    }
    door->count.login_timeouts++;
    cbx_log_info("connection %llu from %s: login timed out, closed", (unsigned long long)conn->id,
                 conn->address);
    door_conn_end(conn, 0);
}

static void
kill_ending(struct door *door, int64_t now_us)
{
    if (door->ending == 0)
        return;
    for (struct conn *conn = door->conns; conn != NULL; conn = conn->hh.next) {
        if (conn->state != CONN_ENDING || conn->due_us > now_us)
            continue;
        (void)spawner_kill(door->spawner, conn->id); /* when it did not take it: again then */
        conn->due_us = now_us + LISTEN_ENDING_MS * 1000;
    }
}

static void
drop_without_header(struct door *door, int64_t now_us)
{
    struct conn *conn = NULL, *next = NULL;

    if (door->proxies.awaited == 0)
        return;
    HASH_ITER(hh, door->conns, conn, next) {
        if (conn->header_wanted > 0 && conn->due_us <= now_us)
            door_conn_drop(conn, &door->count.silent_timeouts);
    }
}

static void
on_tick(struct ev_loop *loop, ev_timer *watcher, int events)
{
    struct door *door = watcher->data;
    int64_t now_us = cbx_clock_us();
    uint64_t id;

    (void)events;
    while ((id = admission_overdue(door->admission, now_us)) != 0) {
        struct conn *conn = door_conn(door, id);

        if (conn)
            time_is_over(conn);
    }
    drop_without_header(door, now_us);
    kill_ending(door, now_us);
    door_start_waiting(door);
    if (admission_count(door->admission) == 0 && door->proxies.awaited == 0 && door->ending == 0)
        ev_timer_stop(loop, watcher);
}

/* ---- the whole ---- */

struct listen *
listen_new(struct ev_loop *loop, const struct admission_config *admission, struct spawner *spawner)
{
    struct listen *listen = calloc(1, sizeof *listen);

    if (!listen)
        return NULL;
    listen->door = (struct door){.loop = loop,
                                 .spawner = spawner,
                                 .admission = admission_new(admission),
                                 /* An attach of an earlier hub's sshd must not be taken for one of
                                  * ours. */
                                 .last_id = (uint64_t)randombytes_uniform(1000000) * 1000};
    if (!listen->door.admission) {
        free(listen);
        return NULL;
    }
    listen->door.proxies.awaited_max = admission->total;
    listen->door.proxies.wait_us = admission->silent_us;
    ev_timer_init(&listen->door.tick, on_tick, 0, TICK_S);
    listen->door.tick.data = &listen->door;
    return listen;
}

void
listen_lanes(struct listen *listen,
             void (*lane)(void *arg, int fd, const uint8_t preface[CBX_LANE_PREFACE]), void *arg)
{
    listen->door.lane = lane;
    listen->door.lane_arg = arg;
}

bool
listen_proxy(struct listen *listen, const struct proxy_prefix *prefix)
{
    struct door_proxies *proxies = &listen->door.proxies;

    if (proxies->count == PROXY_PREFIXES_MAX)
        return false;
    proxies->prefix[proxies->count++] = *prefix;
    return true;
}

void
listen_stop(struct listen *listen)
{
    struct conn *conn = NULL, *next = NULL;

    for (uint32_t i = 0; i < listen->listener_count; i++)
        cbx_acceptor_stop(&listen->listener[i].acceptor);
    listen->listener_count = 0;
    HASH_ITER(hh, listen->door.conns, conn, next) {
        if (conn->state < CONN_SSHD) {
            admission_drop(listen->door.admission, conn->id);
            door_conn_free(conn);
        }
    }
}

void
listen_free(struct listen *listen)
{
    if (!listen)
        return;
    listen_stop(listen);
    while (listen->door.conns)
        door_conn_free(listen->door.conns);
    ev_timer_stop(listen->door.loop, &listen->door.tick);
    admission_free(listen->door.admission);
    free(listen);
}

int
listen_add(struct listen *listen, int fd, struct cbx_error *error)
{
    if (listen->listener_count == LISTEN_ADDRESSES_MAX) {
        (void)close(fd);
        return cbx_fail(error, CBX_ERR_USAGE, "--listen given more than %d times",
                        LISTEN_ADDRESSES_MAX);
    }
    struct listener *listener = &listen->listener[listen->listener_count++];
    socklen_t length = sizeof listener->address;
    (void)getsockname(fd, (struct sockaddr *)&listener->address, &length);
    listen_format((const struct sockaddr *)&listener->address, listener->text);
    listener->listen = listen;
    cbx_acceptor_start(&listener->acceptor, listen->door.loop, fd, &acceptor_ops, listener);
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
    struct conn *conn = door_conn(&listen->door, connection);

    if (!conn || conn->state != CONN_SSHD ||
        !admission_login(listen->door.admission, connection, cbx_clock_us()))
        return CBX_ERR_NOTFOUND;
    listen->door.count.logged_in++;
    door_conn_attached(conn);
    *address = conn->address;
    door_start_waiting(&listen->door);
    return 0;
}

void
listen_detached(struct listen *listen, uint64_t connection)
{
    struct conn *conn = door_conn(&listen->door, connection);

    if (conn && conn->state == CONN_ATTACHED)
        door_conn_end(conn, LISTEN_ENDING_MS);
}

/* sshd has said why, with the address that it knows: the load balancer's. */
static void
tell_whose_login(const struct conn *conn)
{
    if (conn->had_header && cbx_rate_take(&conn->door->proxies.logins, LOGIN_LINES_PER_S,
                                          LOGIN_LINES_BURST, cbx_clock_us()))
        cbx_log_info("connection %llu from %s: ended without a login", (unsigned long long)conn->id,
                     conn->address);
}

void
listen_exited(struct listen *listen, uint64_t connection)
{
    struct conn *conn = door_conn(&listen->door, connection);

    if (!conn || conn->state < CONN_SSHD)
        return;
    if (conn->state == CONN_SSHD) {
        listen->door.count.login_failures++;
        tell_whose_login(conn);
    }
    admission_drop(listen->door.admission, connection);
    door_conn_free(conn);
    door_start_waiting(&listen->door);
}

struct admission *
listen_admission(struct listen *listen)
{
    return listen->door.admission;
}

uint32_t
listen_running(const struct listen *listen)
{
    return listen->door.running;
}

json_t *
listen_json(const struct listen *listen)
{
    const struct door_counts *count = &listen->door.count;
    json_t *json = json_object();
    const struct {
        const char *name;
        uint64_t value;
    } entry[] = {
        {"silent", admission_count_state(listen->door.admission, ADMISSION_SILENT)},
        {"waiting", admission_count_state(listen->door.admission, ADMISSION_WAITING)},
        {"logging_in", admission_count_state(listen->door.admission, ADMISSION_SSHD)},
        {"awaiting_header", listen->door.proxies.awaited},
        {"sshd", listen->door.running},
        {"accepted", count->accepted},
        {"logged_in", count->logged_in},
        {"lanes", count->lanes},
        {"not_ssh", count->not_ssh},
        {"not_proxy", count->not_proxy},
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
