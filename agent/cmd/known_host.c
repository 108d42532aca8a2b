/* SPDX-License-Identifier: MIT */
/*
 * known-host REASON HOST TYPE KEY: what ssh runs as its KnownHostsCommand (ssh_command.c). It asks
 * the agent that started that ssh whether the key is the pinned one, and answers as a known_hosts
 * file would: with the line, or with none. Tested by test_ssh_command.py.
 */
#include "agent/cmd/commands.h"
#include "common/base/bytes.h"

#include "agent/uplink/ssh_agent.h"
#include "common/base/log.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

/* An answer takes the agent a turn of its loop. */
enum { KEY_MAX = 4096, HEAD_SIZE = 9 + sizeof SSH_AGENT_HOST_KEY - 1 + 4, WAIT_S = 10 };

/* A connection to the socket; -1 after it said why there is none. */
static int
connect_to_agent(void)
{
    const struct timeval limit = {.tv_sec = WAIT_S};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = getenv(SSH_AGENT_ENVIRONMENT);
    if (!path || strlen(path) >= sizeof address.sun_path) {
        cbx_log_error(
            "known-host is run by ssh for an agent with --ssh-command; it is not for direct use");
        return -1;
    }
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0 &&
        connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    cbx_log_error("cannot reach the agent at %s: %s", path, strerror(errno));
    if (fd >= 0)
        (void)close(fd);
    return -1;
}

/* 1 when the agent says yes, 0 when it says no, -1 when it says nothing. */
static int
ask(int fd, const uint8_t *key, size_t length)
{
    static const char name[] = SSH_AGENT_HOST_KEY;
    const size_t name_length = sizeof name - 1;
    uint8_t request[HEAD_SIZE + KEY_MAX], reply[5];
    cbx_put_be32(request, (uint32_t)(HEAD_SIZE - 4 + length));
    request[4] = SSH_AGENT_EXTENSION;
    cbx_put_be32(request + 5, (uint32_t)name_length);
    memcpy(request + 9, name, name_length);
    cbx_put_be32(request + 9 + name_length, (uint32_t)length);
    memcpy(request + HEAD_SIZE, key, length);
    if (send(fd, request, HEAD_SIZE + length, MSG_NOSIGNAL) != (ssize_t)(HEAD_SIZE + length) ||
        recv(fd, reply, sizeof reply, MSG_WAITALL) != sizeof reply)
        return -1;
    return reply[4] == SSH_AGENT_SUCCESS;
}

int
agent_cmd_known_host(const struct cbx_command *command, void *parsed)
{
    (void)command;
    const char *reason = cbx_operand(parsed, 0), *host = cbx_operand(parsed, 1);
    const char *type = cbx_operand(parsed, 2), *key = cbx_operand(parsed, 3);
    uint8_t blob[KEY_MAX];
    size_t length = 0;
    /* ORDER comes before there is a key, ADDRESS is another name for the same host. */
    if (strcmp(reason, "HOSTNAME") != 0)
        return CBX_EXIT_OK;
    if (sodium_base642bin(blob, sizeof blob, key, strlen(key), NULL, &length, NULL,
                          sodium_base64_VARIANT_ORIGINAL) != 0) {
        cbx_log_error("the host key passed by ssh is not base64");
        return CBX_EXIT_FAILURE;
    }
    int fd = connect_to_agent();
    if (fd < 0)
        return CBX_EXIT_FAILURE;
    int answer = ask(fd, blob, length);
    (void)close(fd);
    if (answer < 0)
        cbx_log_error("no answer from the agent: has it given up this login?");
    if (answer == 1)
        printf("%s %s %s\n", host, type, key);
    return answer < 0 || fflush(stdout) != 0 ? CBX_EXIT_FAILURE : CBX_EXIT_OK;
}
