/* SPDX-License-Identifier: MIT */
/* Tested by test_trust.py and test_commands.py. */
#include "agent/cmd/token_input.h"

#include "common/base/log.h"
#include "common/disk/file.h"
#include "common/disk/vault.h"

#include <errno.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A token of the environment, until it is read. Longer ones are cut and then fail their checksum.
 */
static char environment_token[CBX_TOKEN_TEXT_MAX + 1];
static bool environment_set;

void
agent_token_take_environment(void)
{
    char *value = getenv("CBX_TOKEN");
    if (!value)
        return;
    (void)sodium_mlock(environment_token, sizeof environment_token);
    size_t length = strlen(value);
    environment_set = length > 0;
    memcpy(environment_token, value,
           length < CBX_TOKEN_TEXT_MAX ? length : (size_t)CBX_TOKEN_TEXT_MAX);
    sodium_memzero(value, length);
    unsetenv("CBX_TOKEN");
}

void
agent_token_forget(void)
{
    sodium_memzero(environment_token, sizeof environment_token);
    environment_set = false;
}

static int
read_file(const char *path, struct cbx_token *out, struct cbx_error *error)
{
    if (path[0] == '\0')
        return cbx_fail(error, CBX_ERR_USAGE, "@ is followed by the name of a file with a token");
    uint8_t *bytes;
    size_t length;
    int result = cbx_file_load(path, CBX_TOKEN_TEXT_MAX, &bytes, &length, error);
    if (result == CBX_ERR_NOTFOUND)
        return cbx_fail(error, result, "there is no file %s with a token", path);
    if (result == CBX_ERR_LIMIT)
        return cbx_fail(error, result, "%s is too long to be a token", path);
    if (result != CBX_OK)
        return result == CBX_ERR_NOMEM ? result : CBX_ERR_USAGE; /* it was named */
    result = cbx_token_parse((const char *)bytes, length, out, error);
    sodium_memzero(bytes, length);
    free(bytes);
    return result;
}

/* One line: a person who pastes it need not end the input. */
static int
read_input(struct cbx_token *out, struct cbx_error *error)
{
    char text[CBX_TOKEN_TEXT_MAX + 1];
    size_t length = 0;
    int result = CBX_OK;
    if (isatty(STDIN_FILENO))
        cbx_log_info("waiting for the token on standard input: paste it and press Enter");
    while (length < sizeof text) {
        ssize_t part = read(STDIN_FILENO, text + length, sizeof text - length);
        if (part < 0 && errno == EINTR)
            continue;
        if (part < 0)
            result = cbx_fail(error, CBX_ERR_IO, "cannot read standard input: %s", strerror(errno));
        if (part <= 0)
            break;
        bool line = memchr(text + length, '\n', (size_t)part) != NULL;
        length += (size_t)part;
        if (line)
            break;
    }
    if (result == CBX_OK && length == 0)
        result = cbx_fail(error, CBX_ERR_FORMAT, "no token on standard input");
    if (result == CBX_OK)
        result = cbx_token_parse(text, length, out, error);
    sodium_memzero(text, sizeof text);
    return result;
}

/* Taken, but said: every user of the machine can read command lines. */
static int
read_argument(char *text, struct cbx_token *out, struct cbx_error *error)
{
    cbx_log_warn(
        "warning: a token on the command line can be seen by all users of this machine and stays "
        "in the shell's history: use @FILE, - or CBX_TOKEN");
    int result = cbx_token_parse(text, strlen(text), out, error);
    sodium_memzero(text, strlen(text));
    return result;
}

int
agent_token_read(const char *source, struct cbx_token *out, struct cbx_error *error)
{
    if (!source) {
        if (!environment_set)
            return cbx_fail(error, CBX_ERR_NOTFOUND, "no token");
        int result = cbx_token_parse(environment_token, strlen(environment_token), out, error);
        agent_token_forget();
        return result;
    }
    if (strcmp(source, "-") == 0)
        return read_input(out, error);
    if (source[0] == '@')
        return read_file(source + 1, out, error);
    if (strncmp(source, "cbx", 3) == 0 && strchr(source, '_'))
        return read_argument((char *)(uintptr_t)source, out, error);
    return cbx_fail(error, CBX_ERR_USAGE,
                    "the token is given as @FILE, as - for standard input, or in CBX_TOKEN");
}
