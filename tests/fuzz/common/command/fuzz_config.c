/* SPDX-License-Identifier: MIT */
/*
 * Configuration files: the agent's, or the hub's when the first byte is odd. What is taken is
 * within its bounds and legal where it is used; what is refused has its cause in one line.
 */
#include "agent/daemon/settings.h"
#include "feed.h"
#include "hub/daemon/settings.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int file;
static char path[64];

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    file = memfd_create("config", MFD_CLOEXEC);
    check(file >= 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    return 0;
}

static void
check_error(const struct cbx_error *error)
{
    check(error->text[0] != '\0' && strchr(error->text, '\n') == NULL);
    check(strncmp(error->text, path, strlen(path)) == 0 || strstr(error->text, path) != NULL);
}

static void
check_address(const char *text)
{
    char host[256];
    uint16_t port;
    check(cbx_listen_parse(text, host, sizeof host, &port) == 0);
}

static void
try_agent(void)
{
    struct agent_settings settings;
    struct cbx_error error = {""};
    agent_settings_defaults(&settings);
    int result = agent_settings_load(&settings, path, &error);
    if (result != CBX_OK) {
        check_error(&error);
    } else {
        const int64_t day = 24 * 3600 * 1000;
        if (settings.proxy)
            check_address(settings.proxy);
        check(!settings.key_file || settings.key_file[0] == '/');
        check(!settings.passphrase_file || settings.passphrase_file[0] == '/');
        check(settings.expose.count <= CBX_EXPOSE_MAX);
        check(settings.keepalive_ms >= 0 && settings.keepalive_ms <= day);
        check(settings.gone_ms >= 0 && settings.gone_ms <= day);
        check(settings.dial_timeout_ms >= 0 && settings.dial_timeout_ms <= day);
        check(settings.receive_budget <= UINT64_C(1) << 40);
        check(settings.send_budget <= UINT64_C(1) << 40);
    }
    agent_settings_dispose(&settings);
}

static void
try_hub(void)
{
    struct run_config config;
    struct cbx_error error = {""};
    run_config_defaults(&config);
    int result = run_config_file(&config, path, &error);
    if (result != 0) {
        check_error(&error);
    } else {
        check(config.listen.count <= LISTEN_ADDRESSES_MAX);
        for (uint32_t i = 0; i < config.listen.count; i++)
            check_address(config.listen.item[i]);
        for (uint32_t i = 0; i < config.public_addresses.count; i++)
            check(strlen(config.public_addresses.item[i]) < CBX_ADDRESS_TEXT_MAX);
        for (uint32_t i = 0; i < config.proxies.count; i++)
            check(proxy_prefix_parse(config.proxies.item[i], &(struct proxy_prefix){0}, NULL) == 0);
        check(config.keepalive_ms >= 100 && config.gone_ms >= 300);
        check(config.login_grace_ms >= 1000 && config.login_grace_ms <= 600000);
        check(config.queue_max >= 1 << 20 && config.unauthenticated_max >= 2);
        check(config.per_address_max >= 1 && config.login_processes >= 1);
    }
    run_config_free(&config);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    check(ftruncate(file, 0) == 0 && pwrite(file, data + 1, size - 1, 0) == (ssize_t)(size - 1));
    if (data[0] & 1)
        try_hub();
    else
        try_agent();
    return 0;
}
