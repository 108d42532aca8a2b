/* SPDX-License-Identifier: MIT */
/* Tested by test_commands.py. */
#include "hub/cmd/lookup.h"

#include <stdio.h>
#include <string.h>

enum { LIST_MAX = 256 }; /* of ponds, for people */

static const char *
text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

static int
ask_peers(const struct cbx_command *command, const char *state_dir, const char *pond,
          json_t **answer)
{
    return cmd_call(command, state_dir, CMD_WAIT_MS,
                    json_pack("{s:s, s:s*}", "cmd", "peers", "pond", pond), answer);
}

int
cmd_find_peer(const struct cbx_command *command, const char *state_dir, const char *pond,
              const char *slug, json_t **peer)
{
    json_t *answer = NULL, *one;
    size_t index;
    *peer = NULL;
    int status = ask_peers(command, state_dir, pond, &answer);
    json_array_foreach(json_object_get(answer, "peers"), index, one) {
        if (strcmp(text_of(one, "slug"), slug) == 0)
            *peer = json_incref(one);
    }
    json_decref(answer);
    return status;
}

int
cmd_find_pond(const struct cbx_command *command, const char *state_dir, const char *slug,
              char pond[CBX_SLUG_MAX + 1])
{
    json_t *answer = NULL, *one;
    size_t index, found = 0;
    char text[400], list[LIST_MAX] = "";
    int status = ask_peers(command, state_dir, NULL, &answer);
    json_array_foreach(json_object_get(answer, "peers"), index, one) {
        size_t used = strlen(list);
        if (strcmp(text_of(one, "slug"), slug) != 0)
            continue;
        (void)snprintf(pond, CBX_SLUG_MAX + 1, "%s", text_of(one, "pond"));
        (void)snprintf(list + used, sizeof list - used, "%s%s", found++ ? ", " : "", pond);
    }
    json_decref(answer);
    if (status != CBX_EXIT_OK || found == 1)
        return status;
    if (found == 0)
        (void)snprintf(text, sizeof text, "no pond has a lease %s: `cbx-hub peers` lists them",
                       slug);
    else
        (void)snprintf(text, sizeof text, "%zu ponds have a lease %s: say which with --pond: %s",
                       found, slug, list);
    return cmd_fail(command, text);
}

/* Adds the ponds of those entries to list, each once; true when `pond` is one of them. */
static bool
list_ponds(const json_t *entries, const char *pond, char *list, size_t size)
{
    size_t index;
    const json_t *one;
    bool found = false;
    json_array_foreach(entries, index, one) {
        const char *name = text_of(one, "pond");
        char word[CBX_SLUG_MAX + 4];
        size_t used = strlen(list);
        (void)snprintf(word, sizeof word, " %s,", name);
        found = found || strcmp(name, pond) == 0;
        if (!strstr(list, word))
            (void)snprintf(list + used, size - used, "%s", word);
    }
    return found;
}

/* The ponds of all leases and open invites, into list. */
static int
find_ponds(const struct cbx_command *command, const char *state_dir, const char *pond, bool *found,
           char *list, size_t size)
{
    json_t *peers = NULL, *invites = NULL;
    int status = ask_peers(command, state_dir, NULL, &peers);
    list[0] = '\0';
    if (status == CBX_EXIT_OK)
        status = cmd_call(command, state_dir, CMD_WAIT_MS, json_pack("{s:s}", "cmd", "invites"),
                          &invites);
    *found = list_ponds(json_object_get(peers, "peers"), pond, list, size);
    *found = list_ponds(json_object_get(invites, "invites"), pond, list, size) || *found;
    json_decref(peers);
    json_decref(invites);
    return status;
}

int
cmd_pond_known(const struct cbx_command *command, const char *state_dir, const char *pond,
               bool *known)
{
    char list[LIST_MAX];
    return find_ponds(command, state_dir, pond, known, list, sizeof list);
}

int
cmd_check_pond(const struct cbx_command *command, const char *state_dir, const char *pond)
{
    char text[400], list[LIST_MAX];
    bool found;
    int status = find_ponds(command, state_dir, pond, &found, list, sizeof list);
    if (status != CBX_EXIT_OK || found)
        return status;
    size_t length = strlen(list);
    if (length > 0)
        list[length - 1] = '\0'; /* the last comma */
    (void)snprintf(text, sizeof text, "there is no pond %s%s%s", pond,
                   length > 0 ? "; there are:" : ": nothing was invited yet", list);
    return cmd_fail(command, text);
}
