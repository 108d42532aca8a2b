/* SPDX-License-Identifier: MIT */
/* Which proxy is taken, and that messages never show its password. */
#include "agent/uplink/proxy_choice.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

static void
a_proxy_is_named_without_its_password(void **state)
{
    (void)state;
    static const struct {
        const char *url, *shown;
        uint16_t port;
    } cases[] = {
        {"http://user:secret@10.0.0.1:3128", "http://10.0.0.1:3128", 3128},
        {"https://u:secret@proxy.example", "https://proxy.example:443", 443},
        {"socks5h://127.0.0.1", "socks5h://127.0.0.1:1080", 1080},
        {"user:secret@10.0.0.1:8080", "http://10.0.0.1:8080", 8080},
        {"http://user:sec ret@", "http://?:1080", 1080},
    };
    struct proxy_choice proxy;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        proxy_choose(cases[i].url, &proxy);
        assert_string_equal(proxy.name, cases[i].shown);
        assert_string_equal(proxy.url, cases[i].url);
        assert_string_equal(proxy.from, "--via");
        assert_int_equal(proxy.tls, i == 1);
        assert_int_equal(proxy.port, cases[i].port);
    }
    unsetenv("https_proxy");
    unsetenv("HTTPS_PROXY");
    unsetenv("all_proxy");
    setenv("ALL_PROXY", "socks5h://a:b@127.0.0.1:9", 1);
    proxy_choose(NULL, &proxy);
    unsetenv("ALL_PROXY");
    assert_string_equal(proxy.name, "socks5h://127.0.0.1:9");
    assert_string_equal(proxy.from, "ALL_PROXY");
    proxy_choose(NULL, &proxy);
    assert_string_equal(proxy.name, "");
}

static void
what_is_wrong_with_a_url_is_said_without_the_rest_of_it(void **state)
{
    (void)state;
    static const struct {
        const char *url, *wrong;
    } cases[] = {
        {"http://u:p@ss:3128@host", "write '@' in its user name or password as %40"},
        {"http://u:se/cret@host:3128", "write '/' in its user name or password as %2F"},
        {"http://u:se cret@host:3128", "write a space or byte in its user name or password as %20"},
        {"http://host:port", "not a URL of the form http://HOST:PORT"},
        {"http://u:p%40ss@host:3128", ""},
        {"socks5h://[::1]:1080", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct proxy_choice proxy;
        proxy_choose(cases[i].url, &proxy);
        assert_string_equal(proxy.wrong, cases[i].wrong);
    }
}

static void
own_proxy_is_passed_over(void **state)
{
    (void)state;
    static const struct {
        const char *own, *variable;
        bool same;
    } cases[] = {
        {"127.0.0.1:1080", "socks5h://127.0.0.1:1080", true},
        {"127.0.0.1:1080", "socks5h://localhost", true},
        {"127.0.0.1:1080", "http://[::1]:1080/", true},
        {"0.0.0.0:1080", "127.0.0.1:1080", true},
        {"10.0.0.1:1080", "http://10.0.0.1:1080", true},
        {"127.0.0.1:1080", "socks5h://127.0.0.1:1081", false},
        {"127.0.0.1:1080", "http://10.0.0.1:1080", false},
        {"127.0.0.1:443", "https://localhost", true},
        {"127.0.0.1:1080", "https://localhost", false},
        {NULL, "socks5h://127.0.0.1:1080", false},
    };
    struct proxy_choice proxy;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        proxy_choice_own(cases[i].own);
        setenv("ALL_PROXY", cases[i].variable, 1);
        proxy_choose(NULL, &proxy);
        assert_string_equal(proxy.url, cases[i].same ? "" : cases[i].variable);
        assert_string_equal(proxy.own != NULL ? proxy.own : "", cases[i].same ? "ALL_PROXY" : "");
        proxy_choose(cases[i].variable, &proxy); /* --via is what somebody asked for */
        assert_string_equal(proxy.url, cases[i].variable);
    }
    /* The next variable counts. */
    proxy_choice_own("127.0.0.1:1080");
    setenv("https_proxy", "http://127.0.0.1:1080", 1);
    setenv("ALL_PROXY", "http://10.0.0.1:3128", 1);
    proxy_choose(NULL, &proxy);
    assert_string_equal(proxy.name, "http://10.0.0.1:3128");
    assert_string_equal(proxy.own, "https_proxy");
    unsetenv("https_proxy");
    unsetenv("ALL_PROXY");
    proxy_choice_own(NULL);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_proxy_is_named_without_its_password),
        cmocka_unit_test(what_is_wrong_with_a_url_is_said_without_the_rest_of_it),
        cmocka_unit_test(own_proxy_is_passed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
