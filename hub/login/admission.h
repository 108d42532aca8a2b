/* SPDX-License-Identifier: MIT */
/*
 * Who may wait at the door (rule 11). Pure: numbers, addresses and the time go in, verdicts come
 * out; sockets and processes are the listener's.
 *
 * A connection that has not logged in holds a slot and is in one of three states:
 *
 *   SILENT   accepted, first bytes awaited: may speak, be dropped, run out of time
 *   WAITING  spoke SSH, waits for an sshd (no clock: it costs only a socket); known addresses
 *            first, else in order of arrival
 *   SSHD     its sshd runs: may log in, be dropped, run out of time
 *
 * Bounds: slots in all; slots per address (IPv6: per /64); sshd at once. Addresses that logged in
 * recently may use every slot, strangers only half of them. From half of that share on, a newcomer
 * drops a connection at random that has been silent for a second, ever more surely, and any silent
 * one when the share is full: silence cannot keep speakers out.
 */
#ifndef HUB_LOGIN_ADMISSION_H
#define HUB_LOGIN_ADMISSION_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

enum {
    ADMISSION_TOTAL_MAX = 4096,   /* the most that can be configured */
    ADMISSION_RECENT_MAX = 4096,  /* addresses remembered */
    ADMISSION_SPEAK_US = 1000000, /* how long silence is no sign of anything */
};

struct admission_config {
    uint32_t total;       /* 64 */
    uint32_t per_address; /* 32 */
    uint32_t sshd;        /* 2 * cores + 4 */
    int64_t silent_us;    /* how long a silent one may wait: 10 s */
    int64_t login_us;     /* how long a login may take from the start of its sshd: 10 s */
    int64_t recent_us;    /* what "recently" means: 24 h */
};

/* What counts as one address. */
struct admission_address {
    uint8_t family; /* 4 or 6 */
    uint8_t prefix[8];
};

enum admission_state { ADMISSION_SILENT = 0, ADMISSION_WAITING = 1, ADMISSION_SSHD = 2 };
enum admission_verdict { ADMISSION_ADMITTED = 0, ADMISSION_FULL = 1, ADMISSION_ADDRESS_FULL = 2 };

struct admission;

/* NULL when memory is short. */
struct admission *admission_new(const struct admission_config *config);
void admission_free(struct admission *admission);

/* IPv4 whole, IPv6 by /64; IPv4 inside IPv6 counts as IPv4. False for other families. */
bool admission_address_of(const struct sockaddr *address, struct admission_address *out);

/*
 * A connection was accepted under the number id (not 0, not in use). random is any random number.
 * *dropped gets the number of a silent connection that is to be closed for it, or 0; its slot is
 * free already.
 */
enum admission_verdict admission_admit(struct admission *admission, uint64_t id,
                                       const struct admission_address *address, int64_t now_us,
                                       uint32_t random, uint64_t *dropped);
/* SILENT to WAITING. */
void admission_spoke(struct admission *admission, uint64_t id);
/* The next in order that may have an sshd now, in state SSHD from here on; 0 when none may. */
uint64_t admission_next(struct admission *admission, int64_t now_us);
/* It logged in: its slot is free, its address remembered. False when the number holds no slot in
 * state SSHD. */
bool admission_login(struct admission *admission, uint64_t id, int64_t now_us);
/* It is gone. No effect when it holds no slot. */
void admission_drop(struct admission *admission, uint64_t id);
/* One whose time is over, taken out; 0 when there is none. */
uint64_t admission_overdue(struct admission *admission, int64_t now_us);

/*
 * Addresses that logged in recently, for a file. admission_recent: the oldest first, at most max;
 * returns how many. admission_remember: as if the address had logged in then (oldest first; a
 * moment that is no longer recent changes nothing). admission_logins: how often one was remembered
 * by admission_login.
 */
struct admission_recent {
    struct admission_address address;
    int64_t last_us;
};
uint32_t admission_recent(const struct admission *admission, struct admission_recent *out,
                          uint32_t max);
void admission_remember(struct admission *admission, const struct admission_recent *recent,
                        int64_t now_us);
uint64_t admission_logins(const struct admission *admission);

uint32_t admission_count(const struct admission *admission);
uint32_t admission_count_state(const struct admission *admission, enum admission_state state);

#endif
