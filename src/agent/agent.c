#include "agent-private.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/file-util.h"
#include "base/log-event.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/time-util.h"

enum { TIMER_ACCURACY_USEC = 1000 };

/* True: from now on we wait for jobs. */
static bool notify_status(Agent *a)
{
        EngineStatus status;
        char text[sizeof(a->status)];

        engine_status(a->engine, &status);
        if (status.update.state == UPDATE_STATE_IDLE)
                snprintf(text, sizeof(text), "%s",
                         status.connected ? "Waiting for jobs" : "Not connected to the broker");
        else if (status.update.local_session[0])
                snprintf(text, sizeof(text), "Local update: %s", update_state_to_string(status.update.state));
        else
                snprintf(text, sizeof(text), "Job %s: %s", status.update.key->job_id,
                         update_state_to_string(status.update.state));
        if (strcmp(text, a->status) == 0)
                return false;
        strcpy(a->status, text);
        (void)sd_notifyf(false, "STATUS=%s", text);
        return status.update.state == UPDATE_STATE_IDLE && status.connected;
}

void agent_after_event(Agent *a)
{
        uint64_t deadline = engine_next_deadline(a->engine);
        int r = 0;

        if (notify_status(a))
                memory_give_back(); /* over is the start, or an update, or a connection made anew */
        agent_observe_metrics(a);
        link_client_need(a->link, engine_needs_device(a->engine));
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
        agent_after_event(a);
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
        agent_after_event(a);
        return 0;
}

ProxyParams agent_proxy(const Agent *a)
{
        return (ProxyParams){
                .url = a->config->proxy.url,
                .credentials_file = a->config->proxy.credentials_file,
                .group = getegid(),
        };
}

void agent_defer(Agent *a)
{
        int r = sd_event_source_set_enabled(a->deferred, SD_EVENT_ONESHOT);

        assert(r >= 0);
}

static const char *agent_op_find_target(const char *job_path, void *userdata)
{
        Agent *a = userdata;
        const ConfigTarget *target = config_match_target(a->config, job_path);

        return target ? target->name : NULL;
}

static uint64_t agent_op_wall_clock(void *userdata)
{
        uint64_t usec = wall_clock_usec();

        return usec < CLOCK_REFERENCE_USEC ? USEC_INFINITY : usec;
}

static void agent_op_changed(void *userdata)
{
        Agent *a = userdata;

        if (a->control)
                control_changed(a->control);
        if (a->engine)
                agent_observe_metrics(a);
}

static const WorldOps world = {
        .publish = agent_op_publish,
        .subscribe = agent_op_subscribe,
        .subscribe_aside = agent_op_subscribe_aside,
        .unsubscribe = agent_op_unsubscribe,
        .say_goodbye = agent_op_say_goodbye,
        .come_back = agent_op_come_back,
        .http_start = agent_op_http_start,
        .http_resume = agent_op_http_resume,
        .http_cancel = agent_op_http_cancel,
        .http_prepare = agent_op_http_prepare,
        .call = agent_op_call,
        .begin = agent_op_begin,
        .write = agent_op_write,
        .roll_back = agent_op_roll_back,
        .data_write = agent_op_data_write,
        .data_close = agent_op_data_close,
        .find_target = agent_op_find_target,
        .wall_clock = agent_op_wall_clock,
        .changed = agent_op_changed,
};

/* -- operator --------------------------------------------------------------------------------------------------- */

static void on_control_status(EngineStatus *ret, void *userdata)
{
        Agent *a = userdata;

        engine_status(a->engine, ret);
}

static void on_control_totals(UpdateTotals *ret, void *userdata)
{
        Agent *a = userdata;

        engine_totals(a->engine, now_usec(), ret);
}

static int on_control_suspend(void *userdata)
{
        Agent *a = userdata;
        int r = engine_suspend(a->engine, now_usec());

        agent_after_event(a);
        return r;
}

static int on_control_resume(void *userdata)
{
        Agent *a = userdata;
        int r = engine_resume(a->engine, now_usec());

        agent_after_event(a);
        return r;
}

static int on_control_cancel(const char *why, void *userdata)
{
        Agent *a = userdata;
        int r = engine_cancel(a->engine, why, now_usec());

        agent_after_event(a);
        return r;
}

static void on_metered(bool is_metered, void *userdata)
{
        Agent *a = userdata;

        engine_on_metered(a->engine, is_metered, now_usec());
        agent_after_event(a);
}

/* While there is no bus the last word counts; before the first the connection is not metered. */
static void on_control_bus(sd_bus *bus, void *userdata)
{
        Agent *a = userdata;
        int r;

        a->metered = metered_free(a->metered);
        if (!bus || a->config->policy.metered != CONFIG_METERED_AUTO || a->config->policy.metered_max_bytes == 0)
                return;
        r = metered_new(bus, on_metered, a, &a->metered);
        if (r < 0)
                (void)log_warning_errno(r, "Cannot ask NetworkManager whether the connection is metered: %m");
}

static const ControlOps control_ops = {
        .status = on_control_status,
        .totals = on_control_totals,
        .get_history = agent_control_get_history,
        .certificates = agent_certificates,
        .suspend = on_control_suspend,
        .resume = on_control_resume,
        .cancel = on_control_cancel,
        .bus = on_control_bus,
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
                .package_name = c->package.report ? c->package.name : "",
                .update =
                        {
                                .signing_required = c->signing.required,
                                .reject_foreign = c->jobs.reject_foreign,
                                .progress_usec = c->jobs.progress_usec,
                                .progress_percent = c->jobs.progress_percent,
                                /* Three chances to extend the step timer before it runs out. */
                                .heartbeat_usec = 60 * USEC_PER_SEC * c->jobs.step_timeout_min / 4,
                                .hook_retry_usec = c->hook.retry_usec,
                                .hook_give_up_usec = c->hook.give_up_usec ?: USEC_INFINITY,
                                .download_windows = c->policy.download_windows,
                                .activate_windows = c->policy.activate_windows,
                                .metered_max_bytes = c->policy.metered_max_bytes,
                                .download =
                                        {
                                                .block_bytes = c->download.block_bytes,
                                                .window_bytes = (uint32_t)c->download.window_bytes,
                                                .aws_limits = c->download.aws_limits,
                                                .max_bytes_per_sec = c->policy.max_bytes_per_sec,
                                                .stall_usec = c->download.stall_usec,
                                                .attempts = c->download.attempts,
                                                .give_up_usec = c->download.give_up_usec,
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
        a->control = control_free(a->control); /* and what uses its bus */
        agent_stop_metrics(a);
        /* The engine before what it uses: it lets go of downloads by the ops. */
        engine_free(a->engine);
        http_fetch_free(a->fetch);
        http_client_free(a->http);
        link_client_free(a->link);
        mqtt_client_free(a->mqtt);
        agent_op_data_close(a);
        sd_event_source_disable_unref(a->certificates_timer);
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
        *a = (Agent){
                .event = sd_event_ref(event), .config = config, .state_dir_fd = -1, .connection_usec = now_usec()};
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
                r = agent_start_watch(a);
        if (r >= 0)
                r = agent_start_metrics(a);
        if (r >= 0)
                r = start_control(a);
        if (r >= 0)
                r = http_client_new(event, &a->http);
        if (r >= 0)
                r = agent_start_broker(a);
        if (r >= 0)
                r = agent_start_link(a);
        if (r < 0)
                return log_error_errno(r, "Cannot start: %m");
        if (config->policy.metered == CONFIG_METERED_YES)
                engine_on_metered(a->engine, true, now_usec());
        if (!config->signing.required)
                log_event(LOG_EVENT_UNSIGNED_ALLOWED, &(LogFields){0},
                          "signing.required is false: images without a signature are installed");
        agent_after_event(a);
        *ret = TAKE_PTR(a);
        return 0;
}

static void on_mqtt_stopped(MqttClient *client, void *userdata)
{
        Agent *a = userdata;

        (void)sd_event_exit(a->event, 0);
}

void agent_stop(Agent *a)
{
        (void)sd_notify(false, "STOPPING=1");
        mqtt_client_disconnect(a->mqtt, on_mqtt_stopped);
}
