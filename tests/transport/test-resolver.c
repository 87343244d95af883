#include "transport/resolver.h"

#include <errno.h>
#include <string.h>

#include "harness.h"
#include "unit.h"

typedef struct Seen {
        bool done;
        bool free_inside;
        int error;
        char problem[128];
        ResolvedAddress addresses[RESOLVER_ADDRESSES_MAX];
        size_t n_addresses;
} Seen;

static void on_done(Resolver *resolver, int error, const char *problem, const ResolvedAddress *addresses,
                    size_t n_addresses, void *userdata)
{
        Seen *seen = userdata;

        assert_false(seen->done);
        seen->done = true;
        seen->error = error;
        seen->n_addresses = n_addresses;
        if (error < 0)
                (void)snprintf(seen->problem, sizeof(seen->problem), "%s", problem);
        else
                memcpy(seen->addresses, addresses, n_addresses * sizeof(*addresses));
        if (seen->free_inside)
                resolver_free(resolver);
}

static sd_event *new_loop(void)
{
        sd_event *event;

        assert_true(sd_event_new(&event) >= 0);
        return event;
}

/* Looks `name` up; the outcome never comes from inside the start. */
static Seen look_up(sd_event *event, const char *name, const char *servers, uint64_t timeout_usec)
{
        const ResolverParams params = {.name = name, .timeout_usec = timeout_usec, .servers = servers};
        Seen seen = {0};
        Resolver *resolver;

        assert_int_equal(resolver_start(event, &params, on_done, &seen, &resolver), 0);
        assert_false(seen.done);
        assert_true(harness_run(event, &seen.done, timeout_usec + 2 * USEC_PER_SEC));
        resolver_free(resolver);
        return seen;
}

static void test_literals_pass_through(void **state _unused_)
{
        static const struct {
                const char *name;
                int family;
                const char *text;
        } rows[] = {
                {"192.0.2.1", AF_INET, "192.0.2.1"},
                {"::1", AF_INET6, "::1"},
                {"2001:DB8:0:0::1", AF_INET6, "2001:db8::1"},
                {"fe80::1%lo", AF_INET6, "fe80::1%lo"},
        };
        sd_event *event = new_loop();

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                /* No server could answer: they are not asked. */
                Seen seen = look_up(event, rows[i].name, "127.0.0.1:1", USEC_PER_SEC);

                assert_int_equal(seen.error, 0);
                assert_int_equal(seen.n_addresses, 1);
                assert_int_equal(seen.addresses[0].family, rows[i].family);
                assert_string_equal(seen.addresses[0].text, rows[i].text);
        }
        sd_event_unref(event);
}

static void test_localhost_needs_no_server(void **state _unused_)
{
        sd_event *event = new_loop();
        static const char *const names[] = {"localhost", "LocalHost", "gateway.localhost"};

        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                Seen seen = look_up(event, names[i], "127.0.0.1:1", USEC_PER_SEC);

                assert_int_equal(seen.error, 0);
                assert_int_equal(seen.n_addresses, 2);
                assert_string_equal(seen.addresses[0].text, "127.0.0.1");
                assert_string_equal(seen.addresses[1].text, "::1");
        }
        assert_int_equal(look_up(event, "localhost.example", "127.0.0.1:1", USEC_PER_SEC).error, -EHOSTUNREACH);
        sd_event_unref(event);
}

static void test_server_answers(void **state _unused_)
{
        sd_event *event = new_loop();
        HarnessDns dns;
        Seen seen;

        harness_dns_start(&dns, event, 3);
        seen = look_up(event, "broker.example", dns.servers, 5 * USEC_PER_SEC);
        assert_int_equal(seen.error, 0);
        assert_int_equal(seen.n_addresses, 3);
        assert_string_equal(seen.addresses[0].text, "127.0.0.3");
        assert_string_equal(seen.addresses[2].text, "127.0.0.1");
        harness_dns_stop(&dns);

        harness_dns_start(&dns, event, 30); /* more than we take */
        seen = look_up(event, "broker.example", dns.servers, 5 * USEC_PER_SEC);
        assert_int_equal(seen.error, 0);
        assert_int_equal(seen.n_addresses, RESOLVER_ADDRESSES_MAX);
        harness_dns_stop(&dns);
        sd_event_unref(event);
}

/* Of either family as many as there is room for, in turn: one that leads nowhere is not all that is tried. */
static void test_families_in_turn(void **state _unused_)
{
        sd_event *event = new_loop();
        unsigned last = 12;
        HarnessDns dns;
        Seen seen;

        harness_dns_start(&dns, event, last);
        dns.n_answers_6 = last;
        seen = look_up(event, "broker.example", dns.servers, 5 * USEC_PER_SEC);
        assert_int_equal(seen.error, 0);
        assert_int_equal(seen.n_addresses, RESOLVER_ADDRESSES_MAX);
        for (size_t i = 0; i < seen.n_addresses; i++) {
                char text[32];

                assert_true(i == 0 || seen.addresses[i].family != seen.addresses[i - 1].family);
                (void)snprintf(text, sizeof(text), "127.0.0.%u", last);
                if (seen.addresses[i].family == AF_INET) {
                        assert_string_equal(seen.addresses[i].text, text); /* the order within a family stays */
                        last--;
                }
        }
        dns.n_answers_6 = 1; /* and what one family lacks the other has */
        seen = look_up(event, "broker.example", dns.servers, 5 * USEC_PER_SEC);
        assert_int_equal(seen.n_addresses, 13);
        harness_dns_stop(&dns);
        sd_event_unref(event);
}

static void test_no_such_name(void **state _unused_)
{
        sd_event *event = new_loop();
        HarnessDns dns;
        Seen seen;

        harness_dns_start(&dns, event, 1);
        seen = look_up(event, "nowhere.example.", dns.servers, 5 * USEC_PER_SEC);
        assert_int_equal(seen.error, -ENOENT);
        assert_true(seen.problem[0]);
        harness_dns_stop(&dns);

        harness_dns_start(&dns, event, 0); /* the name is there, without an address */
        seen = look_up(event, "empty.example.", dns.servers, 5 * USEC_PER_SEC);
        assert_int_equal(seen.error, -ENOENT);
        harness_dns_stop(&dns);
        sd_event_unref(event);
}

static void test_silent_server_meets_the_deadline(void **state _unused_)
{
        sd_event *event = new_loop();
        uint64_t start = now_usec(), took;
        HarnessDns dns;
        Seen seen;

        harness_dns_start(&dns, event, 1);
        seen = look_up(event, "silent.example.", dns.servers, USEC_PER_SEC);
        took = now_usec() - start;
        assert_int_equal(seen.error, -ETIMEDOUT);
        assert_true(took >= USEC_PER_SEC && took < 2 * USEC_PER_SEC);
        assert_true(dns.n_queries > 0);
        harness_dns_stop(&dns);
        sd_event_unref(event);
}

/* A lost packet: asked again, well before the deadline. */
static void test_asks_again(void **state _unused_)
{
        sd_event *event = new_loop();
        uint64_t start = now_usec();
        HarnessDns dns;
        Seen seen;

        harness_dns_start(&dns, event, 1);
        dns.n_deaf = 2; /* for either kind of address */
        seen = look_up(event, "broker.example.", dns.servers, 20 * USEC_PER_SEC);
        assert_int_equal(seen.error, 0);
        assert_true(now_usec() - start < 10 * USEC_PER_SEC);
        harness_dns_stop(&dns);
        sd_event_unref(event);
}

static void test_no_server_there(void **state _unused_)
{
        sd_event *event = new_loop();
        /* Nobody listens: the kernel says so, and no deadline needs to pass. */
        Seen seen = look_up(event, "broker.example.", "127.0.0.1:1", 10 * USEC_PER_SEC);

        assert_int_equal(seen.error, -EHOSTUNREACH);
        sd_event_unref(event);
}

static void test_freeing_cancels(void **state _unused_)
{
        static const char *const names[] = {"silent.example.", "127.0.0.1"};
        sd_event *event = new_loop();
        HarnessDns dns;

        harness_dns_start(&dns, event, 1);
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                const ResolverParams params = {
                        .name = names[i], .timeout_usec = 100 * USEC_PER_MSEC, .servers = dns.servers};
                Seen seen = {0};
                Resolver *resolver;

                assert_int_equal(resolver_start(event, &params, on_done, &seen, &resolver), 0);
                assert_null(resolver_free(resolver));
                (void)harness_idle(event, 200 * USEC_PER_MSEC);
                assert_false(seen.done);
        }
        harness_dns_stop(&dns);
        sd_event_unref(event);
}

static void test_freeing_inside_the_callback(void **state _unused_)
{
        const ResolverParams params = {.name = "localhost", .timeout_usec = USEC_PER_SEC};
        Seen seen = {.free_inside = true};
        sd_event *event = new_loop();
        Resolver *resolver;

        assert_int_equal(resolver_start(event, &params, on_done, &seen, &resolver), 0);
        assert_true(harness_run(event, &seen.done, USEC_PER_SEC));
        sd_event_unref(event);
}

static void test_senseless_names(void **state _unused_)
{
        char name[RESOLVER_NAME_MAX + 2];
        ResolverParams params = {.name = name, .timeout_usec = USEC_PER_SEC};
        sd_event *event = new_loop();
        Resolver *resolver;

        memset(name, 'a', sizeof(name) - 1);
        name[sizeof(name) - 1] = '\0';
        assert_int_equal(resolver_start(event, &params, on_done, NULL, &resolver), -EINVAL);
        params.name = "";
        assert_int_equal(resolver_start(event, &params, on_done, NULL, &resolver), -EINVAL);
        params.name = "broker.example";
        params.servers = "no address";
        assert_int_equal(resolver_start(event, &params, on_done, NULL, &resolver), -EINVAL);
        sd_event_unref(event);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_literals_pass_through),
                cmocka_unit_test(test_localhost_needs_no_server),
                cmocka_unit_test(test_server_answers),
                cmocka_unit_test(test_families_in_turn),
                cmocka_unit_test(test_no_such_name),
                cmocka_unit_test(test_silent_server_meets_the_deadline),
                cmocka_unit_test(test_asks_again),
                cmocka_unit_test(test_no_server_there),
                cmocka_unit_test(test_freeing_cancels),
                cmocka_unit_test(test_freeing_inside_the_callback),
                cmocka_unit_test(test_senseless_names),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
