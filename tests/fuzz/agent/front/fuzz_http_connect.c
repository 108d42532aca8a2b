/* SPDX-License-Identifier: MIT */
/* An HTTP request to the proxy: however it is chopped, the outcome is the same and within bounds.
 */
#include "agent/front/http_connect.h"
#include "check.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t
run(struct http_connect *http, const char *data, size_t size, size_t chunk)
{
    size_t at = 0;
    http_connect_init(http);
    while (at < size && http->state == HTTP_CONNECT_MORE) {
        size_t give = size - at < chunk ? size - at : chunk;
        size_t taken = http_connect_feed(http, data + at, give);
        check(taken <= give);
        check(taken > 0 || http->state != HTTP_CONNECT_MORE);
        at += taken;
    }
    return at;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    size_t chunk = (size_t)1 + data[0] % 64;
    const char *text = (const char *)data + 1;
    struct http_connect whole, chopped;
    size_t a = run(&whole, text, size - 1, SIZE_MAX);
    size_t b = run(&chopped, text, size - 1, chunk);
    check(whole.state == chopped.state);
    if (whole.state == HTTP_CONNECT_READY) {
        check(a == b && a <= HTTP_CONNECT_HEADER_MAX);
        check(strcmp(whole.host, chopped.host) == 0 && whole.port == chopped.port);
        check(whole.port != 0 && whole.host[0] != '\0');
    } else if (whole.state == HTTP_CONNECT_REFUSED) {
        char out[1024];
        check(whole.status == chopped.status && whole.status >= 400);
        size_t length = http_connect_rejection(&whole, out, sizeof out);
        check(length > 0 && length == strlen(out));
    }
    return 0;
}
