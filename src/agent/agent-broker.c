#include "agent-private.h"

#include <string.h>
#include <unistd.h>

#include "base/log-event.h"
#include "base/log.h"
#include "base/time-util.h"

enum { UNSENT_BYTES_MAX = 256 * 1024 };

static void connect_again(MqttClient *client, void *userdata)
{
        mqtt_client_connect(client);
}

static void note_connection(Agent *a, bool connected)
{
        if (a->connected != connected) {
                a->connected = connected;
                a->connection_usec = now_usec();
                a->told_away = false;
        }
}

/* Asked whenever a try has failed: no timer is needed for it. */
static void tell_if_away(Agent *a, const char *reason)
{
        uint64_t away = usec_sub(now_usec(), a->connection_usec);
        char text[DURATION_TEXT_MAX];

        if (a->told_away || away < a->config->broker.away_usec)
                return;
        a->told_away = true;
        log_event(LOG_EVENT_BROKER_AWAY, &(LogFields){.endpoint = a->config->broker.endpoint},
                  "No connection to the broker %s:%u for %s: %s; trying on", a->config->broker.endpoint,
                  a->config->broker.port, duration_format(text, away), reason);
}

static void on_mqtt_connected(MqttClient *client, void *userdata)
{
        Agent *a = userdata;
        size_t n_filters;
        const char *const *filters = engine_filters(a->engine, &n_filters);
        int r;

        note_connection(a, true);
        memset(a->refusals_told, 0, sizeof(a->refusals_told));
        log_event(LOG_EVENT_BROKER_CONNECTED, &(LogFields){.endpoint = a->config->broker.endpoint},
                  "Connected to the broker %s:%u as '%s'", a->config->broker.endpoint, a->config->broker.port,
                  a->config->thing_name);
        r = mqtt_client_subscribe(client, filters, n_filters, 1, &a->jobs_subscription);
        if (r < 0) {
                log_error_errno(r, "Cannot subscribe to the job topics, connecting again: %m");
                mqtt_client_disconnect(client, connect_again);
        }
}

static void on_mqtt_disconnected(MqttClient *client, const char *reason, uint64_t retry_usec, void *userdata)
{
        char text[DURATION_TEXT_MAX];
        Agent *a = userdata;

        note_connection(a, false);
        log_warning("Not connected to the broker %s:%u: %s; trying again in %s", a->config->broker.endpoint,
                    a->config->broker.port, reason, duration_format(text, retry_usec));
        tell_if_away(a, reason);
        a->jobs_subscription = a->stream_subscription = 0;
        engine_on_disconnected(a->engine, now_usec());
        agent_after_event(a);
}

static void on_mqtt_message(MqttClient *client, const char *topic, const uint8_t *payload, size_t n_payload,
                            void *userdata)
{
        Agent *a = userdata;

        engine_on_message(a->engine, topic, payload, n_payload, now_usec());
        agent_defer(a); /* once for all that one read has brought */
}

static void on_mqtt_subscribed(MqttClient *client, unsigned id, int error, const char *problem, void *userdata)
{
        Agent *a = userdata;

        if (error < 0)
                log_warning("The broker refused a subscription: %s", problem);
        if (id == a->jobs_subscription) {
                /* AWS IoT sends the answers of Jobs without a subscription: a refused one need not stop us. */
                a->jobs_subscription = 0;
                engine_on_connected(a->engine, now_usec());
        } else if (id == a->stream_subscription) {
                a->stream_subscription = 0;
                engine_on_subscribed(a->engine, error >= 0, now_usec());
        }
        agent_after_event(a);
}

/* What was published is repeated when no answer comes; why none comes a person may want to know, but not each time. */
static void on_mqtt_published(MqttClient *client, unsigned id, const MqttRefusal *refusal, void *userdata)
{
        Agent *a = userdata;

        if (!refusal || a->refusals_told[refusal->code & 0x7f])
                return;
        a->refusals_told[refusal->code & 0x7f] = true;
        log_warning("The broker refused a message to %s: %s (0x%02x); more of these on this connection are not told",
                    refusal->topic, refusal->words, refusal->code);
}

static void on_mqtt_goodbye(MqttClient *client, void *userdata)
{
        Agent *a = userdata;

        note_connection(a, false);
        log_info("Said goodbye to the broker");
        engine_on_goodbye(a->engine, now_usec());
        agent_after_event(a);
}

void agent_op_publish(const char *topic, const void *payload, size_t n_payload, unsigned qos, void *userdata)
{
        Agent *a = userdata;
        int r = mqtt_client_publish(a->mqtt, topic, payload, n_payload, qos);

        if (r < 0)
                log_debug_errno(r, "Not published to %s, it is repeated when no answer comes: %m", topic);
}

void agent_op_subscribe(const char *const *filters, size_t n_filters, void *userdata)
{
        Agent *a = userdata;
        int r = mqtt_client_subscribe(a->mqtt, filters, n_filters, 0, &a->stream_subscription);

        /* Without a connection its loss is told anyway, and with the next one the download starts anew. */
        if (r < 0)
                log_warning_errno(r, "Cannot subscribe to '%s', waiting for the next connection: %m", filters[0]);
}

void agent_op_subscribe_aside(const char *const *filters, size_t n_filters, void *userdata)
{
        Agent *a = userdata;
        unsigned id;
        int r = mqtt_client_subscribe(a->mqtt, filters, n_filters, 1, &id);

        if (r < 0)
                log_debug_errno(r, "Not subscribed to '%s', what waits for it has a deadline: %m", filters[0]);
}

void agent_op_unsubscribe(const char *const *filters, size_t n_filters, void *userdata)
{
        Agent *a = userdata;
        int r = mqtt_client_unsubscribe(a->mqtt, filters, n_filters);

        if (r < 0)
                log_debug_errno(r, "Not unsubscribed from '%s', the end of the connection will do: %m", filters[0]);
}

void agent_op_say_goodbye(void *userdata)
{
        Agent *a = userdata;

        mqtt_client_disconnect(a->mqtt, on_mqtt_goodbye);
}

void agent_op_come_back(void *userdata)
{
        Agent *a = userdata;

        mqtt_client_connect(a->mqtt);
}

static const MqttClientCallbacks mqtt_callbacks = {
        .on_connected = on_mqtt_connected,
        .on_disconnected = on_mqtt_disconnected,
        .on_message = on_mqtt_message,
        .on_subscribed = on_mqtt_subscribed,
        .on_published = on_mqtt_published,
};

int agent_start_broker(Agent *a)
{
        const Config *c = a->config;
        MqttClientParams params = {
                .client_id = c->thing_name,
                .host = c->broker.endpoint,
                .port = c->broker.port,
                .alpn = c->broker.port == 443 ? "x-amzn-mqtt-ca" : NULL,
                .ca_file = c->broker.root_ca,
                .identity =
                        {
                                .cert = c->broker.cert,
                                .key = c->broker.key,
                                .pin_file = c->broker.pin_file,
                                .group = getegid(),
                        },
                .proxy = agent_proxy(a),
                .version = c->broker.mqtt_version == CONFIG_MQTT_5 ? MQTT_VERSION_5 : MQTT_VERSION_3_1_1,
                .keep_alive_sec = (unsigned)(c->broker.keep_alive_usec / USEC_PER_SEC),
                .lookup_timeout_usec = c->broker.connect_timeout_usec,
                .connect_timeout_usec = c->broker.connect_timeout_usec,
                .answer_timeout_usec = c->broker.answer_timeout_usec,
                .backoff_base_usec = c->broker.backoff_base_usec,
                .backoff_cap_usec = c->broker.backoff_cap_usec,
                .stable_usec = c->broker.stable_usec,
                .max_unsent_bytes = UNSENT_BYTES_MAX,
        };
        int r;

        r = mqtt_client_new(a->event, &params, &mqtt_callbacks, a, &a->mqtt);
        if (r < 0)
                return r;
        mqtt_client_connect(a->mqtt);
        return 0;
}
