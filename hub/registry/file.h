/* SPDX-License-Identifier: MIT */
/* The registry from disk (snapshot.h). */
#ifndef HUB_REGISTRY_FILE_H
#define HUB_REGISTRY_FILE_H

#include "common/base/err.h"

struct registry;

/* Reads path; a missing file is an empty registry. Damage is an error and leaves the file alone. */
int registry_load(struct registry *registry, struct cbx_error *error);

#endif
