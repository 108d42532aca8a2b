/* SPDX-License-Identifier: MIT */
/*
 * msgpack for small objects of fixed shape (certificates, tokens): packing into a buffer that does
 * not grow, and typed, bounded reads of one array. Payload frames do not go through here.
 */
#ifndef COMMON_BASE_MPIO_H
#define COMMON_BASE_MPIO_H

#include <msgpack.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The most elements that any array read here may have. */
enum { CBX_MP_ELEMENTS_MAX = 16 };

/* A writer over borrowed bytes. Once something did not fit, full stays set and nothing is added. */
struct cbx_mpbuf {
    uint8_t *bytes;
    size_t size;
    size_t length;
    bool full;
};

void cbx_mpbuf_add(struct cbx_mpbuf *buffer, const void *bytes, size_t length);
/* The packer's callback; data is a struct cbx_mpbuf. */
int cbx_mpbuf_write(void *data, const char *bytes, size_t length);

void cbx_mp_pack_text(msgpack_packer *packer, const char *text);
void cbx_mp_pack_bin(msgpack_packer *packer, const void *bytes, size_t length);

/*
 * Decodes one array of exactly count elements that fills bytes exactly, after cbx_mpscan with
 * max_depth. 0: *array points into zone and bytes, and the caller calls msgpack_zone_destroy.
 * CBX_ERR_FORMAT or CBX_ERR_NOMEM: there is nothing to destroy.
 */
int cbx_mp_array(const uint8_t *bytes, size_t length, unsigned count, unsigned max_depth,
                 msgpack_zone *zone, const msgpack_object **array);

/* Typed reads: false when the object is of another type or size. Texts hold no NUL and get one. */
bool cbx_mp_text(const msgpack_object *object, char *out, size_t size);
bool cbx_mp_bin(const msgpack_object *object, uint8_t *out, size_t size);
bool cbx_mp_uint(const msgpack_object *object, uint64_t max, uint64_t *out);

#endif
