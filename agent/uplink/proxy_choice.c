/* SPDX-License-Identifier: MIT */
/* Takes addresses apart with libcurl's parser, and says which part of one is wrong. */
#include "agent/uplink/proxy_choice.h"

#include "common/base/names.h"
#include "common/trust/token.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Of the process, as the environment is. */
static const char *own_address;

void
proxy_choice_own(const char *address)
{
    own_address = address;
}

/* ---- reading ---- */

struct parts {
    char *scheme, *host, *port; /* NULL: not there */
};

static void
take_apart(const char *text, struct parts *out)
{
    *out = (struct parts){0};
    CURLU *url = curl_url();
    if (url && curl_url_set(url, CURLUPART_URL, text,
                            CURLU_NON_SUPPORT_SCHEME | CURLU_GUESS_SCHEME) == CURLUE_OK) {
        (void)curl_url_get(url, CURLUPART_SCHEME, &out->scheme, 0);
        (void)curl_url_get(url, CURLUPART_HOST, &out->host, 0);
        (void)curl_url_get(url, CURLUPART_PORT, &out->port, 0);
    }
    curl_url_cleanup(url);
}

static void
free_parts(struct parts *parts)
{
    curl_free(parts->scheme);
    curl_free(parts->host);
    curl_free(parts->port);
}

/* As libcurl reads it: without a scheme it is HTTP, and its ports are 443 and 1080. */
static bool
over_tls(const char *text, const struct parts *parts)
{
    return parts->scheme && strstr(text, "://") && strcasecmp(parts->scheme, "https") == 0;
}

static const char *
port_of(const char *text, const struct parts *parts)
{
    if (parts->port)
        return parts->port;
    return over_tls(text, parts) ? "443" : "1080";
}

/* For a URL that could not be taken apart. Most often a password has a character that ends it. */
static void
say_what_is_wrong(const char *text, char *out, size_t size)
{
    const char *scheme_end = strstr(text, "://");
    const char *login = scheme_end ? scheme_end + 3 : text;
    const char *login_end = strrchr(login, '@');
    (void)snprintf(out, size, "not a URL of the form http://HOST:PORT");
    for (const char *at = login; login_end && at < login_end; at++) {
        uint8_t byte = (uint8_t)*at;
        bool shown = byte > ' ' && byte < 0x7f;
        if (shown && !strchr("@/?#[]", byte))
            continue;
        char quoted[4] = {'\'', (char)byte, '\'', '\0'};
        (void)snprintf(out, size, "write %s in its user name or password as %%%02X",
                       shown ? quoted : "a space or byte", byte);
        return;
    }
}

/* ---- our own ---- */

/* This machine, as far as the text alone tells; the unspecified addresses listen there too. */
static bool
is_here(const char *host)
{
    static const char *const names[] = {"localhost", "::1", "[::1]", "0.0.0.0", "::", "[::]"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcasecmp(host, names[i]) == 0)
            return true;
    }
    return strncmp(host, "127.", 4) == 0;
}

static bool
is_own(const char *text)
{
    char host[CBX_ADDRESS_TEXT_MAX];
    uint16_t port;
    if (!own_address || cbx_host_port_parse(own_address, host, sizeof host, &port) != 0)
        return false;
    struct parts parts;
    take_apart(text, &parts);
    bool own = parts.host && strtoul(port_of(text, &parts), NULL, 10) == port &&
               (strcasecmp(parts.host, host) == 0 || (is_here(parts.host) && is_here(host)));
    free_parts(&parts);
    return own;
}

/* ---- the choice ---- */

static const char *
choose(const char *via, struct proxy_choice *out)
{
    static const char *const names[] = {"https_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"};
    out->from = "--via";
    if (via)
        return via;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *value = getenv(names[i]);
        out->from = names[i];
        if (!value || value[0] == '\0')
            continue;
        if (!is_own(value))
            return value;
        if (!out->own)
            out->own = names[i];
    }
    return "";
}

void
proxy_choose(const char *via, struct proxy_choice *out)
{
    *out = (struct proxy_choice){.url = ""};
    out->url = choose(via, out);
    if (out->url[0] == '\0')
        return;
    struct parts parts;
    take_apart(out->url, &parts);
    const char *port = port_of(out->url, &parts);
    out->tls = over_tls(out->url, &parts);
    out->port = (uint16_t)strtoul(port, NULL, 10);
    (void)snprintf(out->name, sizeof out->name, "%s://%s:%s",
                   parts.scheme && strstr(out->url, "://") ? parts.scheme : "http",
                   parts.host ? parts.host : "?", port);
    if (!parts.host)
        say_what_is_wrong(out->url, out->wrong, sizeof out->wrong);
    free_parts(&parts);
}
