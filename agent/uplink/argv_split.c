/* SPDX-License-Identifier: MIT */
/* The growing list of words, the splitter with its quotes, and the filling of placeholders. */
#include "agent/uplink/argv_split.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int
insert_length(struct argv_split *argv, size_t index, const char *text, size_t length)
{
    if (argv->count >= ARGV_SPLIT_WORDS_MAX)
        return CBX_ERR_LIMIT;
    char **grown = realloc(argv->word, (argv->count + 2) * sizeof *grown);
    if (!grown)
        return CBX_ERR_NOMEM;
    argv->word = grown;
    char *copy = strndup(text, length);
    if (!copy) {
        grown[argv->count] = NULL;
        return CBX_ERR_NOMEM;
    }
    memmove(grown + index + 1, grown + index, (argv->count - index) * sizeof *grown);
    grown[index] = copy;
    grown[++argv->count] = NULL;
    return CBX_OK;
}

int
argv_split_insert(struct argv_split *argv, size_t index, const char *text)
{
    return insert_length(argv, index, text, strlen(text));
}

void
argv_split_dispose(struct argv_split *argv)
{
    for (size_t i = 0; i < argv->count; i++)
        free(argv->word[i]);
    free(argv->word);
    *argv = (struct argv_split){0};
}

/* ---- splitting ---- */

/* One word in the making. */
struct splitter {
    const char *at;
    bool begun; /* '' is a word too */
    size_t used;
    char word[ARGV_SPLIT_TEXT_MAX];
};

static void
put(struct splitter *splitter, char c)
{
    splitter->word[splitter->used++] = c; /* never more than the text has */
    splitter->begun = true;
}

static int
refuse_shell(char c, struct cbx_error *error)
{
    return cbx_fail(error, CBX_ERR_USAGE,
                    "an unquoted '%c' has no effect, as no shell runs this: quote it, or write "
                    "sh -c '...'",
                    c);
}

static int
split_single(struct splitter *splitter, struct cbx_error *error)
{
    splitter->begun = true;
    for (splitter->at++; *splitter->at != '\''; splitter->at++) {
        if (*splitter->at == '\0')
            return cbx_fail(error, CBX_ERR_USAGE, "unterminated single quote");
        put(splitter, *splitter->at);
    }
    return CBX_OK;
}

static int
split_double(struct splitter *splitter, struct cbx_error *error)
{
    splitter->begun = true;
    for (splitter->at++; *splitter->at != '"'; splitter->at++) {
        char c = *splitter->at;
        if (c == '\0')
            return cbx_fail(error, CBX_ERR_USAGE, "unterminated double quote");
        if (c == '$' || c == '`')
            return refuse_shell(c, error);
        if (c == '\\' && splitter->at[1] != '\0' && strchr("\"\\$`", splitter->at[1]))
            c = *++splitter->at;
        put(splitter, c);
    }
    return CBX_OK;
}

/* One character outside quotes, or a whole quotation. */
static int
split_one(struct splitter *splitter, struct cbx_error *error)
{
    char c = *splitter->at;
    if (c == '\'')
        return split_single(splitter, error);
    if (c == '"')
        return split_double(splitter, error);
    if (c == '\n')
        return cbx_fail(error, CBX_ERR_USAGE, "a line break: write one line");
    if (strchr("$`|&;<>()", c) != NULL || (!splitter->begun && (c == '~' || c == '#')))
        return refuse_shell(c, error);
    if (c == '\\') {
        if (splitter->at[1] == '\0')
            return cbx_fail(error, CBX_ERR_USAGE, "a \\ at the end quotes nothing: remove it");
        c = *++splitter->at;
    }
    put(splitter, c);
    return CBX_OK;
}

int
argv_split_parse(struct argv_split *out, const char *text, struct cbx_error *error)
{
    *out = (struct argv_split){0};
    if (strlen(text) >= ARGV_SPLIT_TEXT_MAX)
        return cbx_fail(error, CBX_ERR_USAGE, "longer than %d bytes", ARGV_SPLIT_TEXT_MAX - 1);
    struct splitter *splitter = calloc(1, sizeof *splitter);
    if (!splitter)
        return cbx_fail(error, CBX_ERR_NOMEM, "out of memory");
    int result = CBX_OK;
    for (splitter->at = text; result == CBX_OK; splitter->at++) {
        bool ends = *splitter->at == '\0';
        if (!ends && *splitter->at != ' ' && *splitter->at != '\t') {
            result = split_one(splitter, error);
            continue;
        }
        if (splitter->begun)
            result = insert_length(out, out->count, splitter->word, splitter->used);
        if (result != CBX_OK)
            cbx_fail(error, result, result == CBX_ERR_LIMIT ? "too many words" : "out of memory");
        splitter->begun = false;
        splitter->used = 0;
        if (ends)
            break;
    }
    free(splitter);
    if (result == CBX_OK && (out->count == 0 || out->word[0][0] == '\0'))
        result =
            cbx_fail(error, CBX_ERR_USAGE, "no program is named: the first word is the program");
    return result == CBX_ERR_LIMIT ? CBX_ERR_USAGE : result;
}

/* ---- placeholders ---- */

/* The letter of the placeholder at text, 0 when there is none there. */
static char
placeholder_at(const char *text)
{
    return text[0] == '%' ? text[1] : '\0';
}

bool
argv_split_has_placeholders(const struct argv_split *argv)
{
    for (size_t i = 0; i < argv->count; i++) {
        for (const char *at = argv->word[i]; (at = strchr(at, '%')) != NULL; at += 2) {
            if (placeholder_at(at) != '%')
                return true;
        }
    }
    return false;
}

static int
check_word(const char *word, const char *letters, const char *lists, struct cbx_error *error)
{
    for (const char *at = word; (at = strchr(at, '%')) != NULL; at += 2) {
        char letter = at[1];
        if (letter == '%')
            continue;
        if (letter == '\0' || (!strchr(letters, letter) && !strchr(lists, letter)))
            return cbx_fail(error, CBX_ERR_USAGE,
                            "unknown placeholder '%.2s'; write %%%% for a literal %%", at);
        if (strchr(lists, letter) && strlen(word) != 2)
            return cbx_fail(error, CBX_ERR_USAGE, "'%.2s' must be an argument of its own", at);
    }
    return CBX_OK;
}

int
argv_split_check_placeholders(const struct argv_split *argv, const char *letters, const char *lists,
                              struct cbx_error *error)
{
    int result = CBX_OK;
    for (size_t i = 0; i < argv->count && result == CBX_OK; i++)
        result = check_word(argv->word[i], letters, lists, error);
    return result;
}

static const struct argv_placeholder *
find(const struct argv_placeholder *placeholders, char letter)
{
    while (placeholders->letter != '\0' && placeholders->letter != letter)
        placeholders++;
    return placeholders->letter != '\0' ? placeholders : NULL;
}

static int
fill_word(struct argv_split *out, const char *word, const struct argv_placeholder *placeholders)
{
    char *text = NULL;
    size_t length;
    FILE *file = open_memstream(&text, &length);
    if (!file)
        return CBX_ERR_NOMEM;
    for (const char *at = word; *at != '\0'; at++) {
        char letter = placeholder_at(at);
        const struct argv_placeholder *placeholder =
            letter != '\0' ? find(placeholders, letter) : NULL;
        if (placeholder)
            (void)fputs(placeholder->text, file);
        else
            (void)fputc(*at, file);
        if (letter != '\0')
            at++;
    }
    bool failed = ferror(file) != 0;
    failed = fclose(file) != 0 || failed;
    int result = failed ? CBX_ERR_NOMEM : argv_split_insert(out, out->count, text);
    free(text);
    return result;
}

int
argv_split_fill(struct argv_split *out, const struct argv_split *in,
                const struct argv_placeholder *placeholders)
{
    int result = CBX_OK;
    *out = (struct argv_split){0};
    for (size_t i = 0; i < in->count && result == CBX_OK; i++) {
        const char *word = in->word[i];
        const struct argv_placeholder *placeholder =
            placeholder_at(word) != '\0' && word[2] == '\0' ? find(placeholders, word[1]) : NULL;
        if (!placeholder || placeholder->text)
            result = fill_word(out, word, placeholders);
        else
            for (size_t k = 0; placeholder->list[k] != NULL && result == CBX_OK; k++)
                result = argv_split_insert(out, out->count, placeholder->list[k]);
    }
    if (result != CBX_OK)
        argv_split_dispose(out);
    return result;
}
