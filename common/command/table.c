/* SPDX-License-Identifier: MIT */
/* Cells in one array, row after row; their widths are known when the table is printed. */
#include "common/command/table.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct cbx_table {
    int columns;
    size_t count, room;
    char **cell;
    bool failed; /* memory was short */
};

struct cbx_table *
cbx_table_new(int columns)
{
    struct cbx_table *table = calloc(1, sizeof *table);
    if (table)
        table->columns = columns < CBX_TABLE_COLUMNS_MAX ? columns : CBX_TABLE_COLUMNS_MAX;
    return table;
}

static bool
grow(struct cbx_table *table)
{
    size_t room = table->room == 0 ? 64 : 2 * table->room;
    char **cell = realloc(table->cell, room * sizeof *cell);
    if (!cell)
        return false;
    table->cell = cell;
    table->room = room;
    return true;
}

void
cbx_table_add(struct cbx_table *table, const char *text)
{
    if (!table || table->failed)
        return;
    char *copy = NULL;
    if (table->count < table->room || grow(table))
        copy = strdup(text);
    if (!copy) {
        table->failed = true;
        return;
    }
    for (char *at = copy; *at != '\0'; at++) {
        if ((unsigned char)*at < 0x20 || *at == 0x7f)
            *at = '?';
    }
    table->cell[table->count++] = copy;
}

void
cbx_table_row(struct cbx_table *table, const char *const *texts)
{
    for (int i = 0; table != NULL && i < table->columns; i++)
        cbx_table_add(table, texts[i]);
}

size_t
cbx_table_piece(const char *text)
{
    size_t length = strlen(text), end = 0;
    for (size_t at = 0; length > CBX_TABLE_LIST_MAX && at + 1 < length; at++) {
        if (text[at] != ',' || text[at + 1] == ' ')
            continue;
        if (end > 0 && at >= CBX_TABLE_LIST_MAX)
            break;
        end = at + 1;
    }
    return end > 0 ? end : length;
}

static int
widest_piece(const char *text)
{
    size_t widest = 0;
    while (*text != '\0') {
        size_t length = cbx_table_piece(text);
        widest = length > widest ? length : widest;
        text += length;
    }
    return (int)widest;
}

/* One line of a row: a piece of each cell, which then begins behind it. True: there is more. */
static bool
print_line(const char **cell, const int *width, size_t columns)
{
    int gap = 0;
    bool more = false;
    for (size_t i = 0; i < columns; i++) {
        int length = (int)cbx_table_piece(cell[i]);
        if (length > 0) {
            (void)printf("%*s%.*s", gap, "", length, cell[i]);
            gap = 0;
        }
        gap += width[i] - length + 2;
        cell[i] += length;
        more = more || *cell[i] != '\0';
    }
    (void)putchar('\n');
    return more;
}

static void
print_table(const struct cbx_table *table)
{
    int width[CBX_TABLE_COLUMNS_MAX] = {0};
    size_t columns = (size_t)table->columns;
    for (size_t i = 0; i < table->count; i++) {
        int length = widest_piece(table->cell[i]);
        int *column = &width[i % columns];
        *column = length > *column ? length : *column;
    }
    for (size_t i = 0; i + columns <= table->count; i += columns) {
        const char *cell[CBX_TABLE_COLUMNS_MAX];
        for (size_t j = 0; j < columns; j++)
            cell[j] = table->cell[i + j];
        while (print_line(cell, width, columns))
            ;
    }
}

bool
cbx_table_end(struct cbx_table *table)
{
    bool good = table != NULL && !table->failed;
    if (good)
        print_table(table);
    for (size_t i = 0; table != NULL && i < table->count; i++)
        free(table->cell[i]);
    if (table)
        free(table->cell);
    free(table);
    return good;
}
