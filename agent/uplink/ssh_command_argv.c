/* SPDX-License-Identifier: MIT */
/* Tested by test_ssh_command. */
#include "agent/uplink/ssh_command_argv.h"

#include "agent/uplink/ssh_agent.h"
#include "common/base/names.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char single_letters[] = "hpu", list_letters[] = "o";

/*
 * What makes the user's ssh safe for this: the login with the one key of our socket, the host key
 * checked by us alone, nothing forwarded, no shared connection, no question. A jump host on the way
 * is another ssh process, to which ssh passes none of these.
 */
static const char *const common_options[] = {
    "-T",
    "-oBatchMode=yes",
    "-oLogLevel=ERROR",
    "-oRequestTTY=no",
    "-oPreferredAuthentications=publickey",
    "-oPubkeyAuthentication=yes",
    ("-oIdentityAgent=$" SSH_AGENT_ENVIRONMENT),
    "-oIdentityFile=none",
    "-oIdentitiesOnly=no",
    "-oAddKeysToAgent=no",
    "-oPKCS11Provider=none",
    "-oStrictHostKeyChecking=yes",
    "-oHostKeyAlgorithms=ssh-ed25519",
    "-oUserKnownHostsFile=/dev/null",
    "-oGlobalKnownHostsFile=/dev/null",
    "-oCheckHostIP=no",
    "-oUpdateHostKeys=no",
    "-oVerifyHostKeyDNS=no",
    "-oNoHostAuthenticationForLocalhost=no",
    "-oControlMaster=no",
    "-oControlPath=none",
    "-oClearAllForwardings=yes",
    "-oForwardAgent=no",
    "-oForwardX11=no",
    "-oPermitLocalCommand=no",
    "-oTunnel=no",
    "-oCompression=no", /* what is sealed does not shrink */
};
enum {
    COMMON_OPTIONS = sizeof common_options / sizeof common_options[0],
    OWN_OPTIONS = 6, /* KnownHostsCommand, ServerAliveInterval, -l USER, -p PORT */
};

int
ssh_command_parse(struct argv_split *out, const char *command, struct cbx_error *error)
{
    int result = argv_split_parse(out, command, error);
    if (result == CBX_OK)
        result = argv_split_check_placeholders(out, single_letters, list_letters, error);
    if (result != CBX_OK || argv_split_has_placeholders(out))
        return result;
    result = argv_split_insert(out, 1, "%o");
    if (result == CBX_OK)
        result = argv_split_insert(out, out->count, "--");
    if (result == CBX_OK)
        result = argv_split_insert(out, out->count, "%h");
    return result == CBX_OK
               ? result
               : cbx_fail(error, CBX_ERR_USAGE,
                          result == CBX_ERR_LIMIT ? "too many words" : "out of memory");
}

int
ssh_command_check(const char *command, struct cbx_error *error)
{
    struct argv_split argv;
    int result = ssh_command_parse(&argv, command, error);
    argv_split_dispose(&argv);
    return result;
}

bool
ssh_command_pins(const struct argv_split *argv)
{
    for (size_t i = 0; i < argv->count; i++) {
        if (strcmp(argv->word[i], "%o") == 0)
            return true;
    }
    return false;
}

/* Only what hosts and users are made of passes. */
static bool
harmless(const char *text, const char *also)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    if (text[0] == '\0' || text[0] == '-')
        return false;
    for (; *text != '\0'; text++) {
        if (!strchr(letters, *text) && !strchr(also, *text))
            return false;
    }
    return true;
}

int
ssh_command_target_set(struct ssh_command_target *target, const char *address, const char *user,
                       struct cbx_error *error)
{
    target->user = user;
    if (cbx_host_port_parse(address, target->host, sizeof target->host, &target->port) != CBX_OK ||
        !harmless(target->host, "._-:") || !harmless(user, "._-"))
        return cbx_fail(error, CBX_ERR_FORMAT,
                        "%s: the token's address or user contains characters that are not passed "
                        "to an ssh-command",
                        address);
    return CBX_OK;
}

int
ssh_command_fill(struct argv_split *out, const struct argv_split *argv,
                 const struct ssh_command_target *target)
{
    char known_hosts[80], alive[40], port[8];
    const char *options[COMMON_OPTIONS + OWN_OPTIONS + 1];
    memcpy(options, common_options, sizeof common_options);
    /* This very program, whatever its path, and also when a newer one was installed over it. */
    (void)snprintf(known_hosts, sizeof known_hosts,
                   "-oKnownHostsCommand=/proc/%ld/exe known-host %%I %%H %%t %%K", (long)getpid());
    int64_t alive_s = target->keepalive_ms > 0 ? (target->keepalive_ms + 999) / 1000 : 15;
    (void)snprintf(alive, sizeof alive, "-oServerAliveInterval=%lld", (long long)alive_s);
    (void)snprintf(port, sizeof port, "%u", (unsigned)target->port);
    const char *const own[OWN_OPTIONS + 1] = {known_hosts, alive, "-l", target->user,
                                              "-p",        port,  NULL};
    memcpy(options + COMMON_OPTIONS, own, sizeof own);
    const struct argv_placeholder placeholders[] = {
        {.letter = 'h', .text = target->host},
        {.letter = 'p', .text = port},
        {.letter = 'u', .text = target->user},
        {.letter = 'o', .list = options},
        {0},
    };
    return argv_split_fill(out, argv, placeholders);
}
