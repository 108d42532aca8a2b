/* SPDX-License-Identifier: MIT */
/*
 * Theory. A job is one file to be written. Jobs wait in the loop's list until the thread is free,
 * then the whole list goes to the thread as one batch, and no byte of it changes any more. Of two
 * waiting jobs for one path the older is dropped, and its callbacks move to the newer one at the
 * list's end. So when a callback runs, everything that was put before its job is done, and a path
 * that is put all the time cannot keep another one waiting.
 *
 * Who owns what: the loop owns waiting; the thread owns a batch from the write to the job pipe
 * until the write to the answer pipe, and only then does the loop touch it again. Nothing is
 * shared, so there are no locks. The answer watcher runs only while a batch is out: an idle store
 * does not keep a loop alive. A callback may put more, but not free the store.
 *
 * Limits: one batch out (two while the store is being freed), so neither pipe ever fills.
 */
#include "common/disk/store.h"

#include "common/disk/file.h"
#include "common/disk/vault.h"

#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct waiter {
    cbx_store_done *done;
    void *arg;
    struct waiter *next;
};

struct job {
    struct job *next;
    char *path;
    uint8_t *bytes;
    size_t length;
    unsigned mode;
    struct waiter *waiters;
    int result;
    struct cbx_error error;
};

struct cbx_store {
    struct ev_loop *loop;
    ev_io answered;
    pthread_t thread;
    int job_pipe[2];    /* batches to the thread; closed to end it */
    int answer_pipe[2]; /* the same batches back */
    struct job *waiting;
    struct job *batch; /* at the thread */
};

static void
bytes_free(uint8_t *bytes, size_t length)
{
    if (bytes)
        sodium_memzero(bytes, length);
    free(bytes);
}

static void
job_free(struct job *job)
{
    while (job->waiters) {
        struct waiter *next = job->waiters->next;
        free(job->waiters);
        job->waiters = next;
    }
    bytes_free(job->bytes, job->length);
    free(job->path);
    free(job);
}

static void
jobs_free(struct job *jobs)
{
    while (jobs) {
        struct job *next = jobs->next;
        job_free(jobs);
        jobs = next;
    }
}

/* The thread. */

/* One pointer through a pipe, which takes it whole. False at the end of the pipe. */
static bool
pass_batch(int fd, struct job *batch)
{
    ssize_t count;
    do {
        count = write(fd, &batch, sizeof batch);
    } while (count < 0 && errno == EINTR);
    return count == (ssize_t)sizeof batch;
}

static bool
take_batch(int fd, struct job **batch)
{
    ssize_t count;
    do {
        count = read(fd, batch, sizeof *batch);
    } while (count < 0 && errno == EINTR);
    return count == (ssize_t)sizeof *batch;
}

static void *
store_thread(void *arg)
{
    const struct cbx_store *store = arg;
    const int in = store->job_pipe[0];
    const int out = store->answer_pipe[1];
    struct job *batch;
    while (take_batch(in, &batch)) {
        for (struct job *job = batch; job != NULL; job = job->next) {
            job->result = cbx_file_save(job->path, job->bytes, job->length, job->mode, &job->error);
            /* Megabytes: wiped here rather than in the loop. */
            bytes_free(job->bytes, job->length);
            job->bytes = NULL;
        }
        (void)pass_batch(out, batch);
    }
    return NULL;
}

/* The loop's side. */

static void
dispatch(struct cbx_store *store)
{
    if (store->batch || !store->waiting)
        return;
    store->batch = store->waiting;
    store->waiting = NULL;
    ev_io_start(store->loop, &store->answered);
    /* Cannot fail: both ends are ours and the pipe is empty. */
    (void)pass_batch(store->job_pipe[1], store->batch);
}

static void
run_callbacks(struct job *batch)
{
    for (struct job *job = batch; job != NULL; job = job->next) {
        const char *text = job->result == 0 ? "" : job->error.text;
        for (struct waiter *waiter = job->waiters; waiter != NULL; waiter = waiter->next)
            waiter->done(waiter->arg, job->result, text);
    }
}

static void
on_answer(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)events;
    struct cbx_store *store = watcher->data;
    struct job *batch;
    if (!take_batch(store->answer_pipe[0], &batch))
        return;
    ev_io_stop(loop, watcher);
    store->batch = NULL;
    /* First, so that the disk works while callbacks run. */
    dispatch(store);
    run_callbacks(batch);
    jobs_free(batch);
}

static struct job *
job_new(const char *path, unsigned mode, cbx_store_done *done, void *arg)
{
    struct job *job = calloc(1, sizeof *job);
    if (!job)
        return NULL;
    job->mode = mode;
    job->path = strdup(path);
    bool complete = job->path != NULL;
    if (complete && done) {
        job->waiters = calloc(1, sizeof *job->waiters);
        complete = job->waiters != NULL;
    }
    if (!complete) {
        job_free(job);
        return NULL;
    }
    if (job->waiters)
        *job->waiters = (struct waiter){.done = done, .arg = arg};
    return job;
}

/* The newer job takes over the callbacks of a waiting one, before its own. */
static void
replace_waiting(struct cbx_store *store, struct job *newer)
{
    struct job **at = &store->waiting;
    while (*at && strcmp((*at)->path, newer->path) != 0)
        at = &(*at)->next;
    struct job *older = *at;
    if (!older)
        return;
    *at = older->next;
    struct waiter **tail = &older->waiters;
    while (*tail)
        tail = &(*tail)->next;
    *tail = newer->waiters;
    newer->waiters = older->waiters;
    older->waiters = NULL;
    job_free(older);
}

int
cbx_store_put(struct cbx_store *store, const char *path, uint8_t *bytes, size_t length,
              unsigned mode, cbx_store_done *done, void *arg)
{
    struct job *job = job_new(path, mode, done, arg);
    if (!job) {
        bytes_free(bytes, length);
        return CBX_ERR_NOMEM;
    }
    job->bytes = bytes;
    job->length = length;
    replace_waiting(store, job);
    struct job **tail = &store->waiting;
    while (*tail)
        tail = &(*tail)->next;
    *tail = job;
    dispatch(store);
    return 0;
}

static void
close_pipe(int ends[2])
{
    for (int i = 0; i < 2; i++) {
        if (ends[i] >= 0)
            (void)close(ends[i]);
        ends[i] = -1;
    }
}

/* Signals belong to the loop's thread. */
static bool
start_thread(struct cbx_store *store)
{
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    if (pthread_sigmask(SIG_SETMASK, &all, &before) != 0)
        return false;
    bool started = pthread_create(&store->thread, NULL, store_thread, store) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

struct cbx_store *
cbx_store_new(struct ev_loop *loop)
{
    struct cbx_store *store = calloc(1, sizeof *store);
    if (!store)
        return NULL;
    store->loop = loop;
    store->job_pipe[0] = store->job_pipe[1] = -1;
    store->answer_pipe[0] = store->answer_pipe[1] = -1;
    if (pipe2(store->job_pipe, O_CLOEXEC) != 0 || pipe2(store->answer_pipe, O_CLOEXEC) != 0 ||
        !start_thread(store)) {
        close_pipe(store->job_pipe);
        close_pipe(store->answer_pipe);
        free(store);
        return NULL;
    }
    ev_io_init(&store->answered, on_answer, store->answer_pipe[0], EV_READ);
    store->answered.data = store;
    return store;
}

void
cbx_store_free(struct cbx_store *store)
{
    if (!store)
        return;
    ev_io_stop(store->loop, &store->answered);
    if (store->waiting)
        (void)pass_batch(store->job_pipe[1], store->waiting);
    /* The thread ends at the end of the pipe, after the batches in it. */
    (void)close(store->job_pipe[1]);
    store->job_pipe[1] = -1;
    (void)pthread_join(store->thread, NULL);
    jobs_free(store->batch);
    jobs_free(store->waiting);
    close_pipe(store->job_pipe);
    close_pipe(store->answer_pipe);
    free(store);
}
