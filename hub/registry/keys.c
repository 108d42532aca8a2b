/* SPDX-License-Identifier: MIT */
/*
 * The authorized_keys text (rule 9). Two quotings, one in the other: a path is a single-quoted word
 * for /bin/sh, and the whole command stands between double quotes for sshd. sshd undoes only \" in
 * there: any other backslash stays as it is, so backslashes are not doubled. It expands no percent
 * signs in this option. Tested by test_file.
 */
#include "hub/registry/keys.h"
#include "hub/registry/lookup.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SSH_LINE_SIZE = 84, EXPIRY_SIZE = 24 };

static bool
path_valid(const char *path)
{
    if (path[0] != '/')
        return false;
    for (; *path != '\0'; path++) {
        if ((unsigned char)*path < 0x20 || *path == 0x7f)
            return false;
    }
    return true;
}

static void
put_quoted(FILE *out, const char *text)
{
    (void)fputc('\'', out);
    for (; *text != '\0'; text++) {
        if (*text == '\'')
            (void)fputs("'\\''", out);
        else if (*text == '"')
            (void)fputs("\\\"", out);
        else
            (void)fputc(*text, out);
    }
    (void)fputc('\'', out);
}

/* What all lines begin with, up to the fingerprint. NULL when memory is out. */
static char *
make_head(const char *program, const char *state_dir)
{
    char *text = NULL;
    size_t length;
    FILE *out = open_memstream(&text, &length);
    if (!out)
        return NULL;
    (void)fputs("restrict,command=\"exec ", out);
    put_quoted(out, program);
    (void)fputs(" attach --state ", out);
    put_quoted(out, state_dir);
    (void)fputs(" --key ", out);
    bool failed = ferror(out) != 0;
    if (fclose(out) != 0 || failed) {
        free(text);
        return NULL;
    }
    return text;
}

static void
put_key(FILE *out, const char *head, const char *fingerprint, const uint8_t key[32], int64_t ends)
{
    char line[SSH_LINE_SIZE];
    char expiry[EXPIRY_SIZE];
    const time_t time = (time_t)ends;
    struct tm utc;
    /* Certificates end before the year 10000, so this holds; else no line is the safe answer. */
    if (!gmtime_r(&time, &utc) ||
        strftime(expiry, sizeof expiry, "%Y%m%d%H%M%SZ", &utc) != sizeof "YYYYMMDDHHMMSSZ" - 1)
        return;
    cbx_ssh_line(key, line);
    (void)fprintf(out, "%s'%s'\",expiry-time=\"%s\" %s cbx\n", head, fingerprint, expiry, line);
}

static void
put_all(FILE *out, const struct registry *registry, const char *head, int64_t now_unix)
{
    for (const struct reg_invite *invite = registry_invites(registry); invite != NULL;
         invite = invite->next) {
        int64_t ends = invite->join_by < invite->ends ? invite->join_by : invite->ends;
        if (invite->state != REG_INVITE_USED && now_unix <= ends)
            put_key(out, head, invite->fingerprint, invite->login_key, ends);
    }
    for (const struct reg_peer *peer = registry_peers(registry); peer != NULL; peer = peer->next) {
        if (now_unix <= peer->ends)
            put_key(out, head, peer->fingerprint, peer->identity, peer->ends);
    }
}

int
registry_authorized_keys(const struct registry *registry, const char *program,
                         const char *state_dir, int64_t now_unix, char **text)
{
    *text = NULL;
    if (!path_valid(program) || !path_valid(state_dir))
        return CBX_ERR_USAGE;
    char *head = make_head(program, state_dir);
    size_t length;
    FILE *out = head != NULL ? open_memstream(text, &length) : NULL;
    if (!out) {
        free(head);
        return CBX_ERR_NOMEM;
    }
    put_all(out, registry, head, now_unix);
    free(head);
    bool failed = ferror(out) != 0;
    if (fclose(out) != 0 || failed) {
        free(*text);
        *text = NULL;
        return CBX_ERR_NOMEM;
    }
    return 0;
}
