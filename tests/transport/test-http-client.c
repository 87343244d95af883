#include "transport/http-client.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "harness.h"
#include "tls-suites.h"
#include "unit.h"

enum { SIZE = 3000000, PATTERN = 1 << 16 }; /* as in http-server.py */

static HarnessProcess server;

typedef enum FreeWhen {
        FREE_NEVER,
        FREE_IN_HEADERS,
        FREE_IN_DATA,
        FREE_IN_DONE,
} FreeWhen;

typedef struct Seen {
        HttpFetch *fetch;
        HttpFetch *other; /* freed in on_data instead of the own one */
        FreeWhen free_when;
        uint64_t pause_every; /* so many bytes; 0: never */
        uint64_t paused_at;
        unsigned n_pauses, n_headers;
        int answer;             /* of on_data, where not 0 */
        int answer_after_pause; /* the same, once it has been paused */
        bool free_after_pause, refused;
        uint64_t next;
        bool paused, headers, data, done, wrong_bytes;
        char etag[HTTP_ETAG_MAX];
        Failure failure; /* reason NONE: success */
        int status;
        uint64_t next_byte, retry_after_usec;
} Seen;

static uint8_t image_byte(uint64_t i)
{
        i %= PATTERN;
        return (uint8_t)(i * 7 + (i >> 8));
}

static void on_headers(HttpFetch *fetch, const char *etag, void *userdata)
{
        Seen *seen = userdata;

        assert_false(seen->data);
        seen->headers = true;
        seen->n_headers++;
        if (etag)
                (void)snprintf(seen->etag, sizeof(seen->etag), "%s", etag);
        if (seen->free_when == FREE_IN_HEADERS)
                seen->fetch = http_fetch_free(fetch);
}

static int on_data(HttpFetch *fetch, const uint8_t *data, size_t n_data, void *userdata, Failure *reterr _unused_)
{
        Seen *seen = userdata;

        assert_true(seen->headers && !seen->done && !seen->paused && !seen->refused);
        seen->data = true;
        if (seen->free_when == FREE_IN_DATA) {
                seen->fetch = http_fetch_free(fetch);
                return 0;
        }
        if (seen->other)
                seen->other = http_fetch_free(seen->other);
        if (seen->answer != 0)
                return seen->answer;
        if (seen->n_pauses > 0 && seen->free_after_pause) {
                seen->fetch = http_fetch_free(fetch);
                return 0;
        }
        if (seen->n_pauses > 0 && seen->answer_after_pause != 0) {
                seen->refused = true;
                return seen->answer_after_pause;
        }
        /* Each position is refused once, so the same bytes must come again. */
        if (seen->pause_every > 0 && seen->next >= seen->paused_at) {
                seen->paused_at = seen->next + seen->pause_every;
                seen->paused = true;
                seen->n_pauses++;
                return -EAGAIN;
        }
        for (size_t i = 0; i < n_data; i++)
                if (data[i] != image_byte(seen->next + i))
                        seen->wrong_bytes = true;
        seen->next += n_data;
        return 0;
}

static void on_done(HttpFetch *fetch, const HttpFetchOutcome *outcome, void *userdata)
{
        Seen *seen = userdata;

        assert_false(seen->done);
        seen->done = true;
        if (outcome->failure)
                seen->failure = *outcome->failure;
        seen->status = outcome->http_status;
        seen->next_byte = outcome->next_byte;
        seen->retry_after_usec = outcome->retry_after_usec;
        if (seen->free_when == FREE_IN_DONE)
                seen->fetch = http_fetch_free(fetch);
}

static const HttpFetchCallbacks callbacks = {on_headers, on_data, on_done};

typedef struct World {
        sd_event *event;
        HttpClient *client;
        HarnessDns dns;
        char url[512];
        HttpFetchParams params;
} World;

static World *new_world(void)
{
        World *w = calloc(1, sizeof(*w));

        assert_non_null(w);
        assert_true(sd_event_new(&w->event) >= 0);
        assert_int_equal(http_client_new(w->event, &w->client), 0);
        harness_dns_start(&w->dns, w->event, 1);
        w->params = (HttpFetchParams){
                .url = w->url,
                .total_bytes = SIZE,
                .ca_file = "ca.pem",
                .user_agent = "otad-test",
                .dns_servers = w->dns.servers,
                .connect_timeout_usec = 5 * USEC_PER_SEC,
                .stall_usec = 5 * USEC_PER_SEC,
                .low_speed_bytes = 100,
        };
        return w;
}

static void free_world(World *w)
{
        http_client_free(w->client);
        harness_dns_stop(&w->dns);
        sd_event_unref(w->event);
        free(w);
}

static void set_url(World *w, const char *host, const char *target)
{
        (void)snprintf(w->url, sizeof(w->url), "https://%s:%u%s", host, server.port, target);
}

static void start(World *w, Seen *seen)
{
        seen->next = w->params.first_byte;
        seen->paused_at = seen->next;
        assert_int_equal(http_fetch_start(w->client, &w->params, &callbacks, seen, &seen->fetch), 0);
        assert_false(seen->done);
}

/* To its end, going on after each pause. */
static void finish(World *w, Seen *seen)
{
        uint64_t deadline = now_usec() + 15 * USEC_PER_SEC;

        while (!seen->done) {
                assert_true(now_usec() < deadline);
                assert_true(sd_event_run(w->event, 50 * USEC_PER_MSEC) >= 0);
                if (seen->paused && seen->fetch) {
                        seen->paused = false;
                        http_fetch_resume(seen->fetch);
                        assert_false(seen->paused); /* nothing comes from inside the call */
                }
        }
        assert_false(seen->wrong_bytes);
        seen->fetch = http_fetch_free(seen->fetch);
}

static Seen fetch(World *w, const char *target)
{
        Seen seen = {0};

        set_url(w, "localhost", target);
        start(w, &seen);
        finish(w, &seen);
        return seen;
}

static void expect_request(const char *line)
{
        char text[512];

        assert_true(harness_read_line(&server, text, sizeof(text)));
        assert_int_equal(strncmp(text, line, strlen(line)), 0);
}

static unsigned read_connection_number(void)
{
        char text[512];

        assert_true(harness_read_line(&server, text, sizeof(text)));
        return (unsigned)strtoul(strrchr(text, '|') + 1, NULL, 10);
}

static void test_whole(void **state _unused_)
{
        static const char *const targets[] = {"/image", "/closing", "/chunked", "/range-for-all"};
        World *w = new_world();

        for (size_t i = 0; i < ELEMENTSOF(targets); i++) {
                Seen seen = fetch(w, targets[i]);
                char line[128];

                if (failure_is_set(&seen.failure))
                        print_error("%s: %s\n", targets[i], seen.failure.detail);
                assert_false(failure_is_set(&seen.failure));
                assert_int_equal(seen.next, SIZE);
                assert_int_equal(seen.next_byte, SIZE);
                assert_int_equal(seen.n_headers, 1);
                (void)snprintf(line, sizeof(line), "GET %s|||otad-test|", targets[i]);
                expect_request(line);
        }
        free_world(w);
}

static void test_suite_suits_the_processor(void **state _unused_)
{
        static const char *const suites[] = {
                [TLS_SUITES_AES_UNKNOWN] = "TLS_AES_256_GCM_SHA384",
                [TLS_SUITES_AES_BY_PROCESSOR] = "TLS_AES_128_GCM_SHA256",
                [TLS_SUITES_AES_BY_SOFTWARE] = "TLS_CHACHA20_POLY1305_SHA256",
        };
        World *w = new_world();
        Seen seen = fetch(w, "/suite");
        char line[128];

        assert_false(failure_is_set(&seen.failure));
        expect_request("GET /suite|");
        assert_true(harness_read_line(&server, line, sizeof(line)));
        assert_string_equal(line, suites[tls_suites_aes()]);
        free_world(w);
}

static void test_etag_is_told_unless_it_is_weak(void **state _unused_)
{
        World *w = new_world();
        Seen seen = fetch(w, "/image");

        assert_string_equal(seen.etag, "\"one\"");
        seen = fetch(w, "/weak-etag");
        assert_string_equal(seen.etag, "");
        (void)read_connection_number();
        (void)read_connection_number();
        free_world(w);
}

static void test_from_a_byte_on(void **state _unused_)
{
        static const uint64_t firsts[] = {1, 1234567, SIZE - 1};
        World *w = new_world();

        for (size_t i = 0; i < ELEMENTSOF(firsts); i++) {
                char line[128];
                Seen seen;

                w->params.first_byte = firsts[i];
                w->params.if_match = "\"one\"";
                seen = fetch(w, "/image");
                assert_false(failure_is_set(&seen.failure));
                assert_int_equal(seen.status, 206);
                assert_int_equal(seen.next, SIZE);
                (void)snprintf(line, sizeof(line), "GET /image|bytes=%" PRIu64 "-|\"one\"|", firsts[i]);
                expect_request(line);
        }
        free_world(w);
}

static void test_url_goes_out_to_the_letter(void **state _unused_)
{
        static const char target[] =
                "/image/a/../b/./%2f%2F+c%20d;=,~!'()*?X-Amz-Signature=aB%2b/+&&Token=a%252F%3d%3D&z";
        World *w = new_world();
        char line[256];
        Seen seen = fetch(w, target);

        assert_false(failure_is_set(&seen.failure));
        (void)snprintf(line, sizeof(line), "GET %s|", target);
        expect_request(line);
        free_world(w);
}

static void test_hosts(void **state _unused_)
{
        static const char *const hosts[] = {"127.0.0.1", "broker.example", "localhost"};
        World *w = new_world();

        for (size_t i = 0; i < ELEMENTSOF(hosts); i++) {
                Seen seen = {0};

                set_url(w, hosts[i], "/image");
                start(w, &seen);
                finish(w, &seen);
                if (failure_is_set(&seen.failure))
                        print_error("%s: %s\n", hosts[i], seen.failure.detail);
                assert_false(failure_is_set(&seen.failure));
                expect_request("GET /image|");
        }
        assert_true(w->dns.n_queries > 0);
        free_world(w);
}

static void test_connection_is_reused(void **state _unused_)
{
        World *w = new_world();
        unsigned number;

        (void)fetch(w, "/image");
        number = read_connection_number();
        w->params.first_byte = 1000;
        (void)fetch(w, "/image");
        assert_int_equal(read_connection_number(), number);
        free_world(w);
}

static void test_pauses(void **state _unused_)
{
        static const uint64_t every[] = {1, 100000, 1000000, SIZE - 1};
        static const char *const targets[] = {"/image", "/closing", "/chunked"};
        World *w = new_world();

        for (size_t t = 0; t < ELEMENTSOF(targets); t++)
                for (size_t i = 0; i < ELEMENTSOF(every); i++) {
                        Seen seen = {.pause_every = every[i]};

                        set_url(w, "localhost", targets[t]);
                        start(w, &seen);
                        finish(w, &seen);
                        assert_false(failure_is_set(&seen.failure));
                        assert_int_equal(seen.next, SIZE);
                        assert_true(seen.n_pauses > 0);
                        (void)read_connection_number();
                }
        free_world(w);
}

/* A full pipe may last: that is no stall. Afterwards the clock runs again. */
static void test_paused_is_not_stalled(void **state _unused_)
{
        World *w = new_world();
        Seen seen = {.pause_every = SIZE};

        w->params.stall_usec = 300 * USEC_PER_MSEC;
        set_url(w, "localhost", "/stall");
        start(w, &seen);
        assert_true(harness_run(w->event, &seen.paused, 5 * USEC_PER_SEC));
        (void)harness_idle(w->event, 700 * USEC_PER_MSEC);
        assert_false(seen.done);
        finish(w, &seen);
        assert_int_equal(seen.failure.reason, FAILURE_DOWNLOAD_STALLED);
        assert_int_equal(seen.next_byte, 1000000);
        (void)read_connection_number();
        free_world(w);
}

typedef struct Row {
        const char *target;
        uint64_t first_byte;
        const char *if_match;
        FailureReason reason;
        int status;
        const char *detail; /* what it must hold; NULL: anything */
} Row;

static void run_rows(const Row *rows, size_t n_rows)
{
        World *w = new_world();

        w->params.stall_usec = 400 * USEC_PER_MSEC;
        for (size_t i = 0; i < n_rows; i++) {
                Seen seen;

                w->params.first_byte = rows[i].first_byte;
                w->params.if_match = rows[i].if_match;
                seen = fetch(w, rows[i].target);
                if (seen.failure.reason != rows[i].reason || seen.status != rows[i].status ||
                    (rows[i].detail && !strstr(seen.failure.detail, rows[i].detail)))
                        print_error("%s: %s, status %d: %s\n", rows[i].target,
                                    failure_reason_to_string(seen.failure.reason), seen.status, seen.failure.detail);
                assert_int_equal(seen.failure.reason, rows[i].reason);
                assert_int_equal(seen.status, rows[i].status);
                assert_true(!rows[i].detail || strstr(seen.failure.detail, rows[i].detail));
                assert_int_equal(seen.next_byte, seen.next);
                (void)read_connection_number();
        }
        free_world(w);
}

static void test_refusals(void **state _unused_)
{
        static const Row rows[] = {
                {"/expired?X-Amz-Signature=secret", 0, NULL, FAILURE_URL_EXPIRED, 403,
                 "https://localhost: HTTP status 403, AccessDenied: Request has"},
                {"/chatty-error", 0, NULL, FAILURE_URL_EXPIRED, 403, "Long"},
                {"/status/400", 0, NULL, FAILURE_URL_EXPIRED, 400, NULL},
                {"/status/401", 0, NULL, FAILURE_URL_REFUSED, 401, NULL},
                {"/status/404", 0, NULL, FAILURE_URL_REFUSED, 404, "404"},
                {"/status/416", 0, NULL, FAILURE_RANGE_WRONG, 416, NULL},
                {"/status/429", 0, NULL, FAILURE_DOWNLOAD_FAILED, 429, NULL},
                {"/status/500", 0, NULL, FAILURE_DOWNLOAD_FAILED, 500, NULL},
                {"/status/204", 0, NULL, FAILURE_DOWNLOAD_FAILED, 204, NULL},
                {"/image", 5, "\"two\"", FAILURE_OBJECT_CHANGED, 412, NULL},
                {"/other-etag", 5, "\"one\"", FAILURE_OBJECT_CHANGED, 206, "\"two\""},
        };

        run_rows(rows, ELEMENTSOF(rows));
}

static void test_wrong_answers(void **state _unused_)
{
        static const Row rows[] = {
                {"/whole", 5, NULL, FAILURE_RANGE_WRONG, 200, "whole image"},
                {"/other-first", 5, NULL, FAILURE_RANGE_WRONG, 206, "got bytes 6-"},
                {"/other-last", 5, NULL, FAILURE_RANGE_WRONG, 206, NULL},
                {"/other-total", 5, NULL, FAILURE_RANGE_WRONG, 206, "3000001"},
                {"/unknown-total", 5, NULL, FAILURE_RANGE_WRONG, 206, NULL},
                {"/no-range", 5, NULL, FAILURE_RANGE_WRONG, 206, "none"},
                {"/other-length", 5, NULL, FAILURE_RANGE_WRONG, 206, "2999996"},
                {"/longer", 0, NULL, FAILURE_RANGE_WRONG, 200, "3000001"},
                {"/more", 0, NULL, FAILURE_RANGE_WRONG, 200, "more"},
                {"/endless-head", 0, NULL, FAILURE_DOWNLOAD_FAILED, 0, "head"},
        };

        run_rows(rows, ELEMENTSOF(rows));
}

static void test_trouble_under_way(void **state _unused_)
{
        static const Row rows[] = {
                {"/truncated", 0, NULL, FAILURE_DOWNLOAD_FAILED, 200, "ended after 1000000 of 3000000 bytes"},
                {"/short-close", 0, NULL, FAILURE_DOWNLOAD_FAILED, 200, "ended after 1000000 of 3000000 bytes"},
                {"/stall", 0, NULL, FAILURE_DOWNLOAD_STALLED, 200, "at byte 1000000 of 3000000"},
                {"/mute", 0, NULL, FAILURE_DOWNLOAD_STALLED, 0, "0 bytes in the last 400ms"},
                {"/hang-up", 0, NULL, FAILURE_DOWNLOAD_FAILED, 0, NULL},
        };

        run_rows(rows, ELEMENTSOF(rows));
}

static void test_slow_drip_is_a_stall(void **state _unused_)
{
        World *w = new_world();
        Seen seen;

        w->params.stall_usec = USEC_PER_SEC;
        w->params.low_speed_bytes = 1000;
        seen = fetch(w, "/drip");
        assert_int_equal(seen.failure.reason, FAILURE_DOWNLOAD_STALLED);
        (void)read_connection_number();
        free_world(w);
}

static void test_redirects(void **state _unused_)
{
        World *w = new_world();
        Seen seen = fetch(w, "/away/3");

        assert_false(failure_is_set(&seen.failure));
        assert_int_equal(seen.next, SIZE);
        expect_request("GET /away/3|");
        expect_request("GET /away/2|");
        expect_request("GET /away/1|");
        expect_request("GET /image|");

        w->params.first_byte = 100;
        seen = fetch(w, "/to-name"); /* another host: looked up, and asked for the same range */
        assert_false(failure_is_set(&seen.failure));
        expect_request("GET /to-name|bytes=100-|");
        expect_request("GET /image|bytes=100-|");

        seen = fetch(w, "/away/4");
        assert_int_equal(seen.failure.reason, FAILURE_URL_REFUSED);
        for (unsigned i = 0; i < 4; i++)
                (void)read_connection_number();
        seen = fetch(w, "/to-http");
        assert_int_equal(seen.failure.reason, FAILURE_URL_REFUSED);
        assert_non_null(strstr(seen.failure.detail, "no plain https"));
        (void)read_connection_number();
        seen = fetch(w, "/nowhere");
        assert_int_equal(seen.failure.reason, FAILURE_URL_REFUSED);
        (void)read_connection_number();
        free_world(w);
}

static void test_retry_after(void **state _unused_)
{
        World *w = new_world();
        Seen seen = fetch(w, "/slow-down");

        assert_int_equal(seen.failure.reason, FAILURE_DOWNLOAD_FAILED);
        assert_int_equal(seen.status, 503);
        assert_int_equal(seen.retry_after_usec, 7 * USEC_PER_SEC);
        assert_non_null(strstr(seen.failure.detail, "SlowDown"));
        (void)read_connection_number();
        free_world(w);
}

static void test_certificates(void **state _unused_)
{
        World *w = new_world();
        Seen seen;

        w->params.ca_file = "stranger.pem";
        seen = fetch(w, "/image");
        assert_int_equal(seen.failure.reason, FAILURE_TLS);
        w->params.ca_file = "not-there.pem";
        seen = fetch(w, "/image");
        assert_int_equal(seen.failure.reason, FAILURE_TLS);
        assert_non_null(strstr(seen.failure.detail, "not-there.pem"));
        w->params.ca_file = "empty.pem";
        seen = fetch(w, "/image");
        assert_int_equal(seen.failure.reason, FAILURE_TLS);
        assert_non_null(strstr(seen.failure.detail, "no certificate"));
        w->params.ca_file = "bundle.pem";
        seen = fetch(w, "/image");
        assert_false(failure_is_set(&seen.failure));
        (void)read_connection_number();
        seen = (Seen){0};
        set_url(w, "other.example", "/image"); /* the name server says 127.0.0.1 of every name */
        start(w, &seen);
        finish(w, &seen);
        assert_int_equal(seen.failure.reason, FAILURE_TLS);
        free_world(w);
}

static void test_no_connection(void **state _unused_)
{
        World *w = new_world();
        Seen seen = {0};

        (void)snprintf(w->url, sizeof(w->url), "https://localhost:%u/secret", harness_free_port());
        start(w, &seen);
        finish(w, &seen);
        assert_int_equal(seen.failure.reason, FAILURE_DOWNLOAD_FAILED);
        assert_null(strstr(seen.failure.detail, "secret"));

        seen = (Seen){0};
        set_url(w, "nowhere.example.", "/secret");
        start(w, &seen);
        finish(w, &seen);
        assert_int_equal(seen.failure.reason, FAILURE_DOWNLOAD_FAILED);
        assert_non_null(strstr(seen.failure.detail, "name look-up"));

        seen = (Seen){0};
        w->params.connect_timeout_usec = 300 * USEC_PER_MSEC;
        set_url(w, "silent.example.", "/secret");
        start(w, &seen);
        finish(w, &seen);
        assert_int_equal(seen.failure.reason, FAILURE_DOWNLOAD_FAILED);
        free_world(w);
}

/* Accepted by the kernel, answered by nobody: TLS never comes about. */
static void test_connect_deadline(void **state _unused_)
{
        HarnessProcess silent = harness_start_script("fake-broker.py", "silent", NULL);
        uint64_t before = now_usec();
        World *w = new_world();
        Seen seen = {0};

        w->params.connect_timeout_usec = 500 * USEC_PER_MSEC;
        (void)snprintf(w->url, sizeof(w->url), "https://localhost:%u/image", silent.port);
        start(w, &seen);
        finish(w, &seen);
        assert_int_equal(seen.failure.reason, FAILURE_DOWNLOAD_FAILED);
        assert_true(now_usec() - before < 3 * USEC_PER_SEC);
        harness_stop(&silent);
        free_world(w);
}

static void test_taker_ends_it(void **state _unused_)
{
        World *w = new_world();
        Seen seen = {.answer = -EIO};

        set_url(w, "localhost", "/image");
        start(w, &seen);
        finish(w, &seen);
        assert_int_equal(seen.failure.reason, FAILURE_INTERNAL);
        assert_int_equal(seen.next_byte, 0);
        (void)read_connection_number();
        free_world(w);
}

/* The bytes that come again come from inside another call into curl. */
static void test_end_after_a_pause(void **state _unused_)
{
        World *w = new_world();
        Seen seen = {.pause_every = SIZE, .answer_after_pause = -EIO};

        set_url(w, "localhost", "/image");
        start(w, &seen);
        finish(w, &seen);
        assert_int_equal(seen.failure.reason, FAILURE_INTERNAL);
        assert_int_equal(seen.n_pauses, 1);

        seen = (Seen){.pause_every = SIZE, .free_after_pause = true};
        start(w, &seen);
        assert_true(harness_run(w->event, &seen.paused, 5 * USEC_PER_SEC));
        seen.paused = false;
        http_fetch_resume(seen.fetch);
        (void)harness_idle(w->event, 50 * USEC_PER_MSEC);
        assert_null(seen.fetch);
        assert_false(seen.done);
        (void)read_connection_number();
        (void)read_connection_number();
        free_world(w);
}

static void test_freeing_inside_callbacks(void **state _unused_)
{
        static const FreeWhen whens[] = {FREE_IN_HEADERS, FREE_IN_DATA, FREE_IN_DONE};
        World *w = new_world();

        for (size_t i = 0; i < ELEMENTSOF(whens); i++) {
                Seen seen = {.free_when = whens[i]};
                uint64_t deadline = now_usec() + 5 * USEC_PER_SEC;

                set_url(w, "localhost", "/image");
                start(w, &seen);
                while (seen.fetch && now_usec() < deadline)
                        assert_true(sd_event_run(w->event, USEC_PER_SEC) >= 0);
                assert_null(seen.fetch);
                (void)harness_idle(w->event, 50 * USEC_PER_MSEC);
                assert_int_equal(seen.done, whens[i] == FREE_IN_DONE);
                (void)read_connection_number();
        }
        free_world(w);
}

static void test_freeing_another_fetch_inside_a_callback(void **state _unused_)
{
        World *w = new_world();
        Seen first = {.pause_every = 100000}, second = {0};

        set_url(w, "localhost", "/image");
        start(w, &first);
        assert_true(harness_run(w->event, &first.paused, 5 * USEC_PER_SEC));
        second.other = first.fetch;
        start(w, &second);
        finish(w, &second);
        assert_false(failure_is_set(&second.failure));
        assert_null(second.other);
        assert_false(first.done);
        (void)read_connection_number();
        (void)read_connection_number();
        free_world(w);
}

static void test_freeing_at_any_time(void **state _unused_)
{
        World *w = new_world();

        for (unsigned i = 0; i < 40; i++) {
                Seen seen = {0};

                set_url(w, i % 2 ? "localhost" : "broker.example", "/image");
                start(w, &seen);
                for (unsigned n = 0; n < i && !seen.done; n++)
                        assert_true(sd_event_run(w->event, 100 * USEC_PER_MSEC) >= 0);
                http_fetch_free(seen.fetch);
        }
        (void)harness_idle(w->event, 50 * USEC_PER_MSEC);
        free_world(w);
}

static void test_senseless_params(void **state _unused_)
{
        static const char *const urls[] = {
                "http://localhost/",  "ftp://localhost/",      "localhost/image",
                "https://",           "https://user:pw@host/", "https://host/a b",
                "https://host/a\nb",  "https://host/\xc3\xa4", "",
                "file:///etc/passwd",
        };
        World *w = new_world();
        HttpFetch *none;

        for (size_t i = 0; i < ELEMENTSOF(urls); i++) {
                w->params.url = urls[i];
                assert_int_equal(http_fetch_start(w->client, &w->params, &callbacks, NULL, &none), -EINVAL);
        }
        w->params.url = "https://localhost/";
        w->params.first_byte = SIZE;
        assert_int_equal(http_fetch_start(w->client, &w->params, &callbacks, NULL, &none), -EINVAL);
        w->params.first_byte = 0;
        w->params.if_match = "\"a\"\r\nX: y";
        assert_int_equal(http_fetch_start(w->client, &w->params, &callbacks, NULL, &none), -EINVAL);
        free_world(w);
}

static int set_up(void **state _unused_)
{
        harness_enter();
        server = harness_start_script("http-server.py", "server.pem", "server.key");
        return 0;
}

static int tear_down(void **state _unused_)
{
        harness_stop(&server);
        harness_leave();
        return 0;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_whole),
                cmocka_unit_test(test_suite_suits_the_processor),
                cmocka_unit_test(test_etag_is_told_unless_it_is_weak),
                cmocka_unit_test(test_from_a_byte_on),
                cmocka_unit_test(test_url_goes_out_to_the_letter),
                cmocka_unit_test(test_hosts),
                cmocka_unit_test(test_connection_is_reused),
                cmocka_unit_test(test_pauses),
                cmocka_unit_test(test_paused_is_not_stalled),
                cmocka_unit_test(test_refusals),
                cmocka_unit_test(test_wrong_answers),
                cmocka_unit_test(test_trouble_under_way),
                cmocka_unit_test(test_slow_drip_is_a_stall),
                cmocka_unit_test(test_redirects),
                cmocka_unit_test(test_retry_after),
                cmocka_unit_test(test_certificates),
                cmocka_unit_test(test_no_connection),
                cmocka_unit_test(test_connect_deadline),
                cmocka_unit_test(test_taker_ends_it),
                cmocka_unit_test(test_end_after_a_pause),
                cmocka_unit_test(test_freeing_inside_callbacks),
                cmocka_unit_test(test_freeing_another_fetch_inside_a_callback),
                cmocka_unit_test(test_senseless_params),
                /* Last: how many requests it leaves in the server's log is not known. */
                cmocka_unit_test(test_freeing_at_any_time),
        };

        return cmocka_run_group_tests(tests, set_up, tear_down);
}
