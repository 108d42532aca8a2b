/* SPDX-License-Identifier: MIT */
/* Reads boot id and namespace and hashes them (Linux); a function that says "no mark" elsewhere. */
#include "common/os/host_mark.h"
#include <fcntl.h>
#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef __linux__
static bool
read_boot_id(uint8_t out[36])
{
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool whole = read(fd, out, 36) == 36;
    close(fd);
    return whole;
}

bool
host_mark(const uint8_t key[32], uint8_t role, uint8_t out[HOST_MARK_SIZE])
{
    static const char context[] = "cbx host mark 1";
    uint8_t boot[36];
    struct stat space;
    if (!read_boot_id(boot) || stat("/proc/self/ns/net", &space) != 0)
        return false;
    uint64_t id[2] = {(uint64_t)space.st_dev, (uint64_t)space.st_ino};
    crypto_generichash_state state;
    crypto_generichash_init(&state, key, 32, HOST_MARK_SIZE);
    crypto_generichash_update(&state, (const uint8_t *)context, sizeof context - 1);
    crypto_generichash_update(&state, &role, 1);
    crypto_generichash_update(&state, boot, sizeof boot);
    crypto_generichash_update(&state, (const uint8_t *)id, sizeof id);
    crypto_generichash_final(&state, out, HOST_MARK_SIZE);
    sodium_memzero(&state, sizeof state);
    return true;
}
#else
bool
host_mark(const uint8_t key[32], uint8_t role, uint8_t out[HOST_MARK_SIZE])
{
    (void)key;
    (void)role;
    (void)out;
    return false;
}
#endif
