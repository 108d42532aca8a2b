/* SPDX-License-Identifier: MIT */
#include "agent/uplink/proxy_choice.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *
choose(const char *via, const char **from)
{
    static const char *const names[] = {"https_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"};
    *from = "--via";
    if (via)
        return via;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *value = getenv(names[i]);
        *from = names[i];
        if (value && value[0] != '\0')
            return value;
    }
    return "";
}

void
proxy_choose(const char *via, struct proxy_choice *out)
{
    *out = (struct proxy_choice){.url = ""};
    out->url = choose(via, &out->from);
    if (out->url[0] == '\0')
        return;
    char *scheme = NULL, *host = NULL, *port = NULL;
    CURLU *url = curl_url();
    if (url && curl_url_set(url, CURLUPART_URL, out->url,
                            CURLU_NON_SUPPORT_SCHEME | CURLU_GUESS_SCHEME) == CURLUE_OK) {
        (void)curl_url_get(url, CURLUPART_SCHEME, &scheme, 0);
        (void)curl_url_get(url, CURLUPART_HOST, &host, 0);
        (void)curl_url_get(url, CURLUPART_PORT, &port, 0);
    }
    /* As libcurl reads it: without a scheme it is HTTP, and its ports are 443 and 1080. */
    bool named = scheme != NULL && strstr(out->url, "://") != NULL;
    out->tls = named && strcasecmp(scheme, "https") == 0;
    const char *port_text = port != NULL ? port : out->tls ? "443" : "1080";
    (void)snprintf(out->name, sizeof out->name, "%s://%s:%s", named ? scheme : "http",
                   host != NULL ? host : "?", port_text);
    out->port = (uint16_t)strtoul(port_text, NULL, 10);
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    curl_url_cleanup(url);
}
