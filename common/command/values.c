/* SPDX-License-Identifier: MIT */
/* From a setting's text to its value within bounds, and back to the text that a file would have. */
#include "common/command/values.h"
#include "common/base/names.h"

#include <stdio.h>
#include <string.h>

int
cbx_value_choice(const char *text, const char *const names[], size_t *index,
                 struct cbx_error *error)
{
    char list[160] = "";
    for (size_t i = 0, used = 0; names[i] != NULL; i++) {
        if (strcmp(text, names[i]) == 0) {
            *index = i;
            return 0;
        }
        const char *between = i == 0 ? "" : names[i + 1] != NULL ? ", " : " or ";
        int more = snprintf(list + used, sizeof list - used, "%s%s", between, names[i]);
        used += more > 0 && (size_t)more < sizeof list - used ? (size_t)more : 0;
    }
    return cbx_fail(error, CBX_ERR_USAGE, "'%s' is not %s", text, list);
}

int
cbx_value_count(const char *text, uint64_t least, uint64_t most, uint64_t *count,
                struct cbx_error *error)
{
    uint64_t value;
    if (strspn(text, "0123456789") != strlen(text) || cbx_size_parse(text, &value) != 0)
        return cbx_fail(error, CBX_ERR_USAGE, "'%s' is not a whole number", text);
    if (value < least || value > most)
        return cbx_fail(error, CBX_ERR_USAGE, "'%s' is not between %llu and %llu", text,
                        (unsigned long long)least, (unsigned long long)most);
    *count = value;
    return 0;
}

int
cbx_value_duration(const char *text, int64_t least_ms, int64_t most_ms, int64_t *ms,
                   struct cbx_error *error)
{
    char least[CBX_VALUE_TEXT_MAX], most[CBX_VALUE_TEXT_MAX];
    int64_t value;
    if (cbx_duration_parse(text, &value) != 0)
        return cbx_fail(error, CBX_ERR_USAGE,
                        "'%s' is not a duration with a unit, such as 500ms, 30s, 15m, 24h or 30d",
                        text);
    cbx_value_write_duration(least_ms, least);
    cbx_value_write_duration(most_ms, most);
    if (value < least_ms || value > most_ms)
        return cbx_fail(error, CBX_ERR_USAGE, "'%s' is not between %s and %s", text, least, most);
    *ms = value;
    return 0;
}

int
cbx_value_size(const char *text, uint64_t least, uint64_t most, uint64_t *bytes,
               struct cbx_error *error)
{
    char low[CBX_VALUE_TEXT_MAX], high[CBX_VALUE_TEXT_MAX];
    uint64_t value;
    if (cbx_size_parse(text, &value) != 0)
        return cbx_fail(error, CBX_ERR_USAGE, "'%s' is not a size, such as 64K, 256M or 1G", text);
    cbx_value_write_size(least, low);
    cbx_value_write_size(most, high);
    if (value < least || value > most)
        return cbx_fail(error, CBX_ERR_USAGE, "'%s' is not between %s and %s", text, low, high);
    *bytes = value;
    return 0;
}

void
cbx_value_write_duration(int64_t ms, char out[CBX_VALUE_TEXT_MAX])
{
    static const struct {
        const char *unit;
        int64_t ms;
    } units[] = {{"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
    size_t i = 0;
    /* A day is said as 24h: what people write is between hours and months. */
    while (units[i].ms > 1 && (ms % units[i].ms != 0 || ms < (i == 0 ? 2 : 1) * units[i].ms))
        i++;
    (void)snprintf(out, CBX_VALUE_TEXT_MAX, "%lld%s", (long long)(ms / units[i].ms), units[i].unit);
}

void
cbx_value_write_size(uint64_t bytes, char out[CBX_VALUE_TEXT_MAX])
{
    static const char *const units[] = {"", "K", "M", "G", "T"};
    size_t unit = 0;
    while (bytes != 0 && bytes % 1024 == 0 && unit + 1 < sizeof units / sizeof units[0]) {
        bytes /= 1024;
        unit++;
    }
    (void)snprintf(out, CBX_VALUE_TEXT_MAX, "%llu%s", (unsigned long long)bytes, units[unit]);
}
