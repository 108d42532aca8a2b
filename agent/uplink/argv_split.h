/* SPDX-License-Identifier: MIT */
/*
 * A command line from a setting: split into words as a POSIX shell would, without running one, and
 * with places (%h and such) to be filled later. What only a shell can do is refused rather than
 * passed on as text; who wants it writes sh -c '...'. Pure.
 */
#ifndef AGENT_UPLINK_ARGV_SPLIT_H
#define AGENT_UPLINK_ARGV_SPLIT_H

#include "common/base/err.h"
#include <stdbool.h>
#include <stddef.h>

enum { WORDS_TEXT_MAX = 4096, WORDS_MAX = 128 };

struct words {
    char **word; /* ends with NULL, as execve wants it */
    size_t count;
};

/* What stands for a place. A list stands for a word that is the place and nothing else. */
struct words_place {
    char letter;
    const char *text;        /* NULL: the list */
    const char *const *list; /* ends with NULL */
};

/* At least one word, or CBX_ERR_USAGE with what is wrong. The caller disposes of *out in any case.
 */
int words_split(struct words *out, const char *text, struct cbx_error *error);
/* Whether some word has a place ("%%" is none). */
bool words_have_places(const struct words *words);
/* Only these letters, those of `lists` only as whole words: 0 or CBX_ERR_USAGE. */
int words_check_places(const struct words *words, const char *letters, const char *lists,
                       struct cbx_error *error);
/* in with its places filled; they were checked. places ends with letter 0. 0, CBX_ERR_NOMEM or
 * CBX_ERR_LIMIT. */
int words_fill(struct words *out, const struct words *in, const struct words_place *places);
/* One more word (copied) before the word of that index. 0, CBX_ERR_NOMEM or CBX_ERR_LIMIT. */
int words_insert(struct words *words, size_t index, const char *text);
void words_dispose(struct words *words);

#endif
