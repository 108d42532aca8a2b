/* SPDX-License-Identifier: MIT */
/* A SOCKS handshake: however the input is chopped, the outcome is the same and within bounds. */
#include "agent/front/socks.h"
#include "check.h"

#include <string.h>

static const struct proxy_password no_password;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Feeds in pieces of at most chunk bytes; the answers are gathered. */
static size_t
run(struct socks *socks, const uint8_t *data, size_t size, size_t chunk, uint8_t answers[64],
    size_t *answers_length)
{
    size_t at = 0;
    socks_init(socks, &no_password);
    while (at < size && socks->state < SOCKS_READY) {
        size_t give = size - at < chunk ? size - at : chunk;
        size_t taken = socks_feed(socks, data + at, give);
        check(taken <= give && taken > 0);
        at += taken;
        check(*answers_length + socks->answer_length <= 64);
        memcpy(answers + *answers_length, socks->answer, socks->answer_length);
        *answers_length += socks->answer_length;
        socks->answer_length = 0;
    }
    return at;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    size_t chunk = (size_t)1 + data[0] % 16;
    struct socks whole, chopped;
    uint8_t whole_answers[64], chopped_answers[64];
    size_t whole_length = 0, chopped_length = 0;
    size_t a = run(&whole, data + 1, size - 1, SIZE_MAX, whole_answers, &whole_length);
    size_t b = run(&chopped, data + 1, size - 1, chunk, chopped_answers, &chopped_length);
    check(a == b && whole.state == chopped.state && whole_length == chopped_length);
    check(memcmp(whole_answers, chopped_answers, whole_length) == 0);
    if (whole.state == SOCKS_READY) {
        check(whole.host_length <= SOCKS_HOST_MAX && whole.host[whole.host_length] == '\0');
        check(whole.port == chopped.port && whole.host_length == chopped.host_length);
        check(memcmp(whole.host, chopped.host, whole.host_length) == 0);
    }
    return 0;
}
