/*
 * mqtt-connection: one try at the broker, from the first TCP packet to the end, whatever ends it.
 *
 * Owns its libmosquitto handle, socket and event sources; never tries again: that is mqtt-client's.
 *
 * What libmosquitto 2.0.11 does that the code here is about (lib/net_mosq.c, loop.c, packet_mosq.c, connect.c):
 * - loop_read() ignores max_packets, and reads on for as long as TLS has data: see read-budget. It may also stop early
 *   with data left inside TLS, for it looks at errno after our callbacks: asked again until TLS is empty.
 * - During the handshake mosquitto_want_write() stays true, and SSL_ERROR_SYSCALL counts as "go on": what to wait for
 *   is asked of OpenSSL, and the socket's error looked at first.
 * - It judges SSL_read() by the thread's error queue without clearing it: cleared before each call into it, and after
 *   each call out of it.
 * - Where the broker is quick, the call that connects would do the whole handshake, and write CONNECT into a connection
 *   that the broker has refused, so that its alert is lost: the read budget is empty until then (mqtt-tls.c).
 * - After DISCONNECT it closes at once, and unread bytes make that a reset: our duplicate lingers until the broker ends.
 * - It closes the socket inside its calls: the event loop watches a duplicate.
 * - Its mutex is held in callbacks: never freed there.
 * - Without a bound it allocates and waits for any packet length: bounded by bytes since the last whole packet.
 */
#pragma once

#include <stdbool.h>
#include <systemd/sd-event.h>

#include "transport/mqtt-client.h"

enum { MQTT_REASON_MAX = 1024 };

typedef struct MqttConnection MqttConnection;

/* From the loop only. on_end comes last, once; inside any of them the connection may be freed. */
typedef struct MqttConnectionCallbacks {
        void (*on_open)(void *userdata); /* CONNACK was good */
        void (*on_message)(const char *topic, const uint8_t *payload, size_t n_payload, void *userdata);
        void (*on_subscribed)(unsigned id, int error, const char *problem, void *userdata);
        void (*on_published)(unsigned id, const MqttRefusal *refusal, void *userdata);
        void (*on_end)(const char *reason, void *userdata);
} MqttConnectionCallbacks;

/*
 * `params` is borrowed as long as the connection. `address` is the broker's, or that of the proxy, where there is one.
 * On failure `problem` says why in words. -EHOSTUNREACH: no way to this address; all others tell of us.
 */
_must_use_ int mqtt_connection_start(sd_event *event, const MqttClientParams *params, const char *address,
                                     const MqttConnectionCallbacks *callbacks, void *userdata, MqttConnection **ret,
                                     char problem[static MQTT_REASON_MAX]);
MqttConnection *mqtt_connection_free(MqttConnection *connection); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(MqttConnection *, mqtt_connection_free);

/* Somebody was there: TCP came about, whatever happened then. */
bool mqtt_connection_was_answered(const MqttConnection *connection);

/* Says DISCONNECT; on_end follows once it is flushed, or after 2 s. */
void mqtt_connection_close(MqttConnection *connection);

/* As in transport/mqtt-client.h. */
_must_use_ int mqtt_connection_publish(MqttConnection *connection, const char *topic, const void *payload,
                                       size_t n_payload, unsigned qos);
_must_use_ int mqtt_connection_subscribe(MqttConnection *connection, const char *const *filters, size_t n_filters,
                                         unsigned qos, unsigned *ret_id);
_must_use_ int mqtt_connection_unsubscribe(MqttConnection *connection, const char *const *filters, size_t n_filters);
