/* The way to the broker through a proxy, before TLS begins. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "mqtt-connection-private.h"

int mqtt_connection_prepare_proxy(MqttConnection *c, char problem[static MQTT_REASON_MAX])
{
        char text[PROXY_TEXT_MAX];
        ProxyUrl proxy;
        int r;

        c->port = c->params->port;
        r = proxy_load(&c->params->proxy, &proxy, text);
        if (r < 0) {
                (void)snprintf(problem, MQTT_REASON_MAX, "proxy: %s", text);
        } else if (proxy.kind != PROXY_NONE) {
                c->port = proxy.port;
                c->tls.budget.hold_writes = true;
                c->proxy = malloc(sizeof(*c->proxy));
                if (c->proxy) {
                        proxy_handshake_init(c->proxy, &proxy, c->params->host, c->params->port);
                } else {
                        (void)snprintf(problem, MQTT_REASON_MAX, "out of memory");
                        r = -ENOMEM;
                }
        }
        explicit_bzero(&proxy, sizeof(proxy));
        return r;
}

void mqtt_connection_drop_proxy(MqttConnection *c)
{
        if (c->proxy)
                proxy_handshake_wipe(c->proxy);
        free(c->proxy);
        c->proxy = NULL;
}

static void connection_send_to_proxy(MqttConnection *c)
{
        ProxyHandshake *h = c->proxy;
        ssize_t n = send(c->fd, h->out, h->n_out, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno != EAGAIN && errno != EINTR) {
                mqtt_connection_fail(c, "proxy: %s", strerror(errno));
        } else if (n > 0) {
                h->n_out -= (size_t)n;
                memmove(h->out, h->out + n, h->n_out);
        }
}

bool mqtt_connection_pass_proxy(MqttConnection *c)
{
        uint8_t buffer[1024];
        char problem[PROXY_TEXT_MAX];
        ssize_t n = recv(c->fd, buffer, sizeof(buffer), MSG_DONTWAIT);
        int r = 0;

        if (n == 0 || c->socket_error || (n < 0 && errno != EAGAIN && errno != EINTR)) {
                mqtt_connection_fail(c, "proxy: %s",
                                     c->socket_error ? strerror(c->socket_error)
                                     : n == 0        ? "it closed the connection without an answer"
                                                     : strerror(errno));
                return false;
        }
        if (n > 0)
                r = proxy_handshake_take(c->proxy, buffer, (size_t)n, problem);
        if (r < 0) {
                mqtt_connection_fail(c, "proxy: %s", problem);
        } else if (r > 0) {
                mqtt_connection_drop_proxy(c);
                c->tls.budget.hold_writes = false;
                c->phase = PHASE_TLS;
        } else if (c->proxy->n_out > 0) {
                connection_send_to_proxy(c);
        }
        return r > 0;
}
