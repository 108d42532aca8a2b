/* SPDX-License-Identifier: MIT */
/*
 * The writer into a fixed buffer that msgpack-c calls, and the reader of one array with its fields.
 */
#include "common/base/mpio.h"

#include "common/base/err.h"
#include "common/base/mpscan.h"

#include <string.h>

enum { ZONE_CHUNK = 1024 };

void
cbx_mpbuf_add(struct cbx_mpbuf *buffer, const void *bytes, size_t length)
{
    if (buffer->full || length > buffer->size - buffer->length) {
        buffer->full = true;
        return;
    }
    if (length > 0)
        memcpy(buffer->bytes + buffer->length, bytes, length);
    buffer->length += length;
}

int
cbx_mpbuf_write(void *data, const char *bytes, size_t length)
{
    struct cbx_mpbuf *buffer = data;
    cbx_mpbuf_add(buffer, bytes, length);
    return buffer->full ? -1 : 0;
}

void
cbx_mp_pack_text(msgpack_packer *packer, const char *text)
{
    size_t length = strlen(text);
    msgpack_pack_str(packer, length);
    msgpack_pack_str_body(packer, text, length);
}

void
cbx_mp_pack_bin(msgpack_packer *packer, const void *bytes, size_t length)
{
    msgpack_pack_bin(packer, length);
    msgpack_pack_bin_body(packer, bytes, length);
}

int
cbx_mp_array(const uint8_t *bytes, size_t length, unsigned count, unsigned max_depth,
             msgpack_zone *zone, const msgpack_object **array)
{
    size_t used = 0;
    if (cbx_mpscan(bytes, length, CBX_MP_ELEMENTS_MAX, max_depth, &used) != 0 || used != length)
        return CBX_ERR_FORMAT;
    if (!msgpack_zone_init(zone, ZONE_CHUNK))
        return CBX_ERR_NOMEM;
    msgpack_object object;
    size_t offset = 0;
    int result = msgpack_unpack((const char *)bytes, length, &offset, zone, &object);
    if (result == MSGPACK_UNPACK_SUCCESS && object.type == MSGPACK_OBJECT_ARRAY &&
        object.via.array.size == count) {
        *array = object.via.array.ptr;
        return 0;
    }
    msgpack_zone_destroy(zone);
    return result == MSGPACK_UNPACK_NOMEM_ERROR ? CBX_ERR_NOMEM : CBX_ERR_FORMAT;
}

bool
cbx_mp_text(const msgpack_object *object, char *out, size_t size)
{
    if (object->type != MSGPACK_OBJECT_STR || object->via.str.size >= size)
        return false;
    size_t length = object->via.str.size;
    if (length > 0) {
        if (memchr(object->via.str.ptr, '\0', length))
            return false;
        memcpy(out, object->via.str.ptr, length);
    }
    out[length] = '\0';
    return true;
}

bool
cbx_mp_bin(const msgpack_object *object, uint8_t *out, size_t size)
{
    if (object->type != MSGPACK_OBJECT_BIN || object->via.bin.size != size)
        return false;
    memcpy(out, object->via.bin.ptr, size);
    return true;
}

bool
cbx_mp_uint(const msgpack_object *object, uint64_t max, uint64_t *out)
{
    if (object->type != MSGPACK_OBJECT_POSITIVE_INTEGER || object->via.u64 > max)
        return false;
    *out = object->via.u64;
    return true;
}
