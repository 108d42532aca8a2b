/* SPDX-License-Identifier: MIT */
/* What the files of the agent's process share: agent.c, agent_link.c, agent_control.c. */
#ifndef AGENT_DAEMON_INTERNAL_H
#define AGENT_DAEMON_INTERNAL_H

#include "agent/daemon/agent.h"
#include "agent/daemon/state.h"
#include "agent/front/front.h"
#include "agent/lanes/direct.h"
#include "agent/lanes/hub_lane.h"
#include "agent/mesh/joiner.h"
#include "agent/mesh/mesh.h"
#include "agent/uplink/uplink.h"
#include "common/command/control.h"
#include "common/disk/store.h"
#include "common/disk/vault.h"
#include <ev.h>
#include <sys/queue.h>

/*
 * Where the process stands with its hub. The uplink logs in with the key of the phase:
 *   TRIAL   identity; is the chain that was submitted recorded, by the last run or by a join whose
 *           link was lost? attached -> ATTACH, login denied -> JOIN
 *   JOIN    invite's login key; joined -> STORE, refused for good -> STOP, lost -> TRIAL
 *   STORE   none; the membership is on its way to the disk -> ATTACH
 *   ATTACH  identity; for the rest of the process's life, through lost links
 *   STOP    saying goodbye; nothing new begins
 */
enum agent_phase {
    AGENT_PHASE_TRIAL,
    AGENT_PHASE_JOIN,
    AGENT_PHASE_STORE,
    AGENT_PHASE_ATTACH,
    AGENT_PHASE_STOP,
};

struct agent_request; /* of agent_control.c: a dial or a wait that is not over */

struct agent {
    const struct agent_start *start;
    const struct agent_settings *settings;
    struct ev_loop *loop;
    struct cbx_vault_key key;
    struct agent_state state;
    char *state_path;
    int lock_fd;

    struct cbx_store *store;
    struct front *front;
    struct cbx_control *control;
    struct uplink *uplink;
    struct agent_lane *lane;
    struct agent_direct *direct; /* NULL: off */
    struct joiner *joiner;
    struct mesh *mesh;
    struct cbx_expose exposed;         /* what the mesh lets peers dial */
    struct cbx_keypair login, signing; /* of the pending token, in TRIAL and JOIN */

    enum agent_phase phase;
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

    unsigned saving;  /* writes of the state that are not on disk yet */
    unsigned denials; /* logins with the identity refused in a row */
    int said_kind;    /* of enum uplink_error, said since the last change; -1: none */
    char trouble[CBX_ERROR_TEXT_MAX]; /* the last one; "" while attached */
    int64_t attached_at;              /* Unix seconds; 0: not attached */
    int64_t started_at;
    bool was_attached;
    int report_fd;

    int exit_status;
    LIST_HEAD(, agent_request) requests;
};

/* ---- agent.c ---- */

/* Ends the process: with 0, or with 1 and the one line that says why. The first call counts. */
void agent_stop(struct agent *agent, int exit_status, const char *cause);
/* An engine wants to be flushed. */
void agent_wake(struct agent *agent);
/* Asks for a phase; STOP is not taken back. */
void agent_want(struct agent *agent, enum agent_phase phase);
/* "web.demo.cbx", or "" before the join. */
void agent_name(const struct agent *agent, char *out, size_t size);
void agent_report(struct agent *agent, const char *word, const char *text);
/* Gives the state to the store. done may be NULL. */
int agent_save(struct agent *agent, cbx_store_done *done);

/* ---- agent_link.c ---- */

/* The first phase, by what the state holds. */
enum agent_phase agent_first_phase(const struct agent *agent);
/* Begins TRIAL, JOIN or ATTACH: a new uplink with the key of the phase. */
void agent_link_begin(struct agent *agent, enum agent_phase phase);
/* Frees uplink, joiner and mesh. */
void agent_link_end(struct agent *agent);

/* ---- agent_control.c ---- */

int agent_control_start(struct agent *agent, struct cbx_error *error);
/* Answers what is still open: the agent is going away. Before the front is freed. */
void agent_control_abandon(struct agent *agent);

#endif
