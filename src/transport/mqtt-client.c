#include "transport/mqtt-client.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/backoff.h"
#include "base/log.h"
#include "base/time-util.h"
#include "mqtt-connection.h"
#include "transport/identity-probe.h"
#include "transport/resolver.h"

typedef enum ClientState {
        CLIENT_IDLE, /* never asked to connect, or disconnected */
        CLIENT_LOOKING_UP,
        CLIENT_PROBING, /* whether certificate and key can be used */
        CLIENT_CONNECTING,
        CLIENT_CONNECTED,
        CLIENT_WAITING, /* for the next try, the first one too */
        CLIENT_DISCONNECTING,
} ClientState;

struct MqttClient {
        sd_event *event;
        MqttClientParams params; /* the strings are ours, see own_strings() */
        MqttClientCallbacks callbacks;
        void *userdata;

        ClientState state;
        Backoff backoff;
        uint64_t connected_usec;
        sd_event_source *timer_source; /* the next try, or the news that a disconnect is done */

        ProxyUrl proxy; /* where it is; its credentials are not kept */
        Resolver *resolver;
        ResolvedAddress addresses[RESOLVER_ADDRESSES_MAX];
        size_t n_addresses, next_address; /* all tried: the name is looked up again */
        IdentityProbe *probe;
        MqttConnection *connection;
        void (*on_disconnect_done)(MqttClient *client, void *userdata);
};

/* With the loop's next turn for 0: the timer may be late by its accuracy, but not for what is long over. */
static void client_arm(MqttClient *client, uint64_t wait_usec)
{
        (void)sd_event_source_set_time(client->timer_source, wait_usec > 0 ? usec_add(now_usec(), wait_usec) : 0);
        (void)sd_event_source_set_enabled(client->timer_source, SD_EVENT_ONESHOT);
}

static void client_drop(MqttClient *client)
{
        client->resolver = resolver_free(client->resolver);
        identity_probe_cancel(client->probe);
        client->connection = mqtt_connection_free(client->connection);
        (void)sd_event_source_set_enabled(client->timer_source, SD_EVENT_OFF);
}

/* The name is looked up again before the next try. */
static void client_forget_addresses(MqttClient *client)
{
        client->n_addresses = client->next_address = 0;
}

/* A try, or a connection, has ended with `reason`; the next one comes in wait_usec. The client may be gone after it. */
static void client_wait(MqttClient *client, const char *address, const char *reason, uint64_t wait_usec)
{
        char text[MQTT_REASON_MAX + 1024];

        client_drop(client);
        client->state = CLIENT_WAITING;
        client_arm(client, wait_usec);

        if (client->proxy.kind != PROXY_NONE)
                (void)snprintf(text, sizeof(text), "%s port %u through the proxy %s%s%s%s port %u: %s",
                               client->params.host, client->params.port, client->proxy.host, address ? " (" : "",
                               address ?: "", address ? ")" : "", client->proxy.port, reason);
        else if (address && strcmp(address, client->params.host) != 0)
                (void)snprintf(text, sizeof(text), "%s (%s) port %u: %s", client->params.host, address,
                               client->params.port, reason);
        else
                (void)snprintf(text, sizeof(text), "%s port %u: %s", client->params.host, client->params.port,
                               reason);
        log_debug("MQTT connection ended: %s", text);
        client->callbacks.on_disconnected(client, text, wait_usec, client->userdata);
}

/* It tells of the broker, or of us: the wait grows. The client may be gone after it. */
static void client_retry(MqttClient *client, const char *address, const char *reason)
{
        if (client->state == CLIENT_CONNECTED &&
            usec_sub(now_usec(), client->connected_usec) >= client->params.stable_usec) {
                backoff_reset(&client->backoff);
                client_forget_addresses(client); /* as old as the connection, while the broker may have moved */
        }
        client_wait(client, address, reason, backoff_next_usec(&client->backoff));
}

static const char *client_address(const MqttClient *client)
{
        return client->next_address > 0 ? client->addresses[client->next_address - 1].text : NULL;
}

/* Nobody answered at this address, which tells nothing of the others: only once all were tried in vain does the wait grow. */
static void client_pass_on(MqttClient *client, const char *reason)
{
        Backoff pause = {.base_usec = client->params.backoff_base_usec, .cap_usec = client->params.backoff_base_usec};

        if (client->next_address < client->n_addresses)
                client_wait(client, client_address(client), reason, backoff_next_usec(&pause));
        else
                client_retry(client, client_address(client), reason);
}

static void client_disconnect_done(MqttClient *client)
{
        void (*on_done)(MqttClient *, void *) = TAKE_PTR(client->on_disconnect_done);

        client_drop(client);
        client->state = CLIENT_IDLE;
        if (on_done)
                on_done(client, client->userdata);
}

/* --- the connection's news --- */

static void on_connection_open(void *userdata)
{
        MqttClient *client = userdata;

        client->state = CLIENT_CONNECTED;
        client->connected_usec = now_usec();
        client->callbacks.on_connected(client, client->userdata);
}

static void on_connection_message(const char *topic, const uint8_t *payload, size_t n_payload, void *userdata)
{
        MqttClient *client = userdata;

        client->callbacks.on_message(client, topic, payload, n_payload, client->userdata);
}

static void on_connection_subscribed(unsigned id, int error, const char *problem, void *userdata)
{
        MqttClient *client = userdata;

        if (client->callbacks.on_subscribed)
                client->callbacks.on_subscribed(client, id, error, problem, client->userdata);
}

static void on_connection_published(unsigned id, const MqttRefusal *refusal, void *userdata)
{
        MqttClient *client = userdata;

        if (client->callbacks.on_published)
                client->callbacks.on_published(client, id, refusal, client->userdata);
}

static void on_connection_end(const char *reason, void *userdata)
{
        MqttClient *client = userdata;

        if (client->state == CLIENT_DISCONNECTING)
                client_disconnect_done(client);
        else if (!mqtt_connection_was_answered(client->connection))
                client_pass_on(client, reason);
        else
                client_retry(client, client_address(client), reason);
}

/* --- one try --- */

static void client_connect(MqttClient *client)
{
        static const MqttConnectionCallbacks callbacks = {
                .on_open = on_connection_open,
                .on_message = on_connection_message,
                .on_subscribed = on_connection_subscribed,
                .on_published = on_connection_published,
                .on_end = on_connection_end,
        };
        const char *address = client_address(client);
        char problem[MQTT_REASON_MAX];
        int r;

        client->state = CLIENT_CONNECTING;
        r = mqtt_connection_start(client->event, &client->params, address, &callbacks, client, &client->connection,
                                  problem);
        if (r == -EHOSTUNREACH)
                client_pass_on(client, problem);
        else if (r < 0)
                client_retry(client, address, problem);
}

static void on_probed(int error, const char *problem, void *userdata)
{
        MqttClient *client = userdata;
        char reason[MQTT_REASON_MAX];

        if (error == 0) {
                client_connect(client);
                return;
        }
        (void)snprintf(reason, sizeof(reason), "TLS: %s", problem);
        client_retry(client, client_address(client), reason);
}

static void client_dial(MqttClient *client)
{
        char reason[MQTT_REASON_MAX];
        int r;

        client->next_address++;
        if (!identity_probe_is_needed(&client->params.identity)) {
                client_connect(client);
                return;
        }
        client->state = CLIENT_PROBING;
        r = identity_probe_start(client->probe, &client->params.identity, client->params.connect_timeout_usec,
                                 on_probed, client);
        if (r == 0)
                return;
        (void)snprintf(reason, sizeof(reason), "TLS: cannot look at the key: %s", strerror(-r));
        client_retry(client, client_address(client), reason);
}

static void on_resolved(Resolver *resolver _unused_, int error, const char *problem, const ResolvedAddress *addresses,
                        size_t n_addresses, void *userdata)
{
        MqttClient *client = userdata;
        char reason[MQTT_REASON_MAX];

        if (error < 0) {
                (void)snprintf(reason, sizeof(reason), "name look-up: %s", problem);
                client_retry(client, NULL, reason);
                return;
        }
        memcpy(client->addresses, addresses, n_addresses * sizeof(*addresses));
        client->n_addresses = n_addresses;
        client->next_address = 0;
        client->resolver = resolver_free(client->resolver);
        client_dial(client);
}

static int client_look_up(MqttClient *client)
{
        const ResolverParams params = {
                .name = client->proxy.kind == PROXY_NONE ? client->params.host : client->proxy.host,
                .timeout_usec = client->params.lookup_timeout_usec,
                .servers = client->params.dns_servers,
        };
        int r;

        client_forget_addresses(client);
        r = resolver_start(client->event, &params, on_resolved, client, &client->resolver);
        if (r < 0)
                return r;
        client->state = CLIENT_LOOKING_UP;
        return 0;
}

static int on_timer(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata)
{
        MqttClient *client = userdata;
        char reason[MQTT_REASON_MAX];
        int r;

        if (client->state == CLIENT_DISCONNECTING) {
                client_disconnect_done(client);
                return 0;
        }
        assert(client->state == CLIENT_WAITING);
        if (client->next_address < client->n_addresses) {
                client_dial(client);
                return 0;
        }
        r = client_look_up(client);
        if (r < 0) {
                (void)snprintf(reason, sizeof(reason), "name look-up: %s", strerror(-r));
                client_retry(client, NULL, reason);
        }
        return 0;
}

/* --- what is asked of it --- */

/* The first try comes from the timer as all others do: so what fails in it is told, and tried again, as in any other. */
void mqtt_client_connect(MqttClient *client)
{
        if (client->state != CLIENT_IDLE && client->state != CLIENT_DISCONNECTING)
                return;
        client_drop(client);
        client_forget_addresses(client);
        client->on_disconnect_done = NULL;
        client->state = CLIENT_WAITING;
        client_arm(client, 0);
}

void mqtt_client_disconnect(MqttClient *client, void (*on_done)(MqttClient *client, void *userdata))
{
        client->on_disconnect_done = on_done;
        if (client->state == CLIENT_DISCONNECTING)
                return;
        if (client->state == CLIENT_CONNECTED) {
                client->state = CLIENT_DISCONNECTING;
                mqtt_connection_close(client->connection);
                return;
        }
        client_drop(client);
        client->state = CLIENT_DISCONNECTING;
        client_arm(client, 0);
}

int mqtt_client_publish(MqttClient *client, const char *topic, const void *payload, size_t n_payload, unsigned qos)
{
        if (client->state != CLIENT_CONNECTED)
                return -ENOTCONN;
        return mqtt_connection_publish(client->connection, topic, payload, n_payload, qos);
}

int mqtt_client_subscribe(MqttClient *client, const char *const *filters, size_t n_filters, unsigned qos,
                          unsigned *ret_id)
{
        if (client->state != CLIENT_CONNECTED)
                return -ENOTCONN;
        return mqtt_connection_subscribe(client->connection, filters, n_filters, qos, ret_id);
}

int mqtt_client_unsubscribe(MqttClient *client, const char *const *filters, size_t n_filters)
{
        if (client->state != CLIENT_CONNECTED)
                return -ENOTCONN;
        return mqtt_connection_unsubscribe(client->connection, filters, n_filters);
}

/* --- its life --- */

static int own_string(const char **text)
{
        if (!*text)
                return 0;
        *text = strdup(*text);
        return *text ? 0 : -ENOMEM;
}

/* The fields of the params that are strings; each is replaced by a copy, or NULL where memory ran out. */
static int own_strings(MqttClientParams *params)
{
        const char **fields[] = {&params->client_id,         &params->host,          &params->alpn,
                                 &params->ca_file,           &params->identity.cert, &params->identity.key,
                                 &params->identity.pin_file, &params->proxy.url,     &params->proxy.credentials_file,
                                 &params->dns_servers};
        int r = 0;

        for (size_t i = 0; i < ELEMENTSOF(fields); i++)
                if (own_string(fields[i]) < 0)
                        r = -ENOMEM;
        return r;
}

static void free_strings(MqttClientParams *params)
{
        const char *fields[] = {params->client_id,         params->host,          params->alpn,
                                params->ca_file,           params->identity.cert, params->identity.key,
                                params->identity.pin_file, params->proxy.url,     params->proxy.credentials_file,
                                params->dns_servers};

        for (size_t i = 0; i < ELEMENTSOF(fields); i++)
                free((char *)(uintptr_t)fields[i]);
}

static bool params_are_valid(const MqttClientParams *p)
{
        return p->client_id && p->client_id[0] && p->host && p->host[0] && strlen(p->host) <= RESOLVER_NAME_MAX &&
               p->port > 0 && p->ca_file && p->identity.cert && p->identity.key &&
               p->keep_alive_sec >= MQTT_KEEP_ALIVE_MIN_SEC && p->keep_alive_sec <= UINT16_MAX &&
               p->lookup_timeout_usec > 0 && p->connect_timeout_usec > 0 && p->answer_timeout_usec > 0 &&
               p->backoff_base_usec > 0 && p->backoff_base_usec <= p->backoff_cap_usec && p->max_unsent_bytes > 0;
}

int mqtt_client_new(sd_event *event, const MqttClientParams *params, const MqttClientCallbacks *callbacks,
                    void *userdata, MqttClient **ret)
{
        _cleanup_(mqtt_client_freep) MqttClient *client = NULL;
        int r;

        assert(callbacks->on_connected && callbacks->on_disconnected && callbacks->on_message);
        if (!params_are_valid(params))
                return -EINVAL;
        client = calloc(1, sizeof(*client));
        if (!client)
                return -ENOMEM;
        r = proxy_find(&params->proxy, &client->proxy);
        if (r < 0)
                return r;
        client->event = sd_event_ref(event);
        client->params = *params;
        client->callbacks = *callbacks;
        client->userdata = userdata;
        client->backoff = (Backoff){.base_usec = params->backoff_base_usec, .cap_usec = params->backoff_cap_usec};
        r = own_strings(&client->params);
        if (r < 0)
                return r;
        r = identity_probe_new(event, &client->probe);
        if (r < 0)
                return r;
        r = sd_event_add_time(event, &client->timer_source, CLOCK_BOOTTIME, USEC_INFINITY, 10 * USEC_PER_MSEC,
                              on_timer, client);
        if (r < 0)
                return r;
        (void)sd_event_source_set_description(client->timer_source, "mqtt-retry");
        r = sd_event_source_set_enabled(client->timer_source, SD_EVENT_OFF);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(client);
        return 0;
}

MqttClient *mqtt_client_free(MqttClient *client)
{
        if (!client)
                return NULL;
        resolver_free(client->resolver);
        identity_probe_free(client->probe);
        mqtt_connection_free(client->connection);
        sd_event_source_disable_unref(client->timer_source);
        free_strings(&client->params);
        sd_event_unref(client->event);
        free(client);
        return NULL;
}
