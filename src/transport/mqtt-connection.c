#include "mqtt-connection.h"

#include <errno.h>
#include <fcntl.h>
#include <mqtt_protocol.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/time-util.h"
#include "mqtt-connection-private.h"

enum {
        WAKE_UP_BYTES_MAX = 512 * 1024, /* then the other event sources have their turn */
        WAKE_UP_READS_MAX = 256,
};

static SSL *connection_ssl(const MqttConnection *c)
{
        return mosquitto_ssl_get(c->mosq);
}

/* --- driving it --- */

static void connection_read(MqttConnection *c)
{
        uint64_t before;
        SSL *ssl;
        int rc;

        for (unsigned i = 0; i < WAKE_UP_READS_MAX; i++) {
                before = c->tls.budget.read_bytes;
                ERR_clear_error();
                rc = mosquitto_loop_read(c->mosq, 1);
                if (c->ended)
                        return; /* freed by a callback */
                ssl = connection_ssl(c);
                if (rc != MOSQ_ERR_SUCCESS || mosquitto_socket(c->mosq) < 0 || !ssl) {
                        mqtt_connection_explain(c, rc);
                        return;
                }
                if (c->tls.budget.read_bytes - c->packet_start > MQTT_PACKET_BYTES_MAX + MQTT_PACKET_BYTES_MAX / 8) {
                        mqtt_connection_fail(c, "the broker sent a packet of more than %d bytes",
                                             MQTT_PACKET_BYTES_MAX);
                        return;
                }
                if (c->tls.budget.read_bytes == before && SSL_pending(ssl) == 0)
                        return;
        }
}

static void connection_write(MqttConnection *c)
{
        int rc;

        if (!mosquitto_want_write(c->mosq))
                return;
        ERR_clear_error();
        rc = mosquitto_loop_write(c->mosq, 1);
        if (rc != MOSQ_ERR_SUCCESS || mosquitto_socket(c->mosq) < 0)
                mqtt_connection_explain(c, rc);
}

static void connection_handshake(MqttConnection *c, uint32_t revents)
{
        SSL *ssl;
        int rc;

        if (c->phase == PHASE_TCP) {
                if (c->socket_error || (revents & EPOLLHUP)) {
                        mqtt_connection_fail(c, "TCP: %s",
                                             strerror(c->socket_error ? c->socket_error : ECONNREFUSED));
                        return;
                }
                if (!(revents & EPOLLOUT))
                        return;
                c->phase = c->proxy ? PHASE_PROXY : PHASE_TLS;
        }
        if (c->phase == PHASE_PROXY && !mqtt_connection_pass_proxy(c))
                return;
        ERR_clear_error();
        rc = mosquitto_loop_read(c->mosq, 1); /* while TLS is not there yet, this is SSL_connect() */
        ssl = connection_ssl(c);
        if (rc != MOSQ_ERR_SUCCESS || mosquitto_socket(c->mosq) < 0 || !ssl)
                mqtt_connection_explain(c, rc);
        else if (SSL_is_init_finished(ssl))
                c->phase = PHASE_CONNACK;
        else if (c->socket_error || (revents & EPOLLHUP))
                mqtt_connection_explain(c, MOSQ_ERR_CONN_LOST);
}

/* What the broker still sends is of no use any more; its end is. */
static void connection_drain(MqttConnection *c)
{
        char buffer[16 * 1024];
        ssize_t n = 1;

        for (unsigned i = 0; i < WAKE_UP_READS_MAX && n > 0; i++)
                n = recv(c->fd, buffer, sizeof(buffer), MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
                mqtt_connection_fail(c, "closed");
}

static void connection_step(MqttConnection *c, uint32_t revents)
{
        socklen_t n = sizeof(c->socket_error);

        /* Read before TLS reads: libmosquitto would swallow it. What the broker said before is still to be had. */
        if (revents & EPOLLERR)
                (void)getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &c->socket_error, &n);
        c->tls.budget.left_bytes = WAKE_UP_BYTES_MAX;
        if (c->phase == PHASE_LINGERING) {
                connection_drain(c);
                return;
        }
        if (c->phase <= PHASE_TLS) {
                connection_handshake(c, revents);
                if (c->ended || c->phase <= PHASE_TLS)
                        return;
        }
        connection_read(c);
        if (!c->ended && c->phase != PHASE_LINGERING)
                connection_write(c);
        if (!c->ended && c->phase != PHASE_LINGERING && (c->socket_error || c->write_rc))
                mqtt_connection_explain(c, c->write_rc ? c->write_rc : MOSQ_ERR_CONN_LOST);
}

/* What to wait for next. libmosquitto's want_write alone would spin: it stays set where TLS waits for bytes to read. */
static void connection_rearm(MqttConnection *c)
{
        SSL *ssl = connection_ssl(c);
        uint64_t n_out, now = now_usec();
        uint32_t events = EPOLLIN;

        (void)sd_event_source_set_enabled(c->timer_source, SD_EVENT_ONESHOT);
        if (c->phase == PHASE_LINGERING) { /* and there is no TLS any more */
                (void)sd_event_source_set_io_events(c->io_source, events);
                (void)sd_event_source_set_time(c->timer_source, mqtt_connection_next_deadline(c));
                return;
        }

        if (c->phase == PHASE_TCP || (c->phase == PHASE_TLS && SSL_want_write(ssl)))
                events = EPOLLOUT;
        else if (c->phase == PHASE_PROXY
                         ? c->proxy->n_out > 0
                         : c->phase > PHASE_TLS && mosquitto_want_write(c->mosq) && SSL_want_write(ssl))
                events |= EPOLLOUT;
        (void)sd_event_source_set_io_events(c->io_source, events);

        if (c->n_in != c->tls.budget.read_bytes) {
                c->n_in = c->tls.budget.read_bytes;
                c->last_in_usec = now;
                c->ping_deadline_usec = 0;
        }
        n_out = BIO_number_written(SSL_get_wbio(ssl));
        if (c->n_out != n_out) {
                c->n_out = n_out;
                c->last_out_usec = now;
        }
        (void)sd_event_source_set_time(c->timer_source, mqtt_connection_next_deadline(c));
        if (c->phase > PHASE_TLS && SSL_pending(ssl) > 0)
                (void)sd_event_source_set_enabled(c->again_source, SD_EVENT_ONESHOT);
}

static void connection_destroy(MqttConnection *c)
{
        ERR_clear_error();
        if (c->mosq)
                mosquitto_destroy(c->mosq); /* closes, with close_notify where there is TLS */
        sd_event_source_disable_unref(c->io_source);
        sd_event_source_disable_unref(c->timer_source);
        sd_event_source_disable_unref(c->again_source);
        mqtt_pending_list_done(&c->pending);
        mqtt_connection_drop_proxy(c);
        free(c);
}

/* The end of every visit from the loop; the connection may be gone after it. */
static void connection_leave(MqttConnection *c)
{
        char reason[MQTT_REASON_MAX];

        c->busy = false;
        if (c->abandoned) {
                connection_destroy(c);
                return;
        }
        if (!c->ended) {
                connection_rearm(c);
                return;
        }
        (void)sd_event_source_set_enabled(c->io_source, SD_EVENT_OFF);
        (void)sd_event_source_set_enabled(c->timer_source, SD_EVENT_OFF);
        (void)sd_event_source_set_enabled(c->again_source, SD_EVENT_OFF);
        memcpy(reason, c->reason, sizeof(reason));
        c->callbacks.on_end(reason, c->userdata);
}

static int on_io(sd_event_source *source _unused_, int fd _unused_, uint32_t revents, void *userdata)
{
        MqttConnection *c = userdata;

        c->busy = true;
        if (!c->ended)
                connection_step(c, revents);
        connection_leave(c);
        return 0;
}

static int on_again(sd_event_source *source, void *userdata)
{
        return on_io(source, -1, 0, userdata);
}

static int on_timer(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata)
{
        MqttConnection *c = userdata;

        c->busy = true;
        if (!c->ended)
                mqtt_connection_check_deadlines(c, now_usec());
        connection_leave(c);
        return 0;
}

/* The end of every visit from outside: never calls back from in here. */
void mqtt_connection_touched(MqttConnection *c)
{
        if (c->busy)
                return; /* connection_leave() follows */
        if (mosquitto_socket(c->mosq) < 0 && c->phase != PHASE_LINGERING)
                mqtt_connection_explain(c, MOSQ_ERR_CONN_LOST);
        if (!c->ended)
                connection_rearm(c);
        if (c->ended || c->write_rc)
                (void)sd_event_source_set_enabled(c->again_source, SD_EVENT_ONESHOT);
}

/* --- its life --- */

static int connection_set_up(MqttConnection *c, char problem[static MQTT_REASON_MAX])
{
        const MqttTlsParams tls = {
                .host = c->params->host,
                .alpn = c->params->alpn,
                .ca_file = c->params->ca_file,
                .identity = c->params->identity,
        };
        _cleanup_(ssl_ctx_freep) SSL_CTX *context = NULL;
        char text[MQTT_TLS_TEXT_MAX];
        static bool library_ready;
        int r;

        r = mqtt_tls_context_new(&tls, &c->tls, &context, text);
        if (r < 0) {
                (void)snprintf(problem, MQTT_REASON_MAX, "TLS: %s", text);
                return r;
        }
        if (!library_ready) {
                mosquitto_lib_init();
                library_ready = true;
        }
        c->mosq = mosquitto_new(c->params->client_id, true, c);
        if (!c->mosq || mosquitto_void_option(c->mosq, MOSQ_OPT_SSL_CTX, context) != MOSQ_ERR_SUCCESS ||
            mosquitto_int_option(c->mosq, MOSQ_OPT_SSL_CTX_WITH_DEFAULTS, 0) != MOSQ_ERR_SUCCESS ||
            mosquitto_int_option(c->mosq, MOSQ_OPT_TCP_NODELAY, 1) != MOSQ_ERR_SUCCESS ||
            mosquitto_int_option(c->mosq, MOSQ_OPT_PROTOCOL_VERSION,
                                 c->params->version == MQTT_VERSION_5 ? MQTT_PROTOCOL_V5 : MQTT_PROTOCOL_V311) !=
                    MOSQ_ERR_SUCCESS) {
                (void)snprintf(problem, MQTT_REASON_MAX, "cannot set up the MQTT library: %s", strerror(errno));
                return -ENOMEM;
        }
        mqtt_connection_set_callbacks(c->mosq);
        return 0;
}

/* A peer that is gone is noticed by the kernel too: with bytes under way, or (should keep-alive be off) without. */
static void connection_set_socket_options(const MqttConnection *c)
{
        unsigned user_timeout_msec = (unsigned)MIN2(
                (usec_add(c->params->answer_timeout_usec, c->params->keep_alive_sec * USEC_PER_SEC)) / USEC_PER_MSEC,
                UINT64_C(3600000));
        int on = 1, idle_sec = 300, interval_sec = 30, n_probes = 4;

        if (setsockopt(c->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout_msec, sizeof(user_timeout_msec)) < 0 ||
            setsockopt(c->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)) < 0 ||
            setsockopt(c->fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_sec, sizeof(idle_sec)) < 0 ||
            setsockopt(c->fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_sec, sizeof(interval_sec)) < 0 ||
            setsockopt(c->fd, IPPROTO_TCP, TCP_KEEPCNT, &n_probes, sizeof(n_probes)) < 0)
                log_debug_errno(-errno, "Cannot set the broker connection's time-outs, going on without: %m");
}

static int connection_watch(MqttConnection *c, sd_event *event)
{
        int r;

        c->fd = fcntl(mosquitto_socket(c->mosq), F_DUPFD_CLOEXEC, 3);
        if (c->fd < 0)
                return -errno;
        /* libmosquitto's own is inherited by children, should there be any. */
        (void)fcntl(mosquitto_socket(c->mosq), F_SETFD, FD_CLOEXEC);
        r = sd_event_add_io(event, &c->io_source, c->fd, EPOLLOUT, on_io, c);
        if (r < 0) {
                close_fd(c->fd);
                return r;
        }
        (void)sd_event_source_set_io_fd_own(c->io_source, 1);
        r = sd_event_add_time(event, &c->timer_source, CLOCK_BOOTTIME, c->deadline_usec, 100 * USEC_PER_MSEC,
                              on_timer, c);
        if (r < 0)
                return r;
        r = sd_event_add_defer(event, &c->again_source, on_again, c);
        if (r < 0)
                return r;
        (void)sd_event_source_set_description(c->io_source, "mqtt-socket");
        (void)sd_event_source_set_description(c->timer_source, "mqtt-deadline");
        (void)sd_event_source_set_description(c->again_source, "mqtt-again");
        return sd_event_source_set_enabled(c->again_source, SD_EVENT_OFF);
}

static int connection_dial(MqttConnection *c, sd_event *event, const char *address,
                           char problem[static MQTT_REASON_MAX])
{
        int rc, r;

        ERR_clear_error();
        errno = 0;
        rc = mosquitto_connect_bind_async(c->mosq, address, c->port, (int)c->params->keep_alive_sec, NULL);
        if (rc != MOSQ_ERR_SUCCESS || mosquitto_socket(c->mosq) < 0 || !connection_ssl(c)) {
                bool by_kernel = rc == MOSQ_ERR_ERRNO && errno > 0;

                (void)snprintf(problem, MQTT_REASON_MAX, "TCP: %s",
                               by_kernel ? strerror(errno) : mosquitto_strerror(rc));
                return by_kernel ? -EHOSTUNREACH : -EIO;
        }
        r = c->tls.budget_attached ? connection_watch(c, event) : -ENOMEM;
        if (r < 0)
                (void)snprintf(problem, MQTT_REASON_MAX, "cannot watch the connection: %s", strerror(-r));
        return r;
}

int mqtt_connection_start(sd_event *event, const MqttClientParams *params, const char *address,
                          const MqttConnectionCallbacks *callbacks, void *userdata, MqttConnection **ret,
                          char problem[static MQTT_REASON_MAX])
{
        _cleanup_(mqtt_connection_freep) MqttConnection *c = calloc(1, sizeof(*c));
        int r;

        if (!c) {
                (void)snprintf(problem, MQTT_REASON_MAX, "out of memory");
                return -ENOMEM;
        }
        c->params = params;
        c->callbacks = *callbacks;
        c->userdata = userdata;
        c->disconnect_code = -1;
        c->keep_alive_usec = params->keep_alive_sec * USEC_PER_SEC;
        c->deadline_usec = usec_add(now_usec(), params->connect_timeout_usec);
        (void)snprintf(c->last_sent, sizeof(c->last_sent), "CONNECT");

        r = mqtt_connection_prepare_proxy(c, problem);
        if (r < 0)
                return r;
        r = connection_set_up(c, problem);
        if (r < 0)
                return r;
        r = connection_dial(c, event, address, problem);
        if (r < 0)
                return r;
        connection_set_socket_options(c);
        connection_rearm(c);
        *ret = TAKE_PTR(c);
        return 0;
}

bool mqtt_connection_was_answered(const MqttConnection *c)
{
        return c->phase > PHASE_TCP;
}

MqttConnection *mqtt_connection_free(MqttConnection *c)
{
        if (!c)
                return NULL;
        if (c->busy) {
                c->abandoned = true;
                c->ended = true;
        } else {
                connection_destroy(c);
        }
        return NULL;
}
