#include "world-private.h"

enum { STEPS_MAX = 4000 };

#define PATIENCE (48 * UINT64_C(3600) * USEC_PER_SEC)

/* -- the world's own -------------------------------------------------------------------------------------------- */

void sim_trace(World *w, const char *format, ...)
{
        va_list args;

        va_start(args, format);
        vsnprintf(w->trace[w->n_trace++ % SIM_TRACE_MAX], sizeof(w->trace[0]), format, args);
        va_end(args);
}

void world_fail(World *w, const char *format, ...)
{
        char text[512];
        va_list args;

        va_start(args, format);
        vsnprintf(text, sizeof(text), format, args);
        va_end(args);
        for (unsigned i = w->n_trace > SIM_TRACE_MAX ? w->n_trace - SIM_TRACE_MAX : 0; i < w->n_trace; i++)
                print_error("  %s\n", w->trace[i % SIM_TRACE_MAX]);
        fail_msg("%s", text);
}

void *sim_copy(const void *data, size_t n)
{
        void *to = malloc(n);

        assert_non_null(to);
        return memcpy(to, data, n);
}

SimEvent *sim_push(World *w, SimEventKind kind)
{
        SimEvent *event = calloc(1, sizeof(*event));

        assert_non_null(event);
        event->kind = kind;
        *w->last = event;
        w->last = &event->next;
        return event;
}

static SimEvent *event_free(SimEvent *event)
{
        free(event->payload);
        free(event->begin);
        free(event->state);
        free(event);
        return NULL;
}

static void drop_events(World *w, bool (*is_lost)(const SimEvent *event))
{
        SimEvent **link = &w->first;

        while (*link) {
                SimEvent *event = *link;

                if (is_lost(event)) {
                        *link = event->next;
                        event_free(event);
                } else {
                        link = &event->next;
                }
        }
        w->last = link;
}

void sim_act(World *w)
{
        if (++w->n_acts > SIM_ACTS_PER_EVENT_MAX)
                world_fail(w, "one event leads to more than %d acts", SIM_ACTS_PER_EVENT_MAX);
}

/* -- programs that start and end -------------------------------------------------------------------------------- */

static const WorldOps ops;

static void start_otad(World *w)
{
        EngineParams params = {
                .thing_name = "thing",
                .state_dir_fd = w->folder.fd,
                .answer_timeout_usec = 15 * USEC_PER_SEC,
                .refresh_usec = 3600 * USEC_PER_SEC,
                .step_timeout_minutes = 60,
                .package_name = "software",
                .update = {.download = {.planes = {DOWNLOAD_PLANE_HTTPS, DOWNLOAD_PLANE_MQTT},
                                        .n_planes = 2,
                                        .block_bytes = 256,
                                        .window_bytes = 128 * 1024,
                                        .stall_usec = 60 * USEC_PER_SEC,
                                        .attempts = 5,
                                        .give_up_usec = 3600 * USEC_PER_SEC},
                           .signing_required = true,
                           .algorithms = {[SIGNATURE_ALGORITHM_SHA256_ECDSA] = true},
                           .reject_foreign = w->reject_foreign,
                           .download_windows = w->download_windows,
                           .activate_windows = w->activate_windows,
                           .metered_max_bytes = w->metered_max_bytes,
                           .progress_usec = 30 * USEC_PER_SEC,
                           .progress_percent = 10,
                           .heartbeat_usec = 900 * USEC_PER_SEC,
                           .hook_retry_usec = 60 * USEC_PER_SEC,
                           .hook_give_up_usec = w->hook_never_gives_up ? USEC_INFINITY : 3600 * USEC_PER_SEC},
        };

        assert_int_equal(engine_new(&params, &ops, w, &w->engine), 0);
        if (w->broker_first)
                sim_connect(w);
        (void)sim_push(w, SIM_DEVICE_UP);
        if (!w->broker_first)
                sim_connect(w);
}

static void stop_otad(World *w)
{
        w->engine = engine_free(w->engine);
        w->connected = w->wants_connection = w->fetching = w->call_under_way = false;
        w->connection++;
        w->fetch++;
}

static bool is_of_otad(const SimEvent *event)
{
        return event->kind != SIM_REBOOT && event->kind != SIM_ROLLED_BACK;
}

static bool is_of_link(const SimEvent *event)
{
        switch (event->kind) {
        case SIM_DEVICE_UP:
        case SIM_STATE:
        case SIM_CALL:
        case SIM_ANSWER:
        case SIM_ROLLED_BACK:
        case SIM_DRAIN:
                return true;
        case SIM_CONNECTED:
        case SIM_GOODBYE:
        case SIM_SUBSCRIBED:
        case SIM_MESSAGE:
        case SIM_REBOOT:
        case SIM_DATA:
        case SIM_DATA_END:
                break;
        }
        return false;
}

static bool is_any(const SimEvent *event)
{
        return true;
}

void world_kill_otad(World *w)
{
        sim_trace(w, "otad is killed");
        stop_otad(w);
        /* A call that is under way reached the installer. */
        for (SimEvent *event = w->first; event; event = event->next)
                if (event->kind == SIM_CALL) {
                        sim_on_call(w, event);
                        break;
                }
        drop_events(w, is_of_otad);
        w->device.up = w->device.rests = false;
        start_otad(w);
}

void world_lose_broker(World *w)
{
        if (!w->connected || !w->wants_connection)
                return;
        sim_trace(w, "the broker is lost");
        w->connected = false;
        w->n_acts = 0;
        engine_on_disconnected(w->engine, w->now_usec);
        sim_connect(w);
}

void world_lose_installer(World *w)
{
        Failure failure = {.reason = FAILURE_INSTALLER, .detail = "it is gone"};

        if (!w->device.up)
                return;
        sim_trace(w, "the installer is lost");
        drop_events(w, is_of_link);
        w->device.up = w->device.pipe_open = w->call_under_way = false;
        w->device.pipe_bytes = 0;
        w->n_acts = 0;
        engine_on_device_down(w->engine, &failure, w->now_usec);
        (void)sim_push(w, SIM_DEVICE_UP);
        if (w->device.state.state == UPDATE_STATE_ROLLING_BACK && !w->device.state.reboot_needed)
                (void)sim_push(w, SIM_ROLLED_BACK);
}

static void reboot(World *w)
{
        SimDevice *d = &w->device;

        sim_trace(w, "the machine reboots");
        stop_otad(w);
        drop_events(w, is_any);
        d->n_boots++;
        d->up = d->rests = d->pipe_open = d->state.reboot_needed = false;
        d->reboot_asked_usec = 0;
        if (d->state.state == UPDATE_STATE_ROLLING_BACK) {
                d->state.state = UPDATE_STATE_ROLLED_BACK;
                strcpy(d->state.version, "1.0.0");
        } else if (d->state.state == UPDATE_STATE_ACTIVATING && w->boots_old) {
                d->state.state = UPDATE_STATE_ROLLED_BACK;
                d->state.failure = (Failure){.reason = FAILURE_BOOTED_OLD, .detail = "the old slot runs"};
        } else if (d->state.state == UPDATE_STATE_ACTIVATING) {
                d->state.state = UPDATE_STATE_TESTING;
                strcpy(d->state.version, "2.0.0");
        }
        start_otad(w);
}

void world_open(World *w, bool ab)
{
        *w = (World){.now_usec = 1000 * USEC_PER_SEC};
        w->last = &w->first;
        w->device.ab = ab;
        w->device.state.selftest_left_usec = USEC_INFINITY;
        strcpy(w->device.state.version, "1.0.0");
        folder_make(&w->folder);
        start_otad(w);
}

void world_close(World *w)
{
        stop_otad(w);
        drop_events(w, is_any);
        folder_remove(&w->folder);
}

/* -- time ------------------------------------------------------------------------------------------------------- */

static const char *const kind_words[] = {
        [SIM_CONNECTED] = "connected", [SIM_GOODBYE] = "said goodbye",   [SIM_SUBSCRIBED] = "subscribed",
        [SIM_MESSAGE] = "message",     [SIM_DEVICE_UP] = "installer up", [SIM_STATE] = "state",
        [SIM_CALL] = "call",           [SIM_ANSWER] = "answer",          [SIM_ROLLED_BACK] = "rolled back",
        [SIM_REBOOT] = "reboot",       [SIM_DRAIN] = "pipe read",        [SIM_DATA] = "data",
        [SIM_DATA_END] = "data ended",
};

static void happen(World *w, SimEvent *event)
{
        SimDevice *d = &w->device;
        bool on_time = event->life == w->connection && w->connected;

        switch (event->kind) {
        case SIM_CONNECTED:
                if (event->life != w->connection || !w->wants_connection)
                        return;
                w->connected = true;
                engine_on_connected(w->engine, w->now_usec);
                return;
        case SIM_GOODBYE:
                if (event->life != w->connection)
                        return;
                w->connected = false;
                engine_on_goodbye(w->engine, w->now_usec);
                return;
        case SIM_SUBSCRIBED:
                if (on_time)
                        engine_on_subscribed(w->engine, true, w->now_usec);
                return;
        case SIM_MESSAGE:
                if (on_time)
                        engine_on_message(w->engine, event->topic, event->payload, event->n_payload, w->now_usec);
                return;
        case SIM_DEVICE_UP:
                d->up = true;
                engine_on_device_up(w->engine, &d->state, w->now_usec);
                return;
        case SIM_STATE:
                engine_on_device_state(w->engine, event->state, w->now_usec);
                return;
        case SIM_CALL:
                sim_on_call(w, event);
                return;
        case SIM_ANSWER:
                sim_on_answer(w, event);
                return;
        case SIM_ROLLED_BACK:
                sim_roll_back_ends(w);
                return;
        case SIM_REBOOT:
                reboot(w);
                return;
        case SIM_DRAIN:
                sim_drain(w);
                if (w->takes_nothing)
                        return;
                if (d->up && d->pipe_open) {
                        LinkProgress progress = {.file = d->pipe_file,
                                                 .written_bytes = d->state.files[d->pipe_file].written_bytes};

                        engine_on_device_progress(w->engine, &progress, w->now_usec);
                }
                if (d->wants_writable) {
                        d->wants_writable = false;
                        engine_on_data_writable(w->engine, w->now_usec);
                }
                return;
        case SIM_DATA:
                if (event->life == w->fetch)
                        sim_on_data(w);
                return;
        case SIM_DATA_END:
                if (event->life == w->fetch)
                        sim_end_fetch(w, event->failed ? FAILURE_INSTALLER : FAILURE_NONE);
                return;
        }
}

static bool is_settled(World *w)
{
        EngineStatus status;

        engine_status(w->engine, &status);
        for (size_t i = 0; i < w->n_jobs; i++)
                if (!job_status_is_terminal(w->jobs[i].status) && strstr(w->jobs[i].document, "afr_ota"))
                        return false;
        return !job_key_is_set(status.update.key) && status.n_unsent_finals == 0 &&
               w->device.state.state == UPDATE_STATE_IDLE && (w->device.up || w->device.rests) && w->connected;
}

static void run_timer(World *w)
{
        for (unsigned i = 0; engine_next_deadline(w->engine) <= w->now_usec; i++) {
                if (i > 8)
                        world_fail(w, "the timer is due again and again");
                w->n_acts = 0;
                sim_trace(w, "timer");
                engine_on_timer(w->engine, w->now_usec);
        }
}

static uint64_t device_deadline(const World *w)
{
        const SimDevice *d = &w->device;

        return d->reboot_asked_usec > 0 && d->state.state == UPDATE_STATE_ACTIVATING && w->reboot_never_comes
                       ? d->reboot_asked_usec + 600 * USEC_PER_SEC
                       : USEC_INFINITY;
}

static void reboot_did_not_come(World *w)
{
        Failure failure = {.reason = FAILURE_REBOOT_FAILED, .detail = "no reboot came"};

        w->device.reboot_asked_usec = 0;
        sim_end_session(w, &failure);
        sim_go_on_alone(w);
}

/* At the first moment at which it may. */
static void rest_or_wake(World *w)
{
        SimDevice *d = &w->device;

        if (!engine_needs_device(w->engine) && d->up) {
                sim_trace(w, "the link rests");
                drop_events(w, is_of_link);
                d->up = false;
                d->rests = true;
                engine_on_device_rest(w->engine, w->now_usec);
        } else if (engine_needs_device(w->engine) && d->rests) {
                d->rests = false;
                (void)sim_push(w, SIM_DEVICE_UP);
        }
}

bool world_step(World *w)
{
        SimEvent *event = w->first;
        uint64_t deadline;

        w->now_usec += USEC_PER_MSEC;
        w->n_acts = 0;
        if (event) {
                w->first = event->next;
                if (!w->first)
                        w->last = &w->first;
                w->n_events++;
                sim_trace(w, "%s %s%s", kind_words[event->kind], event->topic,
                          event->kind == SIM_ANSWER && event->failed ? "(refused)" : "");
                happen(w, event);
                event_free(event);
                run_timer(w);
                rest_or_wake(w);
                return true;
        }
        if (is_settled(w))
                return false;
        deadline = MIN2(engine_next_deadline(w->engine), device_deadline(w));
        if (deadline == USEC_INFINITY)
                world_fail(w, "stuck: nothing will ever happen again");
        w->now_usec = MAX2(w->now_usec, deadline);
        if (device_deadline(w) <= w->now_usec)
                reboot_did_not_come(w);
        run_timer(w);
        rest_or_wake(w);
        return true;
}

void world_settle(World *w)
{
        uint64_t began = w->now_usec;

        for (unsigned i = 0; world_step(w); i++)
                if (i > STEPS_MAX || w->now_usec - began > PATIENCE)
                        world_fail(w, "no end in sight after %u steps", i);
}

static const char *op_find_target(const char *job_path, void *userdata)
{
        if (strcmp(job_path, "rootfs.img") == 0)
                return "rootfs";
        return strcmp(job_path, "app") == 0 ? "app" : NULL;
}

static uint64_t op_wall_clock(void *userdata)
{
        World *w = userdata;

        return usec_add(w->wall_base_usec, w->now_usec);
}

static void op_changed(void *userdata)
{
        /* Nobody looks. */
}

static const WorldOps ops = {
        .publish = sim_op_publish,
        .subscribe = sim_op_subscribe,
        .subscribe_aside = sim_op_unsubscribe,
        .unsubscribe = sim_op_unsubscribe,
        .say_goodbye = sim_op_say_goodbye,
        .come_back = sim_op_come_back,
        .http_start = sim_op_http_start,
        .http_resume = sim_op_http_resume,
        .http_cancel = sim_op_http_cancel,
        .http_prepare = sim_op_http_prepare,
        .call = sim_op_call,
        .begin = sim_op_begin,
        .write = sim_op_write,
        .roll_back = sim_op_roll_back,
        .data_write = sim_op_data_write,
        .data_close = sim_op_data_close,
        .find_target = op_find_target,
        .wall_clock = op_wall_clock,
        .changed = op_changed,
};
