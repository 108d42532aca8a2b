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

struct tcp_buffer;
struct ev_loop;

enum {
    TCP_BUFFER_IN_SIZE = 256 * 1024,
    TCP_BUFFER_OUT_SIZE = 256 * 1024,
};

/* Over a connected socket, owned from here on. NULL when memory is short (fd stays the caller's).
 */
struct tcp_buffer *tcp_buffer_over_socket(struct ev_loop *loop, int fd);
/* Over a connection that libcurl keeps, because it goes through TLS to a proxy. Owns both handles
 * from here on; fd is only polled. The process must ignore SIGPIPE: OpenSSL writes with write(2).
 * NULL as above. */
struct tcp_buffer *tcp_buffer_over_tunnel(struct ev_loop *loop, CURLM *multi, CURL *easy, int fd);
/* Closes the connection; what was put but not flushed is lost. */
void tcp_buffer_free(struct tcp_buffer *tcp);

int tcp_buffer_fd(const struct tcp_buffer *tcp);
/* The plain socket, the caller's from here on, and frees the buffer; -1 when there is none to give
 * (a tunnel; the buffer then stays) or bytes are held already. */
int tcp_buffer_release(struct tcp_buffer *tcp);
/* Who hears of events: EV_READ | EV_WRITE of libev. */
void tcp_buffer_listen(struct tcp_buffer *tcp, void (*event)(void *arg, int events), void *arg);
/* Which events are watched for. Cheap when nothing changes. */
void tcp_buffer_watch(struct tcp_buffer *tcp, bool read, bool write);

/* Receives once into the buffer: > 0, CBX_ERR_AGAIN (nothing there, or the buffer is full),
 * CBX_ERR_CLOSED at the end, CBX_ERR_IO. The two last stay. */
ssize_t tcp_buffer_fill(struct tcp_buffer *tcp);
/* The connection may hold bytes that no event will tell of (TLS): fill again. */
bool tcp_buffer_more(const struct tcp_buffer *tcp);
/* Bytes received and not yet taken. */
size_t tcp_buffer_held(const struct tcp_buffer *tcp);
/* Takes up to length bytes; 0 when none are held. */
size_t tcp_buffer_take(struct tcp_buffer *tcp, void *out, size_t length);
/* CBX_ERR_CLOSED or CBX_ERR_IO once receiving is over, else 0. */
int tcp_buffer_ended(const struct tcp_buffer *tcp);

/* Bytes that tcp_buffer_put would take now. */
size_t tcp_buffer_room(const struct tcp_buffer *tcp);
/* All or nothing: false when there is less room. */
bool tcp_buffer_put(struct tcp_buffer *tcp, const void *data, size_t length);
/* Sends what was put: 0 when all is gone, CBX_ERR_AGAIN, or CBX_ERR_CLOSED or CBX_ERR_IO, which
 * stay. */
int tcp_buffer_flush(struct tcp_buffer *tcp);
bool tcp_buffer_pending(const struct tcp_buffer *tcp);

#endif
