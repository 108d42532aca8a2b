/* SPDX-License-Identifier: MIT */
/*
 * A connection from its accept until its sshd is gone, and the door that holds them all.
 *
 *   NEW       just accepted; or the header of a load     -> SILENT, or closed (none, no legal one,
 *             balancer awaited (proxy_protocol.h)           too slow, not admitted)
 *   SILENT    first 4 bytes awaited              -> WAITING, LANE, or closed (neither SSH nor a
 *                                                   lane, too slow, dropped)
 *   LANE      a lane's whole preface awaited     -> handed out, forgotten here
 *   WAITING   said "SSH-", no sshd is free yet   -> SSHD
 *   SSHD      its sshd checks the key            -> ATTACHED, or ENDING when its time is over
 *   ATTACHED  the link is the core's             -> ENDING when the core closed it
 *   ENDING    sshd may send what is left; killed after a while
 *
 * The socket is ours until sshd has it (SSHD). A connection is forgotten when it is closed before
 * that, or else when the spawner reports its sshd's exit. From SILENT until it is attached it holds
 * a slot in admission.h, which decides who gets in, by the address that the header names where
 * there is one. Those that await a header are bounded beside that: as many as there are slots, and
 * a newer one takes the place of the oldest, since a load balancer sends its header at once.
 */
#ifndef HUB_LOGIN_CONN_H
#define HUB_LOGIN_CONN_H

#include "common/base/hash_table.h"
#include "common/base/rate.h"
#include "common/link/lane.h"
#include "hub/login/admission.h"
#include "hub/login/bind.h"
#include "hub/login/proxy_protocol.h"
#include <ev.h>
#include <stdint.h>

struct spawner;

/* In this order: from SSHD on there is an sshd. */
enum conn_state {
    CONN_NEW,
    CONN_SILENT,
    CONN_LANE,
    CONN_WAITING,
    CONN_SSHD,
    CONN_ATTACHED,
    CONN_ENDING
};

struct conn {
    struct door *door;
    uint64_t id;
    enum conn_state state;
    int fd; /* -1 once sshd has it */
    ev_io readable;
    int64_t due_us;       /* NEW: when its header must be there; ENDING: when to kill (again) */
    size_t header_wanted; /* bytes of a header to look at; 0: none is awaited */
    bool had_header;
    struct admission_address from; /* as told by the header, if there was one */
    char address[LISTEN_TEXT_MAX]; /* the same, for people */
    UT_hash_handle hh;
};

struct door_counts {
    uint64_t accepted, logged_in, not_ssh, left, silent_timeouts, silent_dropped;
    uint64_t lanes, login_timeouts, login_failures, refused_full, refused_address, exhausted,
        failed, not_proxy;
};

/* Whom --proxy-protocol names, and those of their connections whose header is awaited. */
struct door_proxies {
    struct proxy_prefix prefix[PROXY_PREFIXES_MAX];
    uint32_t count;
    uint32_t awaited, awaited_max;
    int64_t wait_us;
    struct cbx_rate lines; /* about connections that begin as they must not */
    uint64_t unsaid;
    struct cbx_rate logins; /* lines about logins that failed */
};

struct door {
    struct ev_loop *loop;
    struct spawner *spawner;
    struct admission *admission;
    struct conn *conns; /* by id */
    uint64_t last_id;
    ev_timer tick;            /* runs while somebody's time may run out */
    uint32_t running, ending; /* connections with an sshd; of these, in ENDING */
    void (*lane)(void *arg, int fd, const uint8_t preface[CBX_LANE_PREFACE]);
    void *lane_arg;
    struct door_counts count;
    struct door_proxies proxies;
};

/* NEW, not watched yet. Owns fd. NULL when memory is short or the address is of no kind that we
 * know (fd stays the caller's). */
struct conn *door_conn_new(struct door *door, int fd, const struct sockaddr *address);
/* NULL: there is none of this number. */
struct conn *door_conn(const struct door *door, uint64_t id);
/* From NEW on: a header is awaited where its address is one of a load balancer, else it is admitted
 * or not. It may be gone afterwards. */
void door_conn_begin(struct conn *conn, const struct sockaddr *address);
/* Gives its slot back, closes it and forgets it; counts it in *counter. */
void door_conn_drop(struct conn *conn, uint64_t *counter);
/* The same for one whose slot, if it had one, is free already. */
void door_conn_free(struct conn *conn);
/* SSHD to ATTACHED. */
void door_conn_attached(struct conn *conn);
/* ENDING: its sshd is killed after ms. */
void door_conn_end(struct conn *conn, int64_t ms);
/* Starts sshd for those that wait and may have one now. */
void door_start_waiting(struct door *door);
/* The tick runs from now on. */
void door_watch_time(struct door *door);

#endif
