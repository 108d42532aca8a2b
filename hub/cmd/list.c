/* SPDX-License-Identifier: MIT */
/*
 * Commands that only look: tables for people, the hub's own JSON with --json. Tested by
 * test_commands.py and test_planes.py.
 */
#include "common/base/clock.h"
#include "common/command/listing.h"
#include "hub/cmd/cmd.h"
#include "hub/cmd/lookup.h"
#include <stdio.h>
#include <string.h>

enum { LIST_TEXT_MAX = 640 };

/* Asks; with --json also prints, and then *answer stays NULL. */
static int
ask(const struct cbx_command *command, const struct cbx_args *args, json_t *request,
    json_t **answer)
{
    char state_dir[CMD_STATE_MAX];
    int status = cmd_begin(command, args, 0, state_dir);

    *answer = NULL;
    if (status != CBX_EXIT_OK) {
        json_decref(request);
        return status;
    }
    status = cmd_call(command, state_dir, 0, request, answer);
    if (status != CBX_EXIT_OK || !cbx_arg(args, "json"))
        return status;
    status = cmd_print_json(command, *answer);
    *answer = NULL;
    return status;
}

static const char *
text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text != NULL && text[0] != '\0' ? text : "-";
}

static long long
number_of(const json_t *object, const char *name)
{
    return (long long)json_integer_value(json_object_get(object, name));
}

static void
add_headings(struct cbx_table *table, const char *const *headings, int count)
{
    for (int i = 0; i < count; i++)
        cbx_table_add(table, headings[i]);
}

/* How long from now, or that it is over. */
static void
add_until(struct cbx_table *table, long long when)
{
    long long left = when - (long long)cbx_clock_unix();
    char text[32];

    cbx_human_span(left, text, sizeof text);
    cbx_table_add(table, left <= 0 ? "over" : text);
}

int
cmd_invites(const struct cbx_command *command, void *parsed)
{
    static const char *const headings[] = {"ID", "POND", "SLUG", "STATE", "JOIN WITHIN", "ENDS IN"};
    json_t *answer, *invite;
    size_t index;
    int status = ask(command, parsed, json_pack("{s:s}", "cmd", "invites"), &answer);

    if (!answer)
        return status;
    struct cbx_table *table = cbx_table_new(6);
    add_headings(table, headings, 6);
    json_array_foreach(json_object_get(answer, "invites"), index, invite) {
        cbx_table_add(table, text_of(invite, "id"));
        cbx_table_add(table, text_of(invite, "pond"));
        cbx_table_add(table, text_of(invite, "slug"));
        cbx_table_add(table, text_of(invite, "state"));
        add_until(table, number_of(invite, "join_by"));
        add_until(table, number_of(invite, "ends"));
    }
    json_decref(answer);
    return cmd_table_end(command, table);
}

static void
add_link(struct cbx_table *table, const json_t *peer)
{
    char text[64];

    if (!json_object_get(peer, "address")) {
        for (int i = 0; i < 6; i++)
            cbx_table_add(table, "-");
        return;
    }
    cbx_table_add(table, text_of(peer, "address"));
    cbx_table_add(table, text_of(peer, "plane"));
    cbx_human_since(number_of(peer, "plane_since"), cbx_clock_unix(), text, sizeof text);
    cbx_table_add(table, text);
    cbx_human_us(number_of(peer, "round_trip_us"), text, sizeof text);
    cbx_table_add(table, text);
    (void)snprintf(text, sizeof text, "%lld", number_of(peer, "streams"));
    cbx_table_add(table, text);
    cbx_human_since(number_of(peer, "since"), cbx_clock_unix(), text, sizeof text);
    cbx_table_add(table, text);
}

/* Labels have a column where there are any. */
static int
print_peers(const struct cbx_command *command, const json_t *peers)
{
    static const char *const headings[] = {"POND",    "SLUG",  "STATE",  "PORTS",
                                           "ADDRESS", "PLANE", "SINCE",  "ROUND TRIP",
                                           "STREAMS", "UP",    "ENDS IN"};
    enum { COLUMNS = sizeof headings / sizeof *headings };
    bool labels = cbx_listing_any_labels(peers);
    char text[LIST_TEXT_MAX];
    size_t index;
    const json_t *peer;
    struct cbx_table *table = cbx_table_new(COLUMNS + labels + 1);

    add_headings(table, headings, COLUMNS);
    if (labels)
        cbx_table_add(table, "LABELS");
    cbx_table_add(table, "NOT ON A LANE");
    json_array_foreach(peers, index, peer) {
        cbx_table_add(table, text_of(peer, "pond"));
        cbx_table_add(table, text_of(peer, "slug"));
        cbx_table_add(table, text_of(peer, "state"));
        cbx_listing_ports_text(json_object_get(peer, "expose"), text, sizeof text);
        cbx_table_add(table, text);
        add_link(table, peer);
        add_until(table, number_of(peer, "ends"));
        cbx_listing_labels_text(json_object_get(peer, "labels"), text, sizeof text);
        if (labels)
            cbx_table_add(table, text);
        cbx_table_add(table, text_of(peer, "plane_reason"));
    }
    return cmd_table_end(command, table);
}

int
cmd_peers(const struct cbx_command *command, void *parsed)
{
    const char *pond = cbx_arg(parsed, "pond");
    json_t *answer;

    if (pond && !cmd_pond(parsed))
        return CBX_EXIT_USAGE;
    int status =
        ask(command, parsed, json_pack("{s:s, s:s*}", "cmd", "peers", "pond", pond), &answer);
    if (!answer)
        return status;
    if (pond && json_array_size(json_object_get(answer, "peers")) == 0) {
        char state_dir[CMD_STATE_MAX];
        status = cmd_begin(command, parsed, 0, state_dir);
        if (status == CBX_EXIT_OK)
            status = cmd_check_pond(command, state_dir, pond);
        if (status != CBX_EXIT_OK) {
            json_decref(answer);
            return status;
        }
    }
    status = print_peers(command, json_object_get(answer, "peers"));
    json_decref(answer);
    return status;
}

/* "name: value" lines, nested objects by dots; the order is the hub's. */
static void
print_values(const char *prefix, const json_t *object)
{
    const char *name;
    const json_t *value;
    char full[128];

    json_object_foreach((json_t *)(uintptr_t)object, name, value) {
        (void)snprintf(full, sizeof full, "%s%s", prefix, name);
        if (json_is_integer(value) && json_integer_value(value) != 0)
            (void)printf("  %-28s %lld\n", full, (long long)json_integer_value(value));
        else if (json_is_object(value)) {
            char next[130];
            (void)snprintf(next, sizeof next, "%s.", full);
            print_values(next, value);
        }
    }
}

static void
print_list(const char *title, const json_t *list)
{
    size_t index;
    const json_t *entry;

    (void)printf("%-12s", title);
    json_array_foreach(list, index, entry)
        (void)printf(" %s", json_string_value(entry) != NULL ? json_string_value(entry) : "?");
    (void)putchar('\n');
}

/* One line for each plane. */
static void
print_planes(const json_t *answer)
{
    const char *name;
    json_t *plane;

    json_object_foreach(json_object_get(answer, "planes"), name, plane) {
        char from[CBX_HUMAN_MAX], to[CBX_HUMAN_MAX], links[CBX_HUMAN_MAX];
        cbx_human_bytes((uint64_t)number_of(plane, "from"), from, sizeof from);
        cbx_human_bytes((uint64_t)number_of(plane, "to"), to, sizeof to);
        cbx_human_many(number_of(plane, "links"), "link", links, sizeof links);
        (void)printf("%-12s %s, %s from agents, %s to them\n", name, links, from, to);
    }
    (void)printf("%-12s %s\n", "lanes", text_of(answer, "lanes"));
    (void)printf("%-12s %s\n", "direct", text_of(answer, "direct"));
}

static double
mib(const json_t *object, const char *name)
{
    return (double)number_of(object, name) / (1024.0 * 1024.0);
}

int
cmd_status(const struct cbx_command *command, void *parsed)
{
    char up[32], circuits[CBX_HUMAN_MAX];
    json_t *answer;
    int status = ask(command, parsed, json_pack("{s:s}", "cmd", "status"), &answer);

    if (!answer)
        return status;
    cbx_human_since(number_of(answer, "since"), cbx_clock_unix(), up, sizeof up);
    (void)printf("%-12s %s, pid %lld, up %s, state %s\n", "hub", text_of(answer, "software"),
                 number_of(answer, "pid"), up, text_of(answer, "state_dir"));
    print_list("listening", json_object_get(answer, "listening"));
    print_list("tokens name", json_object_get(answer, "addresses"));
    (void)printf("%-12s %s, login as %s\n", "host key", text_of(answer, "host_key"),
                 text_of(answer, "user"));
    cbx_human_many(number_of(answer, "circuits"), "circuit", circuits, sizeof circuits);
    (void)printf("%-12s %lld of %lld attached, %s\n", "peers", number_of(answer, "attached"),
                 number_of(answer, "peers"), circuits);
    print_planes(answer);
    (void)printf("%-12s %.1f MiB queued, %.1f of %.1f MiB allowed\n", "memory",
                 mib(answer, "queued_bytes"), mib(answer, "allowance_bytes"),
                 mib(answer, "queue_max"));
    (void)puts("door");
    print_values("", json_object_get(answer, "door"));
    (void)puts("counters");
    print_values("", json_object_get(answer, "counters"));
    json_decref(answer);
    return cmd_end(command);
}
