/*
 * mqtt-world: a client on a loop, and what it has told, for the two MQTT test programs.
 */
#pragma once

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"
#include "transport/identity-probe.h"
#include "transport/mqtt-client.h"
#include "unit.h"

typedef enum FreeWhen {
        FREE_NEVER,
        FREE_IN_CONNECTED,
        FREE_IN_MESSAGE,
        FREE_IN_SUBSCRIBED,
        FREE_IN_PUBLISHED,
        FREE_IN_DISCONNECTED,
} FreeWhen;

typedef struct World {
        sd_event *event;
        MqttClient *client;
        MqttClientParams params;
        HarnessDns dns;
        FreeWhen free_when;
        const char *filter; /* subscribed to in on_connected */
        unsigned subscription;

        bool connected, disconnected, subscribed, published, closed;
        unsigned n_connected, n_disconnected, n_messages, n_published;
        int subscribe_error;
        unsigned refusal_code; /* of the last publish; 0: taken */
        char problem[512], reason[2048];
        uint64_t retry_usec, total_retry_usec;
        bool (*message_is_right)(unsigned n, const char *topic, const uint8_t *payload, size_t n_payload);
        bool wrong_message;
} World;

static inline void world_forget_news(World *w)
{
        w->connected = w->disconnected = w->subscribed = w->published = w->closed = false;
}

static inline void free_if(World *w, FreeWhen when)
{
        if (w->free_when == when)
                w->client = mqtt_client_free(w->client);
}

static inline void on_connected(MqttClient *client, void *userdata)
{
        World *w = userdata;

        assert_ptr_equal(client, w->client);
        w->connected = true;
        w->n_connected++;
        if (w->filter)
                assert_int_equal(mqtt_client_subscribe(client, &w->filter, 1, 1, &w->subscription), 0);
        free_if(w, FREE_IN_CONNECTED);
}

static inline void on_disconnected(MqttClient *client _unused_, const char *reason, uint64_t retry_usec,
                                   void *userdata)
{
        World *w = userdata;

        w->disconnected = true;
        w->n_disconnected++;
        w->retry_usec = retry_usec;
        w->total_retry_usec += retry_usec;
        (void)snprintf(w->reason, sizeof(w->reason), "%s", reason);
        assert_int_equal(mqtt_client_publish(client, "here/x", "x", 1, 0), -ENOTCONN);
        free_if(w, FREE_IN_DISCONNECTED);
}

static inline void on_message(MqttClient *client _unused_, const char *topic, const uint8_t *payload,
                              size_t n_payload, void *userdata)
{
        World *w = userdata;

        if (w->message_is_right && !w->message_is_right(w->n_messages, topic, payload, n_payload))
                w->wrong_message = true;
        w->n_messages++;
        /* What a careless user may leave behind must not disturb the connection: one or the other. */
        if (w->n_messages % 2)
                ERR_raise(ERR_LIB_USER, 1);
        else
                errno = EAGAIN;
        free_if(w, FREE_IN_MESSAGE);
}

static inline void on_subscribed(MqttClient *client _unused_, unsigned id, int error, const char *problem,
                                 void *userdata)
{
        World *w = userdata;

        assert_int_equal(id, w->subscription);
        assert_int_equal(error != 0, problem != NULL);
        w->subscribed = true;
        w->subscribe_error = error;
        if (problem)
                (void)snprintf(w->problem, sizeof(w->problem), "%s", problem);
        free_if(w, FREE_IN_SUBSCRIBED);
}

static inline void on_published(MqttClient *client _unused_, unsigned id, const MqttRefusal *refusal, void *userdata)
{
        World *w = userdata;

        assert_true(id > 0);
        w->published = true;
        w->n_published++;
        w->refusal_code = refusal ? refusal->code : 0;
        if (refusal)
                (void)snprintf(w->problem, sizeof(w->problem), "%s: %s", refusal->topic, refusal->words);
        free_if(w, FREE_IN_PUBLISHED);
}

static inline void on_closed(MqttClient *client _unused_, void *userdata)
{
        World *w = userdata;

        w->closed = true;
}

/* Not connecting yet, so that a test may change the params. */
static inline World *new_world(unsigned port)
{
        World *w = calloc(1, sizeof(*w));

        assert_non_null(w);
        assert_true(sd_event_new(&w->event) >= 0);
        harness_dns_start(&w->dns, w->event, 1);
        w->params = (MqttClientParams){
                .client_id = "gateway",
                .host = "broker.example", /* which our name server knows */
                .port = (uint16_t)port,
                .ca_file = "ca.pem",
                .identity = {.cert = "client.pem", .key = "client.key", .group = getegid()},
                .version = MQTT_VERSION_5,
                .keep_alive_sec = 60,
                .lookup_timeout_usec = 2 * USEC_PER_SEC,
                .connect_timeout_usec = 5 * USEC_PER_SEC,
                .answer_timeout_usec = 5 * USEC_PER_SEC,
                .backoff_base_usec = 50 * USEC_PER_MSEC,
                .backoff_cap_usec = 500 * USEC_PER_MSEC,
                .stable_usec = 60 * USEC_PER_SEC,
                .max_unsent_bytes = 16 * 1024 * 1024,
                .dns_servers = w->dns.servers,
        };
        return w;
}

static inline void start(World *w)
{
        static const MqttClientCallbacks callbacks = {on_connected, on_disconnected, on_message, on_subscribed,
                                                      on_published};

        assert_int_equal(mqtt_client_new(w->event, &w->params, &callbacks, w, &w->client), 0);
        mqtt_client_connect(w->client);
        assert_int_equal(w->n_connected + w->n_disconnected, 0);
}

static inline void free_world(World *w)
{
        mqtt_client_free(w->client);
        harness_dns_stop(&w->dns);
        sd_event_unref(w->event);
        free(w);
}

/* Waits for a try to fail; `words` must stand in the reason. */
static inline void expect_failure(World *w, const char *words)
{
        if (!harness_run(w->event, &w->disconnected, 10 * USEC_PER_SEC))
                print_error("nothing happened, expected: %s\n", words);
        assert_true(w->disconnected);
        if (!strstr(w->reason, words)) {
                (void)fputs(w->reason, stderr);
                assert_string_equal(w->reason, words);
        }
        world_forget_news(w);
}

static inline void expect_connected(World *w)
{
        if (!harness_run(w->event, &w->connected, 10 * USEC_PER_SEC))
                print_error("not connected: %s\n", w->reason);
        assert_true(w->connected);
}
