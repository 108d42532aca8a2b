/* SPDX-License-Identifier: MIT */
/*
 * Bytes never rest here: pull reads the socket straight into the mesh's record, push writes the
 * mesh's buffer straight to the socket. What waits, waits in the kernel or in the mesh. Only two
 * things are kept: what a proxy's client sent behind its request, and words of our own that a full
 * socket did not take.
 *
 * The two halves end apart from each other. Input: end of file is a FIN for the far side, and
 * output goes on. Output: the far FIN is a shutdown, and input goes on. Either half broken means
 * that the program reset its connection, and the stream is reset. A stream that ended with a reason
 * closes the socket by RST (linger 0), so that the program cannot take a cut for an end.
 *
 * The mesh's callbacks only note what happened and put the conn on the set's due list. The list is
 * settled at the end of the batch, where calls into the mesh, to the owner, and free are safe.
 * The stream pointer is live from dial or accept until closed or our own reset, and NULL otherwise.
 */
#include "agent/front/conn.h"

#include "agent/front/conn_io.h"

#include "common/base/log.h"
#include "common/os/socket.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void
close_socket(struct conn *conn, bool reset)
{
    if (conn->fd < 0)
        return;
    ev_io_stop(conn->set->loop, &conn->reading);
    ev_io_stop(conn->set->loop, &conn->writing);
    cbx_socket_reset_on_close(conn->fd, reset);
    close(conn->fd);
    conn->fd = -1;
}

static void
conn_free(struct conn *conn)
{
    close_socket(conn, false);
    ev_timer_stop(conn->set->loop, &conn->patience);
    if (conn->due)
        TAILQ_REMOVE(&conn->set->due, conn, in_due);
    LIST_REMOVE(conn, in_set);
    share_drop(&conn->set->shares, conn->share);
    conn->set->count--;
    free(conn->early);
    free(conn->words_owned);
    free(conn);
}

void
conn_farewell(struct conn *conn, const void *words, size_t length)
{
    conn_drop_early(conn);
    conn->words_owned = malloc(length);
    if (!conn->words_owned) {
        conn_set_phase(conn, CONN_OVER);
        return;
    }
    memcpy(conn->words_owned, words, length);
    conn->words = conn->words_owned;
    conn->words_left = length;
    conn->state.words = true;
    ev_timer_start(conn->set->loop, &conn->patience);
    conn_set_phase(conn, CONN_FAREWELL);
    conn_set_output(conn, CONN_OUTPUT_ENDING);
    (void)conn_say(conn);
}

static void
find_remedy(const struct conn *conn, char out[CONN_REMEDY_MAX])
{
    if (conn->set->mesh && conn->slug[0] != '\0')
        mesh_remedy(conn->set->mesh, conn->slug, conn->reason, out, CONN_REMEDY_MAX);
    else if (conn->owner && conn->reason == CBX_REASON_UNKNOWN_NAME)
        (void)snprintf(out, CONN_REMEDY_MAX, "%s", conn->what); /* why it can be no name here */
    else
        (void)snprintf(out, CONN_REMEDY_MAX, "%s", cbx_reason_remedy(conn->reason));
}

/* The end of a dial or stream: the socket learns it, then the owner. */
static void
finish(struct conn *conn)
{
    bool refused = conn->state.phase == CONN_REFUSED;
    char remedy[CONN_REMEDY_MAX] = "";
    find_remedy(conn, remedy);
    if (refused) {
        conn->set->stats.refused++;
        cbx_log_debug("%s: %s%s%s", conn->what, cbx_reason_text(conn->reason),
                      remedy[0] ? "; " : "", remedy);
    }
    if (refused && conn->speech) {
        char words[CONN_WORDS_MAX];
        struct conn_refusal refusal = {conn->reason, conn->what, remedy};
        size_t length = conn->speech->refused(&refusal, words, sizeof words);
        conn_farewell(conn, words, length);
    } else {
        close_socket(conn, conn->reason != CBX_REASON_NONE);
        conn_set_phase(conn, CONN_OVER);
    }
    const struct conn_owner *owner = conn->owner;
    conn->owner = NULL;
    if (owner)
        owner->closed(conn->owner_arg, conn->reason, conn->by_target, remedy);
}

/* The owner may drop the conn inside; then it is due again. */
static void
tell_opened(struct conn *conn)
{
    conn->answered = false;
    if (conn->fd < 0)
        ev_timer_start(conn->set->loop, &conn->patience);
    if (conn->stream && (conn->early_left > 0 || conn->fd < 0))
        mesh_stream_readable(conn->stream);
    if (conn->owner)
        conn->owner->opened(conn->owner_arg);
}

static void
settle(struct conn *conn)
{
    bool broken =
        conn->state.input == CONN_INPUT_BROKEN || conn->state.output == CONN_OUTPUT_BROKEN;
    if (broken && conn->stream)
        conn_give_up(conn, CONN_ENDED, CBX_REASON_RESET);
    else if (broken && conn->state.phase == CONN_FAREWELL)
        conn_set_phase(conn, CONN_OVER);
    if (conn->answered)
        tell_opened(conn);
    if (conn->state.phase == CONN_REFUSED || conn->state.phase == CONN_ENDED)
        finish(conn);
    if (conn->state.phase == CONN_OVER)
        conn_free(conn);
}

static void
on_after(struct ev_loop *loop, struct ev_prepare *after, int events)
{
    (void)loop;
    (void)events;
    struct conn_set *set = after->data;
    struct conn *conn;
    while ((conn = TAILQ_FIRST(&set->due))) {
        TAILQ_REMOVE(&set->due, conn, in_due);
        conn->due = false;
        settle(conn);
    }
}

void
conn_set_init(struct conn_set *set, struct ev_loop *loop)
{
    memset(set, 0, sizeof *set);
    set->loop = loop;
    LIST_INIT(&set->all);
    TAILQ_INIT(&set->due);
    ev_prepare_init(&set->after, on_after);
    ev_set_priority(&set->after, EV_MINPRI);
    set->after.data = set;
}

void
conn_set_abandon(struct conn_set *set, enum cbx_reason reason)
{
    struct conn *conn = NULL;
    LIST_FOREACH(conn, &set->all, in_set) {
        if (conn->stream)
            conn_give_up(conn, conn->state.phase == CONN_DIALING ? CONN_REFUSED : CONN_ENDED,
                         reason);
    }
}

void
conn_set_clear(struct conn_set *set)
{
    struct conn *conn;
    while ((conn = LIST_FIRST(&set->all))) {
        conn_drop(conn, CBX_REASON_GOING_AWAY);
        conn_free(conn);
    }
    ev_clear_pending(set->loop, &set->after);
}

enum cbx_reason
conn_name(const struct conn_set *set, const char *name, size_t length, struct cbx_dial_name *out,
          const char **why)
{
    int result = cbx_dial_name_parse(name, length, out);
    *why = "";
    if (result == CBX_ERR_NOTFOUND)
        *why = "only names that end in .cbx can be reached here";
    else if (result != 0)
        *why = "not a valid .cbx name";
    else if (out->pond[0] != '\0' && strcmp(out->pond, set->pond) != 0)
        *why = "the name belongs to another pond";
    return (*why)[0] == '\0' ? CBX_REASON_NONE : CBX_REASON_UNKNOWN_NAME;
}

struct conn *
conn_new(struct conn_set *set, int fd, const struct conn_speech *speech, const void *early,
         size_t early_length)
{
    struct conn *conn = calloc(1, sizeof *conn);
    if (!conn)
        return NULL;
    if (early_length > 0) {
        conn->early = malloc(early_length);
        if (!conn->early) {
            free(conn);
            return NULL;
        }
        memcpy(conn->early, early, early_length);
        conn->early_left = early_length;
    }
    conn->set = set;
    conn->fd = fd;
    conn->speech = speech;
    conn->state.read_wanted = true;
    if (fd >= 0) {
        cbx_socket_keepalive(fd, set->keepalive_ms);
        cbx_socket_reset_on_close(fd, true); /* until its stream has ended */
    }
    conn_io_init(conn);
    LIST_INSERT_HEAD(&set->all, conn, in_set);
    set->count++;
    return conn;
}

void
conn_own(struct conn *conn, const struct conn_owner *owner, void *arg)
{
    conn->owner = owner;
    conn->owner_arg = arg;
}

void
conn_refuse(struct conn *conn, enum cbx_reason reason, const char *what)
{
    (void)snprintf(conn->what, sizeof conn->what, "%s", what);
    conn_end_stream(conn, CONN_REFUSED, reason, false);
}

void
conn_dial(struct conn *conn, const char *slug, uint16_t port, int64_t timeout_us)
{
    if (!conn->set->mesh) {
        conn_refuse(conn, CBX_REASON_PEER_AWAY, "this agent has not joined a pond yet");
        return;
    }
    conn->set->stats.dialed++;
    (void)snprintf(conn->what, sizeof conn->what, "%s.cbx:%u", slug, (unsigned)port);
    (void)snprintf(conn->slug, sizeof conn->slug, "%s", slug);
    conn->stream = mesh_dial(conn->set->mesh, slug, port, &conn_end, conn, timeout_us);
    if (!conn->stream)
        conn_end_stream(conn, CONN_REFUSED, CBX_REASON_OVERLOADED, false);
    else
        conn_watch(conn);
}

void
conn_accept(struct conn *conn, struct mesh_stream *stream, struct share *share)
{
    conn->share = share;
    /* First of all our side: the mesh may pull, push and even close inside mesh_accept. */
    conn->stream = stream;
    conn_set_phase(conn, CONN_OPEN);
    mesh_accept(stream, &conn_end, conn);
}

void
conn_drop(struct conn *conn, enum cbx_reason reason)
{
    struct mesh_stream *stream = conn->stream;
    conn->owner = NULL;
    conn->answered = false;
    close_socket(conn, stream != NULL);
    conn_end_stream(conn, CONN_OVER, reason, false);
    if (stream)
        mesh_stream_reset(stream, reason);
}
