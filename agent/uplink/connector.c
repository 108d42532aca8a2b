/* SPDX-License-Identifier: MIT */
/*
 * libcurl's multi interface tells which sockets and which time-out to watch, libev does so, and
 * each event goes to curl_multi_socket_action. One multi handle and one easy handle per attempt.
 *
 * Done means: the connection stands and a proxy, if any, has let us through. The socket is then
 * duplicated and both handles are closed, which leaves the duplicate open; but when the way to the
 * proxy itself is TLS, the handles move into the tcp_buffer, which sends and receives through them.
 *
 * Watches (one per socket that libcurl uses) hang in a list and die with the connector; libcurl is
 * told to forget us first. Nothing is touched after ops were called: the callee may free us inside.
 * Tested by test_uplink.
 */
#include "agent/uplink/connector.h"

#include "agent/uplink/proxy_choice.h"
#include "common/base/err.h"
#include "common/base/names.h"
#include "common/os/socket.h"
#include "common/os/tcp_path.h"
#include "common/trust/token.h"

#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { NOT_SENT_LOW_WATER = 128 * 1024 };

struct watch {
    struct watch *next;
    struct connector *connector;
    ev_io io;
};

struct connector {
    struct ev_loop *loop;
    const struct connector_ops *ops;
    void *arg;
    CURLM *multi;
    CURL *easy;
    ev_timer timer;
    struct watch *watches;
    int64_t timeout_ms;
    int segment_max;
    bool broken; /* setting up failed: said at the first turn of the loop */
    struct proxy_choice proxy;
    char address[CBX_ADDRESS_TEXT_MAX];
    char detail[CURL_ERROR_SIZE];
};

/* ---- what went wrong, in words ------------------------------------------------------------- */

static void
describe_tunnel(struct connector *c, long status, struct cbx_error *text)
{
    if (status == 407)
        cbx_fail(text, 0,
                 "the proxy %s wants a user name and a password: give them as "
                 "--via http://USER:PASSWORD@HOST:PORT",
                 c->proxy.name);
    else if (status == 403)
        cbx_fail(text, 0,
                 "the proxy %s does not allow CONNECT to %s (403): have that port allowed, or let "
                 "the hub listen on one that is",
                 c->proxy.name, c->address);
    else
        cbx_fail(text, 0, "the proxy %s answered CONNECT to %s with status %ld", c->proxy.name,
                 c->address, status);
}

static enum connector_error
describe_connect(struct connector *c, struct cbx_error *text)
{
    const char *whom = c->proxy.name[0] != '\0' ? c->proxy.name : c->address;
    const char *what = c->proxy.name[0] != '\0' ? "the proxy " : "";
    long os_errno = 0;
    (void)curl_easy_getinfo(c->easy, CURLINFO_OS_ERRNO, &os_errno);
    if (os_errno == ECONNREFUSED) {
        cbx_fail(text, 0, "connection refused by %s%s: nothing listens there, is %s running?", what,
                 whom, c->proxy.name[0] != '\0' ? "it" : "the hub");
        return CONNECTOR_REFUSED;
    }
    cbx_fail(text, 0, "cannot connect to %s%s: %s", what, whom,
             os_errno != 0 ? strerror((int)os_errno) : c->detail);
    return CONNECTOR_OTHER;
}

static enum connector_error
describe(struct connector *c, CURLcode code, struct cbx_error *text)
{
    const char *cause = c->detail[0] != '\0' ? c->detail : curl_easy_strerror(code);
    long status = 0;
    (void)curl_easy_getinfo(c->easy, CURLINFO_HTTP_CONNECTCODE, &status);
    if (c->proxy.wrong[0] != '\0')
        cbx_fail(text, 0, "the proxy in %s: %s", c->proxy.from, c->proxy.wrong);
    else if (status >= 300)
        describe_tunnel(c, status, text);
    else if (code == CURLE_COULDNT_RESOLVE_HOST)
        cbx_fail(text, 0, "%s: the name does not resolve (%s): check the network and its DNS",
                 c->address, cause);
    else if (code == CURLE_COULDNT_RESOLVE_PROXY)
        cbx_fail(text, 0, "the name of the proxy %s does not resolve: check --via or https_proxy",
                 c->proxy.name);
    else if (code == CURLE_COULDNT_CONNECT)
        return describe_connect(c, text);
    else if (code == CURLE_OPERATION_TIMEDOUT)
        cbx_fail(text, 0, "%s%s%s did not answer within %.3g s: check the route and firewalls",
                 c->address, c->proxy.name[0] != '\0' ? " through the proxy " : "", c->proxy.name,
                 (double)c->timeout_ms / 1000.);
    else if (c->proxy.name[0] != '\0')
        cbx_fail(text, 0, "%s through the proxy %s: %s", c->address, c->proxy.name, cause);
    else
        cbx_fail(text, 0, "%s: %s", c->address, cause);
    return CONNECTOR_OTHER;
}

/* ---- the end of the attempt ---------------------------------------------------------------- */

static void
stop_watching(struct connector *c)
{
    if (c->multi) {
        (void)curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, NULL);
        (void)curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, NULL);
    }
    ev_timer_stop(c->loop, &c->timer);
    while (c->watches) {
        struct watch *watch = c->watches;
        c->watches = watch->next;
        ev_io_stop(c->loop, &watch->io);
        free(watch);
    }
}

static void
drop_handles(struct connector *c)
{
    if (c->multi && c->easy)
        (void)curl_multi_remove_handle(c->multi, c->easy);
    if (c->easy)
        curl_easy_cleanup(c->easy);
    if (c->multi)
        (void)curl_multi_cleanup(c->multi);
    c->easy = NULL;
    c->multi = NULL;
}

/* Interactive bytes go out at once, and little waits unsent in the kernel, where nothing can
 * overtake it. Both only help: a failure changes speed, not meaning. */
static void
tune(int fd)
{
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
#ifdef TCP_NOTSENT_LOWAT
    int low_water = NOT_SENT_LOW_WATER;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &low_water, sizeof low_water);
#endif
}

static struct tcp_buffer *
make_tcp_buffer(struct connector *c)
{
    curl_socket_t fd = CURL_SOCKET_BAD;
    (void)curl_easy_getinfo(c->easy, CURLINFO_ACTIVESOCKET, &fd);
    if (fd == CURL_SOCKET_BAD)
        return NULL;
    tune(fd);
    if (c->proxy.tls) {
        (void)curl_easy_setopt(c->easy, CURLOPT_ERRORBUFFER, NULL); /* it dies with us */
        struct tcp_buffer *tcp = tcp_buffer_over_tunnel(c->loop, c->multi, c->easy, fd);
        if (tcp)
            c->multi = c->easy = NULL;
        return tcp;
    }
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (own < 0)
        return NULL;
    drop_handles(c);
    struct tcp_buffer *tcp = tcp_buffer_over_socket(c->loop, own);
    if (!tcp)
        close(own);
    return tcp;
}

static void
finish(struct connector *c, CURLcode code)
{
    struct cbx_error text;
    stop_watching(c);
    if (code != CURLE_OK) {
        enum connector_error error = describe(c, code, &text);
        c->ops->failed(c->arg, error, text.text);
        return;
    }
    struct tcp_buffer *tcp = make_tcp_buffer(c);
    if (tcp) {
        c->ops->connected(c->arg, tcp);
        return;
    }
    cbx_fail(&text, 0, "%s: out of memory or descriptors", c->address);
    c->ops->failed(c->arg, CONNECTOR_OTHER, text.text);
}

/* Lets libcurl act on an event. The caller touches nothing afterwards. */
static void
act(struct connector *c, curl_socket_t fd, int mask)
{
    int running = 0, left = 0;
    if (curl_multi_socket_action(c->multi, fd, mask, &running) != CURLM_OK) {
        finish(c, CURLE_OUT_OF_MEMORY); /* or want_socket was: libcurl says nothing after that */
        return;
    }
    const CURLMsg *message = curl_multi_info_read(c->multi, &left);
    if (message && message->msg == CURLMSG_DONE)
        finish(c, message->data.result);
}

/* ---- libcurl's wishes, libev's events ------------------------------------------------------ */

static void
on_io(struct ev_loop *loop, ev_io *io, int events)
{
    (void)loop;
    struct watch *watch = io->data;
    int mask = ((events & EV_READ) != 0 ? CURL_CSELECT_IN : 0) |
               ((events & EV_WRITE) != 0 ? CURL_CSELECT_OUT : 0);
    act(watch->connector, io->fd, mask);
}

static void
on_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop;
    (void)events;
    struct connector *c = timer->data;
    if (c->broken)
        finish(c, CURLE_FAILED_INIT);
    else
        act(c, CURL_SOCKET_TIMEOUT, 0);
}

static int
want_timer(CURLM *multi, long timeout_ms, void *arg)
{
    (void)multi;
    struct connector *c = arg;
    ev_timer_stop(c->loop, &c->timer);
    if (timeout_ms >= 0) {
        ev_now_update(c->loop);
        ev_timer_set(&c->timer, (double)timeout_ms / 1000., 0.);
        ev_timer_start(c->loop, &c->timer);
    }
    return 0;
}

static void
forget_socket(struct connector *c, struct watch *watch)
{
    struct watch **at = &c->watches;
    while (*at != watch)
        at = &(*at)->next;
    *at = watch->next;
    ev_io_stop(c->loop, &watch->io);
    free(watch);
}

static int
want_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
    (void)easy;
    struct connector *c = arg;
    struct watch *watch = socket_arg;
    if (what == CURL_POLL_REMOVE) {
        if (watch)
            forget_socket(c, watch);
        return 0;
    }
    if (!watch) {
        watch = calloc(1, sizeof *watch);
        if (!watch)
            return -1;
        watch->connector = c;
        watch->next = c->watches;
        c->watches = watch;
        ev_init(&watch->io, on_io);
        watch->io.data = watch;
        (void)curl_multi_assign(c->multi, fd, watch);
    }
    int events =
        ((what & CURL_POLL_IN) != 0 ? EV_READ : 0) | ((what & CURL_POLL_OUT) != 0 ? EV_WRITE : 0);
    ev_io_stop(c->loop, &watch->io);
    ev_io_set(&watch->io, fd, events);
    ev_io_start(c->loop, &watch->io);
    return 0;
}

/* Close-on-exec, or a child of ours would hold the connection open after we are gone. */
static curl_socket_t
open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
    const struct connector *c = arg;
    (void)purpose;
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    if (fd < 0)
        return fd;
    cbx_socket_unpace(fd, (const struct sockaddr *)&address->addr);
    cbx_tcp_limit_segments(fd, c->segment_max);
    return fd;
}

/* ---- setting up ---------------------------------------------------------------------------- */

static bool
set_options(struct connector *c)
{
    char url[CBX_ADDRESS_TEXT_MAX + 8];
    (void)snprintf(url, sizeof url, "http://%s", c->address);
    CURL *easy = c->easy;
    bool ok = curl_easy_setopt(easy, CURLOPT_URL, url) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_PROXY, c->proxy.url) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_CONNECT_ONLY, 1L) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_HTTPPROXYTUNNEL, 1L) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L) == CURLE_OK;
    /* Else the removal of a handle whose name look-up hangs blocks for seconds. */
    ok = ok && curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)c->timeout_ms) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, c->detail) == CURLE_OK;
    /* A proxy behind TLS may have a certificate of its owner's making: as the curl program does. */
    const char *authorities = getenv("CURL_CA_BUNDLE");
    if (!authorities)
        authorities = getenv("SSL_CERT_FILE");
    if (authorities && authorities[0] != '\0')
        ok = ok && curl_easy_setopt(easy, CURLOPT_PROXY_CAINFO, authorities) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, c) == CURLE_OK;
    return ok;
}

static bool
set_up(struct connector *c, const char *address, const char *via)
{
    char host[CBX_ADDRESS_TEXT_MAX];
    uint16_t port;
    (void)snprintf(c->address, sizeof c->address, "%s", address);
    if (strlen(address) >= sizeof c->address ||
        cbx_host_port_parse(address, host, sizeof host, &port) != 0) {
        (void)snprintf(c->detail, sizeof c->detail, "not an address of the form HOST:PORT");
        return false;
    }
    proxy_choose(via, &c->proxy);
    if (c->proxy.wrong[0] != '\0')
        return false;
    c->multi = curl_multi_init();
    if (!c->multi || !set_options(c))
        return false;
    (void)curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, want_socket);
    (void)curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
    (void)curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, want_timer);
    (void)curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
    return curl_multi_add_handle(c->multi, c->easy) == CURLM_OK;
}

struct connector *
connector_new(struct ev_loop *loop, const char *address, const char *via, int64_t timeout_ms,
              int segment_max, const struct connector_ops *ops, void *arg)
{
    static bool curl_ready;
    if (!curl_ready && curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return NULL;
    curl_ready = true;
    struct connector *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->loop = loop;
    c->ops = ops;
    c->arg = arg;
    c->timeout_ms = timeout_ms;
    c->segment_max = segment_max;
    ev_init(&c->timer, on_timer);
    c->timer.data = c;
    c->easy = curl_easy_init();
    if (!c->easy) {
        free(c);
        return NULL;
    }
    if (!set_up(c, address, via)) {
        c->broken = true;
        (void)want_timer(NULL, 0, c);
    }
    return c;
}

void
connector_free(struct connector *connector)
{
    if (!connector)
        return;
    stop_watching(connector);
    drop_handles(connector);
    free(connector);
}
