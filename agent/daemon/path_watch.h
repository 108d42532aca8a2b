/* SPDX-License-Identifier: MIT */
/*
 * Black holes on the way to the hub: packets beyond some length vanish, and nobody says so. Small
 * ones pass, so the agent attaches, and the first full segment stands still until the link is given
 * up, again and again.
 *
 * Once a second the watch looks at the connection that carries the link. When it has stood still
 * for a while, new connections beside it send the hub segments of several lengths
 * (netcheck/lane.h). When short ones arrive there and full ones do not, the link is given up, and
 * what leads to that address is connected with short segments from then on: both directions are, as
 * each end tells the other what it takes. Nothing is concluded where short ones do not arrive
 * either: then the path is down, or the hub, and the link's own time limit decides. Where full ones
 * arrive, and the link stays silent all the same, the other direction is taken to be the one that
 * loses them.
 */
#ifndef AGENT_DAEMON_PATH_WATCH_H
#define AGENT_DAEMON_PATH_WATCH_H

struct agent;
struct path_watch;

/* Looks at what the agent has then and later: uplink, mesh. NULL when memory is short. */
struct path_watch *path_watch_new(struct agent *agent);
void path_watch_free(struct path_watch *watch); /* NULL is fine */
/* The link to the hub was lost. */
void path_watch_lost(struct path_watch *watch);

#endif
