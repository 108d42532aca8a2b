/* SPDX-License-Identifier: MIT */
#include "failing_alloc.h"

#include <curl/curl.h>
#include <errno.h>
#include <execinfo.h>
#include <ifaddrs.h>
#include <jansson.h>
#include <libssh2.h>
#include <msgpack.h>
#include <netdb.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct failing *failing;

/* FNV-1a over the callers, without the interceptor's and this file's frames. */
static void
hash_callers(void **stack, int *depth, uint32_t *hash)
{
    enum { OWN = 3 };
    void *all[FAILING_DEPTH + OWN];
    int n = backtrace(all, FAILING_DEPTH + OWN);

    *depth = n > OWN ? n - OWN : 0;
    hash[0] = hash[1] = 2166136261U;
    for (int i = 0; i < *depth; i++) {
        stack[i] = all[OWN + i];
        hash[1] = (hash[1] ^ (uint32_t)(uintptr_t)stack[i]) * 16777619U;
        if (i < FAILING_NEAR)
            hash[0] = hash[1];
    }
}

static __attribute__((noinline)) bool
fails_now(void)
{
    if (failing == NULL)
        return false;
    uint32_t n = atomic_fetch_add(&failing->count, 1) + 1;
    if (failing->draws_trail && n <= FAILING_TRAIL_MAX) {
        void *stack[FAILING_DEPTH];
        int depth;
        hash_callers(stack, &depth, failing->trail[n - 1]);
    }
    if (failing->at == 0 || n < failing->at || (n > failing->at && !failing->forever))
        return false;
    if (n == failing->at) {
        hash_callers(failing->stack, &failing->depth, failing->hash);
        failing->fired = true;
    }
    errno = ENOMEM;
    return true;
}

/* ---- one for each function; the prototypes are those of the library ---- */

#define FAILING(type, name, parameters, arguments, otherwise)                                      \
    type failing_##name parameters                                                                 \
    {                                                                                              \
        return fails_now() ? (otherwise) : name arguments;                                         \
    }

FAILING(void *, malloc, (size_t size), (size), NULL)
FAILING(void *, calloc, (size_t count, size_t size), (count, size), NULL)
FAILING(void *, realloc, (void *old, size_t size), (old, size), NULL)
FAILING(void *, reallocarray, (void *old, size_t count, size_t size), (old, count, size), NULL)
FAILING(char *, strdup, (const char *text), (text), NULL)
FAILING(char *, strndup, (const char *text, size_t size), (text, size), NULL)
FAILING(char *, realpath, (const char *path, char *out), (path, out), NULL)
FAILING(FILE *, fopen, (const char *path, const char *mode), (path, mode), NULL)
FAILING(FILE *, open_memstream, (char **text, size_t *size), (text, size), NULL)
FAILING(int, getifaddrs, (struct ifaddrs * *list), (list), -1)
FAILING(int, getaddrinfo,
        (const char *host, const char *service, const struct addrinfo *hints,
         struct addrinfo **list),
        (host, service, hints, list), EAI_MEMORY)

/* POSIX: "the system lacked the resources to create another thread". */
FAILING(int, pthread_create,
        (pthread_t * thread, const pthread_attr_t *attributes, void *(*start)(void *), void *arg),
        (thread, attributes, start, arg), EAGAIN)

int failing_asprintf(char **out, const char *format, ...) __attribute__((format(printf, 2, 3)));
int
failing_asprintf(char **out, const char *format, ...)
{
    va_list arguments;

    if (fails_now()) {
        *out = NULL;
        return -1;
    }
    va_start(arguments, format);
    int length = vasprintf(out, format, arguments);
    va_end(arguments);
    return length;
}

/* libsodium */
FAILING(void *, sodium_malloc, (size_t size), (size), NULL)
FAILING(int, crypto_pwhash,
        (unsigned char *const out, unsigned long long size, const char *const passphrase,
         unsigned long long length, const unsigned char *const salt, unsigned long long operations,
         size_t memory, int algorithm),
        (out, size, passphrase, length, salt, operations, memory, algorithm), -1)

/* libcrypto */
FAILING(EVP_CIPHER_CTX *, EVP_CIPHER_CTX_new, (void), (), NULL)
FAILING(int, EVP_CipherInit_ex,
        (EVP_CIPHER_CTX * context, const EVP_CIPHER *cipher, ENGINE *engine,
         const unsigned char *key, const unsigned char *nonce, int encrypt),
        (context, cipher, engine, key, nonce, encrypt), 0)

/* msgpack; a packer's buffer grows by the realloc above */
FAILING(bool, msgpack_zone_init, (msgpack_zone * zone, size_t chunk), (zone, chunk), false)
FAILING(msgpack_unpack_return, msgpack_unpack,
        (const char *bytes, size_t length, size_t *offset, msgpack_zone *zone,
         msgpack_object *object),
        (bytes, length, offset, zone, object), MSGPACK_UNPACK_NOMEM_ERROR)
FAILING(msgpack_unpack_return, msgpack_unpack_next,
        (msgpack_unpacked * unpacked, const char *bytes, size_t length, size_t *offset),
        (unpacked, bytes, length, offset), MSGPACK_UNPACK_NOMEM_ERROR)

/* jansson: what takes a reference takes it when it fails, too */
FAILING(json_t *, json_object, (void), (), NULL)
FAILING(json_t *, json_array, (void), (), NULL)
FAILING(json_t *, json_string, (const char *text), (text), NULL)
FAILING(json_t *, json_stringn, (const char *text, size_t length), (text, length), NULL)
FAILING(json_t *, json_integer, (json_int_t number), (number), NULL)
FAILING(char *, json_dumps, (const json_t *value, size_t flags), (value, flags), NULL)
FAILING(int, json_dumpf, (const json_t *value, FILE *file, size_t flags), (value, file, flags), -1)
FAILING(int, json_object_update, (json_t * object, json_t *other), (object, other), -1)
FAILING(int, json_object_set_new, (json_t * object, const char *key, json_t *value),
        (object, key, value), (json_decref(value), -1))
FAILING(int, json_array_append_new, (json_t * array, json_t *value), (array, value),
        (json_decref(value), -1))

json_t *
failing_json_loadb(const char *bytes, size_t length, size_t flags, json_error_t *error)
{
    if (!fails_now())
        return json_loadb(bytes, length, flags, error);
    if (error != NULL) {
        memset(error, 0, sizeof *error);
        (void)snprintf(error->text, sizeof error->text, "out of memory");
        error->text[JSON_ERROR_TEXT_LENGTH - 1] = json_error_out_of_memory;
    }
    return NULL;
}

json_t *
failing_json_pack(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    json_t *made = json_vpack_ex(NULL, 0, format, arguments);
    va_end(arguments);
    if (!fails_now())
        return made;
    json_decref(made); /* and with it the references that the call took over */
    return NULL;
}

/* libcurl, libssh2 */
FAILING(CURL *, curl_easy_init, (void), (), NULL)
FAILING(CURLM *, curl_multi_init, (void), (), NULL)
FAILING(CURLU *, curl_url, (void), (), NULL)
FAILING(CURLMcode, curl_multi_add_handle, (CURLM * multi, CURL *easy), (multi, easy),
        CURLM_OUT_OF_MEMORY)
FAILING(LIBSSH2_SESSION *, libssh2_session_init_ex,
        (LIBSSH2_ALLOC_FUNC((*allocate)), LIBSSH2_FREE_FUNC((*release)),
         LIBSSH2_REALLOC_FUNC((*resize)), void *abstract),
        (allocate, release, resize, abstract), NULL)
