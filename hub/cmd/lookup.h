/* SPDX-License-Identifier: MIT */
/* What the hub knows of a slug or a pond, for commands that are told one. */
#ifndef HUB_CMD_LOOKUP_H
#define HUB_CMD_LOOKUP_H

#include "common/base/names.h"
#include "hub/cmd/cmd.h"

/* The joined lease of that name: a new reference in *peer, NULL where there is none. An exit
 * status; errors have been printed. */
int cmd_find_peer(const struct cbx_command *command, const char *state_dir, const char *pond,
                  const char *slug, json_t **peer);

/* The only pond that has a lease of that name, into pond. An exit status; where there is none, or
 * more than one, that was said. */
int cmd_find_pond(const struct cbx_command *command, const char *state_dir, const char *slug,
                  char pond[CBX_SLUG_MAX + 1]);

/* Whether the hub has a lease or an open invite of that pond. An exit status; errors have been
 * printed. */
int cmd_pond_known(const struct cbx_command *command, const char *state_dir, const char *pond,
                   bool *known);

/* CBX_EXIT_OK when some lease or invite is of that pond; else it was said which ponds there are. */
int cmd_check_pond(const struct cbx_command *command, const char *state_dir, const char *pond);

#endif
