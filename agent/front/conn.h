/* SPDX-License-Identifier: MIT */
/*
 * A conn is one local socket as the end of one mesh stream: a proxy's client after its request, a
 * descriptor of `cbx-agent dial`, or a connection to an exposed port. All conns of an agent live
 * in one conn_set, which frees them after the batch of events and never inside a mesh call.
 */
#ifndef AGENT_FRONT_CONN_H
#define AGENT_FRONT_CONN_H

#include "agent/front/conn_state.h"
#include "common/base/names.h"

void conn_set_init(struct conn_set *set, struct ev_loop *loop);
/* Resets every stream with reason and lets the conns end as after a reset from afar; the mesh that
 * they belong to must still live. */
void conn_set_abandon(struct conn_set *set, enum cbx_reason reason);
/* Resets every stream and frees all conns at once; owners are not told. */
void conn_set_clear(struct conn_set *set);

/* NONE and the slug in *out, or UNKNOWN_NAME and in *why a phrase that says what is wrong. */
enum cbx_reason conn_name(const struct conn_set *set, const char *name, size_t length,
                          struct cbx_dial_name *out, const char **why);

/*
 * Takes over fd (-1: no program, only see whether the port accepts). speech is static or NULL.
 * early: what the program sent behind its request, copied. NULL when memory is short, and then fd
 * stays the caller's. Exactly one of dial, accept, refuse, farewell must follow.
 */
struct conn *conn_new(struct conn_set *set, int fd, const struct conn_speech *speech,
                      const void *early, size_t early_length);
void conn_own(struct conn *conn, const struct conn_owner *owner, void *arg);
void conn_dial(struct conn *conn, const char *slug, uint16_t port, int64_t timeout_us);
/* share: its place, given back at its end. */
void conn_accept(struct conn *conn, struct mesh_stream *stream, struct share *share);
/* Ends it as a refused dial; what is for people, as in conn_speech. */
void conn_refuse(struct conn *conn, enum cbx_reason reason, const char *what);
/* Says these last words (copied) and closes without cutting them off. */
void conn_farewell(struct conn *conn, const void *words, size_t length);
/* Resets stream and socket; the owner is not told. Not after closed. */
void conn_drop(struct conn *conn, enum cbx_reason reason);

#endif
