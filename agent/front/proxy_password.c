/* SPDX-License-Identifier: MIT */
/* Comparison in constant time, of what SOCKS5 and HTTP bring. */
#include "agent/front/proxy_password.h"

#include <sodium.h>
#include <string.h>
#include <strings.h>

enum { LOGIN_MAX = 1024, STACK_OF_HASH = 4096 };

static void
hash(const void *bytes, size_t length, uint8_t out[32])
{
    (void)crypto_generichash(out, 32, bytes, length, NULL, 0);
    sodium_stackzero(STACK_OF_HASH); /* it leaves its block there */
}

void
proxy_password_init(struct proxy_password *password, const char *text)
{
    memset(password, 0, sizeof *password);
    password->set = text != NULL;
    if (text)
        hash(text, strlen(text), password->hash);
}

bool
proxy_password_is(const struct proxy_password *password, const void *bytes, size_t length)
{
    uint8_t given[32];
    hash(bytes, length, given);
    return !password->set || sodium_memcmp(given, password->hash, sizeof given) == 0;
}

bool
proxy_password_is_basic(const struct proxy_password *password, const char *at, size_t length)
{
    static const char scheme[] = "Basic ";
    char login[LOGIN_MAX];
    size_t used = 0, skip = sizeof scheme - 1;
    if (!password->set)
        return true;
    if (!at || length < skip || strncasecmp(at, scheme, skip) != 0)
        return false;
    if (sodium_base642bin((unsigned char *)login, sizeof login, at + skip, length - skip, " ",
                          &used, NULL, sodium_base64_VARIANT_ORIGINAL) != 0)
        used = 0;
    const char *colon = memchr(login, ':', used);
    bool same = colon && proxy_password_is(password, colon + 1, used - (size_t)(colon + 1 - login));
    sodium_memzero(login, sizeof login);
    return same;
}
