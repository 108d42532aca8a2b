/* SPDX-License-Identifier: MIT */
/*
 * The library is 12 MB and of one CPU family, agents are copied to machines that lack it: so it is
 * loaded, not linked. Its layout of the manager is fixed within the major version that the soname
 * stands for and only grows, hence the comparison of versions. Tested by test_aead.
 */
#include "common/crypto/gcm.h"
#include "common/crypto/cpu.h"

#include <stdlib.h>

#if defined(__x86_64__) && defined(__has_include)
#if __has_include(<intel-ipsec-mb.h>)
#include <intel-ipsec-mb.h>
#if IMB_VERSION_NUM >= 0x10000 && IMB_VERSION_NUM < 0x20000
#define HAVE_LIBRARY 1
#endif
#endif
#endif

#ifdef HAVE_LIBRARY
#include <dlfcn.h>
#include <sodium.h>
#include <string.h>

struct cbx_gcm {
    struct gcm_key_data key;
    struct gcm_context_data context;
};

/* Lives as long as the process: it holds no keys. */
static IMB_MGR *manager;

/* A function of the library; POSIX wants dlsym's answer to be one, ISO C knows no such cast. */
static void
find(void *library, const char *name, void *function)
{
    void *symbol = dlsym(library, name);
    memcpy(function, &symbol, sizeof symbol);
}

/* Case 14 of the GCM specification (McGrew and Viega): key, nonce and text all zero. */
static bool
gives_the_published_bytes(void)
{
    static const uint8_t key[CBX_AEAD_KEY], nonce[CBX_AEAD_NONCE], plain[16];
    static const uint8_t expected[16 + CBX_AEAD_TAG] = {
        0xce, 0xa7, 0x40, 0x3d, 0x4d, 0x60, 0x6b, 0x6e, 0x07, 0x4e, 0xc5,
        0xd3, 0xba, 0xf3, 0x9d, 0x18, 0xd0, 0xd1, 0xc8, 0xa7, 0x99, 0x99,
        0x6b, 0xf0, 0x26, 0x5b, 0x98, 0xb5, 0xd4, 0x8a, 0xb9, 0x19};
    uint8_t text[sizeof expected] = {0};
    struct cbx_gcm *gcm = cbx_gcm_new();
    if (!gcm)
        return false;
    cbx_gcm_set_key(gcm, key);
    cbx_gcm_seal(gcm, nonce, NULL, 0, text, sizeof plain, text + sizeof plain);
    bool right = memcmp(text, expected, sizeof text) == 0 &&
                 cbx_gcm_open(gcm, nonce, NULL, 0, text, sizeof plain, expected + sizeof plain) &&
                 memcmp(text, plain, sizeof plain) == 0;
    cbx_gcm_free(gcm);
    return right;
}

/* Where the CPU has less, the library's beginnings are not safe to call, nor worth it. */
static bool
cpu_is_fit(void)
{
    return cbx_cpu_has_vector_aes();
}

static void
load(void)
{
    static const unsigned next_major = 0x20000;
    void *library = cpu_is_fit() ? dlopen("libIPSec_MB.so.1", RTLD_NOW | RTLD_LOCAL) : NULL;
    if (!library)
        return;
    unsigned (*version)(void);
    int (*trouble)(IMB_MGR *);
    void (*release)(IMB_MGR *);
    IMB_MGR *(*alloc)(uint64_t);
    void (*init)(IMB_MGR *, IMB_ARCH *);
    find(library, "imb_get_version", &version);
    find(library, "alloc_mb_mgr", &alloc);
    find(library, "init_mb_mgr_auto", &init);
    find(library, "imb_get_errno", &trouble);
    find(library, "free_mb_mgr", &release);
    if (version && alloc && init && trouble && release && version() >= IMB_VERSION_NUM &&
        version() < next_major) {
        IMB_MGR *made = alloc(0);
        if (made) {
            init(made, NULL);
            manager = made;
            if (trouble(made) == 0 && made->gcm256_pre && made->gcm256_enc && made->gcm256_dec &&
                gives_the_published_bytes())
                return; /* the library stays */
            manager = NULL;
            release(made);
        }
    }
    (void)dlclose(library);
}

static bool
is_here(void)
{
    static bool looked;
    if (looked)
        return manager;
    looked = true; /* load makes a key itself */
    load();
    return manager != NULL;
}

struct cbx_gcm *
cbx_gcm_new(void)
{
    void *gcm = NULL;
    if (!is_here() || posix_memalign(&gcm, 64, sizeof(struct cbx_gcm)) != 0)
        return NULL;
    memset(gcm, 0, sizeof(struct cbx_gcm));
    return gcm;
}

void
cbx_gcm_free(struct cbx_gcm *gcm)
{
    if (gcm)
        sodium_memzero(gcm, sizeof *gcm);
    free(gcm);
}

void
cbx_gcm_set_key(struct cbx_gcm *gcm, const uint8_t key[CBX_AEAD_KEY])
{
    IMB_AES256_GCM_PRE(manager, key, &gcm->key);
}

void
cbx_gcm_seal(struct cbx_gcm *gcm, const uint8_t nonce[CBX_AEAD_NONCE], const uint8_t *additional,
             size_t additional_length, uint8_t *text, size_t length, uint8_t tag[CBX_AEAD_TAG])
{
    IMB_AES256_GCM_ENC(manager, &gcm->key, &gcm->context, text, text, length, nonce, additional,
                       additional_length, tag, CBX_AEAD_TAG);
}

bool
cbx_gcm_open(struct cbx_gcm *gcm, const uint8_t nonce[CBX_AEAD_NONCE], const uint8_t *additional,
             size_t additional_length, uint8_t *text, size_t length,
             const uint8_t tag[CBX_AEAD_TAG])
{
    uint8_t right[CBX_AEAD_TAG] = {0};
    IMB_AES256_GCM_DEC(manager, &gcm->key, &gcm->context, text, text, length, nonce, additional,
                       additional_length, right, CBX_AEAD_TAG);
    return sodium_memcmp(right, tag, CBX_AEAD_TAG) == 0;
}

#else

struct cbx_gcm *
cbx_gcm_new(void)
{
    return NULL;
}

/* Nothing below is ever reached: there is no key. */

void
cbx_gcm_free(struct cbx_gcm *gcm)
{
    (void)gcm;
}

void
cbx_gcm_set_key(struct cbx_gcm *gcm, const uint8_t key[CBX_AEAD_KEY])
{
    (void)gcm, (void)key;
    abort();
}

void
cbx_gcm_seal(struct cbx_gcm *gcm, const uint8_t nonce[CBX_AEAD_NONCE], const uint8_t *additional,
             size_t additional_length, uint8_t *text, size_t length, uint8_t tag[CBX_AEAD_TAG])
{
    (void)gcm, (void)nonce, (void)additional, (void)additional_length;
    (void)text, (void)length, (void)tag;
    abort();
}

bool
cbx_gcm_open(struct cbx_gcm *gcm, const uint8_t nonce[CBX_AEAD_NONCE], const uint8_t *additional,
             size_t additional_length, uint8_t *text, size_t length,
             const uint8_t tag[CBX_AEAD_TAG])
{
    (void)gcm, (void)nonce, (void)additional, (void)additional_length;
    (void)text, (void)length, (void)tag;
    abort();
}

#endif
