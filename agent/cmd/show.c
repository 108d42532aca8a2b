/* SPDX-License-Identifier: MIT */
/*
 * status and peers: what the running agent says, as text for people or as it came. Tested by
 * test_planes.py and test_commands.py.
 */
#include "agent/cmd/commands.h"

#include "common/base/log.h"
#include "common/command/human.h"
#include "common/command/listing.h"
#include "common/command/table.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { LIST_TEXT_MAX = 640, EXPOSE_TEXT_MAX = 1100, NAME_TEXT_MAX = 64, PLANES_TEXT_MAX = 256 };

static int
finish(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return CBX_EXIT_OK;
    cbx_log_error("cannot write to standard output");
    return CBX_EXIT_FAILURE;
}

/* The document as it came, but for the word of the control socket. */
static int
print_json(json_t *answer)
{
    (void)json_object_del(answer, "ok");
    if (json_dumpf(answer, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER) == 0)
        putchar('\n');
    json_decref(answer);
    return finish();
}

static const char *
text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

static long long
number_of(const json_t *object, const char *key)
{
    return (long long)json_integer_value(json_object_get(object, key));
}

static void
print_row(const char *name, const char *value)
{
    if (value[0] != '\0')
        printf("%-9s %s\n", name, value);
}

static void
print_time(const char *name, long long seconds)
{
    char text[64];
    struct tm utc;
    time_t when = (time_t)seconds;
    if (seconds != 0 && gmtime_r(&when, &utc) &&
        strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &utc) > 0)
        print_row(name, text);
}

/* "relay for 3m 2s, round trip 0.31 ms", and below it why it is not a better one. */
static void
print_plane(const json_t *mesh)
{
    char span[CBX_HUMAN_MAX], trip[CBX_HUMAN_MAX];
    long long since = number_of(mesh, "plane_since");
    cbx_human_since(since, (int64_t)time(NULL), span, sizeof span);
    cbx_human_us(number_of(mesh, "round_trip_us"), trip, sizeof trip);
    if (since != 0)
        printf("%-9s %s for %s, round trip %s\n", "plane", text_of(mesh, "plane"), span, trip);
    print_row("no lane", text_of(mesh, "plane_reason"));
}

/* "ssh 12 KiB in, 3.1 KiB out; relay ...", of planes that carried something. */
static void
format_planes(const json_t *bytes, char *out, size_t size)
{
    const char *name;
    json_t *plane;
    size_t used = 0;
    (void)snprintf(out, size, "-");
    json_object_foreach((json_t *)(uintptr_t)bytes, name, plane) {
        char in[CBX_HUMAN_MAX], sent[CBX_HUMAN_MAX];
        if (number_of(plane, "in") == 0 && number_of(plane, "out") == 0)
            continue;
        cbx_human_bytes((uint64_t)number_of(plane, "in"), in, sizeof in);
        cbx_human_bytes((uint64_t)number_of(plane, "out"), sent, sizeof sent);
        int more = snprintf(out + used, size - used, "%s%s %s in, %s out", used > 0 ? "; " : "",
                            name, in, sent);
        if (more < 0 || (size_t)more >= size - used)
            return;
        used += (size_t)more;
    }
}

/* "listening on [::]:40123, 3 lanes accepted, 12 connections rejected". */
static void
print_direct_listener(const json_t *direct, const char *listening)
{
    char lanes[CBX_HUMAN_MAX], rejected[CBX_HUMAN_MAX];
    cbx_human_many(number_of(direct, "proven"), "lane", lanes, sizeof lanes);
    cbx_human_many(number_of(direct, "refused") + number_of(direct, "silent") +
                       number_of(direct, "crowded") + number_of(direct, "exhausted"),
                   "connection", rejected, sizeof rejected);
    printf("%-9s listening on %s, %s accepted, %s rejected\n", "direct", listening, lanes,
           rejected);
}

static void
print_direct(const json_t *direct)
{
    const char *listening = text_of(direct, "listening");
    if (strcmp(text_of(direct, "mode"), "on") != 0)
        print_row("direct", text_of(direct, "mode"));
    else if (listening[0] == '\0')
        printf("%-9s not listening: %s\n", "direct", text_of(direct, "trouble"));
    else
        print_direct_listener(direct, listening);
}

/* "80,5432=10.83.0.7:5432", over several lines where it is long. */
static void
print_exposed(const json_t *answer)
{
    const json_t *targets = json_object_get(answer, "targets"), *port;
    char text[EXPOSE_TEXT_MAX] = "";
    size_t index, used = 0;
    json_array_foreach(json_object_get(answer, "expose"), index, port) {
        char number[8];
        (void)snprintf(number, sizeof number, "%d", (int)json_integer_value(port));
        const char *target = json_string_value(json_object_get(targets, number));
        int more = snprintf(text + used, sizeof text - used, "%s%s%s%s", used > 0 ? "," : "",
                            number, target ? "=" : "", target ? target : "");
        used += more > 0 && (size_t)more < sizeof text - used ? (size_t)more : 0;
    }
    const char *name = "exposes";
    for (const char *at = text; *at != '\0'; name = "") {
        size_t length = cbx_table_piece(at);
        printf("%-9s %.*s\n", name, (int)length, at);
        at += length;
    }
}

static void
print_warnings(const json_t *warnings)
{
    size_t index;
    const json_t *warning;
    json_array_foreach(warnings, index, warning) {
        print_row("warning", json_string_value(warning));
    }
}

/* Where else the hub is looked for, when there is more than the one of the row above. */
static void
print_addresses(const json_t *addresses)
{
    size_t index;
    const json_t *one;
    const char *name = "looks at";
    json_array_foreach(addresses, index, one) {
        if (json_array_size(addresses) < 2)
            return;
        printf("%-9s %s, from the %s\n", name, text_of(one, "address"), text_of(one, "from"));
        name = "";
    }
}

static int
print_status(json_t *answer)
{
    const json_t *mesh = json_object_get(answer, "mesh");
    const json_t *counters = json_object_get(mesh, "counters");
    const char *proxy = text_of(answer, "proxy");
    print_row("state", text_of(answer, "state"));
    print_row("name", text_of(answer, "name"));
    print_row("slug", text_of(answer, "slug"));
    print_row("pond", text_of(answer, "pond"));
    print_row("hub", text_of(answer, "hub"));
    print_addresses(json_object_get(answer, "addresses"));
    print_row("uplink", text_of(answer, "uplink"));
    if (number_of(answer, "segment_max") != 0)
        printf("%-9s of %lld bytes at most: longer ones are lost on the way\n", "segments",
               number_of(answer, "segment_max"));
    /* The first stretch of every link is SSH; which plane it is on stands below. */
    if (strcmp(text_of(answer, "carrier"), "ssh") != 0)
        print_row("ssh", "by --ssh-command");
    print_row("trouble", text_of(answer, "trouble"));
    print_warnings(json_object_get(answer, "warnings"));
    print_time("since", number_of(answer, "since"));
    print_row("proxy", proxy[0] != '\0' ? proxy : "off");
    print_direct(json_object_get(answer, "direct"));
    print_exposed(answer);
    print_time("ends", number_of(answer, "ends"));
    if (json_is_object(mesh)) {
        char planes[PLANES_TEXT_MAX];
        print_plane(mesh);
        format_planes(json_object_get(mesh, "bytes"), planes, sizeof planes);
        printf("%-9s %s\n", "link", planes);
        printf("%-9s %lld open, %lld dialed, %lld accepted, %lld refused\n", "streams",
               number_of(mesh, "streams"), number_of(counters, "dialed"),
               number_of(counters, "accepted"), number_of(counters, "refused"));
        printf("%-9s %lld in, %lld out\n", "bytes", number_of(counters, "bytes_in"),
               number_of(counters, "bytes_out"));
    }
    printf("%-9s %lld\n", "pid", number_of(answer, "pid"));
    json_decref(answer);
    return finish();
}

int
agent_cmd_status(const struct cbx_command *command, void *parsed)
{
    (void)command;
    json_t *answer;
    int status = agent_ask(parsed, json_pack("{s:s}", "cmd", "status"), &answer);
    if (status != CBX_EXIT_OK)
        return status;
    return cbx_arg(parsed, "json") != NULL ? print_json(answer) : print_status(answer);
}

static int
end_table(struct cbx_table *table)
{
    if (cbx_table_end(table))
        return finish();
    cbx_log_error("out of memory");
    return CBX_EXIT_FAILURE;
}

static void
format_since(long long since, char *out, size_t size)
{
    cbx_human_since(since, (int64_t)time(NULL), out, size);
}

static void
add_peer(struct cbx_table *table, const json_t *peer, bool labels)
{
    char name[NAME_TEXT_MAX], list[LIST_TEXT_MAX], text[PLANES_TEXT_MAX];
    const char *refused = text_of(peer, "refused");
    const char *note = json_is_true(json_object_get(peer, "self")) ? "this lease"
                       : refused[0] != '\0'                        ? refused
                                                                   : text_of(peer, "plane_reason");
    (void)snprintf(name, sizeof name, "%s.cbx", text_of(peer, "slug"));
    cbx_table_add(table, name);
    cbx_table_add(table, text_of(peer, "state"));
    cbx_listing_ports_text(json_object_get(peer, "expose"), list, sizeof list);
    cbx_table_add(table, list);
    cbx_table_add(table, text_of(peer, "plane"));
    format_since(number_of(peer, "plane_since"), text, sizeof text);
    cbx_table_add(table, text);
    cbx_human_us(number_of(peer, "round_trip_us"), text, sizeof text);
    cbx_table_add(table, text);
    format_planes(json_object_get(peer, "bytes"), text, sizeof text);
    cbx_table_add(table, text);
    cbx_listing_labels_text(json_object_get(peer, "labels"), list, sizeof list);
    if (labels)
        cbx_table_add(table, list);
    cbx_table_add(table, note);
}

/* Labels have a column where there are any. */
static int
print_peers(json_t *answer)
{
    static const char *const headings[] = {"NAME",           "STATE",  "PORTS",
                                           "PLANE",          "SINCE",  "ROUND TRIP",
                                           "STREAMS' BYTES", "LABELS", "NOTE"};
    enum { COLUMNS = sizeof headings / sizeof headings[0], AT_LABELS = COLUMNS - 2 };
    const json_t *peers = json_object_get(answer, "peers"), *peer;
    bool labels = cbx_listing_any_labels(peers);
    size_t index;
    struct cbx_table *table = cbx_table_new(COLUMNS - !labels);
    for (int i = 0; i < COLUMNS; i++) {
        if (labels || i != AT_LABELS)
            cbx_table_add(table, headings[i]);
    }
    json_array_foreach(peers, index, peer) {
        add_peer(table, peer, labels);
    }
    json_decref(answer);
    return end_table(table);
}

static int
print_streams(json_t *answer)
{
    static const char *const headings[] = {"PEER",  "PORT",  "DIRECTION", "STATE",
                                           "PLANE", "SINCE", "IN",        "OUT"};
    size_t index;
    json_t *stream;
    struct cbx_table *table = cbx_table_new(8);
    cbx_table_row(table, headings);
    json_array_foreach(json_object_get(answer, "streams"), index, stream) {
        char port[16], since[CBX_HUMAN_MAX], in[CBX_HUMAN_MAX], out[CBX_HUMAN_MAX];
        (void)snprintf(port, sizeof port, "%lld", number_of(stream, "port"));
        format_since(number_of(stream, "since"), since, sizeof since);
        cbx_human_bytes((uint64_t)number_of(stream, "bytes_in"), in, sizeof in);
        cbx_human_bytes((uint64_t)number_of(stream, "bytes_out"), out, sizeof out);
        cbx_table_row(table,
                      (const char *const[]){text_of(stream, "peer"), port,
                                            text_of(stream, "direction"), text_of(stream, "state"),
                                            text_of(stream, "plane"), since, in, out});
    }
    long long more = number_of(answer, "streams_left_out");
    json_decref(answer);
    int status = end_table(table);
    if (status == CBX_EXIT_OK && more > 0)
        printf("and %lld more\n", more);
    return status == CBX_EXIT_OK ? finish() : status;
}

int
agent_cmd_peers(const struct cbx_command *command, void *parsed)
{
    (void)command;
    bool json = cbx_arg(parsed, "json") != NULL, streams = cbx_arg(parsed, "streams") != NULL;
    json_t *answer;
    int status = agent_ask(
        parsed, json_pack("{s:s, s:b}", "cmd", "peers", "streams", json || streams), &answer);
    if (status != CBX_EXIT_OK)
        return status;
    if (json)
        return print_json(answer);
    return streams ? print_streams(answer) : print_peers(answer);
}
