/* SPDX-License-Identifier: MIT */
/* Tested by test_aead. */
#include "common/crypto/cpu.h"
#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

bool
cbx_cpu_has_aes(void)
{
#if defined(__x86_64__) || defined(__i386__)
    return __builtin_cpu_supports("aes") && __builtin_cpu_supports("pclmul");
#elif defined(__aarch64__) && defined(__linux__)
    const unsigned long both = HWCAP_AES | HWCAP_PMULL;
    return (getauxval(AT_HWCAP) & both) == both;
#else
    return false;
#endif
}

bool
cbx_cpu_has_vector_aes(void)
{
#if defined(__x86_64__)
    return cbx_cpu_has_aes() && __builtin_cpu_supports("avx2");
#else
    return false;
#endif
}
