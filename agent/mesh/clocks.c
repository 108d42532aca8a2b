/* SPDX-License-Identifier: MIT */
/* Tested by sim_rules. */
#include "agent/mesh/clocks.h"

#include <inttypes.h>
#include <stdio.h>

enum { MINUTE_S = 60, HOUR_S = 3600, DAY_S = 86400, SPAN_TEXT_MAX = 40 };

bool
mesh_is_past(const struct mesh *mesh, int64_t ends)
{
    return mesh->ops->now_unix(mesh->arg) > ends + CBX_CLOCK_GRACE_S;
}

/* "3 days": the largest unit of which there are two. */
static const char *
span_text(int64_t seconds, char out[SPAN_TEXT_MAX])
{
    static const struct {
        int64_t length;
        const char *name;
    } units[] = {{DAY_S, "days"}, {HOUR_S, "hours"}, {MINUTE_S, "minutes"}};
    int64_t span = seconds < 0 ? -seconds : seconds;
    size_t unit = 0;
    while (unit < 2 && span < 2 * units[unit].length)
        unit++;
    (void)snprintf(out, SPAN_TEXT_MAX, "%" PRId64 " %s", span / units[unit].length,
                   units[unit].name);
    return out;
}

/* How far our clock is ahead of the hub's; false when there was no attach to tell by. */
static bool
ahead_of_hub(const struct mesh *mesh, int64_t *seconds)
{
    if (mesh->generation == 0 || mesh->welcome_at < mesh->hello_at)
        return false;
    int64_t since_us = mesh_now(mesh) - (mesh->hello_at + mesh->welcome_at) / 2;
    int64_t then = mesh->ops->now_unix(mesh->arg) - since_us / 1000000;
    *seconds = then - (int64_t)(mesh->generation / 1000);
    return true;
}

bool
mesh_clock_text(const struct mesh *mesh, char *out, size_t size)
{
    char span[SPAN_TEXT_MAX];
    int64_t ahead;
    out[0] = '\0';
    if (!ahead_of_hub(mesh, &ahead))
        return false;
    bool far = ahead > CBX_CLOCK_GRACE_S || ahead < -CBX_CLOCK_GRACE_S;
    if (far)
        (void)snprintf(out, size, "is %s %s the hub's", span_text(ahead, span),
                       ahead > 0 ? "ahead of" : "behind");
    else
        (void)snprintf(out, size, "agrees with the hub's");
    return far;
}

void
mesh_past_text(const struct mesh *mesh, int64_t ends, char *out, size_t size)
{
    char span[SPAN_TEXT_MAX], clock[80];
    (void)mesh_clock_text(mesh, clock, sizeof clock);
    (void)snprintf(out, size, "ended %s ago by this box's clock%s%s",
                   span_text(mesh->ops->now_unix(mesh->arg) - ends, span),
                   clock[0] ? ", which " : "", clock);
}
