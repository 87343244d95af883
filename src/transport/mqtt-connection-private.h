/*
 * mqtt-connection-private: what the parts of a connection share.
 *
 *   mqtt-connection.c  drives it: socket, phases, its life
 *   mqtt-proxy.c       the way through a proxy, where there is one
 *   mqtt-deadlines.c   how long each wait may take
 *   mqtt-packets.c     its vocabulary: what libmosquitto tells, what is asked of it, and the words for how it ended
 */
#pragma once

#include <mosquitto.h>

#include "mqtt-connection.h"
#include "mqtt-pending.h"
#include "mqtt-tls.h"
#include "transport/proxy.h"

enum { LAST_SENT_MAX = 160 };

typedef enum ConnectionPhase {
        PHASE_TCP,
        PHASE_PROXY, /* where there is one: it is asked for the way to the broker */
        PHASE_TLS,
        PHASE_CONNACK,
        PHASE_OPEN,
        PHASE_CLOSING,   /* DISCONNECT is queued */
        PHASE_LINGERING, /* it is written, libmosquitto is done; the broker has yet to read it all */
} ConnectionPhase;

struct MqttConnection {
        const MqttClientParams *params;
        MqttConnectionCallbacks callbacks;
        void *userdata;

        struct mosquitto *mosq;
        MqttTlsReport tls;
        uint16_t port;              /* dialled: the broker's, or the proxy's */
        ProxyHandshake *proxy;      /* NULL: there is none, or the way is open */
        sd_event_source *io_source; /* owns a duplicate of libmosquitto's socket */
        sd_event_source *timer_source;
        sd_event_source *again_source; /* bytes left inside TLS, or an end to tell of that happened inside a call */
        int fd;

        ConnectionPhase phase;
        bool busy;      /* inside libmosquitto, or our callbacks: not to be freed now */
        bool abandoned; /* freed while busy */
        bool ended;
        char reason[MQTT_REASON_MAX];

        int connack_code;
        int disconnect_code; /* -1: none */
        int socket_error;
        int write_rc;                          /* a write failed; what the broker said before is still to be read */
        char library_error[MQTT_TLS_TEXT_MAX]; /* the first one libmosquitto logged */
        char last_sent[LAST_SENT_MAX];

        MqttPendingList pending;
        MqttPending *publishing; /* in mosquitto_publish() right now */
        bool publishing_written;

        uint64_t deadline_usec; /* until PHASE_OPEN, and from PHASE_CLOSING on */
        uint64_t keep_alive_usec;
        uint64_t last_in_usec, last_out_usec;
        uint64_t ping_deadline_usec; /* 0: no PINGREQ without an answer */
        uint64_t ping_again_usec;    /* libmosquitto counts whole seconds and may think it too early */
        uint64_t n_in, n_out;        /* bytes up to the last look, TLS framing included */
        uint64_t packet_start;       /* n_in when the last whole packet had come */
};

/* The first reason counts. */
_printf_(2, 3) void mqtt_connection_fail(MqttConnection *c, const char *format, ...);
/* The same, in the words for an end that libmosquitto saw: `rc` is what it returned. */
void mqtt_connection_explain(MqttConnection *c, int rc);
/* Credentials are read anew for each try, as the device's own are. Negative: and the problem, in words. */
_must_use_ int mqtt_connection_prepare_proxy(MqttConnection *c, char problem[static MQTT_REASON_MAX]);
/* True once the way to the broker is open, and TLS may speak. */
bool mqtt_connection_pass_proxy(MqttConnection *c);
void mqtt_connection_drop_proxy(MqttConnection *c);
/* Ends what took too long, and pings where nothing was said for a keep-alive. */
void mqtt_connection_check_deadlines(MqttConnection *c, uint64_t now);
uint64_t mqtt_connection_next_deadline(const MqttConnection *c);
/* The end of every visit from outside the loop: never calls back from in there. */
void mqtt_connection_touched(MqttConnection *c);
void mqtt_connection_set_callbacks(struct mosquitto *mosq);
