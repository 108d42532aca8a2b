/* SPDX-License-Identifier: MIT */
/*
 * emulated_path: two network namespaces and the path between them: a pair of TUN devices, and
 * packets that go from one to the other after a delay, at a rate, through a queue of a limit, some
 * of them lost.
 *
 *     emulated_path [--delay-us ONE_WAY] [--rate BITS_PER_SECOND] [--queue BYTES] [--loss
 * PER_MILLION]
 *
 * It prints "ready PID FD FD": /proc/PID/fd/FD are the namespaces, for nsenter --net. Their
 * addresses are 10.77.0.1 and 10.77.0.2. Nothing has a name outside this process, so with it, and
 * with the last program that was started inside, the namespaces are gone too. Needs root.
 *
 * These are packets, never a byte proxy: each end's TCP sees the whole way to the other, with its
 * round trip, its losses and its queue. A packet is sent when those before it are, at the rate
 * given, and is dropped when what waits before it exceeds the queue's limit (the end of a full
 * queue, as in most routers); then it takes the delay. Without a rate and a loss the devices pass
 * segments of up to 64 KiB that the kernel would cut later (TSO), so that the emulator itself costs
 * little; with either they are cut to the MTU first, since what is then measured is what each
 * packet does to the next.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PACKET_MAX = 65536 + sizeof(struct virtio_net_hdr), BATCH = 64, HELD_MAX = 512 << 20 };

struct packet {
    STAILQ_ENTRY(packet) entry;
    int64_t due;
    size_t length;
    uint8_t bytes[];
};

/* One direction: what waits, and when the last of it will have been sent. */
struct way {
    int from, to;
    STAILQ_HEAD(, packet) queue;
    int64_t free_at;
    size_t held;
    uint64_t passed, dropped;
};

struct emulated_path {
    int64_t delay_ns, rate;
    int64_t queue; /* bytes */
    uint32_t loss; /* per million */
    uint64_t random;
    struct way way[2];
};

static volatile sig_atomic_t ended;

static void
on_signal(int number)
{
    (void)number;
    ended = 1;
}

static _Noreturn void
die(const char *what)
{
    fprintf(stderr, "emulated_path: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t
now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* ---- namespaces and devices ---- */

static void
set(int control, struct ifreq *request, unsigned long what, const char *text)
{
    if (ioctl(control, what, request) < 0)
        die(text);
}

static struct sockaddr
ipv4(const char *text)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    struct sockaddr result;
    inet_pton(AF_INET, text, &address.sin_addr);
    memcpy(&result, &address, sizeof result);
    return result;
}

static void
bring_up(const char *name, const char *own, const char *other)
{
    int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq request = {0};
    strcpy(request.ifr_name, "lo");
    request.ifr_flags = IFF_UP | IFF_RUNNING;
    set(control, &request, SIOCSIFFLAGS, "lo");
    strcpy(request.ifr_name, name);
    request.ifr_addr = ipv4(own);
    set(control, &request, SIOCSIFADDR, "the device's address");
    request.ifr_dstaddr = ipv4(other);
    set(control, &request, SIOCSIFDSTADDR, "the device's other end");
    request.ifr_qlen = 2000;
    set(control, &request, SIOCSIFTXQLEN, "the device's queue");
    request.ifr_flags = IFF_UP | IFF_RUNNING;
    set(control, &request, SIOCSIFFLAGS, "the device");
    close(control);
}

/* A namespace of our own with one end of the path; this process is in it afterwards. */
static int
make_end(const char *own, const char *other, bool cut, int *space)
{
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR};
    strcpy(request.ifr_name, "path");
    if (unshare(CLONE_NEWNET) < 0)
        die("unshare");
    *space = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    int tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (*space < 0 || tun < 0)
        die("/dev/net/tun");
    if (ioctl(tun, TUNSETIFF, &request) < 0)
        die("TUNSETIFF");
    if (!cut && ioctl(tun, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4) < 0)
        die("TUNSETOFFLOAD");
    bring_up("path", own, other);
    return tun;
}

/* ---- packets ---- */

static bool
is_lost(struct emulated_path *path)
{
    path->random ^= path->random << 13;
    path->random ^= path->random >> 7;
    path->random ^= path->random << 17;
    return path->loss && path->random % 1000000 < path->loss;
}

static void
deliver(struct way *way, const uint8_t *bytes, size_t length)
{
    if (write(way->to, bytes, length) == (ssize_t)length)
        way->passed++;
    else
        way->dropped++;
}

static void
take(struct emulated_path *path, struct way *way, const uint8_t *bytes, size_t length, int64_t now)
{
    int64_t wire = (int64_t)(length - sizeof(struct virtio_net_hdr));
    if (way->free_at < now)
        way->free_at = now;
    int64_t waiting = path->rate ? (way->free_at - now) / 1000 * path->rate / 8000000 : 0;
    if (is_lost(path) || waiting + wire > path->queue || way->held > HELD_MAX) {
        way->dropped++;
        return;
    }
    if (path->rate)
        way->free_at += wire * 8 * 1000000000 / path->rate;
    int64_t due = way->free_at + path->delay_ns;
    if (due <= now) {
        deliver(way, bytes, length);
        return;
    }
    struct packet *packet = malloc(sizeof *packet + length);
    if (!packet)
        die("malloc");
    packet->due = due;
    packet->length = length;
    memcpy(packet->bytes, bytes, length);
    way->held += length;
    STAILQ_INSERT_TAIL(&way->queue, packet, entry);
}

static void
receive(struct emulated_path *path, struct way *way)
{
    static uint8_t bytes[PACKET_MAX];
    int64_t now = now_ns();
    for (int i = 0; i < BATCH; i++) {
        ssize_t got = read(way->from, bytes, sizeof bytes);
        if (got <= (ssize_t)sizeof(struct virtio_net_hdr))
            return;
        take(path, way, bytes, (size_t)got, now);
    }
}

/* Sends what is due; when the next is, or INT64_MAX. */
static int64_t
send_due(struct way *way)
{
    struct packet *packet;
    int64_t now = now_ns();
    while ((packet = STAILQ_FIRST(&way->queue))) {
        if (packet->due > now)
            return packet->due;
        STAILQ_REMOVE_HEAD(&way->queue, entry);
        way->held -= packet->length;
        deliver(way, packet->bytes, packet->length);
        free(packet);
    }
    return INT64_MAX;
}

static void
run(struct emulated_path *path)
{
    struct pollfd polled[2] = {{.fd = path->way[0].from, .events = POLLIN},
                               {.fd = path->way[1].from, .events = POLLIN}};
    while (!ended) {
        int64_t first = send_due(&path->way[0]), second = send_due(&path->way[1]);
        int64_t next = first < second ? first : second, wait = next - now_ns();
        if (wait < 0)
            wait = 0;
        struct timespec timeout = {.tv_sec = wait / 1000000000, .tv_nsec = wait % 1000000000};
        if (ppoll(polled, 2, next == INT64_MAX ? NULL : &timeout, NULL) <= 0)
            continue;
        for (int i = 0; i < 2; i++) {
            if (polled[i].revents)
                receive(path, &path->way[i]);
        }
    }
}

int
main(int argc, char **argv)
{
    static const struct option known[] = {{"delay-us", 1, NULL, 'd'},
                                          {"rate", 1, NULL, 'r'},
                                          {"queue", 1, NULL, 'q'},
                                          {"loss", 1, NULL, 'l'},
                                          {NULL, 0, NULL, 0}};
    struct emulated_path path = {.queue = 1 << 30, .random = 88172645463325252U};
    for (int letter; (letter = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        long long value = letter == '?' ? 0 : strtoll(optarg, NULL, 10);
        if (letter == 'd')
            path.delay_ns = value * 1000;
        else if (letter == 'r')
            path.rate = value;
        else if (letter == 'q')
            path.queue = value;
        else if (letter == 'l')
            path.loss = (uint32_t)value;
        else
            return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    bool cut = path.rate || path.loss;
    int space[2];
    int first = make_end("10.77.0.1", "10.77.0.2", cut, &space[0]);
    int second = make_end("10.77.0.2", "10.77.0.1", cut, &space[1]);
    path.way[0] = (struct way){.from = first, .to = second};
    path.way[1] = (struct way){.from = second, .to = first};
    STAILQ_INIT(&path.way[0].queue);
    STAILQ_INIT(&path.way[1].queue);
    printf("ready %d %d %d\n", (int)getpid(), space[0], space[1]);
    fflush(stdout);
    run(&path);
    printf("passed %llu %llu dropped %llu %llu\n", (unsigned long long)path.way[0].passed,
           (unsigned long long)path.way[1].passed, (unsigned long long)path.way[0].dropped,
           (unsigned long long)path.way[1].dropped);
    return 0;
}
