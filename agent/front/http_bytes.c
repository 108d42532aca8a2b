/* SPDX-License-Identifier: MIT */
/* Tested by test_http_message. */
#include "agent/front/http_bytes.h"

#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROOM_MIN = 1024, FORMAT_MAX = 256 };

static void
give_back(struct http_bytes *bytes)
{
    if (bytes->secret && bytes->base)
        sodium_memzero(bytes->base, bytes->room);
    free(bytes->base);
}

static bool
make_room(struct http_bytes *bytes, size_t more)
{
    if (bytes->base && bytes->length > 0)
        memmove(bytes->base, bytes->at, bytes->length);
    bytes->at = bytes->base;
    size_t room = bytes->room > ROOM_MIN ? bytes->room : ROOM_MIN;
    while (room - bytes->length < more)
        room *= 2;
    if (bytes->base && room == bytes->room)
        return true;
    char *base = malloc(room); /* not realloc, which would leave a copy behind */
    if (!base)
        return false;
    if (bytes->base) {
        memcpy(base, bytes->base, bytes->length);
        give_back(bytes);
    }
    bytes->base = bytes->at = base;
    bytes->room = room;
    return true;
}

void
http_bytes_add(struct http_bytes *bytes, const void *data, size_t length)
{
    size_t used = bytes->base ? (size_t)(bytes->at - bytes->base) + bytes->length : 0;
    if (length == 0 || bytes->failed)
        return;
    if (bytes->room - used < length && !make_room(bytes, length)) {
        bytes->failed = true;
        return;
    }
    memcpy(bytes->at + bytes->length, data, length);
    bytes->length += length;
}

void
http_bytes_add_format(struct http_bytes *bytes, const char *format, ...)
{
    char text[FORMAT_MAX];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= sizeof text)
        bytes->failed = true;
    else
        http_bytes_add(bytes, text, (size_t)length);
}

void
http_bytes_drop(struct http_bytes *bytes, size_t length)
{
    if (length < bytes->length) {
        bytes->at += length;
        bytes->length -= length;
        return;
    }
    bool failed = bytes->failed;
    http_bytes_clear(bytes);
    bytes->failed = failed;
}

void
http_bytes_clear(struct http_bytes *bytes)
{
    bool secret = bytes->secret;
    give_back(bytes);
    memset(bytes, 0, sizeof *bytes);
    bytes->secret = secret;
}
