/* SPDX-License-Identifier: MIT */
/* What this CPU can do for ciphers. */
#ifndef COMMON_CRYPTO_CPU_H
#define COMMON_CRYPTO_CPU_H

#include <stdbool.h>

/* AES and carry-less multiplication in hardware. */
bool cbx_cpu_has_aes(void);
/* 256-bit vectors beside them: what vector AES is built on (x86-64). */
bool cbx_cpu_has_vector_aes(void);

#endif
