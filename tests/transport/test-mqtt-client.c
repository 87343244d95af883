/* The MQTT client with a real broker, TLS and client certificates. */
#include <errno.h>
#include <inttypes.h>
#include <unistd.h>

#include "mqtt-world.h"

static HarnessProcess broker;

enum { LARGE = 100 * 1024, N_LARGE = 20, BLOCK = 64 * 1024, N_BLOCKS = 400 };

static uint8_t payload_byte(unsigned n, size_t i)
{
        return (uint8_t)(n * 31 + i * 7 + (i >> 8));
}

static void fill(uint8_t *payload, unsigned n, size_t n_payload)
{
        for (size_t i = 0; i < n_payload; i++)
                payload[i] = payload_byte(n, i);
}

static bool is_as_filled(unsigned n, const uint8_t *payload, size_t n_payload)
{
        for (size_t i = 0; i < n_payload; i++)
                if (payload[i] != payload_byte(n, i))
                        return false;
        return true;
}

static bool large_is_right(unsigned n, const char *topic, const uint8_t *payload, size_t n_payload)
{
        return strcmp(topic, "here/large") == 0 && n_payload == LARGE && is_as_filled(n, payload, n_payload);
}

static bool block_is_right(unsigned n, const char *topic, const uint8_t *payload, size_t n_payload)
{
        return strcmp(topic, "here/block") == 0 && n_payload == BLOCK && is_as_filled(n, payload, n_payload);
}

static bool empty_is_right(unsigned n _unused_, const char *topic, const uint8_t *payload, size_t n_payload)
{
        return strcmp(topic, "here/empty") == 0 && payload && n_payload == 0;
}

static void connect_and_subscribe(World *w)
{
        w->filter = "here/#";
        start(w);
        assert_true(harness_run(w->event, &w->subscribed, 10 * USEC_PER_SEC));
        assert_int_equal(w->subscribe_error, 0);
}

static void wait_for_messages(World *w, unsigned n)
{
        uint64_t deadline = now_usec() + 15 * USEC_PER_SEC;

        while (w->n_messages < n) {
                assert_true(now_usec() < deadline);
                assert_true(sd_event_run(w->event, USEC_PER_SEC) >= 0);
        }
        assert_false(w->wrong_message);
        assert_int_equal(w->n_disconnected, 0);
}

static void round_trip(MqttVersion version, unsigned qos)
{
        static uint8_t payload[LARGE];
        World *w = new_world(broker.port);

        w->params.version = version;
        w->message_is_right = large_is_right;
        connect_and_subscribe(w);
        for (unsigned n = 0; n < N_LARGE; n++) {
                int r;

                fill(payload, n, sizeof(payload));
                r = mqtt_client_publish(w->client, "here/large", payload, sizeof(payload), qos);
                assert_true(qos == 0 ? r == 0 : r > 0);
        }
        wait_for_messages(w, N_LARGE);
        assert_int_equal(w->n_published, qos == 0 ? 0 : N_LARGE);
        free_world(w);
}

static void test_round_trip(void **state _unused_)
{
        round_trip(MQTT_VERSION_5, 0);
        round_trip(MQTT_VERSION_5, 1);
        round_trip(MQTT_VERSION_3_1_1, 0);
        round_trip(MQTT_VERSION_3_1_1, 1);
}

/* Sent and received at once, as a download with many blocks would; a timer beside it must have its turn. */
static int on_tick(sd_event_source *source, uint64_t usec, void *userdata)
{
        uint64_t *longest_usec = userdata, late_usec = now_usec() - usec;

        *longest_usec = MAX2(*longest_usec, late_usec);
        assert_true(sd_event_source_set_time_relative(source, 10 * USEC_PER_MSEC) >= 0);
        return 0;
}

static void test_throughput(void **state _unused_)
{
        static uint8_t payload[BLOCK];
        World *w;
        sd_event_source *tick = NULL;
        uint64_t longest_usec = 0, start_usec, took_usec;

        w = new_world(broker.port);
        w->params.max_unsent_bytes = 2 * 1024 * 1024;
        w->message_is_right = block_is_right;
        connect_and_subscribe(w);
        assert_true(sd_event_add_time_relative(w->event, &tick, CLOCK_BOOTTIME, 0, 1000, on_tick, &longest_usec) >=
                    0);
        assert_true(sd_event_source_set_enabled(tick, SD_EVENT_ON) >= 0);
        start_usec = now_usec();
        for (unsigned n = 0; n < N_BLOCKS;) {
                int r;

                fill(payload, n, sizeof(payload));
                r = mqtt_client_publish(w->client, "here/block", payload, sizeof(payload), 0);
                assert_true(r == 0 || r == -ENOBUFS);
                if (r == 0)
                        n++;
                else
                        assert_true(sd_event_run(w->event, USEC_PER_SEC) >= 0);
        }
        wait_for_messages(w, N_BLOCKS);
        took_usec = now_usec() - start_usec;
        print_message("%u MiB there and back in %" PRIu64 " ms, a timer at most %" PRIu64 " ms late\n",
                      N_BLOCKS * BLOCK >> 20, took_usec / USEC_PER_MSEC, longest_usec / USEC_PER_MSEC);
        assert_true(took_usec < 8 * USEC_PER_SEC);
        assert_true(longest_usec < USEC_PER_SEC);
        sd_event_source_disable_unref(tick);
        free_world(w);
}

static void test_empty_message(void **state _unused_)
{
        World *w = new_world(broker.port);

        w->message_is_right = empty_is_right;
        connect_and_subscribe(w);
        assert_int_equal(mqtt_client_publish(w->client, "here/empty", NULL, 0, 0), 0);
        wait_for_messages(w, 1);
        free_world(w);
}

static void test_unsubscribe(void **state _unused_)
{
        const char *filter = "here/#";
        World *w = new_world(broker.port);

        connect_and_subscribe(w);
        assert_int_equal(mqtt_client_unsubscribe(w->client, &filter, 1), 0);
        assert_true(mqtt_client_publish(w->client, "here/x", "x", 1, 1) > 0);
        assert_true(harness_run(w->event, &w->published, 5 * USEC_PER_SEC));
        (void)harness_idle(w->event, 100 * USEC_PER_MSEC);
        assert_int_equal(w->n_messages, 0);
        free_world(w);
}

static void test_bounds_and_senseless_calls(void **state _unused_)
{
        static uint8_t payload[1024];
        const char *filters[MQTT_FILTERS_MAX + 1] = {"a", "b", "c", "d", "e", "f", "g", "h", "i"}, *bad = "a/#/b";
        World *w = new_world(broker.port);
        unsigned id, n = 0;
        int r;

        w->params.max_unsent_bytes = 10000;
        w->filter = "here/#";
        start(w);
        assert_int_equal(mqtt_client_publish(w->client, "here/x", "x", 1, 0), -ENOTCONN);
        assert_int_equal(mqtt_client_subscribe(w->client, filters, 1, 0, &id), -ENOTCONN);
        assert_int_equal(mqtt_client_unsubscribe(w->client, filters, 1), -ENOTCONN);
        expect_connected(w);

        assert_int_equal(mqtt_client_subscribe(w->client, filters, 9, 0, &id), -EINVAL);
        assert_int_equal(mqtt_client_subscribe(w->client, filters, 0, 0, &id), -EINVAL);
        assert_int_equal(mqtt_client_subscribe(w->client, &bad, 1, 0, &id), -EINVAL);
        assert_int_equal(mqtt_client_publish(w->client, "a/#", "x", 1, 0), -EINVAL);
        assert_int_equal(mqtt_client_publish(w->client, "", "x", 1, 0), -EINVAL);
        assert_int_equal(mqtt_client_publish(w->client, "a\xff", "x", 1, 0), -EINVAL);
        assert_int_equal(mqtt_client_publish(w->client, "a", "x", 1, 2), -EINVAL);
        assert_int_equal(mqtt_client_publish(w->client, "a", payload, 10000, 0), -EMSGSIZE);
        /* QoS 1 counts until PUBACK, which cannot come before the loop runs. */
        while ((r = mqtt_client_publish(w->client, "elsewhere", payload, sizeof(payload), 1)) > 0)
                n++;
        assert_int_equal(r, -ENOBUFS);
        assert_true(n >= 8 && n < 10);
        while (w->n_published < n)
                assert_true(harness_run(w->event, &w->published, 5 * USEC_PER_SEC)), w->published = false;
        assert_true(mqtt_client_publish(w->client, "elsewhere", payload, sizeof(payload), 1) > 0);
        assert_int_equal(w->n_disconnected, 0);
        free_world(w);
}

static void test_hosts(void **state _unused_)
{
        static const char *const hosts[] = {"localhost", "127.0.0.1", "broker.example"};

        for (size_t i = 0; i < ELEMENTSOF(hosts); i++) {
                World *w = new_world(broker.port);

                w->params.host = hosts[i];
                start(w);
                expect_connected(w);
                assert_int_equal(w->n_disconnected, 0);
                free_world(w);
        }
}

static void test_wrong_names(void **state _unused_)
{
        HarnessProcess other = harness_start_broker(0, "elsewhere");
        World *w = new_world(broker.port);

        w->params.host = "wrong.example";
        start(w);
        expect_failure(w, "wrong.example (127.0.0.1) port");
        assert_non_null(strstr(w->reason, "TLS: certificate verify failed: hostname mismatch"));
        assert_int_equal(w->n_connected, 0);
        free_world(w);

        w = new_world(other.port);
        w->params.host = "127.0.0.1";
        start(w);
        expect_failure(w, "TLS: certificate verify failed: IP address mismatch");
        assert_int_equal(w->n_connected, 0);
        free_world(w);
        harness_stop(&other);
}

static void test_unknown_authority(void **state _unused_)
{
        World *w = new_world(broker.port);

        w->params.ca_file = "stranger.pem";
        start(w);
        expect_failure(w, "TLS: certificate verify failed: ");
        assert_int_equal(w->n_connected, 0);
        free_world(w);
}

static void test_strange_client(void **state _unused_)
{
        World *w = new_world(broker.port);

        w->params.identity.cert = "strange-client.pem";
        w->params.identity.key = "strange-client.key";
        start(w);
        expect_failure(w, "TLS: the broker sent the TLS alert \"unknown CA\"");
        assert_int_equal(w->n_connected, 0);
        free_world(w);
}

/* Files are read anew for each try: what is repaired needs no restart. */
static void test_files(void **state _unused_)
{
        static const struct {
                const char *key, *cert, *ca, *words;
        } rows[] = {
                {"not-there.key", "client.pem", "ca.pem",
                 "cannot use the key not-there.key: No such file or directory"},
                {"client.key", "not-there.pem", "ca.pem", "certificate not-there.pem: No such file or directory"},
                {"client.key", "client.pem", "not-there.pem", "CA file not-there.pem: No such file or directory"},
                {"client.pem", "client.pem", "ca.pem", "cannot use the key client.pem"},
                {"server.key", "client.pem", "ca.pem",
                 "cannot use the key server.key: it is not the one of the certificate client.pem"},
                {"locked.key", "client.pem", "ca.pem",
                 "cannot use the key locked.key: it asks for a PIN or passphrase"},
                {"client.key", "client.key", "ca.pem", "cannot use the certificate client.key"},
                {"client.key", "client.pem", "client.key", "cannot use the CA file client.key"},
                {".", "client.pem", "ca.pem", "cannot use the key .: not a regular file"},
                {"open.key", "client.pem", "ca.pem", "cannot use the key open.key: others than its owner and group"},
                {"tpm9:x", "client.pem", "ca.pem", "cannot use the key tpm9:x: no provider of OpenSSL knows"},
        };
        World *w;

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                w = new_world(broker.port);
                w->params.identity.key = rows[i].key;
                w->params.identity.cert = rows[i].cert;
                w->params.ca_file = rows[i].ca;
                start(w);
                expect_failure(w, rows[i].words);
                free_world(w);
        }

        w = new_world(broker.port);
        w->params.identity.key = "locked.key";
        w->params.identity.pin_file = "passphrase";
        start(w);
        expect_connected(w);
        free_world(w);

        w = new_world(broker.port);
        w->params.identity.key = "later.key";
        start(w);
        expect_failure(w, "later.key");
        assert_int_equal(link("client.key", "later.key"), 0);
        expect_connected(w);
        free_world(w);
}

static void test_broker_dies_and_comes_back(void **state _unused_)
{
        HarnessProcess mortal = harness_start_broker(0, "server");
        World *w = new_world(mortal.port);
        unsigned n;

        w->params.backoff_base_usec = 10 * USEC_PER_MSEC;
        connect_and_subscribe(w);
        harness_stop(&mortal);
        expect_failure(w, "the broker closed the connection without a reason");
        assert_non_null(strstr(w->reason, "last sent: SUBSCRIBE here/#"));
        assert_int_equal(mqtt_client_publish(w->client, "here/x", "x", 1, 0), -ENOTCONN);
        for (n = 0; n < 7; n++)
                expect_failure(w, "Connection refused");
        /* The eighth ceiling is the cap, 500 ms, and a wait is never below a tenth of it. */
        assert_true(w->retry_usec >= 50 * USEC_PER_MSEC && w->retry_usec <= 501 * USEC_PER_MSEC);

        mortal = harness_start_broker(mortal.port, "server");
        world_forget_news(w);
        expect_connected(w);
        assert_true(harness_run(w->event, &w->subscribed, 5 * USEC_PER_SEC));
        /* Not stable yet: what follows waits as long as before. */
        harness_stop(&mortal);
        expect_failure(w, "closed");
        assert_true(w->retry_usec >= 50 * USEC_PER_MSEC);
        free_world(w);
}

static void test_stable_connection_resets_the_backoff(void **state _unused_)
{
        HarnessProcess mortal = {.port = harness_free_port(), .output = -1};
        World *w = new_world(mortal.port);

        w->params.backoff_base_usec = 2 * USEC_PER_MSEC;
        w->params.stable_usec = 200 * USEC_PER_MSEC;
        start(w);
        for (unsigned n = 0; n < 8; n++)
                expect_failure(w, "Connection refused");
        mortal = harness_start_broker(mortal.port, "server");
        expect_connected(w);
        (void)harness_idle(w->event, 300 * USEC_PER_MSEC);
        harness_stop(&mortal);
        world_forget_news(w);
        expect_failure(w, "closed");
        assert_true(w->retry_usec <= 3 * USEC_PER_MSEC);
        free_world(w);
}

/* The name has three addresses, the broker is at one: each try takes the next. */
static void test_several_addresses(void **state _unused_)
{
        World *w = new_world(broker.port);

        w->dns.n_answers = 3;
        start(w);
        expect_failure(w, "(127.0.0.3)");
        expect_failure(w, "(127.0.0.2)");
        expect_connected(w);
        free_world(w);
}

/* Where nobody answers at an address the next one is not to blame: it is the round of all of them that backs off. */
static void test_wait_grows_by_rounds(void **state _unused_)
{
        World *w = new_world(harness_free_port());

        w->dns.n_answers = 10;
        w->params.backoff_base_usec = 5 * USEC_PER_MSEC;
        w->params.backoff_cap_usec = 50 * USEC_PER_MSEC;
        start(w);
        for (unsigned round = 1; round <= 6; round++)
                for (unsigned n = 1; n <= 10; n++) {
                        expect_failure(w, "Connection refused");
                        if (n < 10)
                                assert_true(w->retry_usec <= 5 * USEC_PER_MSEC + 1);
                        else if (round >= 5) /* the ceiling is the cap, and a wait is never below a tenth of it */
                                assert_true(w->retry_usec > 5 * USEC_PER_MSEC);
                }
        free_world(w);
}

/* After a connection that has lasted its list of addresses is old: the name is asked for before any of them is tried. */
static void test_stable_connection_forgets_the_addresses(void **state _unused_)
{
        HarnessProcess mortal = harness_start_broker(0, "server");
        World *w = new_world(mortal.port);
        unsigned n_queries;

        w->dns.n_answers = 3;
        w->dns.ascending = true;
        w->params.stable_usec = 200 * USEC_PER_MSEC;
        start(w);
        expect_connected(w);
        n_queries = w->dns.n_queries;
        (void)harness_idle(w->event, 300 * USEC_PER_MSEC);
        harness_stop(&mortal);
        world_forget_news(w);
        expect_failure(w, "(127.0.0.1)");
        expect_failure(w, "(127.0.0.1)");
        assert_true(w->dns.n_queries > n_queries);
        free_world(w);
}

static void test_name_look_up_fails(void **state _unused_)
{
        World *w = new_world(broker.port);

        w->params.host = "nowhere.example.";
        start(w);
        expect_failure(w, "nowhere.example. port");
        assert_non_null(strstr(w->reason, "name look-up: "));
        free_world(w);

        w = new_world(broker.port);
        w->params.host = "silent.example.";
        w->params.lookup_timeout_usec = 200 * USEC_PER_MSEC;
        start(w);
        expect_failure(w, "name look-up: the name servers did not answer in time");
        expect_failure(w, "name look-up: the name servers did not answer in time");
        free_world(w);
}

/* The look-up fails before it has asked anybody, as it does without memory: a failed try like any other, at any time. */
static void test_name_look_up_cannot_begin(void **state _unused_)
{
        World *w = new_world(broker.port);

        w->params.dns_servers = "no address";
        start(w);
        expect_failure(w, "name look-up: ");
        assert_true(w->retry_usec > 0);
        expect_failure(w, "name look-up: ");
        mqtt_client_disconnect(w->client, on_closed);
        assert_true(harness_run(w->event, &w->closed, USEC_PER_SEC));
        mqtt_client_connect(w->client);
        expect_failure(w, "name look-up: ");
        expect_failure(w, "name look-up: ");
        free_world(w);
}

/* What was published before goes out first; nothing is tried afterwards, until asked to. */
static void test_disconnect(void **state _unused_)
{
        static uint8_t payload[LARGE];
        World *w = new_world(broker.port), *listener = new_world(broker.port);

        listener->params.client_id = "listener";
        connect_and_subscribe(listener);
        connect_and_subscribe(w);
        for (unsigned n = 0; n < N_LARGE; n++)
                assert_int_equal(mqtt_client_publish(w->client, "here/large", payload, sizeof(payload), 0), 0);
        mqtt_client_disconnect(w->client, on_closed);
        assert_false(w->closed);
        assert_int_equal(mqtt_client_publish(w->client, "here/x", "x", 1, 0), -ENOTCONN);
        assert_true(harness_run(w->event, &w->closed, 3 * USEC_PER_SEC));
        wait_for_messages(listener, N_LARGE);
        (void)harness_idle(w->event, 200 * USEC_PER_MSEC);
        assert_int_equal(w->n_connected, 1);
        assert_int_equal(w->n_disconnected, 0);

        world_forget_news(w);
        mqtt_client_connect(w->client);
        expect_connected(w);
        /* Connected again before the end is told: it is not told. */
        mqtt_client_disconnect(w->client, on_closed);
        world_forget_news(w);
        mqtt_client_connect(w->client);
        expect_connected(w);
        assert_false(w->closed);
        free_world(w);
        free_world(listener);
}

static void test_disconnect_before_connected(void **state _unused_)
{
        World *w = new_world(broker.port);

        start(w);
        mqtt_client_disconnect(w->client, on_closed);
        assert_false(w->closed);
        assert_true(harness_run(w->event, &w->closed, USEC_PER_SEC));
        mqtt_client_disconnect(w->client, NULL); /* again, and without wanting to know */
        (void)harness_idle(w->event, 300 * USEC_PER_MSEC);
        assert_int_equal(w->n_connected + w->n_disconnected, 0);
        free_world(w);
}

static void test_freeing_inside_callbacks(void **state _unused_)
{
        for (FreeWhen when = FREE_IN_CONNECTED; when <= FREE_IN_PUBLISHED; when++) {
                World *w = new_world(broker.port);
                uint64_t deadline = now_usec() + 5 * USEC_PER_SEC;
                bool sent = false;

                w->free_when = when;
                w->filter = "here/#";
                start(w);
                while (w->client) {
                        assert_true(now_usec() < deadline);
                        assert_true(sd_event_run(w->event, USEC_PER_SEC) >= 0);
                        if (w->client && w->subscribed && !sent) {
                                sent = true;
                                for (unsigned n = 0; n < 20; n++)
                                        assert_true(mqtt_client_publish(w->client, "here/x", "x", 1, 1) > 0);
                        }
                }
                (void)harness_idle(w->event, 20 * USEC_PER_MSEC);
                assert_int_equal(w->n_disconnected, 0);
                assert_true(w->n_messages <= 1 || when == FREE_IN_PUBLISHED);
                free_world(w);
        }
}

static void test_freeing_at_any_time(void **state _unused_)
{
        for (unsigned i = 0; i < 30; i++) {
                World *w = new_world(broker.port);

                w->filter = "here/#";
                start(w);
                for (unsigned n = 0; n < i; n++)
                        assert_true(sd_event_run(w->event, 5 * USEC_PER_MSEC) >= 0);
                free_world(w);
        }
}

/* No tick each second: a minute's keep-alive lets it sleep. */
static void test_idle_client_sleeps(void **state _unused_)
{
        World *w = new_world(broker.port);

        connect_and_subscribe(w);
        (void)harness_idle(w->event, 200 * USEC_PER_MSEC);
        assert_true(harness_idle(w->event, 2 * USEC_PER_SEC) <= 2); /* one of them is the end of the waiting */
        free_world(w);
}

static void test_senseless_params(void **state _unused_)
{
        static const MqttClientCallbacks callbacks = {on_connected, on_disconnected, on_message, NULL, NULL};
        World *w = new_world(broker.port);
        const MqttClientParams good = w->params;

        w->params.host = "";
        assert_int_equal(mqtt_client_new(w->event, &w->params, &callbacks, w, &w->client), -EINVAL);
        w->params = good;
        w->params.port = 0;
        assert_int_equal(mqtt_client_new(w->event, &w->params, &callbacks, w, &w->client), -EINVAL);
        w->params = good;
        w->params.keep_alive_sec = 1;
        assert_int_equal(mqtt_client_new(w->event, &w->params, &callbacks, w, &w->client), -EINVAL);
        w->params = good;
        w->params.ca_file = NULL;
        assert_int_equal(mqtt_client_new(w->event, &w->params, &callbacks, w, &w->client), -EINVAL);
        free_world(w);
}

static int set_up(void **state _unused_)
{
        harness_enter();
        broker = harness_start_broker(0, "server");
        return 0;
}

static int tear_down(void **state _unused_)
{
        harness_stop(&broker);
        harness_leave();
        return 0;
}

int main(int argc, char *argv[])
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_round_trip),
                cmocka_unit_test(test_throughput),
                cmocka_unit_test(test_empty_message),
                cmocka_unit_test(test_unsubscribe),
                cmocka_unit_test(test_bounds_and_senseless_calls),
                cmocka_unit_test(test_hosts),
                cmocka_unit_test(test_wrong_names),
                cmocka_unit_test(test_unknown_authority),
                cmocka_unit_test(test_strange_client),
                cmocka_unit_test(test_files),
                cmocka_unit_test(test_broker_dies_and_comes_back),
                cmocka_unit_test(test_stable_connection_resets_the_backoff),
                cmocka_unit_test(test_several_addresses),
                cmocka_unit_test(test_wait_grows_by_rounds),
                cmocka_unit_test(test_stable_connection_forgets_the_addresses),
                cmocka_unit_test(test_name_look_up_fails),
                cmocka_unit_test(test_name_look_up_cannot_begin),
                cmocka_unit_test(test_disconnect),
                cmocka_unit_test(test_disconnect_before_connected),
                cmocka_unit_test(test_freeing_inside_callbacks),
                cmocka_unit_test(test_freeing_at_any_time),
                cmocka_unit_test(test_idle_client_sleeps),
                cmocka_unit_test(test_senseless_params),
        };

        int r = identity_probe_main(argc, argv);

        if (r >= 0)
                return r;
        return cmocka_run_group_tests(tests, set_up, tear_down);
}
