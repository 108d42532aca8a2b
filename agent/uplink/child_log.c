/* SPDX-License-Identifier: MIT */
/* Tested by test_child. */
#include "agent/uplink/child_log.h"

#include "common/base/log.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* One allowance for all children: each try to reach the hub is another one. */
static bool
may_log(double now, unsigned *unsaid)
{
    static double tokens = CHILD_LOG_BURST;
    static double last;
    static unsigned dropped;
    double earned = (now - last) / CHILD_LOG_PERIOD_S;
    last = now;
    tokens = tokens + earned > CHILD_LOG_BURST ? CHILD_LOG_BURST : tokens + earned;
    if (tokens < 1) {
        dropped++;
        return false;
    }
    tokens -= 1;
    *unsaid = dropped;
    dropped = 0;
    return true;
}

void
child_log_end_line(struct child_log *log, double now)
{
    unsigned unsaid;
    if (log->length == 0)
        return;
    log->line[log->length] = '\0';
    if (may_log(now, &unsaid)) {
        if (unsaid > 0)
            cbx_log_info("%s: %u lines over the limit were not logged", log->name, unsaid);
        cbx_log_info("%s: %s", log->name, log->line);
    }
    memcpy(log->tail[log->lines++ % CHILD_TAIL_LINES], log->line, log->length + 1);
    log->length = 0;
}

void
child_log_take(struct child_log *log, double now, const char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char c = bytes[i];
        if (c == '\n')
            child_log_end_line(log, now);
        else if (c != '\r' && log->length < CHILD_LINE_MAX)
            log->line[log->length++] = (char)(c >= 0x20 && c < 0x7f ? c : '?');
    }
}

const char *
child_log_tail(struct child_log *log)
{
    size_t used = 0;
    log->tail_text[0] = '\0';
    unsigned first = log->lines > CHILD_TAIL_LINES ? log->lines - CHILD_TAIL_LINES : 0;
    for (unsigned i = first; i < log->lines; i++)
        used += (size_t)snprintf(log->tail_text + used, sizeof log->tail_text - used, "%s%s",
                                 i > first ? " / " : "", log->tail[i % CHILD_TAIL_LINES]);
    return log->tail_text;
}
