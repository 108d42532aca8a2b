/* SPDX-License-Identifier: MIT */
/*
 * A command line from a setting: split into words as a POSIX shell would, without running one, and
 * with placeholders (%h and such) to be filled later. What only a shell can do is refused rather
 * than passed on as text; who wants it writes sh -c '...'. Pure.
 */
#ifndef AGENT_UPLINK_ARGV_SPLIT_H
#define AGENT_UPLINK_ARGV_SPLIT_H

#include "common/base/err.h"
#include <stdbool.h>
#include <stddef.h>

enum { ARGV_SPLIT_TEXT_MAX = 4096, ARGV_SPLIT_WORDS_MAX = 128 };

struct argv_split {
    char **word; /* ends with NULL, as execve wants it */
    size_t count;
};

/* What a placeholder stands for. A list stands for a word that is the placeholder alone. */
struct argv_placeholder {
    char letter;
    const char *text;        /* NULL: the list */
    const char *const *list; /* ends with NULL */
};

/* At least one word, or CBX_ERR_USAGE with what is wrong. The caller disposes of *out in any case.
 */
int argv_split_parse(struct argv_split *out, const char *text, struct cbx_error *error);
/* Whether some word has a placeholder ("%%" is none). */
bool argv_split_has_placeholders(const struct argv_split *argv);
/* Only these letters, those of `lists` only as whole words: 0 or CBX_ERR_USAGE. */
int argv_split_check_placeholders(const struct argv_split *argv, const char *letters,
                                  const char *lists, struct cbx_error *error);
/* in with its placeholders filled; they were checked. placeholders ends with letter 0. 0,
 * CBX_ERR_NOMEM or CBX_ERR_LIMIT. */
int argv_split_fill(struct argv_split *out, const struct argv_split *in,
                    const struct argv_placeholder *placeholders);
/* One more word (copied) before the word of that index. 0, CBX_ERR_NOMEM or CBX_ERR_LIMIT. */
int argv_split_insert(struct argv_split *argv, size_t index, const char *text);
void argv_split_dispose(struct argv_split *argv);

#endif
