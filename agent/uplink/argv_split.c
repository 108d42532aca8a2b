/* SPDX-License-Identifier: MIT */
#include "agent/uplink/argv_split.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int
insert_length(struct words *words, size_t index, const char *text, size_t length)
{
    if (words->count >= WORDS_MAX)
        return CBX_ERR_LIMIT;
    char **grown = realloc(words->word, (words->count + 2) * sizeof *grown);
    if (grown == NULL)
        return CBX_ERR_NOMEM;
    words->word = grown;
    char *copy = strndup(text, length);
    if (copy == NULL) {
        grown[words->count] = NULL;
        return CBX_ERR_NOMEM;
    }
    memmove(grown + index + 1, grown + index, (words->count - index) * sizeof *grown);
    grown[index] = copy;
    grown[++words->count] = NULL;
    return CBX_OK;
}

int
words_insert(struct words *words, size_t index, const char *text)
{
    return insert_length(words, index, text, strlen(text));
}

void
words_dispose(struct words *words)
{
    for (size_t i = 0; i < words->count; i++)
        free(words->word[i]);
    free(words->word);
    *words = (struct words){0};
}

/* ---- splitting ---- */

/* One word in the making. */
struct splitter {
    const char *at;
    bool begun; /* '' is a word too */
    size_t used;
    char word[WORDS_TEXT_MAX];
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
                    "no shell reads this, so an unquoted '%c' does nothing: quote it, or write "
                    "sh -c '...'",
                    c);
}

static int
split_single(struct splitter *splitter, struct cbx_error *error)
{
    splitter->begun = true;
    for (splitter->at++; *splitter->at != '\''; splitter->at++) {
        if (*splitter->at == '\0')
            return cbx_fail(error, CBX_ERR_USAGE, "a ' without its end");
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
            return cbx_fail(error, CBX_ERR_USAGE, "a \" without its end");
        if (c == '$' || c == '`')
            return refuse_shell(c, error);
        if (c == '\\' && splitter->at[1] != '\0' && strchr("\"\\$`", splitter->at[1]) != NULL)
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
        return cbx_fail(error, CBX_ERR_USAGE, "more than one line");
    if (strchr("$`|&;<>()", c) != NULL || (!splitter->begun && (c == '~' || c == '#')))
        return refuse_shell(c, error);
    if (c == '\\') {
        if (splitter->at[1] == '\0')
            return cbx_fail(error, CBX_ERR_USAGE, "a \\ at the end");
        c = *++splitter->at;
    }
    put(splitter, c);
    return CBX_OK;
}

int
words_split(struct words *out, const char *text, struct cbx_error *error)
{
    *out = (struct words){0};
    if (strlen(text) >= WORDS_TEXT_MAX)
        return cbx_fail(error, CBX_ERR_USAGE, "longer than %d bytes", WORDS_TEXT_MAX - 1);
    struct splitter *splitter = calloc(1, sizeof *splitter);
    if (splitter == NULL)
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
        result = cbx_fail(error, CBX_ERR_USAGE, "no program is named");
    return result == CBX_ERR_LIMIT ? CBX_ERR_USAGE : result;
}

/* ---- places ---- */

/* The letter of the place at text, 0 when there is none there. */
static char
place_at(const char *text)
{
    return text[0] == '%' ? text[1] : '\0';
}

bool
words_have_places(const struct words *words)
{
    for (size_t i = 0; i < words->count; i++) {
        for (const char *at = words->word[i]; (at = strchr(at, '%')) != NULL; at += 2) {
            if (place_at(at) != '%')
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
        if (letter == '\0' || (strchr(letters, letter) == NULL && strchr(lists, letter) == NULL))
            return cbx_fail(error, CBX_ERR_USAGE, "'%.2s' stands for nothing; a %% itself is %%%%",
                            at);
        if (strchr(lists, letter) != NULL && strlen(word) != 2)
            return cbx_fail(error, CBX_ERR_USAGE, "'%.2s' must be a word of its own", at);
    }
    return CBX_OK;
}

int
words_check_places(const struct words *words, const char *letters, const char *lists,
                   struct cbx_error *error)
{
    int result = CBX_OK;
    for (size_t i = 0; i < words->count && result == CBX_OK; i++)
        result = check_word(words->word[i], letters, lists, error);
    return result;
}

static const struct words_place *
find(const struct words_place *places, char letter)
{
    while (places->letter != '\0' && places->letter != letter)
        places++;
    return places->letter != '\0' ? places : NULL;
}

static int
fill_word(struct words *out, const char *word, const struct words_place *places)
{
    char *text = NULL;
    size_t length;
    FILE *file = open_memstream(&text, &length);
    if (file == NULL)
        return CBX_ERR_NOMEM;
    for (const char *at = word; *at != '\0'; at++) {
        char letter = place_at(at);
        const struct words_place *place = letter != '\0' ? find(places, letter) : NULL;
        if (place != NULL)
            (void)fputs(place->text, file);
        else
            (void)fputc(*at, file);
        if (letter != '\0')
            at++;
    }
    bool failed = ferror(file) != 0;
    failed = fclose(file) != 0 || failed;
    int result = failed ? CBX_ERR_NOMEM : words_insert(out, out->count, text);
    free(text);
    return result;
}

int
words_fill(struct words *out, const struct words *in, const struct words_place *places)
{
    int result = CBX_OK;
    *out = (struct words){0};
    for (size_t i = 0; i < in->count && result == CBX_OK; i++) {
        const char *word = in->word[i];
        const struct words_place *place =
            place_at(word) != '\0' && word[2] == '\0' ? find(places, word[1]) : NULL;
        if (place == NULL || place->text != NULL)
            result = fill_word(out, word, places);
        else
            for (size_t k = 0; place->list[k] != NULL && result == CBX_OK; k++)
                result = words_insert(out, out->count, place->list[k]);
    }
    if (result != CBX_OK)
        words_dispose(out);
    return result;
}
