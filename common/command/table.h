/* SPDX-License-Identifier: MIT */
/*
 * A table for people: cells are added row by row, the first row is the heading; columns get their
 * widest cell's width. A list (80,443) that is longer than CBX_TABLE_LIST_MAX goes on in lines
 * below. Cells are copied, control bytes are shown as '?'.
 */
#ifndef COMMON_COMMAND_TABLE_H
#define COMMON_COMMAND_TABLE_H

#include <stdbool.h>
#include <stddef.h>

struct cbx_table;

enum { CBX_TABLE_COLUMNS_MAX = 16, CBX_TABLE_LIST_MAX = 32 };

/* NULL when memory is short: adding to it then does nothing, its end is a failure. */
struct cbx_table *cbx_table_new(int columns);
void cbx_table_add(struct cbx_table *table, const char *text);
void cbx_table_row(struct cbx_table *table, const char *const *texts); /* as many as columns */
/* Prints to standard output and frees. False when memory was short: nothing is printed then. */
bool cbx_table_end(struct cbx_table *table);

/* How much of a list stands in one line: up to the last comma that fits, or all of what is no
 * list. 0 for "". */
size_t cbx_table_piece(const char *text);

#endif
