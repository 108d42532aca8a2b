/* SPDX-License-Identifier: MIT */
/*
 * A stream's state and the lists that it is in, for the files that begin, run and end streams.
 *
 * Which list belongs to which state: WAITING mesh.waiting; OPENING mesh.opening and, as all that
 * have a core from here on, mesh.streams; PARKED mesh.parked. A stream that is to be freed is in
 * mesh.reap until ends.c does that.
 */
#ifndef AGENT_MESH_STREAM_H
#define AGENT_MESH_STREAM_H

#include "agent/mesh/peer_state.h"
#include <stddef.h>

/*
 * A dialed stream: WAITING (for link, directory, session, allowance) -> OPENING (OPEN sent) ->
 * RUNNING; an incoming one: PARKED (while no minimum window is free) -> INCOMING (the shell
 * connects) -> RUNNING. Either is RUNNING from its answer or its end on, and ENDED when nothing
 * more is to be sent. A dial without an answer may go back to WAITING, once. Streams are freed in
 * mesh_flush only.
 */
enum mesh_stream_state {
    MESH_STREAM_WAITING,
    MESH_STREAM_OPENING,
    MESH_STREAM_PARKED,
    MESH_STREAM_INCOMING,
    MESH_STREAM_RUNNING,
    MESH_STREAM_ENDED
};

/* Identities are what a peer says that they are: another's prove nothing and hide nothing. */
struct mesh_incoming {
    uint8_t id[CBX_STREAM_ID_SIZE];
    const struct mesh_peer *peer;
};

/* Which path it looks for (moving.c, move.c). */
struct mesh_stream_move {
    TAILQ_ENTRY(mesh_stream) entry; /* in mesh.moving while `until` is set */
    int64_t at, until;              /* looked after then; given up then, 0: it is not moving */
    bool broken;                    /* a record did not open, once already */
    bool lost;                      /* no path is looked for */
    bool by_hub;                    /* the far side had no room for it on the direct lane */
};

/* A circuit that the stream has left and the far side perhaps not (moving.c). */
struct mesh_circuit_left {
    struct cbx_link *link; /* NULL: none, or the link is over */
    uint32_t label;
    uint64_t credit; /* what it still counts for in mesh.hub_budget */
};

/* What each stream keeps of its plane (plane.c). */
struct mesh_stream_plane {
    enum mesh_plane plane;
    int64_t since;    /* Unix seconds */
    uint64_t in, out; /* bytes of the core that were shared out already */
};

struct mesh_stream {
    struct cbx_stream core;
    struct mesh *mesh;
    struct mesh_peer *peer;     /* NULL: no core: WAITING, or a dial of our own name */
    struct mesh_loop *loop;     /* loop.c: a dial of our own name: no circuit, no core */
    const struct mesh_end *end; /* NULL: the program was told or gave up */
    void *arg;
    enum mesh_stream_state state; /* mesh_stream_set_state sets it */
    char slug[CBX_SLUG_MAX + 1];
    uint16_t port;
    uint64_t counter;
    int64_t opened_at;      /* OPENING: when OPEN was queued */
    int64_t deadline;       /* of the answer, or of the wait for allowance */
    int64_t delayed_ack_at; /* in mesh.delayed_acks until then; 0: it is not */
    struct mesh_stream_plane path;
    bool retried; /* NO_SESSION was answered once */
    bool starved; /* waits for allowance */
    bool held;    /* incoming: the shell has not answered yet and may still look */
    bool in_reap;
    TAILQ_ENTRY(mesh_stream) entry; /* in mesh.waiting, or in mesh.streams */
    TAILQ_ENTRY(mesh_stream) opening_entry, parked_entry, delayed_ack_entry, reap_entry;
    struct mesh_incoming key; /* incoming */
    UT_hash_handle hh;
    struct mesh_stream_move move;
    struct mesh_circuit_left left;
};

static inline struct mesh_stream *
mesh_stream_of(struct cbx_stream *core)
{
    return (struct mesh_stream *)((char *)core - offsetof(struct mesh_stream, core));
}

/* It has, or had, a circuit. */
static inline bool
mesh_stream_has_core(const struct mesh_stream *stream)
{
    return stream->peer != NULL;
}

/* The state alone. */
void mesh_stream_set_state(struct mesh_stream *stream, enum mesh_stream_state state);

/* Whatever it waited for, it waits no more: out of the list of its state; RUNNING. */
void mesh_stream_settle(struct mesh_stream *stream);
/* Out of mesh.parked, to INCOMING. */
void mesh_stream_unpark(struct mesh_stream *stream);
void mesh_stream_leave_delayed_acks(struct mesh_stream *stream);

/* The program's last call, unless it has heard that or gave up. */
void mesh_stream_tell_closed(struct mesh_stream *stream, enum cbx_reason reason, bool by_target);
/* To be freed at the next turn; while the shell holds it, nothing happens. */
void mesh_stream_reap(struct mesh_stream *stream);
/* Both. */
void mesh_stream_over(struct mesh_stream *stream, enum cbx_reason reason, bool by_target);

/* A dial that never got a circuit. */
void mesh_stream_refuse_waiting(struct mesh_stream *stream, enum cbx_reason reason);
/* All of them to that name; NULL: to any. */
void mesh_streams_refuse_waiting(struct mesh *mesh, const char *slug, enum cbx_reason reason);

/* The peer has a newer session: its streams go there in epochs of their own. */
void mesh_streams_rekey(struct mesh_peer *peer);
/* An OPEN or RESUME on that label is not taken: CLOSE. */
void mesh_circuit_refuse(struct mesh *mesh, struct cbx_link *link, uint32_t label,
                         enum cbx_reason reason);

#endif
