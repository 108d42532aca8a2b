/* SPDX-License-Identifier: MIT */
/* Spans, sizes and counts: at most two units, whichever tell most. */
#include "common/command/human.h"
#include <stdio.h>

void
cbx_human_span(int64_t seconds, char *out, size_t size)
{
    long long s = seconds < 0 ? 0 : (long long)seconds;

    if (s >= 86400 && s / 3600 % 24 != 0)
        (void)snprintf(out, size, "%lldd %lldh", s / 86400, s / 3600 % 24);
    else if (s >= 86400)
        (void)snprintf(out, size, "%lldd", s / 86400);
    else if (s >= 3600 && s / 60 % 60 != 0)
        (void)snprintf(out, size, "%lldh %lldm", s / 3600, s / 60 % 60);
    else if (s >= 3600)
        (void)snprintf(out, size, "%lldh", s / 3600);
    else if (s >= 60 && s % 60 != 0)
        (void)snprintf(out, size, "%lldm %llds", s / 60, s % 60);
    else if (s >= 60)
        (void)snprintf(out, size, "%lldm", s / 60);
    else
        (void)snprintf(out, size, "%llds", s);
}

void
cbx_human_since(int64_t since, int64_t now, char *out, size_t size)
{
    if (since > 0)
        cbx_human_span(now - since, out, size);
    else
        (void)snprintf(out, size, "-");
}

void
cbx_human_bytes(uint64_t bytes, char *out, size_t size)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    if (bytes < 1024) {
        (void)snprintf(out, size, "%u B", (unsigned)bytes);
        return;
    }
    double value = (double)bytes / 1024.0;
    size_t unit = 0;
    while (value >= 1023.95 && unit + 1 < sizeof units / sizeof units[0]) {
        value /= 1024.0;
        unit++;
    }
    (void)snprintf(out, size, value < 9.95 ? "%.1f %s" : "%.0f %s", value, units[unit]);
}

void
cbx_human_us(int64_t microseconds, char *out, size_t size)
{
    double ms = (double)microseconds / 1000.0;
    if (microseconds <= 0)
        (void)snprintf(out, size, "-");
    else if (ms >= 999.5)
        (void)snprintf(out, size, "%.1f s", ms / 1000.0);
    else
        (void)snprintf(out, size, ms < 0.995 ? "%.2f ms" : ms < 9.95 ? "%.1f ms" : "%.0f ms", ms);
}

void
cbx_human_many(int64_t count, const char *thing, char *out, size_t size)
{
    (void)snprintf(out, size, "%lld %s%s", (long long)count, thing, count == 1 ? "" : "s");
}
