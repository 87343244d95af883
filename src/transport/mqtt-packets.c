#include "mqtt-connection-private.h"

#include <errno.h>
#include <mqtt_protocol.h>
#include <openssl/err.h>
#include <string.h>
#include <sys/socket.h>

#include "base/time-util.h"
#include "mqtt-words.h"

enum {
        SUBSCRIBES_MAX = 32,         /* without an answer */
        PUBLISH_OVERHEAD_BYTES = 64, /* so that empty messages count too */
};

#define FLUSH_TIMEOUT_USEC (2 * USEC_PER_SEC)

void mqtt_connection_fail(MqttConnection *c, const char *format, ...)
{
        va_list args;

        if (c->ended)
                return;
        c->ended = true;
        va_start(args, format);
        (void)vsnprintf(c->reason, sizeof(c->reason), format, args);
        va_end(args);
}

/*
 * Closing while bytes from the broker lie unread would reset the connection, and the broker might lose what we sent
 * last. So only our side is closed, and the broker's end waited for.
 */
static void connection_linger(MqttConnection *c)
{
        if (c->phase == PHASE_CLOSING && c->disconnect_code == 0 && shutdown(c->fd, SHUT_WR) == 0)
                c->phase = PHASE_LINGERING;
        else
                mqtt_connection_fail(c, "closed");
}

void mqtt_connection_explain(MqttConnection *c, int rc)
{
        if (c->ended)
                return;
        if (c->phase >= PHASE_CLOSING)
                connection_linger(c);
        else if (c->tls.verify_problem[0])
                mqtt_connection_fail(c, "TLS: %s", c->tls.verify_problem);
        else if (c->tls.alert[0])
                mqtt_connection_fail(c, "TLS: %s", c->tls.alert);
        else if (c->connack_code > 0)
                mqtt_connection_fail(c, "the broker refused CONNECT: %s (0x%02x)",
                                     c->params->version == MQTT_VERSION_5
                                             ? mqtt_reason_to_words(c->connack_code)
                                             : mqtt_connack_3_1_1_to_words(c->connack_code),
                                     (unsigned)c->connack_code);
        else if (c->disconnect_code == 0 || c->disconnect_code >= 0x80)
                mqtt_connection_fail(c, "the broker disconnected us: %s (0x%02x; last sent: %s)",
                                     mqtt_reason_to_words(c->disconnect_code), (unsigned)c->disconnect_code,
                                     c->last_sent);
        else if (c->phase <= PHASE_TLS && c->socket_error)
                mqtt_connection_fail(c, "TLS: %s", strerror(c->socket_error));
        else if (c->phase <= PHASE_TLS)
                mqtt_connection_fail(c, "TLS: %s",
                                     c->library_error[0] ? c->library_error : "the broker closed the connection");
        else if (rc == MOSQ_ERR_PROTOCOL || rc == MOSQ_ERR_MALFORMED_PACKET || rc == MOSQ_ERR_MALFORMED_UTF8 ||
                 rc == MOSQ_ERR_DUPLICATE_PROPERTY)
                mqtt_connection_fail(c, "the broker sent a packet that is not MQTT (last sent: %s)", c->last_sent);
        else if (rc == MOSQ_ERR_NOMEM)
                mqtt_connection_fail(c, "out of memory");
        else if (rc == MOSQ_ERR_CONN_LOST || c->socket_error || !c->library_error[0])
                mqtt_connection_fail(
                        c,
                        "the broker closed the connection without a reason%s%s: a policy that forbids the "
                        "last action, or another client with the same id (last sent: %s)",
                        c->socket_error ? ", " : "", c->socket_error ? strerror(c->socket_error) : "", c->last_sent);
        else
                mqtt_connection_fail(c, "%s (last sent: %s)", c->library_error, c->last_sent);
}

/*
 * --- what libmosquitto tells; all of it from inside its calls, with its mutex held ---
 *
 * It may read on afterwards, so what our user left in OpenSSL's error queue is cleared.
 */

static void on_mosq_log(struct mosquitto *mosq _unused_, void *userdata, int level, const char *text)
{
        MqttConnection *c = userdata;

        /* A debug line stands for one whole packet, received or sent. */
        if (level == MOSQ_LOG_DEBUG)
                c->packet_start = c->tls.budget.read_bytes;
        else if (level == MOSQ_LOG_ERR && !c->library_error[0])
                (void)snprintf(c->library_error, sizeof(c->library_error), "%s", text);
}

static void on_mosq_connack(struct mosquitto *mosq _unused_, void *userdata, int code, int flags _unused_,
                            const mosquitto_property *properties)
{
        MqttConnection *c = userdata;
        uint16_t keep_alive_sec;

        if (c->abandoned || c->phase != PHASE_CONNACK)
                return;
        if (code != 0) {
                c->connack_code = code;
                return;
        }
        if (mosquitto_property_read_int16(properties, MQTT_PROP_SERVER_KEEP_ALIVE, &keep_alive_sec, false))
                c->keep_alive_usec = keep_alive_sec * USEC_PER_SEC;
        c->phase = PHASE_OPEN;
        c->callbacks.on_open(c->userdata);
        ERR_clear_error();
}

static void on_mosq_disconnect(struct mosquitto *mosq _unused_, void *userdata, int code,
                               const mosquitto_property *properties _unused_)
{
        MqttConnection *c = userdata;

        /* It may be called a second time, about the end that the first one was. */
        if (c->disconnect_code < 0)
                c->disconnect_code = code;
}

static void on_mosq_message(struct mosquitto *mosq _unused_, void *userdata, const struct mosquitto_message *message,
                            const mosquitto_property *properties _unused_)
{
        MqttConnection *c = userdata;

        if (c->abandoned || c->phase != PHASE_OPEN)
                return;
        c->callbacks.on_message(message->topic, message->payload ? message->payload : (const void *)"",
                                (size_t)message->payloadlen, c->userdata);
        ERR_clear_error();
}

static void on_mosq_publish(struct mosquitto *mosq _unused_, void *userdata, int id, int code,
                            const mosquitto_property *properties _unused_)
{
        _cleanup_free_ char *topic = NULL;
        MqttConnection *c = userdata;
        MqttPending *pending;
        MqttRefusal refusal;

        pending = mqtt_pending_find(&c->pending, MQTT_PENDING_PUBLISH_0, id);
        if (pending) {
                if (pending == c->publishing)
                        c->publishing_written = true;
                else
                        mqtt_pending_remove(&c->pending, pending);
                return;
        }
        pending = mqtt_pending_find(&c->pending, MQTT_PENDING_PUBLISH_1, id);
        if (!pending || pending == c->publishing)
                return;
        topic = TAKE_PTR(pending->filters[0]);
        mqtt_pending_remove(&c->pending, pending);
        if (c->abandoned || c->phase != PHASE_OPEN)
                return;
        refusal = (MqttRefusal){.topic = topic, .code = (uint8_t)code, .words = mqtt_reason_to_words(code)};
        c->callbacks.on_published((unsigned)id, code >= 0x80 ? &refusal : NULL, c->userdata);
        ERR_clear_error();
}

static void on_mosq_subscribe(struct mosquitto *mosq _unused_, void *userdata, int id, int n_codes, const int *codes,
                              const mosquitto_property *properties _unused_)
{
        MqttConnection *c = userdata;
        char problem[MQTT_REASON_MAX] = "";
        MqttPending *pending;

        pending = mqtt_pending_find(&c->pending, MQTT_PENDING_SUBSCRIBE, id);
        if (!pending)
                return;
        if (n_codes < 0 || (size_t)n_codes != pending->n_filters)
                (void)snprintf(problem, sizeof(problem), "the broker answered for %d of %zu filters", n_codes,
                               pending->n_filters);
        for (size_t i = 0; !problem[0] && i < pending->n_filters; i++)
                if (codes[i] >= 0x80)
                        (void)snprintf(problem, sizeof(problem), "the broker refused %s: %s (0x%02x)",
                                       pending->filters[i], mqtt_reason_to_words(codes[i]), (unsigned)codes[i]);
        mqtt_pending_remove(&c->pending, pending);
        if (c->abandoned || c->phase != PHASE_OPEN)
                return;
        c->callbacks.on_subscribed((unsigned)id, problem[0] ? -EACCES : 0, problem[0] ? problem : NULL, c->userdata);
        ERR_clear_error();
}

static void on_mosq_unsubscribe(struct mosquitto *mosq _unused_, void *userdata, int id,
                                const mosquitto_property *properties _unused_)
{
        MqttConnection *c = userdata;
        MqttPending *pending = mqtt_pending_find(&c->pending, MQTT_PENDING_UNSUBSCRIBE, id);

        if (pending)
                mqtt_pending_remove(&c->pending, pending);
}
void mqtt_connection_set_callbacks(struct mosquitto *mosq)
{
        mosquitto_log_callback_set(mosq, on_mosq_log);
        mosquitto_connect_v5_callback_set(mosq, on_mosq_connack);
        mosquitto_disconnect_v5_callback_set(mosq, on_mosq_disconnect);
        mosquitto_message_v5_callback_set(mosq, on_mosq_message);
        mosquitto_publish_v5_callback_set(mosq, on_mosq_publish);
        mosquitto_subscribe_v5_callback_set(mosq, on_mosq_subscribe);
        mosquitto_unsubscribe_v5_callback_set(mosq, on_mosq_unsubscribe);
}

/* --- what is asked of it --- */

static int connection_check_call(MqttConnection *c, int rc)
{
        switch (rc) {
        case MOSQ_ERR_SUCCESS:
                return 0;
        case MOSQ_ERR_NOMEM:
                return -ENOMEM;
        case MOSQ_ERR_OVERSIZE_PACKET:
        case MOSQ_ERR_PAYLOAD_SIZE:
                return -EMSGSIZE;
        case MOSQ_ERR_INVAL:
        case MOSQ_ERR_MALFORMED_UTF8:
        case MOSQ_ERR_QOS_NOT_SUPPORTED:
                return -EINVAL;
        default:
                c->write_rc = rc;
                return -ENOTCONN;
        }
}

int mqtt_connection_publish(MqttConnection *c, const char *topic, const void *payload, size_t n_payload, unsigned qos)
{
        size_t n_bytes = n_payload + strlen(topic) + PUBLISH_OVERHEAD_BYTES;
        MqttPending *pending;
        int r;

        if (c->phase != PHASE_OPEN || c->ended || c->write_rc)
                return -ENOTCONN;
        if (qos > 1)
                return -EINVAL;
        if (n_payload > MQTT_MAX_PAYLOAD || n_bytes > c->params->max_unsent_bytes)
                return -EMSGSIZE;
        if (n_bytes > c->params->max_unsent_bytes - c->pending.n_bytes)
                return -ENOBUFS;
        pending = mqtt_pending_add(&c->pending, qos == 0 ? MQTT_PENDING_PUBLISH_0 : MQTT_PENDING_PUBLISH_1, n_bytes,
                                   qos == 0 ? USEC_INFINITY : usec_add(now_usec(), c->params->answer_timeout_usec),
                                   &topic, qos); /* of what gets an answer the topic is kept, to be named then */
        if (!pending)
                return -ENOMEM;

        (void)snprintf(c->last_sent, sizeof(c->last_sent), "PUBLISH %s, %zu bytes", topic, n_payload);
        c->publishing = pending;
        c->publishing_written = false;
        ERR_clear_error();
        r = connection_check_call(
                c, mosquitto_publish(c->mosq, &pending->id, topic, (int)n_payload, payload, (int)qos, false));
        c->publishing = NULL;
        if (r == 0)
                r = qos == 0 ? 0 : pending->id;
        if (r < 0 || c->publishing_written)
                mqtt_pending_remove(&c->pending, pending);
        mqtt_connection_touched(c);
        return r;
}

static int connection_subscribe(MqttConnection *c, MqttPendingKind kind, const char *const *filters, size_t n_filters,
                                unsigned qos, unsigned *ret_id)
{
        bool subscribe = kind == MQTT_PENDING_SUBSCRIBE;
        char *const *list = (char *const *)(uintptr_t)filters; /* libmosquitto only reads them */
        MqttPending *pending;
        int rc, r;

        if (c->phase != PHASE_OPEN || c->ended || c->write_rc)
                return -ENOTCONN;
        if (n_filters == 0 || n_filters > MQTT_FILTERS_MAX || qos > 1)
                return -EINVAL;
        if (c->pending.n_subscribes >= SUBSCRIBES_MAX)
                return -ENOBUFS;
        pending = mqtt_pending_add(&c->pending, kind, 0, usec_add(now_usec(), c->params->answer_timeout_usec),
                                   filters, n_filters);
        if (!pending)
                return -ENOMEM;

        (void)snprintf(c->last_sent, sizeof(c->last_sent), "%s %s%s", subscribe ? "SUBSCRIBE" : "UNSUBSCRIBE",
                       filters[0], n_filters > 1 ? " and others" : "");
        ERR_clear_error();
        rc = subscribe ? mosquitto_subscribe_multiple(c->mosq, &pending->id, (int)n_filters, list, (int)qos, 0, NULL)
                       : mosquitto_unsubscribe_multiple(c->mosq, &pending->id, (int)n_filters, list, NULL);
        r = connection_check_call(c, rc);
        if (r < 0)
                mqtt_pending_remove(&c->pending, pending);
        else if (ret_id)
                *ret_id = (unsigned)pending->id;
        mqtt_connection_touched(c);
        return r;
}

int mqtt_connection_subscribe(MqttConnection *c, const char *const *filters, size_t n_filters, unsigned qos,
                              unsigned *ret_id)
{
        return connection_subscribe(c, MQTT_PENDING_SUBSCRIBE, filters, n_filters, qos, ret_id);
}

int mqtt_connection_unsubscribe(MqttConnection *c, const char *const *filters, size_t n_filters)
{
        return connection_subscribe(c, MQTT_PENDING_UNSUBSCRIBE, filters, n_filters, 0, NULL);
}

void mqtt_connection_close(MqttConnection *c)
{
        if (c->phase >= PHASE_CLOSING || c->ended)
                return;
        c->phase = PHASE_CLOSING;
        c->deadline_usec = now_usec() + FLUSH_TIMEOUT_USEC;
        ERR_clear_error();
        /* Where it is written at once, libmosquitto closes the socket at once. */
        if (mosquitto_disconnect(c->mosq) != MOSQ_ERR_SUCCESS)
                mqtt_connection_fail(c, "closed");
        mqtt_connection_touched(c);
}
