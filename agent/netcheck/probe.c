/* SPDX-License-Identifier: MIT */
/*
 * CONNECTING (connector) -> LOGIN (ssh_login; the timer is its limit) -> over. Tested by
 * test_netcheck.
 */
#include "agent/netcheck/probe.h"

#include "agent/uplink/connector.h"
#include "common/base/clock.h"
#include "common/trust/token.h"

#include <ev.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* Segments above SEGMENT_MAX (loopback's) follow the window, not the path. */
enum { HEADERS_V4 = 40, HEADERS_V6 = 60, TIMESTAMPS = 12, SEGMENT_MAX = 9000 };

struct netcheck_probe {
    struct ev_loop *loop;
    void (*done)(void *arg);
    void *arg;
    struct connector *connector;
    struct ssh_login *login;
    ev_timer limit;
    int64_t began_us, timeout_ms;
    struct netcheck_found found;
    struct cbx_keypair key;
    uint8_t host_key_sha256[32];
    char user[CBX_USER_MAX + 1];
    char address[CBX_ADDRESS_TEXT_MAX];
};

static void
stop(struct netcheck_probe *probe)
{
    connector_free(probe->connector);
    ssh_login_free(probe->login);
    probe->connector = NULL;
    probe->login = NULL;
    ev_timer_stop(probe->loop, &probe->limit);
}

static void
finish(struct netcheck_probe *probe)
{
    stop(probe);
    probe->done(probe->arg);
}

/* ---- what the kernel knows ---- */

/* Returns the address family, 0 when it cannot be told. */
static int
look_at_peer(int fd, struct netcheck_found *found)
{
    struct sockaddr_storage at = {0};
    socklen_t length = sizeof at;
    char host[64], port[8];
    if (getpeername(fd, (struct sockaddr *)&at, &length) != 0 ||
        getnameinfo((struct sockaddr *)&at, length, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return 0;
    bool v6 = at.ss_family == AF_INET6;
    (void)snprintf(found->peer, sizeof found->peer, "%s%s%s:%s", v6 ? "[" : "", host, v6 ? "]" : "",
                   port);
    return at.ss_family;
}

/* The route's MTU as the kernel tells it, unless segments are smaller than that calls for. */
static void
look_at_path(int fd, int family, struct netcheck_found *found)
{
    bool v6 = family == AF_INET6;
    struct tcp_info info = {0};
    socklen_t length = sizeof info;
    int mtu = 0, headers = v6 ? HEADERS_V6 : HEADERS_V4;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0) {
        found->tcp_us = info.tcpi_rtt;
        found->mss = (int)info.tcpi_snd_mss;
        headers += (info.tcpi_options & TCPI_OPT_TIMESTAMPS) != 0 ? TIMESTAMPS : 0;
    }
    length = sizeof mtu;
    bool told =
        getsockopt(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_MTU : IP_MTU, &mtu, &length) == 0;
    int by_segment = found->mss > 0 && found->mss <= SEGMENT_MAX ? found->mss + headers : 0;
    found->mtu = told && (by_segment == 0 || mtu < by_segment) ? mtu : by_segment;
}

/* ---- the login ---- */

static void
take_banner(struct netcheck_probe *probe)
{
    probe->found.ssh_us = cbx_clock_us() - probe->began_us - probe->found.connect_us;
    (void)snprintf(probe->found.banner, sizeof probe->found.banner, "%s",
                   ssh_login_banner(probe->login));
}

static void
logged_in(void *arg, struct cbx_carrier *carrier)
{
    struct netcheck_probe *probe = arg;
    (void)carrier; /* none: the login was the goal */
    take_banner(probe);
    probe->found.greeted = probe->found.logged_in = true;
    finish(probe);
}

static void
login_failed(void *arg, enum ssh_error error, const char *text)
{
    struct netcheck_probe *probe = arg;
    take_banner(probe);
    probe->found.error = error;
    probe->found.greeted = error == SSH_DENIED;
    cbx_fail(&probe->found.text, 0, "%s", text);
    finish(probe);
}

static const struct ssh_login_ops login_ops = {.up = logged_in, .failed = login_failed};

static void
on_limit(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop;
    (void)events;
    struct netcheck_probe *probe = timer->data;
    struct cbx_error text;
    cbx_fail(&text, 0, "%s accepted the connection but did not finish the SSH login within %.3g s",
             probe->address, (double)probe->timeout_ms / 1000.);
    login_failed(probe, SSH_PROTOCOL, text.text);
}

/* ---- the connection ---- */

static void
connected(void *arg, struct tcp_buffer *tcp)
{
    struct netcheck_probe *probe = arg;
    stop(probe);
    probe->found.connected = true;
    probe->found.connect_us = cbx_clock_us() - probe->began_us;
    int family = look_at_peer(tcp_buffer_fd(tcp), &probe->found);
    look_at_path(tcp_buffer_fd(tcp), family, &probe->found);
    const struct ssh_config config = {
        .address = probe->address,
        .user = probe->user,
        .host_key_sha256 = probe->host_key_sha256,
        .key = &probe->key,
        .login_only = true,
    };
    probe->login = ssh_login_new(probe->loop, tcp, &config, &login_ops, probe);
    if (!probe->login) {
        cbx_fail(&probe->found.text, 0, "out of memory");
        probe->found.error = SSH_PROTOCOL;
        finish(probe);
        return;
    }
    ev_now_update(probe->loop);
    ev_timer_set(&probe->limit, (double)probe->timeout_ms / 1000., 0.);
    ev_timer_start(probe->loop, &probe->limit);
}

static void
connect_failed(void *arg, enum connector_error error, const char *text)
{
    struct netcheck_probe *probe = arg;
    probe->found.refused = error == CONNECTOR_REFUSED;
    cbx_fail(&probe->found.text, 0, "%s", text);
    finish(probe);
}

static const struct connector_ops connector_ops = {.connected = connected,
                                                   .failed = connect_failed};

struct netcheck_probe *
netcheck_probe_new(struct ev_loop *loop, const struct netcheck_probe_config *config,
                   void (*done)(void *arg), void *arg)
{
    struct netcheck_probe *probe = calloc(1, sizeof *probe);
    if (!probe)
        return NULL;
    probe->loop = loop;
    probe->done = done;
    probe->arg = arg;
    probe->key = *config->key;
    probe->timeout_ms = config->timeout_ms;
    memcpy(probe->host_key_sha256, config->host_key_sha256, sizeof probe->host_key_sha256);
    (void)snprintf(probe->user, sizeof probe->user, "%s", config->user);
    (void)snprintf(probe->address, sizeof probe->address, "%s", config->address);
    ev_init(&probe->limit, on_limit);
    probe->limit.data = probe;
    probe->began_us = cbx_clock_us();
    probe->connector = connector_new(loop, probe->address, config->via, probe->timeout_ms, 0,
                                     &connector_ops, probe);
    if (!probe->connector) {
        netcheck_probe_free(probe);
        return NULL;
    }
    return probe;
}

void
netcheck_probe_free(struct netcheck_probe *probe)
{
    if (!probe)
        return;
    stop(probe);
    cbx_keypair_wipe(&probe->key);
    free(probe);
}

const struct netcheck_found *
netcheck_probe_found(const struct netcheck_probe *probe)
{
    return &probe->found;
}
