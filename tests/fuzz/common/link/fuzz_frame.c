/* SPDX-License-Identifier: MIT */
/*
 * The input is a frame's body. What decodes must lie inside the input, and must come back the same
 * when it is written and decoded again.
 */
#include "check.h"
#include "common/link/frame.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PREFIX = 4 };

static struct cbx_frame_decoder decoder, second;

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    check(cbx_frame_decoder_init(&decoder) == 0 && cbx_frame_decoder_init(&second) == 0);
    return 0;
}

static void
check_inside(const struct cbx_frame *frame)
{
    const uint8_t *end = frame->raw.data + frame->raw.length;
    check(frame->count <= CBX_FRAME_FIELDS_MAX && cbx_frame_name(frame->type));
    check(frame->label == 0 || cbx_frame_has_label(frame->type));
    for (uint32_t i = 0; i < frame->count; i++) {
        const struct cbx_field *field = &frame->field[i];
        if (field->p)
            check(field->p >= frame->raw.data && field->n <= (size_t)(end - field->p));
    }
}

static void
check_again(struct cbx_frame *frame)
{
    struct cbx_slice slice = cbx_frame_slice(frame->type, frame->label, frame->field, frame->count);
    struct cbx_frame again;
    check(slice.slab && cbx_frame_length(slice.data, slice.length) == (int)slice.length);
    check(cbx_frame_decode(&second, slice, &again, NULL) == 0);
    check(again.type == frame->type && again.label == frame->label && again.count == frame->count);
    for (uint32_t i = 0; i < frame->count; i++) {
        check(again.field[i].u == frame->field[i].u && again.field[i].n == frame->field[i].n);
        check(again.field[i].n == 0 ||
              memcmp(again.field[i].p, frame->field[i].p, again.field[i].n) == 0);
    }
    if (cbx_frame_has_label(frame->type)) {
        cbx_frame_relabel(slice.data, ~frame->label);
        check(cbx_frame_decode(&second, slice, &again, NULL) == 0 && again.label == ~frame->label);
    }
    cbx_slice_drop(&slice);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int length = cbx_frame_length(data, size);
    check(length <= CBX_FRAME_MAX + PREFIX && (size >= PREFIX || length == 0));
    if (size > CBX_FRAME_MAX)
        return 0;
    uint8_t *bytes = malloc(PREFIX + size); /* its own, so that a read behind it is seen */
    check(bytes != NULL);
    memset(bytes, 0, PREFIX);
    if (size)
        memcpy(bytes + PREFIX, data, size);
    struct cbx_slice raw = {.data = bytes, .length = (uint32_t)(PREFIX + size)};
    struct cbx_frame frame;
    struct cbx_error error;
    int result = cbx_frame_decode(&decoder, raw, &frame, &error);
    check(result == 0 || result == CBX_ERR_FORMAT || result == CBX_ERR_NOTFOUND);
    if (result == 0) {
        check_inside(&frame);
        check_again(&frame);
    }
    free(bytes);
    return 0;
}
