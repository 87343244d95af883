/*
 * mqtt-client: one MQTT session with the broker, kept up on the event loop.
 *
 * Owns name look-up, TCP, TLS with a client certificate, MQTT (libmosquitto by its socket), and reconnecting.
 * Knows nothing of topics' meaning, keeps no queue for the time without a connection, and forgets its
 * subscriptions with each connection: who uses it subscribes in on_connected and sends again what got no
 * answer.
 *
 * Never plain TCP. TLS 1.2 or newer; chain, dates and host name of the broker are verified; SNI is the
 * configured host name to the letter (none for an IP literal, RFC 6066 section 3). CA, certificate and key
 * are read anew for each try, so a repaired or renewed file needs no restart.
 *
 * Every wait has a deadline:
 *   name look-up                         lookup_timeout_usec
 *   the token, where the key is on one   connect_timeout_usec, see transport/identity-probe.h
 *   TCP, the proxy's answer, TLS and CONNACK, together  connect_timeout_usec
 *   SUBACK, UNSUBACK, PUBACK, each       answer_timeout_usec
 *   PINGRESP (or any other byte)         answer_timeout_usec after a PINGREQ, which is sent keep_alive_sec after
 *                                        the last byte in either direction
 *   bytes we sent, not acknowledged (TCP)  answer_timeout_usec + keep_alive_sec (TCP_USER_TIMEOUT)
 *   DISCONNECT flushed                   2 s
 *
 * A deadline missed ends the connection: on_disconnected names it, then the client tries again. There is no limit
 * to the tries; the wait between two is exponential with full jitter, and starts over only once a connection has
 * lasted stable_usec.
 *
 * Where a name has several addresses, each try takes the next. Where nobody answers at one, the next is tried after
 * at most backoff_base_usec, and the wait grows after the last only. After that, and after a connection that has
 * lasted, the name is looked up again.
 *
 * Sources: MQTT 5.0 and 3.1.1 (OASIS); AWS IoT Core Developer Guide, "Device communication protocols" (port
 * 443 wants ALPN x-amzn-mqtt-ca), "Transport security" (SNI); AWS General Reference, AWS IoT Core quotas (8
 * filters a SUBSCRIBE).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "base/cleanup.h"
#include "transport/identity.h"
#include "transport/proxy.h"

enum {
        MQTT_FILTERS_MAX = 8,                /* of one SUBSCRIBE or UNSUBSCRIBE */
        MQTT_KEEP_ALIVE_MIN_SEC = 5,         /* libmosquitto refuses less */
        MQTT_PACKET_BYTES_MAX = 1024 * 1024, /* a larger packet from the broker ends the connection */
};

typedef enum MqttVersion {
        MQTT_VERSION_5,
        MQTT_VERSION_3_1_1,
} MqttVersion;

/* Strings are copied. */
typedef struct MqttClientParams {
        const char *client_id;
        const char *host; /* name or IP literal; also what the broker's certificate must be made out to */
        uint16_t port;
        const char *alpn;    /* "x-amzn-mqtt-ca" where port is 443; NULL: none is sent */
        const char *ca_file; /* PEM */
        IdentityParams identity;
        ProxyParams proxy;
        MqttVersion version;
        unsigned keep_alive_sec; /* MQTT 5: the broker may shorten or lengthen it */
        uint64_t lookup_timeout_usec;
        uint64_t connect_timeout_usec;
        uint64_t answer_timeout_usec;
        uint64_t backoff_base_usec;
        uint64_t backoff_cap_usec;
        uint64_t stable_usec;
        size_t max_unsent_bytes; /* of publishes not yet written, or (QoS 1) not yet acknowledged */
        const char *dns_servers; /* NULL: the system's; for tests, see transport/resolver.h */
} MqttClientParams;

/* Why the broker did not take a publish; only MQTT 5 tells. Borrowed for the call. */
typedef struct MqttRefusal {
        const char *topic;
        uint8_t code; /* MQTT 5.0, section 3.4.2.1: 0x80 or more */
        const char *words;
} MqttRefusal;

typedef struct MqttClient MqttClient;

/*
 * All come from the loop, never from inside a call into the client. Every call of this header is allowed
 * inside them, freeing too. on_connected, on_disconnected and on_message are needed, the others may be NULL.
 */
typedef struct MqttClientCallbacks {
        /* CONNACK was good; a clean session, so nothing is subscribed. */
        void (*on_connected)(MqttClient *client, void *userdata);
        /*
         * A connection ended, or a try failed. `reason` is one line for a person, in words; it may quote
         * hostile text (the log escapes it). retry_usec: how long until the next try. All ids still without
         * an answer are void.
         */
        void (*on_disconnected)(MqttClient *client, const char *reason, uint64_t retry_usec, void *userdata);
        /* `payload` holds n_payload bytes and no NUL; both are borrowed for the call. The topic may be one
         * never subscribed to. */
        void (*on_message)(MqttClient *client, const char *topic, const uint8_t *payload, size_t n_payload,
                           void *userdata);
        /*
         * SUBACK. error 0: all filters granted, problem NULL. -EACCES: the broker refused at least one;
         * `problem` names filter and reason; the others stand, the connection too: the caller decides.
         */
        void (*on_subscribed)(MqttClient *client, unsigned id, int error, const char *problem, void *userdata);
        /* PUBACK of a QoS 1 publish. refusal NULL: the broker has taken it. */
        void (*on_published)(MqttClient *client, unsigned id, const MqttRefusal *refusal, void *userdata);
} MqttClientCallbacks;

/* Does not connect yet. -EINVAL: a missing or senseless parameter. */
_must_use_ int mqtt_client_new(sd_event *event, const MqttClientParams *params, const MqttClientCallbacks *callbacks,
                               void *userdata, MqttClient **ret);
MqttClient *mqtt_client_free(MqttClient *client); /* drops the connection without a DISCONNECT; NULL is fine */
DEFINE_CLEANUP(MqttClient *, mqtt_client_free);

/* The first try begins with the loop's next turn, and it keeps trying: a try that cannot even begin is a failed one. Fine
 * while connecting or connected; ends a disconnect under way. */
void mqtt_client_connect(MqttClient *client);

/*
 * Says DISCONNECT, flushes what was written before it within 2 s, stops reconnecting. on_done (may be NULL)
 * comes once, from the loop, unless the client is freed or connected again before; on_disconnected does not.
 */
void mqtt_client_disconnect(MqttClient *client, void (*on_done)(MqttClient *client, void *userdata));

/*
 * 0 for QoS 0, the packet id (> 0) for QoS 1. -ENOTCONN: no connection, send again after on_connected.
 * -ENOBUFS: max_unsent_bytes reached, nothing was queued. -EMSGSIZE: more than the broker takes. -EINVAL:
 * topic or qos.
 */
_must_use_ int mqtt_client_publish(MqttClient *client, const char *topic, const void *payload, size_t n_payload,
                                   unsigned qos);

/* 1 to MQTT_FILTERS_MAX filters at QoS `qos`; *ret_id is what on_subscribed gets. Errors as for publish. */
_must_use_ int mqtt_client_subscribe(MqttClient *client, const char *const *filters, size_t n_filters, unsigned qos,
                                     unsigned *ret_id);
/* Its answer is waited for but not reported. */
_must_use_ int mqtt_client_unsubscribe(MqttClient *client, const char *const *filters, size_t n_filters);
