/* SPDX-License-Identifier: MIT */
/*
 * The TCP connection below SSH, with a buffer for each direction. libssh2 reads and writes only
 * these buffers: it never meets a partial write, from which its non-blocking mode does not recover
 * in every case, and one system call moves up to 256 KiB.
 */
#ifndef AGENT_UPLINK_TCP_BUFFER_H
#define AGENT_UPLINK_TCP_BUFFER_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct wire;
struct ev_loop;

enum {
    WIRE_IN_SIZE = 256 * 1024,
    WIRE_OUT_SIZE = 256 * 1024,
};

/* Over a connected socket, owned from here on. NULL when memory is short (fd stays the caller's).
 */
struct wire *wire_socket(struct ev_loop *loop, int fd);
/* Over a connection that libcurl keeps, because it goes through TLS to a proxy. Owns both handles
 * from here on; fd is only polled. The process must ignore SIGPIPE: OpenSSL writes with write(2).
 * NULL as above. */
struct wire *wire_tunnel(struct ev_loop *loop, CURLM *multi, CURL *easy, int fd);
/* Closes the connection; what was put but not flushed is lost. */
void wire_free(struct wire *wire);

int wire_fd(const struct wire *wire);
/* The plain socket, the caller's from here on, and frees the wire; -1 when there is none to give (a
 * tunnel; the wire then stays) or bytes are held already. */
int wire_release(struct wire *wire);
/* Who hears of events: EV_READ | EV_WRITE of libev. */
void wire_listen(struct wire *wire, void (*event)(void *arg, int events), void *arg);
/* Which events are watched for. Cheap when nothing changes. */
void wire_watch(struct wire *wire, bool read, bool write);

/* Receives once into the buffer: > 0, CBX_ERR_AGAIN (nothing there, or the buffer is full),
 * CBX_ERR_CLOSED at the end, CBX_ERR_IO. The two last stay. */
ssize_t wire_fill(struct wire *wire);
/* The connection may hold bytes that no event will tell of (TLS): fill again. */
bool wire_more(const struct wire *wire);
/* Bytes received and not yet taken. */
size_t wire_held(const struct wire *wire);
/* Takes up to length bytes; 0 when none are held. */
size_t wire_take(struct wire *wire, void *out, size_t length);
/* CBX_ERR_CLOSED or CBX_ERR_IO once receiving is over, else 0. */
int wire_ended(const struct wire *wire);

/* Bytes that wire_put would take now. */
size_t wire_room(const struct wire *wire);
/* All or nothing: false when there is less room. */
bool wire_put(struct wire *wire, const void *data, size_t length);
/* Sends what was put: 0 when all is gone, CBX_ERR_AGAIN, or CBX_ERR_CLOSED or CBX_ERR_IO, which
 * stay. */
int wire_flush(struct wire *wire);
bool wire_pending(const struct wire *wire);

#endif
