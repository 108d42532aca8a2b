/* SPDX-License-Identifier: MIT */
/* status and peers: what the running agent says, as text for people or as it came. */
#include "commands.h"

#include "log.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { ANSWER_MS = 10 * 1000, PORTS_TEXT_MAX = 512 };

/* One request, one answer. NULL after it said why not. */
static json_t *
ask(const struct cbx_args *args, const char *command)
{
    struct cbx_call *call = agent_call(args, 0);
    if (call == NULL)
        return NULL;
    struct cbx_error error;
    json_t *answer = NULL;
    int result = cbx_call_send(call, json_pack("{s:s}", "cmd", command), -1, &error);
    if (result == CBX_OK)
        result = cbx_call_next(call, ANSWER_MS, &answer, &error);
    cbx_call_close(call);
    if (result == CBX_OK)
        return answer;
    cbx_log_error("%s", error.text);
    json_decref(answer);
    return NULL;
}

static int
finish(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return CBX_EXIT_OK;
    cbx_log_error("standard output cannot be written");
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
    if (seconds != 0 && gmtime_r(&when, &utc) != NULL &&
        strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &utc) > 0)
        print_row(name, text);
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
    print_row("uplink", text_of(answer, "uplink"));
    print_row("trouble", text_of(answer, "trouble"));
    print_time("since", number_of(answer, "since"));
    print_row("proxy", proxy[0] != '\0' ? proxy : "off");
    print_row("exposes", text_of(answer, "expose"));
    print_time("ends", number_of(answer, "ends"));
    if (json_is_object(mesh)) {
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
    json_t *answer = ask(parsed, "status");
    if (answer == NULL)
        return CBX_EXIT_FAILURE;
    return cbx_arg(parsed, "json") != NULL ? print_json(answer) : print_status(answer);
}

/* "5432,8080", or "-". */
static void
format_ports(const json_t *ports, char *out, size_t size)
{
    size_t used = 0;
    size_t index;
    json_t *port;
    (void)snprintf(out, size, "-");
    json_array_foreach(ports, index, port)
    {
        int more = snprintf(out + used, size - used, "%s%lld", index > 0 ? "," : "",
                            (long long)json_integer_value(port));
        if (more < 0 || (size_t)more >= size - used)
            return;
        used += (size_t)more;
    }
}

static int
print_peers(json_t *answer)
{
    size_t index;
    json_t *peer;
    printf("%-24s %-7s %-20s %s\n", "NAME", "STATE", "PORTS", "");
    json_array_foreach(json_object_get(answer, "peers"), index, peer)
    {
        char ports[PORTS_TEXT_MAX];
        format_ports(json_object_get(peer, "expose"), ports, sizeof ports);
        const char *note = json_is_true(json_object_get(peer, "self")) ? "this lease" : "";
        const char *refused = text_of(peer, "refused");
        printf("%-24s %-7s %-20s %s\n", text_of(peer, "name"), text_of(peer, "state"), ports,
               refused[0] != '\0' ? refused : note);
    }
    json_decref(answer);
    return finish();
}

int
agent_cmd_peers(const struct cbx_command *command, void *parsed)
{
    (void)command;
    json_t *answer = ask(parsed, "peers");
    if (answer == NULL)
        return CBX_EXIT_FAILURE;
    return cbx_arg(parsed, "json") != NULL ? print_json(answer) : print_peers(answer);
}
