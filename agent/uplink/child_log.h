/* SPDX-License-Identifier: MIT */
/*
 * What a child says on standard error: each line goes to the log, within one allowance for all
 * children, and the last ones are kept for error texts. The text goes to terminals and into JSON:
 * what is not printable ASCII becomes a '?'.
 */
#ifndef AGENT_UPLINK_CHILD_LOG_H
#define AGENT_UPLINK_CHILD_LOG_H

#include <stddef.h>

enum {
    CHILD_LINE_MAX = 300,    /* longer lines are cut */
    CHILD_TAIL_LINES = 3,    /* the last ones, for error texts */
    CHILD_LOG_BURST = 20,    /* lines of all children that are logged at once ... */
    CHILD_LOG_PERIOD_S = 10, /* ... and then one in this time */
};

struct child_log {
    const char *name; /* begins each logged line; borrowed */
    size_t length;
    char line[CHILD_LINE_MAX + 1];
    unsigned lines; /* ever; line n stands in tail[n % CHILD_TAIL_LINES] */
    char tail[CHILD_TAIL_LINES][CHILD_LINE_MAX + 1];
    char tail_text[CHILD_TAIL_LINES * (CHILD_LINE_MAX + 4)];
};

/* now: as ev_now. */
void child_log_take(struct child_log *log, double now, const char *bytes, size_t count);
/* What was said since the last line break is a line. */
void child_log_end_line(struct child_log *log, double now);
/* The last lines, " / " between them; "" for none. Valid until the next call. */
const char *child_log_tail(struct child_log *log);

#endif
