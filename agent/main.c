/* SPDX-License-Identifier: MIT */
/* The command line of cbx-agent. Tested by test_commands.py. */
#include "agent/cmd/commands.h"
#include "agent/cmd/token_input.h"
#include "common/base/log.h"
#include "common/os/descriptors.h"

#include <signal.h>
#include <sodium.h>

static const struct cbx_option common_options[] = {
    {"state", "DIR", "state folder (else CBX_STATE, STATE_DIRECTORY, ~/.local/state/cbx/agent)",
     false},
    {0},
};

static const struct cbx_option run_options[] = {AGENT_SETTINGS_OPTIONS, {0}};

static const struct cbx_option join_options[] = {
    {"timeout", "TIME", "give up if the hub has not answered within this time (60s)", false},
    AGENT_SETTINGS_OPTIONS,
    {0},
};

static const struct cbx_option up_options[] = {
    {"detach", NULL, "go to the background once attached; the log is in the state folder", false},
    {"timeout", "TIME", "fail if not attached within this time (60s with --detach, else no limit)",
     false},
    AGENT_SETTINGS_OPTIONS,
    {0},
};

static const struct cbx_option show_options[] = {
    {"json", NULL, "print JSON", false},
    {0},
};

static const struct cbx_option peers_options[] = {
    {"streams", NULL, "list the open streams instead; --json always has both", false},
    {"json", NULL, "print JSON", false},
    {0},
};

static const struct cbx_option netcheck_options[] = {
    {"json", NULL, "print JSON", false},
    {"timeout", "TIME", "limit of each step (10s)", false},
    {"config", "FILE", "settings, as for run", false},
    {"via", "URL", "through this proxy instead of the running agent's way", false},
    {"ssh-command", "COMMAND", "as for run; the connection itself is then not tested", false},
    {"lanes", "auto|off|require", "off: do not test a lane (without a running agent)", false},
    {"key-file", "FILE", "what seals the state (without a running agent)", false},
    {"passphrase-file", "FILE", "the same", false},
    {0},
};

static const struct cbx_option wait_options[] = {
    {"timeout", "TIME", "give up after this long (60s)", false},
    {0},
};

static const char token_detail[] =
    "The token is the line that `cbx-hub invite` printed: @FILE reads it from a file, - from\n"
    "standard input; without either it is taken from CBX_TOKEN, which is removed from the\n"
    "environment. A token on the command line is accepted with a warning.";

static const struct cbx_command commands[] = {
    {
        .name = "join",
        .arguments = "[@FILE|-]",
        .help = "join a pond with a token, then exit",
        .detail = token_detail,
        .options = join_options,
        .operands_max = 1,
        .run = agent_cmd_join,
    },
    {
        .name = "run",
        .arguments = "",
        .help = "run as the lease that has joined",
        .options = run_options,
        .run = agent_cmd_run,
    },
    {
        .name = "up",
        .arguments = "[@FILE|-]",
        .help = "join if not joined yet, then run",
        .detail = token_detail,
        .options = up_options,
        .operands_max = 1,
        .run = agent_cmd_up,
    },
    {
        .name = "down",
        .arguments = "",
        .help = "stop the running agent and wait until it has exited",
        .run = agent_cmd_down,
    },
    {
        .name = "leave",
        .arguments = "",
        .help = "stop the agent and remove its identity and state",
        .run = agent_cmd_leave,
    },
    {
        .name = "status",
        .arguments = "",
        .help = "show the state of the running agent",
        .options = show_options,
        .run = agent_cmd_status,
    },
    {
        .name = "peers",
        .arguments = "",
        .help = "list the peers of the pond and how each is reached, or the streams",
        .options = peers_options,
        .run = agent_cmd_peers,
    },
    {
        .name = "netcheck",
        .arguments = "[@FILE|-]",
        .help = "test each step of the way to the hub and suggest remedies",
        .detail = "With a token the hub is tested before the join; the token is not used up.",
        .options = netcheck_options,
        .operands_max = 1,
        .run = agent_cmd_netcheck,
    },
    {
        .name = "wait",
        .arguments = "NAME:PORT",
        .help = "wait until a peer's port accepts connections",
        .options = wait_options,
        .operands_min = 1,
        .operands_max = 1,
        .run = agent_cmd_wait,
    },
    {
        .name = "dial",
        .arguments = "NAME:PORT",
        .help = "connect standard input and output to a peer's port",
        .detail = "As ssh's way to a peer: ssh -o ProxyCommand='cbx-agent dial %h:%p' web.cbx",
        .operands_min = 1,
        .operands_max = 1,
        .run = agent_cmd_dial,
    },
    {
        .name = "known-host",
        .arguments = "REASON HOST TYPE KEY",
        .help = "for ssh, which runs it to check the hub's host key (--ssh-command)",
        .operands_min = 4,
        .operands_max = 4,
        .hidden = true,
        .run = agent_cmd_known_host,
    },
    {0},
};

static const struct cbx_program program = {
    .name = "cbx-agent",
    .summary = "Joins this machine to a pond and lets its programs dial the others by name.",
    .commands = commands,
    .common = common_options,
};

int
main(int argc, char **argv)
{
    cbx_descriptors_fill_standard();
    cbx_log_init("cbx-agent", cbx_log_level_of(getenv("CBX_LOG"), CBX_LOG_INFO));
    if (sodium_init() < 0) {
        cbx_log_error("cannot initialize libsodium");
        return CBX_EXIT_FAILURE;
    }
    agent_token_take_environment();
    (void)signal(SIGPIPE, SIG_IGN);
    return cbx_cli_main(&program, argc, argv);
}
