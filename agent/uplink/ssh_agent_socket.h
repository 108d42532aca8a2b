/* SPDX-License-Identifier: MIT */
/* Where an ssh client finds the key of ssh_agent.h, for as long as one login takes. */
#ifndef AGENT_UPLINK_SSH_AGENT_SOCKET_H
#define AGENT_UPLINK_SSH_AGENT_SOCKET_H

#include "agent/uplink/ssh_agent.h"

struct ssh_agent_socket;
struct ev_loop;

/* Listens at folder/ssh-agent.sock (0600, our own uid only); a stale one is replaced. agent is
 * borrowed. NULL with the cause in error. */
struct ssh_agent_socket *ssh_agent_listen(struct ev_loop *loop, const char *folder,
                                          struct ssh_agent *agent, struct cbx_error *error);
/* The path for other processes, however long the folder's. */
const char *ssh_agent_path(const struct ssh_agent_socket *socket);
/* Ends all connections and removes the socket. */
void ssh_agent_close(struct ssh_agent_socket *socket);

#endif
