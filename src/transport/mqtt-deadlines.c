/* How long a connection waits, and for what; and PINGREQ, which is sent so that there is something to wait for. */
#include <openssl/err.h>
#include <string.h>

#include "base/time-util.h"
#include "mqtt-connection-private.h"

static void connection_ping(MqttConnection *c, uint64_t now)
{
        SSL *ssl = mosquitto_ssl_get(c->mosq);
        uint64_t before = BIO_number_written(SSL_get_wbio(ssl));
        int rc;

        ERR_clear_error();
        rc = mosquitto_loop_misc(c->mosq);
        if (rc != MOSQ_ERR_SUCCESS || mosquitto_socket(c->mosq) < 0) {
                mqtt_connection_explain(c, rc);
                return;
        }
        /* Written, or stuck behind what the broker has not taken for a whole keep-alive: both want an answer now. */
        if (BIO_number_written(SSL_get_wbio(ssl)) != before || mosquitto_want_write(c->mosq)) {
                c->ping_deadline_usec = usec_add(now, c->params->answer_timeout_usec);
                c->last_in_usec = c->last_out_usec = now;
                (void)snprintf(c->last_sent, sizeof(c->last_sent), "PINGREQ");
        } else {
                c->ping_again_usec = now + USEC_PER_SEC;
        }
}

static uint64_t connection_ping_due(const MqttConnection *c)
{
        if (c->keep_alive_usec == 0)
                return USEC_INFINITY;
        return MAX2(usec_add(MIN2(c->last_in_usec, c->last_out_usec), c->keep_alive_usec), c->ping_again_usec);
}

void mqtt_connection_check_deadlines(MqttConnection *c, uint64_t now)
{
        static const char *const waits[] = {
                [PHASE_TCP] = "no TCP connection",
                [PHASE_PROXY] = "proxy: no answer to what it was asked",
                [PHASE_TLS] = "TLS: the handshake was not finished",
                [PHASE_CONNACK] = "no CONNACK",
        };
        const MqttPending *pending = mqtt_pending_first_due(&c->pending);
        char text[DURATION_TEXT_MAX];

        if (c->phase >= PHASE_CLOSING) {
                if (now >= c->deadline_usec)
                        mqtt_connection_fail(c, "closed");
        } else if (c->phase < PHASE_OPEN) {
                if (now >= c->deadline_usec)
                        mqtt_connection_fail(c, "%s within %s", waits[c->phase],
                                             duration_format(text, c->params->connect_timeout_usec));
        } else if (pending && now >= pending->deadline_usec) {
                mqtt_connection_fail(c, "no %s within %s (last sent: %s)", mqtt_pending_kind_to_answer(pending->kind),
                                     duration_format(text, c->params->answer_timeout_usec), c->last_sent);
        } else if (c->ping_deadline_usec > 0) {
                if (now >= c->ping_deadline_usec)
                        mqtt_connection_fail(c, "no PINGRESP within %s",
                                             duration_format(text, c->params->answer_timeout_usec));
        } else if (now >= connection_ping_due(c)) {
                connection_ping(c, now);
        }
}

uint64_t mqtt_connection_next_deadline(const MqttConnection *c)
{
        const MqttPending *pending = mqtt_pending_first_due(&c->pending);
        uint64_t next;

        if (c->phase != PHASE_OPEN)
                return c->deadline_usec;
        next = c->ping_deadline_usec > 0 ? c->ping_deadline_usec : connection_ping_due(c);
        return pending ? MIN2(next, pending->deadline_usec) : next;
}
