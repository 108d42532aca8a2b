/* SPDX-License-Identifier: MIT */
/* cbx-hub: the tables of commands and options, and main. Tested by test_commands.py. */
#include "common/base/log.h"
#include "common/os/descriptors.h"
#include "hub/cmd/cmd.h"

static const struct cbx_option common_options[] = {
    {"state", "DIR", "state folder (else CBX_STATE, STATE_DIRECTORY, ~/.local/state/cbx/hub)",
     false},
    {0},
};

#define KEY_OPTIONS                                                                                \
    {"key-file", "FILE", "key of the sealed files, 32 bytes (default: STATE/key)", false},         \
    {                                                                                              \
        "passphrase-file", "FILE", "passphrase of the sealed files, its first line", false         \
    }

static const struct cbx_option run_options[] = {
    {"listen", "ADDR:PORT", "where to listen (default: 127.0.0.1:7000; port 0: any)", true},
    {"public", "HOST:PORT", "address of the hub that tokens contain", true},
    {"proxy-protocol", "ADDR/PREFIX", "take PROXY headers from this load balancer", true},
    {"config", "FILE", "read options from this file too (NAME = VALUE)", false},
    {"user", "NAME", "as root: switch to this account at startup", false},
    {"as-root", NULL, "as root: run as root", false},
    KEY_OPTIONS,
    {"sshd", "PATH", "the sshd to run (default: the system's)", false},
    {"lanes", "auto|off|require", "faster TCP lanes of agents beside ssh (default: auto)", false},
    {"direct", "auto|off", "lanes between agents that bypass the hub (default: auto)", false},
    {"queue-max", "SIZE", "limit of bytes buffered for all streams (default: 1G)", false},
    {"keepalive", "DUR", "ping after this much silence (default: 15s)", false},
    {"gone", "DUR", "an agent is gone after this much silence (default: 45s)", false},
    {"login-grace", "DUR", "time limit for a login (default: 10s)", false},
    {"allowance-grace", "DUR", "time limit to confirm a lower allowance (default: 10s)", false},
    {"unauthenticated-max", "N", "limit of unauthenticated connections (default: 64)", false},
    {"per-address-max", "N", "the same, from one address (default: 32)", false},
    {"login-processes", "N", "limit of concurrent logins (default: 2 a core + 4)", false},
    {"log-file", "FILE", "where log lines go; SIGHUP opens it again", false},
    {"log-times", NULL, "prefix log lines with the time on a terminal, too", false},
    {0},
};

static const struct cbx_option invite_options[] = {
    {"pond", "POND", "the group of leases (default: default)", false},
    {"slug", "SLUG", "the lease's name: SLUG.cbx", false},
    {"expose", "SPEC", "ports it may offer: 8080, 5432=10.83.0.7:5432; commas too", true},
    {"ttl", "DUR", "last moment to join, from now (default: 15m)", false},
    {"ends", "DUR", "end of the lease, from now (default: 30d)", false},
    {"label", "K=V", "a label that peers show", true},
    {"keys", "DIR", "folder of the pond keys (default: STATE/ponds)", false},
    {"out", "FILE", "write the token to a new file that only you can read", false},
    {"replace", NULL, "replace a lease of that name without asking", false},
    KEY_OPTIONS,
    {0},
};

static const struct cbx_option json_options[] = {
    {"json", NULL, "print JSON", false},
    {0},
};

static const struct cbx_option revoke_options[] = {
    {"pond", "POND", "its pond (default: the only one that has that lease)", false},
    {0},
};

static const struct cbx_option peers_options[] = {
    {"pond", "POND", "only this pond (default: all)", false},
    {"json", NULL, "print JSON", false},
    {0},
};

static const struct cbx_option attach_options[] = {
    {"key", "FINGERPRINT", "fingerprint of the key that logged in", false},
    {0},
};

static const struct cbx_command commands[] = {
    {"run", "", "run the hub",
     "Prints `listening ADDR:PORT` for each listener once it is ready, and runs until SIGTERM,\n"
     "SIGINT or `cbx-hub shutdown`. As root it needs --user NAME or --as-root.",
     run_options, 0, 0, false, cmd_run},
    {"invite", "", "make a token for one lease",
     "Prints one line, the token, on standard output or into FILE. Waits up to 5 s for the hub.",
     invite_options, 0, 0, false, cmd_invite},
    {"invites", "", "list unused invites", NULL, json_options, 0, 0, false, cmd_invites},
    {"uninvite", "ID", "withdraw an invite", "At least 4 characters of the ID will do.", NULL, 1, 1,
     false, cmd_uninvite},
    {"revoke", "SLUG", "revoke a lease permanently", NULL, revoke_options, 1, 1, false, cmd_revoke},
    {"peers", "", "list the leases that have joined", NULL, peers_options, 0, 0, false, cmd_peers},
    {"status", "", "show the state of the hub", NULL, json_options, 0, 0, false, cmd_status},
    {"shutdown", "", "stop the hub and wait until it has exited", NULL, NULL, 0, 0, false,
     cmd_shutdown},
    {"attach", "", "hand sshd's pipes to the hub (sshd runs this)", NULL, attach_options, 0, 0,
     true, cmd_attach},
    {0},
};

static const struct cbx_program program = {
    .name = "cbx-hub",
    .summary = "The directory and switch of a pond of leases.",
    .commands = commands,
    .common = common_options,
};

int
main(int argc, char **argv)
{
    cbx_descriptors_fill_standard();
    cbx_log_init("cbx-hub", cbx_log_level_of(getenv("CBX_LOG"), CBX_LOG_INFO));
    return cbx_cli_main(&program, argc, argv);
}
