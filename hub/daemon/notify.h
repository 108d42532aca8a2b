/* SPDX-License-Identifier: MIT */
/* Tells a service manager how far we are (sd_notify), when NOTIFY_SOCKET names one. */
#ifndef HUB_DAEMON_NOTIFY_H
#define HUB_DAEMON_NOTIFY_H

/* "READY=1", "STOPPING=1". Failure is silent: it is only a courtesy. */
void notify_send(const char *state);

#endif
