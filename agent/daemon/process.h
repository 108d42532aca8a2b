/* SPDX-License-Identifier: MIT */
/*
 * The agent's process as its parts see it: what all of them share, and the small things that any of
 * them asks for: the end of the process, the next phase, a flush, a save, a word to the user. The
 * parts themselves stand above: agent.c composes them, hub_link.c walks the phases, engine.c wires
 * the mesh, join.c the joiner, control.c answers commands.
 */
#ifndef AGENT_DAEMON_PROCESS_H
#define AGENT_DAEMON_PROCESS_H

#include "agent/daemon/learned.h"
#include "agent/daemon/start.h"
#include "agent/daemon/state.h"
#include "agent/uplink/segments.h"
#include "common/disk/store.h"
#include "common/disk/vault.h"
#include "common/trust/expose.h"
#include "common/trust/identity.h"
#include <ev.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

/*
 * Where the process stands with its hub. The uplink logs in with the key of the phase:
 *   START   no uplink yet
 *   TRIAL   identity; is the chain that was submitted recorded, by the last run or by a join whose
 *           link was lost? attached -> ATTACH, login denied -> JOIN
 *   JOIN    invite's login key; joined -> STORE, refused finally -> STOP, lost -> TRIAL
 *   STORE   none; the membership is on its way to the disk -> ATTACH
 *   ATTACH  identity; for the rest of the process, through lost links
 *   STOP    saying goodbye; nothing new begins
 */
enum agent_phase {
    AGENT_PHASE_START,
    AGENT_PHASE_TRIAL,
    AGENT_PHASE_JOIN,
    AGENT_PHASE_STORE,
    AGENT_PHASE_ATTACH,
    AGENT_PHASE_STOP,
};

struct agent_request; /* of control.c: a dial, a wait or a netcheck that is not over */

struct agent {
    const struct agent_start *start;
    const struct agent_settings *settings;
    struct ev_loop *loop;
    struct cbx_vault_key key;
    struct agent_state state;
    char *state_path;
    struct agent_learned learned; /* of the hub that the uplink is for */
    char *learned_path;
    int lock_fd;

    struct cbx_store *store;
    struct front *front;
    struct cbx_control *control;
    struct uplink *uplink;
    struct segments segments;
    struct path_watch *path_watch;
    struct agent_lane *lane;
    struct agent_direct *direct; /* NULL: off */
    struct joiner *joiner;
    int64_t join_began_us; /* of the joiner */
    struct mesh *mesh;
    struct cbx_expose exposed;         /* what the mesh lets peers dial */
    struct cbx_keypair login, signing; /* of the pending token, in TRIAL and JOIN */

    enum agent_phase phase; /* agent_set_phase sets it */
    /* Callbacks of the parts only ask for the next phase; it begins before the loop sleeps again,
     * when none of them is on the stack. */
    bool phase_wanted;
    enum agent_phase next_phase;

    bool dirty; /* an engine wants to be flushed */
    ev_prepare before_sleep;
    ev_idle awake; /* active: the loop takes another turn before it sleeps */
    ev_timer engine_due;
    ev_timer save_again;
    ev_timer give_up; /* start->timeout_ms, and later the end of the goodbye */
    ev_signal signals[3];

    unsigned saving;   /* writes of the state that are not on disk yet */
    bool save_failing; /* said once; over with the next write that succeeds */
    unsigned denials;  /* logins with the identity refused in a row */
    int said_kind;     /* of enum uplink_error, said since the last change; -1: none */
    char trouble[CBX_ERROR_TEXT_MAX]; /* the last one; "" while attached */
    int64_t attached_at;              /* Unix seconds; 0: not attached */
    int64_t started_at;
    bool was_attached;
    /* What was said when it began and still holds; "": nothing. */
    struct cbx_error expose_warning;
    int report_fd;

    int exit_status;
    LIST_HEAD(, agent_request) requests;
};

/* The fields of this file, in a zeroed agent. */
void agent_process_init(struct agent *agent);

void agent_set_phase(struct agent *agent, enum agent_phase phase);
/* The first phase, by what the state holds. */
enum agent_phase agent_first_phase(const struct agent *agent);
/* Asks for a phase; STOP is not taken back. */
void agent_want(struct agent *agent, enum agent_phase phase);
/* Ends the process: with 0, or with 1 and the one line that says why. The first call counts. */
void agent_stop(struct agent *agent, int exit_status, const char *cause);

/* What engines ask of their owner: arg is the agent. An engine wants to be flushed; the clocks. */
void agent_wake(void *arg);
int64_t agent_now_us(void *arg);
int64_t agent_now_unix(void *arg);

/* Gives the state to the store. done may be NULL: then a failure is logged and tried again. */
int agent_save(struct agent *agent, cbx_store_done *done);

/* "web.demo.cbx", or "" before the join. */
enum { AGENT_NAME_MAX = 2 * CBX_SLUG_MAX + 8 };
void agent_name(const struct agent *agent, char out[AGENT_NAME_MAX]);
/* A line for the parent that waits (agent_start.report_fd). */
void agent_report(struct agent *agent, const char *word, const char *text);
/* Trouble that is tried again. The same kind (of enum uplink_error) is logged once, until an attach
 * or a lost link changes the picture. */
void agent_say_trouble(struct agent *agent, int kind, const char *text);
/* A token that is finally refused, which no later try can change, is dropped, and the process ends:
 * `run` then goes on with the membership that there was. */
void agent_refuse_token(struct agent *agent, const char *cause);

#endif
