/* SPDX-License-Identifier: MIT */
/* Tested by test_restart.py and test_rules.py. */
#include "hub/daemon/commit.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/disk/file.h"
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A revoked key must get out of the file on a full disk, too. */
enum { KEYS_HASH_SIZE = 32, KEYS_MODE = 0600 | CBX_FILE_RESERVED };

struct commit {
    struct commit_config config;
    commit_done *done;
    void *arg;
    uint64_t wanted;  /* the newest ticket */
    uint64_t told;    /* up to here they know */
    uint64_t round;   /* what the writes under way cover */
    unsigned writing; /* how many of them are not back */
    int result;       /* the first failure of the round */
    char text[CBX_ERROR_TEXT_MAX];
    bool again;      /* the last round failed and is to be repeated */
    bool keys_known; /* keys_hash is of what the file holds */
    uint8_t keys_hash[KEYS_HASH_SIZE], next_hash[KEYS_HASH_SIZE];
};

struct commit *
commit_new(const struct commit_config *config, commit_done *done, void *arg)
{
    struct commit *commit = calloc(1, sizeof *commit);

    if (!commit)
        return NULL;
    commit->config = *config;
    commit->done = done;
    commit->arg = arg;
    return commit;
}

void
commit_free(struct commit *commit)
{
    free(commit);
}

static int
make_keys(const struct commit *commit, char **text, uint8_t hash[KEYS_HASH_SIZE])
{
    int result = registry_authorized_keys(commit->config.registry, commit->config.program,
                                          commit->config.state_dir, cbx_clock_unix(), text);

    if (result == 0)
        (void)crypto_generichash(hash, KEYS_HASH_SIZE, (const uint8_t *)*text, strlen(*text), NULL,
                                 0);
    return result;
}

int
commit_first_keys(struct commit *commit, struct cbx_error *error)
{
    char *text = NULL;
    int result = make_keys(commit, &text, commit->keys_hash);

    if (result != 0)
        return cbx_fail(error, result, "cannot write %s: %s", commit->config.authorized_keys,
                        cbx_err_name(result));
    result = cbx_file_keep(commit->config.authorized_keys, (const uint8_t *)text, strlen(text),
                           KEYS_MODE, error);
    free(text);
    commit->keys_known = result == 0;
    return result;
}

void
commit_want(struct commit *commit, uint64_t ticket)
{
    if (ticket > commit->wanted)
        commit->wanted = ticket;
}

void
commit_retry(struct commit *commit)
{
    commit->again = commit->writing == 0 && commit->result != 0;
}

static void
fail_round(struct commit *commit, int result, const char *text)
{
    if (commit->result != 0)
        return;
    commit->result = result;
    (void)snprintf(commit->text, sizeof commit->text, "%s", text);
}

static void
end_round(struct commit *commit)
{
    if (commit->writing > 0)
        return;
    if (commit->result != 0)
        cbx_log_error("a change could not be stored: %s", commit->text);
    commit->told = commit->round;
    commit->done(commit->arg, commit->round, commit->result, commit->text);
}

static void
on_registry(void *arg, int result, const char *text)
{
    struct commit *commit = arg;

    commit->writing--;
    if (result != 0)
        fail_round(commit, result, text);
    end_round(commit);
}

static void
on_keys(void *arg, int result, const char *text)
{
    struct commit *commit = arg;

    commit->writing--;
    commit->keys_known = result == 0;
    if (result == 0)
        memcpy(commit->keys_hash, commit->next_hash, KEYS_HASH_SIZE);
    else
        fail_round(commit, result, text);
    end_round(commit);
}

/* Most changes are generations: then the keys are the same and stay. */
static void
put_keys(struct commit *commit)
{
    char *text = NULL;
    int result = make_keys(commit, &text, commit->next_hash);

    if (result == 0 && commit->keys_known &&
        memcmp(commit->keys_hash, commit->next_hash, KEYS_HASH_SIZE) == 0) {
        free(text);
        return;
    }
    if (result == 0)
        result = cbx_store_put(commit->config.store, commit->config.authorized_keys,
                               (uint8_t *)text, strlen(text), KEYS_MODE, on_keys, commit);
    if (result == 0)
        commit->writing++;
    else
        fail_round(commit, result, "the login keys could not be written");
}

void
commit_step(struct commit *commit)
{
    if (commit->writing > 0 || (commit->told == commit->wanted && !commit->again))
        return;
    commit->again = false;
    commit->round = commit->wanted;
    commit->result = 0;
    commit->text[0] = '\0';
    int result =
        registry_commit(commit->config.registry, commit->config.store, on_registry, commit);
    if (result == 0)
        commit->writing++;
    else
        fail_round(commit, result, "the registry could not be sealed");
    put_keys(commit);
    end_round(commit);
}

void
commit_flush(struct commit *commit)
{
    char *text = NULL;

    if (commit->told != commit->wanted) {
        (void)registry_commit(commit->config.registry, commit->config.store, NULL, NULL);
        if (make_keys(commit, &text, commit->next_hash) == 0)
            (void)cbx_store_put(commit->config.store, commit->config.authorized_keys,
                                (uint8_t *)text, strlen(text), KEYS_MODE, NULL, NULL);
    }
    (void)registry_flush(commit->config.registry);
}

bool
commit_idle(const struct commit *commit)
{
    return commit->writing == 0 && commit->told == commit->wanted;
}
