/* SPDX-License-Identifier: MIT */
/*
 * A pond's signing key and its last serial, in a sealed file of its own, `<keys dir>/<pond>.pond`.
 * Only the commands that sign open it (invite, ...), never the running hub. Blocking: for
 * short-lived processes.
 */
#ifndef HUB_CMD_POND_H
#define HUB_CMD_POND_H

#include "common/base/err.h"
#include "common/disk/vault.h"
#include "common/trust/identity.h"
#include <stdbool.h>
#include <stdint.h>

struct pond;

/*
 * Opens the key of a pond. With create, a missing folder (its last part, 0700) and a missing key
 * are made, and the key is on disk when this returns. CBX_ERR_NOTFOUND when it is missing and
 * create is not set; CBX_ERR_FORMAT when name is not a legal pond. A damaged, truncated or foreign
 * file is refused and left alone. key is borrowed and must outlive the pond. Free with pond_wipe.
 */
int pond_open(struct pond **out, const char *keys_dir, const struct cbx_vault_key *key,
              const char *name, bool create, struct cbx_error *error);

/* Wipes the secrets and frees. NULL is fine. */
void pond_wipe(struct pond *pond);

/* Signs invite certificates (cbx_invite_cert_sign); lives as long as the pond. */
const struct cbx_keypair *pond_key(const struct pond *pond);

/* max(last + 1, now_ms), on disk before it is handed out. Commands that run at once take turns at a
 * lock file in the folder and get different serials. */
int pond_next_serial(struct pond *pond, int64_t now_ms, uint64_t *serial, struct cbx_error *error);

#endif
