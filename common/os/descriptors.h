/* SPDX-License-Identifier: MIT */
/*
 * How many descriptors a process may have, and that its clients do not get the last of them: what
 * is not a client (commands, state files, the way to the hub) still needs some when all others
 * are in use.
 */
#ifndef COMMON_OS_DESCRIPTORS_H
#define COMMON_OS_DESCRIPTORS_H

#include <stdbool.h>
#include <stdint.h>

/* The number kept back; a quarter of the limit where that is less. */
enum { CBX_DESCRIPTORS_RESERVE = 32 };

/* Commands may use half of what clients leave: the rest is for files and the way to the hub. What
 * was promised to a client that was let in may use them all. */
enum cbx_descriptors_use {
    CBX_DESCRIPTORS_CLIENTS,
    CBX_DESCRIPTORS_COMMANDS,
    CBX_DESCRIPTORS_PROMISED
};

/* First in main: descriptors 0 to 2 must be something, or a socket would take their place. */
void cbx_descriptors_fill_standard(void);
/* Whether standard output was closed then: what is written there since is lost. */
bool cbx_descriptors_output_closed(void);

/* Raises the soft limit (often 1,024) to the hard one. */
void cbx_descriptors_raise(void);
/* Whether this descriptor, just opened for a client, is one of those kept back. */
bool cbx_descriptor_is_reserved(int fd);
/* Whether only those kept back from that use would be left after `promised` more. `open` is any
 * open descriptor. */
bool cbx_descriptors_scarce(enum cbx_descriptors_use use, int open, uint32_t promised);

#endif
