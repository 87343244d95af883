/* The MQTT client with a broker that keeps silent: every wait has its deadline. */
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "mqtt-fake.h"

/* A listener whose queue is full does not even answer the first TCP packet. */
static void test_tcp_never_answers(void **state _unused_)
{
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t n_address = sizeof(address);
        int listener, clients[4];
        World *w;

        listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(listener, (struct sockaddr *)&address, n_address), 0);
        assert_int_equal(listen(listener, 0), 0);
        assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &n_address), 0);
        for (size_t i = 0; i < ELEMENTSOF(clients); i++) {
                clients[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
                (void)connect(clients[i], (struct sockaddr *)&address, n_address);
        }
        w = new_world(ntohs(address.sin_port));
        w->params.connect_timeout_usec = 500 * USEC_PER_MSEC;
        start(w);
        expect_failure(w, "no TCP connection within 500ms");
        expect_failure(w, "no TCP connection within 500ms");
        free_world(w);
        for (size_t i = 0; i < ELEMENTSOF(clients); i++)
                close_fd(clients[i]);
        close_fd(listener);
}

/* The loop goes on turning, and each try has its end; a module that ends its process ends another one. */
static void test_token_never_answers(void **state _unused_)
{
        uint64_t before = now_usec();
        char uri[512];
        World *w;

        (void)snprintf(uri, sizeof(uri), "pkcs11:token=x;object=y?module-path=%s", getenv("HANGING_TOKEN"));
        for (unsigned i = 0; i < 2; i++) {
                w = new_world(harness_free_port());
                w->params.identity.key = uri;
                w->params.connect_timeout_usec = i == 0 ? 400 * USEC_PER_MSEC : 5 * USEC_PER_SEC;
                if (i == 1)
                        assert_int_equal(setenv("TOKEN_CRASHES", "1", 1), 0);
                start(w);
                expect_failure(w, i == 0 ? "the token did not answer within 400ms"
                                         : "the token's module has ended the process it was tried in");
                expect_failure(w, "cannot use the key: the token"); /* the one before may not be gone yet */
                free_world(w);
        }
        assert_int_equal(unsetenv("TOKEN_CRASHES"), 0);
        assert_true(now_usec() - before < 8 * USEC_PER_SEC);
}

static void test_tls_never_answers(void **state _unused_)
{
        uint64_t before = now_usec();

        expect_twice(impatient(with_broker("silent")), "TLS: the handshake was not finished within 400ms");
        assert_true(now_usec() - before < 5 * USEC_PER_SEC);
}

static void test_no_connack(void **state _unused_)
{
        expect_twice(impatient(with_broker("mute")), "no CONNACK within 400ms");
}

static void test_no_suback(void **state _unused_)
{
        World *w = with_broker("no-suback");

        w->params.answer_timeout_usec = 600 * USEC_PER_MSEC;

        start(w);
        expect_failure(w, "no SUBACK within 600ms (last sent: SUBSCRIBE here/#)");
        assert_int_equal(w->n_connected, 1);
        assert_false(w->subscribed);
        expect_failure(w, "no SUBACK within 600ms");
        end(w);
}

static void test_no_unsuback(void **state _unused_)
{
        const char *filter = "here/#";
        World *w = with_broker("plain");

        w->params.answer_timeout_usec = 600 * USEC_PER_MSEC;
        start(w);
        assert_true(harness_run(w->event, &w->subscribed, 5 * USEC_PER_SEC));
        assert_int_equal(mqtt_client_unsubscribe(w->client, &filter, 1), 0);
        expect_failure(w, "no UNSUBACK within 600ms");
        end(w);
}

static void test_no_puback(void **state _unused_)
{
        World *w = with_broker("plain");

        w->params.answer_timeout_usec = 600 * USEC_PER_MSEC;
        start(w);
        assert_true(harness_run(w->event, &w->subscribed, 5 * USEC_PER_SEC));
        assert_true(mqtt_client_publish(w->client, "there", "x", 1, 1) > 0);
        expect_failure(w, "no PUBACK within 600ms (last sent: PUBLISH there, 1 bytes)");
        assert_int_equal(w->n_published, 0);
        end(w);
}

static void test_no_pingresp(void **state _unused_)
{
        uint64_t before = now_usec(), took;
        World *w = with_broker("keep-alive-unanswered"); /* each second, so says its CONNACK */

        w->params.answer_timeout_usec = 600 * USEC_PER_MSEC;
        start(w);
        expect_failure(w, "no PINGRESP within 600ms");
        took = now_usec() - before;
        assert_true(took >= 1600 * USEC_PER_MSEC && took < 5 * USEC_PER_SEC);
        end(w);
}

/* The broker's CONNACK asks for a packet each second, and each PINGREQ is answered: it lasts. */
static void test_server_keep_alive(void **state _unused_)
{
        char line[256];
        World *w = with_broker("keep-alive");

        start(w);
        expect_connected(w);
        (void)harness_idle(w->event, 2600 * USEC_PER_MSEC);
        assert_int_equal(w->n_disconnected, 0);
        assert_true(harness_read_line(&fake, line, sizeof(line))); /* sni */
        expect_line("packet 1");
        expect_line("packet 8");
        expect_line("packet 12");
        expect_line("packet 12");
        end(w);
}

static void test_deaf_broker_fills_the_bound(void **state _unused_)
{
        static uint8_t payload[100000];
        World *w = with_broker("deaf");
        unsigned n = 0;
        int r;

        w->filter = NULL;
        w->params.max_unsent_bytes = 1000000;
        start(w);
        expect_connected(w);
        while ((r = mqtt_client_publish(w->client, "there", payload, sizeof(payload), 0)) == 0) {
                (void)harness_idle(w->event, USEC_PER_MSEC);
                assert_true(++n < 2000);
        }
        assert_int_equal(r, -ENOBUFS);
        /* What cannot be flushed ends with its deadline. */
        mqtt_client_disconnect(w->client, on_closed);
        assert_false(harness_run(w->event, &w->closed, USEC_PER_SEC));
        assert_true(harness_run(w->event, &w->closed, 3 * USEC_PER_SEC));
        assert_int_equal(w->n_disconnected, 0);
        end(w);
}

/* More than the socket takes at once, and nothing comes back that would wake us before all is written. */
static void test_slow_broker_gets_it_all(void **state _unused_)
{
        static uint8_t payload[65536];
        World *w = with_broker("slow");

        w->filter = NULL;
        start(w);
        expect_connected(w);
        for (unsigned n = 0; n < 200; n++)
                assert_int_equal(mqtt_client_publish(w->client, "there", payload, sizeof(payload), 0), 0);
        assert_true(mqtt_client_publish(w->client, "there", "end", 3, 1) > 0);
        assert_true(harness_run(w->event, &w->published, 5 * USEC_PER_SEC));
        assert_int_equal(w->refusal_code, 0);
        end(w);
}

int main(int argc, char *argv[])
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_tcp_never_answers),
                cmocka_unit_test(test_token_never_answers),
                cmocka_unit_test(test_tls_never_answers),
                cmocka_unit_test(test_no_connack),
                cmocka_unit_test(test_no_suback),
                cmocka_unit_test(test_no_unsuback),
                cmocka_unit_test(test_no_puback),
                cmocka_unit_test(test_no_pingresp),
                cmocka_unit_test(test_server_keep_alive),
                cmocka_unit_test(test_deaf_broker_fills_the_bound),
                cmocka_unit_test(test_slow_broker_gets_it_all),
        };

        int r = identity_probe_main(argc, argv);

        if (r >= 0)
                return r;
        return cmocka_run_group_tests(tests, set_up, tear_down);
}
