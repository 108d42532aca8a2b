/* SPDX-License-Identifier: MIT */
/*
 * How a login's two pipes get from sshd to the hub.
 *
 * sshd runs `cbx-hub attach --key FINGERPRINT` as the key's forced command, with pipes as standard
 * input and output and the connection's number in CBX_CONN. attach connects to <state>/attach.sock
 * (SOCK_SEQPACKET, in the 0700 state folder) and sends one struct attach_message with exactly those
 * two descriptors; then it sleeps until the hub closes that socket or sshd closes its pipe. sshd
 * ends the session when attach ends, not before.
 *
 * The hub takes a message only from its own uid, of exactly this form, with two pipes, the first to
 * read and the second to write. It wraps them as a carrier; closing the carrier ends attach too.
 */
#ifndef HUB_LOGIN_ATTACH_H
#define HUB_LOGIN_ATTACH_H

#include "common/trust/identity.h"
#include <stdint.h>

#define ATTACH_MAGIC "cbxatt1"

struct attach_message {
    char magic[8]; /* ATTACH_MAGIC with its NUL */
    uint64_t connection;
    char fingerprint[CBX_FINGERPRINT_TEXT_MAX]; /* NUL-terminated and padded with NULs */
    uint32_t zero;
};

/* The command's side: sends and sleeps. Returns the exit status. */
int attach_run(const char *state_dir, const char *fingerprint);

#endif
