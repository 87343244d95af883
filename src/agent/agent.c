#include "agent/agent.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "agent/control.h"
#include "base/file-util.h"
#include "base/log.h"
#include "base/time-util.h"
#include "config/config.h"
#include "engine/engine.h"
#include "link/link-client.h"
#include "transport/http-client.h"
#include "transport/mqtt-client.h"

enum {
        UNSENT_BYTES_MAX = 256 * 1024,
        TIMER_ACCURACY_USEC = 1000,
};

struct Agent {
        sd_event *event;
        const Config *config;
        Engine *engine;
        int state_dir_fd;

        MqttClient *mqtt;
        unsigned jobs_subscription; /* ids of the SUBSCRIBEs under way; 0: none */
        unsigned stream_subscription;

        HttpClient *http;
        HttpFetch *fetch;

        Control *control; /* NULL while it is not there yet, at start and at the end */

        LinkClient *link;
        InstallCall call; /* under way */
        int data_fd;
        sd_event_source *data_source;

        sd_event_source *timer;
        /* Outcomes of what could not even be started; told from the loop, since an op never answers by itself. */
        sd_event_source *deferred;
        Failure deferred_http;
        bool deferred_call;
        char status[128];
};

/* -- after each event ------------------------------------------------------------------------------------------- */

static void notify_status(Agent *a)
{
        EngineStatus status;
        char text[sizeof(a->status)];

        engine_status(a->engine, &status);
        if (status.update.state == UPDATE_STATE_IDLE)
                snprintf(text, sizeof(text), "%s",
                         status.connected ? "Waiting for jobs" : "Not connected to the broker");
        else
                snprintf(text, sizeof(text), "Job %s: %s", status.update.key->job_id,
                         update_state_to_string(status.update.state));
        if (strcmp(text, a->status) == 0)
                return;
        strcpy(a->status, text);
        (void)sd_notifyf(false, "STATUS=%s", text);
}

static void after_event(Agent *a)
{
        uint64_t deadline = engine_next_deadline(a->engine);
        int r = 0;

        notify_status(a);
        if (deadline == USEC_INFINITY) {
                (void)sd_event_source_set_enabled(a->timer, SD_EVENT_OFF);
                return;
        }
        r = sd_event_source_set_time(a->timer, deadline);
        if (r >= 0)
                r = sd_event_source_set_enabled(a->timer, SD_EVENT_ONESHOT);
        assert(r >= 0); /* fails for a source of another kind only */
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
        Agent *a = userdata;

        engine_on_timer(a->engine, now_usec());
        after_event(a);
        return 0;
}

static int on_deferred(sd_event_source *source, void *userdata)
{
        Agent *a = userdata;

        if (a->deferred_call) {
                InstallCall call = a->call;
                LinkError error;

                a->deferred_call = false;
                a->call = INSTALL_CALL_NONE;
                link_error_set(&error, LINK_ERROR_LOST, FAILURE_INSTALLER, "otad-installer is not reached");
                engine_on_call_done(a->engine, call, &error, NULL, NULL, now_usec());
        }
        if (failure_is_set(&a->deferred_http)) {
                Failure failure = a->deferred_http;

                a->deferred_http = (Failure){0};
                engine_on_http_done(a->engine, &failure, 0, now_usec());
        }
        after_event(a);
        return 0;
}

static void defer(Agent *a)
{
        int r = sd_event_source_set_enabled(a->deferred, SD_EVENT_ONESHOT);

        assert(r >= 0);
}

/* -- broker ----------------------------------------------------------------------------------------------------- */

static void connect_again(MqttClient *client, void *userdata)
{
        int r = mqtt_client_connect(client);

        if (r < 0)
                log_error_errno(r, "Cannot connect to the broker again: %m");
}

static void on_mqtt_connected(MqttClient *client, void *userdata)
{
        Agent *a = userdata;
        size_t n_filters;
        const char *const *filters = engine_filters(a->engine, &n_filters);
        int r;

        log_info("Connected to the broker %s:%u as '%s'", a->config->broker.endpoint, a->config->broker.port,
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

        log_warning("Not connected to the broker %s:%u: %s; trying again in %s", a->config->broker.endpoint,
                    a->config->broker.port, reason, duration_format(text, retry_usec));
        a->jobs_subscription = a->stream_subscription = 0;
        engine_on_disconnected(a->engine, now_usec());
        after_event(a);
}

static void on_mqtt_message(MqttClient *client, const char *topic, const uint8_t *payload, size_t n_payload,
                            void *userdata)
{
        Agent *a = userdata;

        engine_on_message(a->engine, topic, payload, n_payload, now_usec());
        after_event(a);
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
        after_event(a);
}

static void on_mqtt_goodbye(MqttClient *client, void *userdata)
{
        Agent *a = userdata;

        log_info("Said goodbye to the broker");
        engine_on_goodbye(a->engine, now_usec());
        after_event(a);
}

static void on_mqtt_stopped(MqttClient *client, void *userdata)
{
        Agent *a = userdata;

        (void)sd_event_exit(a->event, 0);
}

static void op_publish(const char *topic, const void *payload, size_t n_payload, unsigned qos, void *userdata)
{
        Agent *a = userdata;
        int r = mqtt_client_publish(a->mqtt, topic, payload, n_payload, qos);

        if (r < 0)
                log_debug_errno(r, "Not published to %s, it is repeated when no answer comes: %m", topic);
}

static void op_subscribe(const char *const *filters, size_t n_filters, void *userdata)
{
        Agent *a = userdata;
        int r = mqtt_client_subscribe(a->mqtt, filters, n_filters, 0, &a->stream_subscription);

        /* Without a connection its loss is told anyway, and with the next one the download starts anew. */
        if (r < 0)
                log_warning_errno(r, "Cannot subscribe to '%s', waiting for the next connection: %m", filters[0]);
}

static void op_unsubscribe(const char *const *filters, size_t n_filters, void *userdata)
{
        Agent *a = userdata;
        int r = mqtt_client_unsubscribe(a->mqtt, filters, n_filters);

        if (r < 0)
                log_debug_errno(r, "Not unsubscribed from '%s', the end of the connection will do: %m", filters[0]);
}

static void op_say_goodbye(void *userdata)
{
        Agent *a = userdata;

        mqtt_client_disconnect(a->mqtt, on_mqtt_goodbye);
}

static void op_come_back(void *userdata)
{
        Agent *a = userdata;

        connect_again(a->mqtt, a);
}

/* -- image store ------------------------------------------------------------------------------------------------ */

static void on_http_headers(HttpFetch *fetch, const char *etag, void *userdata)
{
        Agent *a = userdata;

        engine_on_http_headers(a->engine, etag);
}

static int on_http_data(HttpFetch *fetch, const uint8_t *data, size_t n_data, void *userdata, Failure *reterr)
{
        Agent *a = userdata;
        int r = engine_on_http_data(a->engine, data, n_data, now_usec());

        if (r < 0 && r != -EAGAIN)
                (void)fail(reterr, FAILURE_INSTALLER, EPIPE, "otad-installer takes no more bytes");
        after_event(a);
        return r;
}

static void on_http_done(HttpFetch *fetch, const HttpFetchOutcome *outcome, void *userdata)
{
        Agent *a = userdata;

        engine_on_http_done(a->engine, outcome->failure, outcome->retry_after_usec, now_usec());
        /* Unless the engine has started the next one already. */
        if (a->fetch == fetch)
                a->fetch = NULL;
        http_fetch_free(fetch);
        after_event(a);
}

static const HttpFetchCallbacks http_callbacks = {
        .on_headers = on_http_headers,
        .on_data = on_http_data,
        .on_done = on_http_done,
};

static void op_http_start(const char *url, uint64_t first_byte, uint64_t total_bytes, const char *etag,
                          void *userdata)
{
        Agent *a = userdata;
        const Config *c = a->config;
        HttpFetchParams params = {
                .url = url,
                .first_byte = first_byte,
                .total_bytes = total_bytes,
                .if_match = etag,
                .ca_file = c->download.https_ca,
                .user_agent = "otad/" OTAD_VERSION,
                .connect_timeout_usec = c->broker.connect_timeout_usec,
                .stall_usec = c->download.stall_usec,
                .low_speed_bytes = c->download.low_speed_bytes,
        };
        int r;

        a->fetch = NULL;
        r = http_fetch_start(a->http, &params, &http_callbacks, a, &a->fetch);
        if (r < 0) {
                (void)fail(&a->deferred_http, r == -EINVAL ? FAILURE_URL_REFUSED : FAILURE_RESOURCES, -r,
                           "cannot start the download: %s", strerror(-r));
                defer(a);
        }
}

static void op_http_resume(void *userdata)
{
        Agent *a = userdata;

        if (a->fetch)
                http_fetch_resume(a->fetch);
}

static void op_http_cancel(void *userdata)
{
        Agent *a = userdata;

        a->fetch = http_fetch_free(a->fetch);
        a->deferred_http = (Failure){0};
}

/* -- otad-installer --------------------------------------------------------------------------------------------- */

static void op_data_close(void *userdata)
{
        Agent *a = userdata;

        a->data_source = sd_event_source_disable_unref(a->data_source);
        a->data_fd = close_fd(a->data_fd);
}

static int on_data_writable(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
        Agent *a = userdata;

        (void)sd_event_source_set_enabled(a->data_source, SD_EVENT_OFF);
        engine_on_data_writable(a->engine, now_usec());
        after_event(a);
        return 0;
}

static ssize_t op_data_write(const uint8_t *data, size_t n_data, void *userdata)
{
        Agent *a = userdata;
        ssize_t n;

        if (a->data_fd < 0)
                return -EPIPE;
        do
                n = write(a->data_fd, data, n_data);
        while (n < 0 && errno == EINTR);
        if (n < 0 && errno != EAGAIN)
                return -errno;
        n = n < 0 ? 0 : n;
        if ((size_t)n < n_data)
                (void)sd_event_source_set_enabled(a->data_source, SD_EVENT_ON);
        return n;
}

static void finish_call(Agent *a, const LinkError *error, const LinkOffsets *offsets, const LinkState *state)
{
        InstallCall call = a->call;

        a->call = INSTALL_CALL_NONE;
        engine_on_call_done(a->engine, call, error, offsets, state, now_usec());
        after_event(a);
}

static void on_link_done(const LinkError *error, void *userdata)
{
        finish_call(userdata, error, NULL, NULL);
}

static void on_link_activated(const LinkError *error, bool reboot_needed, void *userdata)
{
        finish_call(userdata, error, NULL, NULL);
}

static void on_link_state_read(const LinkError *error, const LinkState *state, void *userdata)
{
        finish_call(userdata, error, NULL, state);
}

static void on_link_begun(const LinkError *error, const LinkOffsets *offsets, void *userdata)
{
        finish_call(userdata, error, offsets, NULL);
}

static void on_link_write(const LinkError *error, int fd, void *userdata)
{
        Agent *a = userdata;
        LinkError failed;
        int r;

        if (!error) {
                op_data_close(a);
                a->data_fd = fd;
                r = sd_event_add_io(a->event, &a->data_source, fd, EPOLLOUT, on_data_writable, a);
                if (r >= 0)
                        r = sd_event_source_set_enabled(a->data_source, SD_EVENT_OFF);
                if (r < 0) {
                        op_data_close(a);
                        link_error_set(&failed, LINK_ERROR_FAILED, FAILURE_RESOURCES, strerror(-r));
                        error = &failed;
                }
        }
        finish_call(a, error, NULL, NULL);
}

static void note_call(Agent *a, InstallCall call, int r)
{
        a->call = call;
        if (r >= 0)
                return;
        a->deferred_call = true;
        defer(a);
}

static void op_call(InstallCall call, void *userdata)
{
        Agent *a = userdata;
        int r = -EINVAL;

        switch (call) {
        case INSTALL_CALL_GET_STATE:
                r = link_client_get_state(a->link, on_link_state_read, a);
                break;
        case INSTALL_CALL_VERIFY:
                r = link_client_verify(a->link, on_link_done, a);
                break;
        case INSTALL_CALL_ACTIVATE:
                r = link_client_activate(a->link, on_link_activated, a);
                break;
        case INSTALL_CALL_REBOOT:
                r = link_client_reboot(a->link, on_link_done, a);
                break;
        case INSTALL_CALL_SELF_TEST:
                r = link_client_self_test(a->link, on_link_done, a);
                break;
        case INSTALL_CALL_COMMIT:
                r = link_client_commit(a->link, on_link_done, a);
                break;
        case INSTALL_CALL_RELEASE:
                r = link_client_release(a->link, on_link_done, a);
                break;
        case INSTALL_CALL_BEGIN:
        case INSTALL_CALL_WRITE:
        case INSTALL_CALL_ROLL_BACK:
        case INSTALL_CALL_NONE:
        case _INSTALL_CALL_MAX:
                assert(false); /* those with arguments have ops of their own */
        }
        note_call(a, call, r);
}

static void op_begin(const LinkBegin *begin, void *userdata)
{
        Agent *a = userdata;

        note_call(a, INSTALL_CALL_BEGIN, link_client_begin(a->link, begin, on_link_begun, a));
}

static void op_write(unsigned file, uint64_t offset, void *userdata)
{
        Agent *a = userdata;

        note_call(a, INSTALL_CALL_WRITE, link_client_write(a->link, file, offset, on_link_write, a));
}

static void op_roll_back(const Failure *why, void *userdata)
{
        Agent *a = userdata;

        note_call(a, INSTALL_CALL_ROLL_BACK, link_client_roll_back(a->link, why, on_link_done, a));
}

static void on_link_up(const LinkState *state, void *userdata)
{
        Agent *a = userdata;

        log_info("Connected to otad-installer, its state is %s", update_state_to_string(state->state));
        engine_on_device_up(a->engine, state, now_usec());
        after_event(a);
}

static void on_link_down(const Failure *failure, void *userdata)
{
        Agent *a = userdata;

        log_warning("Lost otad-installer: %s; connecting again", failure->detail);
        a->call = INSTALL_CALL_NONE;
        a->deferred_call = false;
        engine_on_device_down(a->engine, failure, now_usec());
        after_event(a);
}

static void on_link_progress(const LinkProgress *progress, void *userdata)
{
        /* A sign of life, which the link itself takes note of. */
}

static void on_link_state(const LinkState *state, void *userdata)
{
        Agent *a = userdata;

        engine_on_device_state(a->engine, state, now_usec());
        after_event(a);
}

/* -- the rest of the world -------------------------------------------------------------------------------------- */

static const char *op_find_target(const char *job_path, void *userdata)
{
        Agent *a = userdata;
        const ConfigTarget *target = config_match_target(a->config, job_path);

        return target ? target->name : NULL;
}

static void op_changed(void *userdata)
{
        Agent *a = userdata;

        if (a->control)
                control_changed(a->control);
}

static const WorldOps world = {
        .publish = op_publish,
        .subscribe = op_subscribe,
        .unsubscribe = op_unsubscribe,
        .say_goodbye = op_say_goodbye,
        .come_back = op_come_back,
        .http_start = op_http_start,
        .http_resume = op_http_resume,
        .http_cancel = op_http_cancel,
        .call = op_call,
        .begin = op_begin,
        .write = op_write,
        .roll_back = op_roll_back,
        .data_write = op_data_write,
        .data_close = op_data_close,
        .find_target = op_find_target,
        .changed = op_changed,
};

/* -- operator --------------------------------------------------------------------------------------------------- */

static void on_control_status(EngineStatus *ret, void *userdata)
{
        Agent *a = userdata;

        engine_status(a->engine, ret);
}

static int on_control_suspend(void *userdata)
{
        Agent *a = userdata;
        int r = engine_suspend(a->engine, now_usec());

        after_event(a);
        return r;
}

static int on_control_resume(void *userdata)
{
        Agent *a = userdata;
        int r = engine_resume(a->engine, now_usec());

        after_event(a);
        return r;
}

static int on_control_cancel(const char *why, void *userdata)
{
        Agent *a = userdata;
        int r = engine_cancel(a->engine, why, now_usec());

        after_event(a);
        return r;
}

static const ControlOps control_ops = {
        .status = on_control_status,
        .suspend = on_control_suspend,
        .resume = on_control_resume,
        .cancel = on_control_cancel,
};

static const MqttClientCallbacks mqtt_callbacks = {
        .on_connected = on_mqtt_connected,
        .on_disconnected = on_mqtt_disconnected,
        .on_message = on_mqtt_message,
        .on_subscribed = on_mqtt_subscribed,
};

static const LinkClientOps link_ops = {
        .on_up = on_link_up,
        .on_down = on_link_down,
        .on_progress = on_link_progress,
        .on_state = on_link_state,
};

/* -- life ------------------------------------------------------------------------------------------------------- */

static int start_engine(Agent *a)
{
        const Config *c = a->config;
        EngineParams params = {
                .thing_name = c->thing_name,
                .state_dir_fd = a->state_dir_fd,
                .answer_timeout_usec = c->broker.answer_timeout_usec,
                .refresh_usec = c->jobs.refresh_usec,
                .step_timeout_minutes = (int)c->jobs.step_timeout_min,
                .update =
                        {
                                .signing_required = c->signing.required,
                                .reject_foreign = c->jobs.reject_foreign,
                                .progress_usec = c->jobs.progress_usec,
                                .progress_percent = c->jobs.progress_percent,
                                /* Three chances to extend the step timer before it runs out. */
                                .heartbeat_usec = 60 * USEC_PER_SEC * c->jobs.step_timeout_min / 4,
                                .hook_retry_usec = c->hook.retry_usec,
                                .hook_give_up_usec = c->hook.give_up_usec,
                                .download =
                                        {
                                                .block_bytes = c->download.block_bytes,
                                                .window_bytes = (uint32_t)c->download.window_bytes,
                                                .aws_limits = c->download.aws_limits,
                                                .stall_usec = c->download.stall_usec,
                                                .attempts = c->download.attempts,
                                        },
                        },
        };

        for (size_t i = 0; i < c->signing.algorithms.n; i++)
                params.update.algorithms[c->signing.algorithms.values[i]] = true;
        for (size_t i = 0; i < c->download.protocols.n; i++)
                params.update.download.planes[i] = c->download.protocols.values[i] == CONFIG_PROTOCOL_HTTPS
                                                           ? DOWNLOAD_PLANE_HTTPS
                                                           : DOWNLOAD_PLANE_MQTT;
        params.update.download.n_planes = c->download.protocols.n;
        return engine_new(&params, &world, a, &a->engine);
}

static int start_mqtt(Agent *a)
{
        const Config *c = a->config;
        MqttClientParams params = {
                .client_id = c->thing_name,
                .host = c->broker.endpoint,
                .port = c->broker.port,
                .alpn = c->broker.port == 443 ? "x-amzn-mqtt-ca" : NULL,
                .ca_file = c->broker.root_ca,
                .cert_file = c->broker.cert,
                .key_file = c->broker.key,
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
        return r < 0 ? r : mqtt_client_connect(a->mqtt);
}

static int start_link(Agent *a)
{
        LinkClientParams params = {0};
        char path[256];

        snprintf(path, sizeof(path), "%s/installer.sock", a->config->paths.runtime);
        params.socket_path = path;
        return link_client_new(a->event, &params, &link_ops, a, &a->link);
}

static int start_control(Agent *a)
{
        const Config *c = a->config;
        ControlParams params = {
                .thing_name = c->thing_name,
                .runtime_dir = c->paths.runtime,
                .bus = c->control.bus,
        };
        int r;

        r = directory_make(c->paths.runtime, 0755);
        if (r < 0)
                return log_error_errno(r, "Cannot make the folder %s for the control socket: %m", c->paths.runtime);
        r = control_new(a->event, &params, &control_ops, a, &a->control);
        if (r == -EADDRINUSE)
                return log_error_errno(r, "Another otad is running: it listens in %s", c->paths.runtime);
        return r;
}

static int open_state_folder(Agent *a)
{
        const char *path = a->config->paths.state;
        int r;

        r = directory_make(path, 0750);
        if (r < 0)
                return log_error_errno(r, "Cannot make the state folder %s: %m", path);
        a->state_dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (a->state_dir_fd < 0)
                return log_error_errno(-errno, "Cannot open the state folder %s: %m", path);
        return 0;
}

Agent *agent_free(Agent *a)
{
        if (!a)
                return NULL;
        a->control = control_free(a->control);
        /* The engine before what it uses: it lets go of downloads by the ops. */
        engine_free(a->engine);
        http_fetch_free(a->fetch);
        http_client_free(a->http);
        link_client_free(a->link);
        mqtt_client_free(a->mqtt);
        op_data_close(a);
        sd_event_source_disable_unref(a->timer);
        sd_event_source_disable_unref(a->deferred);
        close_fd(a->state_dir_fd);
        sd_event_unref(a->event);
        free(a);
        return NULL;
}

int agent_new(sd_event *event, const Config *config, Agent **ret)
{
        _cleanup_(agent_freep) Agent *a = calloc(1, sizeof(*a));
        int r;

        if (!a)
                return -ENOMEM;
        *a = (Agent){.event = sd_event_ref(event), .config = config, .state_dir_fd = -1, .data_fd = -1};
        r = open_state_folder(a);
        if (r < 0)
                return r;
        r = sd_event_add_time(event, &a->timer, CLOCK_BOOTTIME, USEC_INFINITY, TIMER_ACCURACY_USEC, on_timer, a);
        if (r >= 0)
                r = sd_event_source_set_enabled(a->timer, SD_EVENT_OFF);
        if (r >= 0)
                r = sd_event_add_defer(event, &a->deferred, on_deferred, a);
        if (r >= 0)
                r = sd_event_source_set_enabled(a->deferred, SD_EVENT_OFF);
        if (r >= 0)
                r = start_engine(a);
        if (r >= 0)
                r = start_control(a);
        if (r >= 0)
                r = http_client_new(event, &a->http);
        if (r >= 0)
                r = start_mqtt(a);
        if (r >= 0)
                r = start_link(a);
        if (r < 0)
                return log_error_errno(r, "Cannot start: %m");
        if (!config->signing.required)
                log_warning("signing.required is false: images without a signature are installed");
        after_event(a);
        *ret = TAKE_PTR(a);
        return 0;
}

void agent_stop(Agent *a)
{
        (void)sd_notify(false, "STOPPING=1");
        mqtt_client_disconnect(a->mqtt, on_mqtt_stopped);
}
