/* The MQTT client with a broker that refuses, ends or garbles: every end has its words. */
#include <errno.h>

#include "mqtt-fake.h"

static void test_disconnect_flushes_at_once(void **state _unused_)
{
        char line[256];
        World *w = with_broker("plain");

        start(w);
        assert_true(harness_run(w->event, &w->subscribed, 5 * USEC_PER_SEC));
        mqtt_client_disconnect(w->client, on_closed);
        assert_true(harness_run(w->event, &w->closed, USEC_PER_SEC));
        assert_true(harness_read_line(&fake, line, sizeof(line)));
        expect_line("packet 1");
        expect_line("packet 8");
        expect_line("packet 14");
        end(w);
}

static void test_session_taken_over(void **state _unused_)
{
        expect_twice(with_broker("taken-over"),
                     "the broker disconnected us: session taken over: another client with the same "
                     "client id has connected (0x8e; last sent: SUBSCRIBE here/#)");
}

static void test_closed_without_a_reason(void **state _unused_)
{
        expect_twice(with_broker("close-on-subscribe"),
                     "the broker closed the connection without a reason: a policy that forbids the last action, or "
                     "another client with the same id (last sent: SUBSCRIBE here/#)");
        expect_twice(with_broker("reset-on-subscribe"), "the broker closed the connection without a reason");
}

static void test_connect_refused(void **state _unused_)
{
        World *w;

        expect_twice(with_broker("refuse-connect"), "the broker refused CONNECT: not authorized");
        w = with_broker("refuse-3.1.1");
        w->params.version = MQTT_VERSION_3_1_1;
        start(w);
        expect_failure(w, "the broker refused CONNECT: not authorized");
        end(w);
}

/* Whoever answers and refuses does so at each of its addresses: no quick round of all of them. */
static void test_refused_at_each_address(void **state _unused_)
{
        World *w;

        fake = harness_start_script("fake-broker.py", "refuse-connect", "0.0.0.0");
        w = new_world(fake.port);
        w->dns.n_answers = 8;
        start(w);
        for (unsigned n = 1; n <= 7; n++) {
                expect_failure(w, "the broker refused CONNECT");
                /* The fifth ceiling is the cap, 500 ms, and a wait is never below a tenth of it. */
                assert_true(n < 5 || w->retry_usec > 50 * USEC_PER_MSEC);
        }
        end(w);
}

static void test_subscribe_refused(void **state _unused_)
{
        const char *filters[] = {"good/+", "bad/+"};
        World *w = with_broker("refuse-subscribe");

        w->filter = NULL;
        start(w);
        expect_connected(w);
        assert_int_equal(mqtt_client_subscribe(w->client, filters, 2, 1, &w->subscription), 0);
        assert_true(harness_run(w->event, &w->subscribed, 5 * USEC_PER_SEC));
        assert_int_equal(w->subscribe_error, -EACCES);
        assert_non_null(strstr(w->problem, "the broker refused bad/+: not authorized"));
        assert_int_equal(w->n_disconnected, 0);
        end(w);

        w = with_broker("short-suback");
        w->filter = NULL;
        start(w);
        expect_connected(w);
        assert_int_equal(mqtt_client_subscribe(w->client, filters, 2, 1, &w->subscription), 0);
        assert_true(harness_run(w->event, &w->subscribed, 5 * USEC_PER_SEC));
        assert_int_equal(w->subscribe_error, -EACCES);
        assert_non_null(strstr(w->problem, "for 1 of 2 filters"));
        end(w);
}

static void test_publish_refused(void **state _unused_)
{
        World *w = with_broker("refuse-publish");

        w->filter = NULL;
        start(w);
        expect_connected(w);
        assert_true(mqtt_client_publish(w->client, "there", "x", 1, 1) > 0);
        assert_true(harness_run(w->event, &w->published, 5 * USEC_PER_SEC));
        assert_int_equal(w->refusal_code, 0x97);
        assert_string_equal(w->problem, "there: quota exceeded");
        end(w);
}

static void test_garbage(void **state _unused_)
{
        expect_twice(with_broker("garbage"), "the broker sent a packet that is not MQTT");
}

static void test_endless_packet(void **state _unused_)
{
        expect_twice(with_broker("huge"), "the broker sent a packet of more than 1048576 bytes");
}

static void test_server_name_and_protocol(void **state _unused_)
{
        World *w = with_broker("plain");

        w->params.host = "broker.example";
        w->params.alpn = "x-amzn-mqtt-ca";
        start(w);
        expect_connected(w);
        expect_line("sni=broker.example alpn=x-amzn-mqtt-ca");
        end(w);

        w = with_broker("plain");
        start(w);
        expect_connected(w);
        expect_line("sni=broker.example alpn=None");
        end(w);

        w = with_broker("plain");
        w->params.host = "127.0.0.1"; /* addresses are no server names */
        start(w);
        expect_connected(w);
        expect_line("sni=None alpn=None");
        end(w);
}

static void test_freeing_in_disconnected(void **state _unused_)
{
        static const char *const modes[] = {"taken-over", "close-on-subscribe", "no-suback", "mute"};

        for (size_t i = 0; i < ELEMENTSOF(modes); i++) {
                World *w = impatient(with_broker(modes[i]));

                w->free_when = FREE_IN_DISCONNECTED;
                start(w);
                assert_true(harness_run(w->event, &w->disconnected, 5 * USEC_PER_SEC));
                assert_null(w->client);
                (void)harness_idle(w->event, 20 * USEC_PER_MSEC);
                end(w);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_disconnect_flushes_at_once),
                cmocka_unit_test(test_session_taken_over),
                cmocka_unit_test(test_closed_without_a_reason),
                cmocka_unit_test(test_connect_refused),
                cmocka_unit_test(test_refused_at_each_address),
                cmocka_unit_test(test_subscribe_refused),
                cmocka_unit_test(test_publish_refused),
                cmocka_unit_test(test_garbage),
                cmocka_unit_test(test_endless_packet),
                cmocka_unit_test(test_server_name_and_protocol),
                cmocka_unit_test(test_freeing_in_disconnected),
        };

        return cmocka_run_group_tests(tests, set_up, tear_down);
}
