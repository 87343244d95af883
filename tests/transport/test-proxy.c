/* What is said to a proxy, and what is made of its answers: each transcript whole, and byte by byte. */
#include <errno.h>
#include <string.h>

#include "transport/proxy.h"
#include "unit.h"

typedef struct Turn {
        const char *said; /* by us; NULL: nothing */
        size_t n_said;
        const char *heard;
        size_t n_heard;
} Turn;

#define TURN(said, heard)                                        \
        {                                                        \
                said, sizeof(said) - 1, heard, sizeof(heard) - 1 \
        }

static void test_urls(void **state _unused_)
{
        static const struct {
                const char *text;
                int r;
                ProxyUrl url;
        } rows[] = {
                {"none", 0, {0}},
                {"http://proxy:3128", 0, {PROXY_HTTP, "proxy", 3128, false, "", ""}},
                {"http://proxy.example:80/", 0, {PROXY_HTTP, "proxy.example", 80, false, "", ""}},
                {"socks5://[2001:db8::1]:1080", 0, {PROXY_SOCKS5, "2001:db8::1", 1080, false, "", ""}},
                {"socks5h://10.0.0.1:1080", 0, {PROXY_SOCKS5, "10.0.0.1", 1080, false, "", ""}},
                {"http://me:a%3ab%40c@proxy:1", 0, {PROXY_HTTP, "proxy", 1, true, "me", "a:b@c"}},
                {"http://me:@proxy:1", 0, {PROXY_HTTP, "proxy", 1, true, "me", ""}},
                {"", -EINVAL, {0}},
                {"proxy:3128", -EINVAL, {0}},
                {"https://proxy:3128", -EINVAL, {0}},
                {"http://proxy", -EINVAL, {0}},
                {"http://proxy:0", -EINVAL, {0}},
                {"http://proxy:65536", -EINVAL, {0}},
                {"http://proxy:80/x", -EINVAL, {0}},
                {"http://:80", -EINVAL, {0}},
                {"http://[x]:80", -EINVAL, {0}},
                {"http://pro xy:80", -EINVAL, {0}},
                {"http://me@proxy:80", -EINVAL, {0}},
                {"http://:secret@proxy:80", -EINVAL, {0}},
                {"http://me:%0d%0ax@proxy:80", -EINVAL, {0}},
                {"http://me:%4@proxy:80", -EINVAL, {0}},
                {"environment", -EINVAL, {0}},
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                ProxyUrl url;

                assert_int_equal(proxy_url_parse(rows[i].text, &url), rows[i].r);
                if (rows[i].r < 0)
                        continue;
                assert_int_equal(url.kind, rows[i].url.kind);
                assert_string_equal(url.host, rows[i].url.host);
                assert_int_equal(url.port, rows[i].url.port);
                assert_int_equal(url.has_credentials, rows[i].url.has_credentials);
                assert_string_equal(url.user, rows[i].url.user);
                assert_string_equal(url.password, rows[i].url.password);
        }
}

static void test_credentials(void **state _unused_)
{
        static const struct {
                const char *text, *user, *password;
        } rows[] = {
                {"me:secret\n", "me", "secret"},
                {"me:a:b", "me", "a:b"},
                {"me:\r\nmore", "me", ""},
                {"me", NULL, NULL},
                {":x", NULL, NULL},
                {"me\n:x", NULL, NULL},
                {"", NULL, NULL},
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                ProxyUrl url = {0};

                assert_int_equal(proxy_url_set_credentials(&url, rows[i].text), rows[i].user ? 0 : -EINVAL);
                if (!rows[i].user)
                        continue;
                assert_string_equal(url.user, rows[i].user);
                assert_string_equal(url.password, rows[i].password);
        }
}

/* What the last turn came to. */
static int talk(const char *url, const char *host, const Turn *turns, size_t n_turns, size_t piece,
                char problem[static PROXY_TEXT_MAX])
{
        ProxyHandshake h;
        ProxyUrl proxy;
        int r = 0;

        assert_int_equal(proxy_url_parse(url, &proxy), 0);
        proxy_handshake_init(&h, &proxy, host, 443);
        for (size_t i = 0; i < n_turns; i++) {
                assert_int_equal(r, 0);
                assert_int_equal(h.n_out, turns[i].n_said);
                assert_memory_equal(h.out, turns[i].said, turns[i].n_said);
                h.n_out = 0;
                for (size_t k = 0; r == 0 && k < turns[i].n_heard; k += piece)
                        r = proxy_handshake_take(&h, (const uint8_t *)turns[i].heard + k,
                                                 MIN2(piece, turns[i].n_heard - k), problem);
        }
        return r;
}

static void test_transcripts(void **state _unused_)
{
        static const struct {
                const char *url, *host;
                int r;
                const char *words;
                Turn turns[3];
        } rows[] = {
                {"http://p:1",
                 "iot.example",
                 1,
                 NULL,
                 {TURN("CONNECT iot.example:443 HTTP/1.1\r\nHost: iot.example:443\r\n\r\n",
                       "HTTP/1.1 200 Connection established\r\nVia: p\r\n\r\n")}},
                {"http://p:1",
                 "::1",
                 1,
                 NULL,
                 {TURN("CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\n")}},
                {"http://me:secret@p:1",
                 "a",
                 -EACCES,
                 "HTTP status 407, it wants a user name and password",
                 {TURN("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nProxy-Authorization: Basic bWU6c2VjcmV0\r\n\r\n",
                       "HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\n\r\n")}},
                {"http://p:1",
                 "a",
                 -EACCES,
                 "HTTP status 403, it does not allow this host and port",
                 {TURN("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", "HTTP/1.1 403 No\r\n\r\n")}},
                {"http://p:1",
                 "a",
                 -EACCES,
                 "HTTP status 502, it cannot reach the host",
                 {TURN("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", "HTTP/1.1 502 Bad Gateway\r\n\r\n")}},
                {"http://p:1",
                 "a",
                 -EPROTO,
                 "not in HTTP",
                 {TURN("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", "SSH-2.0-x\r\n")}},
                {"http://p:1",
                 "a",
                 -EPROTO,
                 "no status",
                 {TURN("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", "HTTP/1.1 x\r\n\r\n")}},
                {"socks5://p:1",
                 "a.b",
                 1,
                 NULL,
                 {TURN("\x05\x01\x00", "\x05\x00"), TURN("\x05\x01\x00\x03\x03"
                                                         "a.b\x01\xbb",
                                                         "\x05\x00\x00\x01\x0a\x00\x00\x01\x00\x50")}},
                {"socks5://u:p@p:1",
                 "10.0.0.2",
                 1,
                 NULL,
                 {TURN("\x05\x02\x00\x02", "\x05\x02"), TURN("\x01\x01u\x01p", "\x01\x00"),
                  TURN("\x05\x01\x00\x01\x0a\x00\x00\x02\x01\xbb", "\x05\x00\x00\x03\x01x\x00\x50")}},
                {"socks5://u:p@p:1",
                 "a",
                 -EACCES,
                 "it refused user name and password",
                 {TURN("\x05\x02\x00\x02", "\x05\x02"), TURN("\x01\x01u\x01p", "\x01\x01")}},
                {"socks5://p:1",
                 "a",
                 -EACCES,
                 "it wants a user name and password",
                 {TURN("\x05\x01\x00", "\x05\xff")}},
                {"socks5://p:1",
                 "a",
                 -EACCES,
                 "SOCKS reply 2, its rules do not allow",
                 {TURN("\x05\x01\x00", "\x05\x00"), TURN("\x05\x01\x00\x03\x01"
                                                         "a\x01\xbb",
                                                         "\x05\x02\x00\x01\x00\x00\x00\x00\x00\x00")}},
                {"socks5://p:1", "a", -EPROTO, "not in SOCKS5", {TURN("\x05\x01\x00", "HTTP/1.1 400 x\r\n\r\n")}},
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                for (size_t piece = 1; piece < 200; piece += 198) {
                        char problem[PROXY_TEXT_MAX] = "";
                        size_t n = 0;

                        while (n < ELEMENTSOF(rows[i].turns) && rows[i].turns[n].said)
                                n++;
                        assert_int_equal(talk(rows[i].url, rows[i].host, rows[i].turns, n, piece, problem),
                                         rows[i].r);
                        if (rows[i].words && !strstr(problem, rows[i].words))
                                assert_string_equal(problem, rows[i].words);
                        assert_null(strstr(problem, "secret"));
                }
}

static void test_says_too_much(void **state _unused_)
{
        static const Turn http[] = {
                TURN("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n\x16\x03")};
        static const Turn socks[] = {TURN("\x05\x01\x00", "\x05\x00\x05")};
        char problem[PROXY_TEXT_MAX];
        uint8_t flood[PROXY_ANSWER_MAX + 1];
        ProxyHandshake h;
        ProxyUrl proxy;

        assert_int_equal(talk("http://p:1", "a", http, 1, 200, problem), -EPROTO);
        assert_non_null(strstr(problem, "more than its answer"));
        assert_int_equal(talk("socks5://p:1", "a", socks, 1, 200, problem), -EPROTO);

        memset(flood, 'x', sizeof(flood));
        memcpy(flood, "HTTP/1.1 200 OK\r\n", 17);
        for (size_t n = PROXY_ANSWER_MAX; n <= PROXY_ANSWER_MAX + 1; n++) {
                assert_int_equal(proxy_url_parse("http://p:1", &proxy), 0);
                proxy_handshake_init(&h, &proxy, "a", 443);
                assert_int_equal(proxy_handshake_take(&h, flood, n, problem), -EPROTO);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_urls),
                cmocka_unit_test(test_credentials),
                cmocka_unit_test(test_transcripts),
                cmocka_unit_test(test_says_too_much),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
