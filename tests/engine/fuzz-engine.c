/*
 * A whole engine under hostile messages. The input is a row of events: a byte that says which, and what it needs; answers
 * come only where something was asked for, as the rooms around the engine guarantee it. Messages may hold \1 for the client
 * token of the latest request and \2 for its job, so that a fuzzer gets past both.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "base/time-util.h"
#include "engine/engine.h"

enum { ACTS_PER_EVENT_MAX = 64, MESSAGE_MAX = 16 * 1024, PIPE_BYTES = 5000 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct Input {
        const uint8_t *data;
        size_t size;
} Input;

typedef struct World {
        Engine *engine;
        uint64_t now;
        unsigned n_acts;
        bool connected, linked, subscribing, leaving, fetching, pipe;
        InstallCall call;
        size_t n_files; /* of the latest begin() */
        LinkState state;
        char token[128], job[128];
} World;

static uint8_t take_byte(Input *in)
{
        if (in->size == 0)
                return 0;
        in->size--;
        return *in->data++;
}

static void act(World *w)
{
        if (++w->n_acts > ACTS_PER_EVENT_MAX)
                abort();
}

/* -- what the engine asks for ----------------------------------------------------------------------------------- */

static void note(const char *text, size_t n_text, const char *before, const char *stop, char *to, size_t n_to)
{
        const char *at = memmem(text, n_text, before, strlen(before));
        size_t n;

        if (!at)
                return;
        at += strlen(before);
        n = strcspn(at, stop);
        snprintf(to, n_to, "%.*s", (int)MIN2(n, n_to - 1), at);
}

static void op_publish(const char *topic, const void *payload, size_t n_payload, unsigned qos, void *userdata)
{
        World *w = userdata;
        char text[4096];
        size_t n = MIN2(n_payload, sizeof(text) - 1);

        act(w);
        if (!utf8_is_valid(topic, strlen(topic)) || strpbrk(topic, "+#"))
                abort();
        memcpy(text, payload, n);
        text[n] = 0;
        note(text, n, "\"clientToken\":\"", "\"", w->token, sizeof(w->token));
        note(topic, strlen(topic), "/jobs/", "/", w->job, sizeof(w->job));
}

static void op_subscribe(const char *const *filters, size_t n_filters, void *userdata)
{
        act(userdata);
        ((World *)userdata)->subscribing = true;
}

static void op_unsubscribe(const char *const *filters, size_t n_filters, void *userdata)
{
        act(userdata);
}

static void op_say_goodbye(void *userdata)
{
        act(userdata);
        ((World *)userdata)->leaving = true;
}

static void op_come_back(void *userdata)
{
        act(userdata);
}

static void op_http_prepare(void *userdata)
{
        act(userdata);
}

static void op_http_start(const char *url, uint64_t first_byte, uint64_t total_bytes, const char *etag,
                          void *userdata)
{
        World *w = userdata;

        act(w);
        if (w->fetching || first_byte >= total_bytes)
                abort();
        w->fetching = true;
}

static void op_http_resume(void *userdata)
{
        act(userdata);
}

static void op_http_cancel(void *userdata)
{
        act(userdata);
        ((World *)userdata)->fetching = false;
}

static void begin_call(World *w, InstallCall call)
{
        act(w);
        if (w->call != INSTALL_CALL_NONE)
                abort();
        w->call = call;
}

static void op_call(InstallCall call, void *userdata)
{
        begin_call(userdata, call);
}

static void op_begin(const LinkBegin *begin, void *userdata)
{
        World *w = userdata;

        begin_call(w, INSTALL_CALL_BEGIN);
        if (!link_session_is_valid(begin->session) || !link_job_id_is_valid(begin->job_id) || begin->n_files == 0 ||
            begin->n_files > LINK_FILES_MAX)
                abort();
        for (size_t i = 0; i < begin->n_files; i++)
                if (!link_target_is_valid(begin->files[i].target) || !link_cert_is_valid(begin->files[i].cert) ||
                    begin->files[i].n_signature > SIGNATURE_MAX_BYTES || begin->files[i].size_bytes == 0)
                        abort();
        w->n_files = begin->n_files;
        snprintf(w->state.session, sizeof(w->state.session), "%s", begin->session);
        snprintf(w->state.job_id, sizeof(w->state.job_id), "%s", begin->job_id);
}

static void op_write(unsigned file, uint64_t offset, void *userdata)
{
        begin_call(userdata, INSTALL_CALL_WRITE);
}

static void op_roll_back(const Failure *why, void *userdata)
{
        begin_call(userdata, INSTALL_CALL_ROLL_BACK);
        if (!failure_is_set(why) || !utf8_is_valid(why->detail, strlen(why->detail)))
                abort();
}

static ssize_t op_data_write(const uint8_t *data, size_t n_data, void *userdata)
{
        World *w = userdata;

        if (!w->pipe)
                return -EPIPE;
        return (ssize_t)MIN2(n_data, (size_t)PIPE_BYTES);
}

static void op_data_close(void *userdata)
{
        act(userdata);
        ((World *)userdata)->pipe = false;
}

static const char *op_find_target(const char *job_path, void *userdata)
{
        return strstr(job_path, "rootfs") ? "rootfs" : strstr(job_path, "app") ? "app" : NULL;
}

static void op_changed(void *userdata)
{
}

static const WorldOps ops = {
        .publish = op_publish,
        .subscribe = op_subscribe,
        .subscribe_aside = op_unsubscribe,
        .unsubscribe = op_unsubscribe,
        .say_goodbye = op_say_goodbye,
        .come_back = op_come_back,
        .http_start = op_http_start,
        .http_resume = op_http_resume,
        .http_cancel = op_http_cancel,
        .http_prepare = op_http_prepare,
        .call = op_call,
        .begin = op_begin,
        .write = op_write,
        .roll_back = op_roll_back,
        .data_write = op_data_write,
        .data_close = op_data_close,
        .find_target = op_find_target,
        .changed = op_changed,
};

/* -- what comes to it ------------------------------------------------------------------------------------------- */

static void give_message(World *w, Input *in)
{
        static const char *const topics[] = {
                "$aws/things/t/jobs/notify",
                "$aws/things/t/jobs/notify-next",
                "$aws/things/t/jobs/get/accepted",
                "$aws/things/t/jobs/get/rejected",
                "$aws/things/t/jobs/\2/get/accepted",
                "$aws/things/t/jobs/\2/get/rejected",
                "$aws/things/t/jobs/\2/update/accepted",
                "$aws/things/t/jobs/\2/update/rejected",
                "$aws/things/t/streams/s/data/cbor",
                "$aws/things/t/streams/s/rejected/cbor",
                "$aws/things/t/streams/s/description/cbor",
                "$aws/things/t/jobs/other/update/rejected",
        };
        static char payload[MESSAGE_MAX];
        const char *form = topics[take_byte(in) % ELEMENTSOF(topics)], *mark = strchr(form, '\2');
        size_t length = take_byte(in), n = 0;
        char topic[512];

        length |= (size_t)take_byte(in) << 8;
        length = MIN2(length, in->size);
        snprintf(topic, sizeof(topic), "%.*s%s%s", mark ? (int)(mark - form) : (int)strlen(form), form,
                 mark ? w->job : "", mark ? mark + 1 : "");
        for (size_t i = 0; i < length; i++) {
                uint8_t c = take_byte(in);
                const char *insert = c == 1 ? w->token : c == 2 ? w->job : NULL;

                for (; insert && *insert && n < sizeof(payload); insert++)
                        payload[n++] = *insert;
                if (!insert && n < sizeof(payload))
                        payload[n++] = (char)c;
        }
        if (w->connected)
                engine_on_message(w->engine, topic, payload, n, w->now);
}

static void fill_state(World *w, Input *in)
{
        static const UpdateState states[] = {
                UPDATE_STATE_IDLE,      UPDATE_STATE_DOWNLOADING,  UPDATE_STATE_VERIFYING,
                UPDATE_STATE_INSTALLED, UPDATE_STATE_ACTIVATING,   UPDATE_STATE_TESTING,
                UPDATE_STATE_COMMITTED, UPDATE_STATE_ROLLING_BACK, UPDATE_STATE_ROLLED_BACK,
        };
        uint8_t what = take_byte(in), more = take_byte(in);

        w->state.state = states[what % ELEMENTSOF(states)];
        w->state.reboot_needed = more & 1;
        w->state.selftest_left_usec = more & 2 ? 1000000 : USEC_INFINITY;
        w->state.attempt = 1;
        w->state.n_files = w->n_files;
        for (size_t i = 0; i < w->n_files; i++) {
                snprintf(w->state.files[i].target, sizeof(w->state.files[i].target), "rootfs");
                w->state.files[i].size_bytes = 1000;
                w->state.files[i].written_bytes = (uint64_t)more * 10;
        }
        if (more & 4)
                failure_set(&w->state.failure, (FailureReason)(more % _FAILURE_MAX), "as the input says");
        else
                failure_set(&w->state.failure, FAILURE_NONE, "");
        if (more & 8)
                snprintf(w->state.session, sizeof(w->state.session), "%s", more & 16 ? "other#1" : "");
        if (w->state.session[0] == 0)
                w->state.state = UPDATE_STATE_IDLE;
        else if (w->state.state == UPDATE_STATE_IDLE)
                w->state.session[0] = 0;
}

static void answer_call(World *w, Input *in)
{
        InstallCall call = w->call;
        uint8_t how = take_byte(in);
        LinkError error;
        LinkOffsets offsets = {.n_files = w->n_files};

        if (call == INSTALL_CALL_NONE)
                return;
        w->call = INSTALL_CALL_NONE;
        for (size_t i = 0; i < offsets.n_files; i++)
                offsets.resume_bytes[i] = (uint64_t)take_byte(in) * 4;
        if (call == INSTALL_CALL_GET_STATE)
                fill_state(w, in);
        if (call == INSTALL_CALL_WRITE && how % 8 == 0)
                w->pipe = true;
        if (how % 8 != 0)
                link_error_set(&error, (LinkErrorKind)(how % _LINK_ERROR_MAX),
                               (FailureReason)(1 + how % (_FAILURE_MAX - 1)), "as the input says");
        engine_on_call_done(w->engine, call, how % 8 == 0 ? NULL : &error, how % 8 == 0 ? &offsets : NULL, &w->state,
                            w->now);
}

static void give_http(World *w, Input *in)
{
        uint8_t how = take_byte(in), bytes[256] = {0};
        Failure failure;

        if (!w->fetching)
                return;
        if (how < 128) {
                engine_on_http_headers(w->engine, how & 1 ? "\"tag\"" : NULL);
                (void)!engine_on_http_data(w->engine, bytes, 1 + how, w->now);
                return;
        }
        w->fetching = false;
        failure_set(&failure, (FailureReason)(1 + how % (_FAILURE_MAX - 1)), "as the input says");
        engine_on_http_done(w->engine, how & 1 ? &failure : NULL, (uint64_t)how * USEC_PER_SEC, w->now);
}

static void give_connection(World *w, Input *in)
{
        uint8_t how = take_byte(in);

        if (w->leaving && how & 1) {
                w->leaving = w->connected = false;
                engine_on_goodbye(w->engine, w->now);
        } else if (w->subscribing && how & 2) {
                w->subscribing = false;
                engine_on_subscribed(w->engine, how & 4, w->now);
        } else if (w->connected) {
                w->connected = w->subscribing = false;
                engine_on_disconnected(w->engine, w->now);
        } else {
                w->connected = true;
                engine_on_connected(w->engine, w->now);
        }
}

/* To the next deadline, or some seconds on. A deadline that stays where it is would be a busy loop. */
static void pass_time(World *w, Input *in)
{
        uint64_t deadline = engine_next_deadline(w->engine);

        w->now += (uint64_t)take_byte(in) * USEC_PER_SEC / 8;
        if (deadline != USEC_INFINITY)
                w->now = MAX2(w->now, deadline);
        for (unsigned i = 0; i < 32; i++) {
                w->n_acts = 0;
                engine_on_timer(w->engine, w->now);
                if (engine_next_deadline(w->engine) > w->now)
                        return;
        }
        abort();
}

static void one_event(World *w, Input *in)
{
        EngineStatus status;
        Failure failure;

        w->n_acts = 0;
        switch (take_byte(in) % 12) {
        case 0:
        case 1:
        case 2:
        case 3:
                give_message(w, in);
                break;
        case 4:
                pass_time(w, in);
                break;
        case 5:
        case 6:
                answer_call(w, in);
                break;
        case 7:
                give_http(w, in);
                break;
        case 8:
                give_connection(w, in);
                break;
        case 9:
                fill_state(w, in);
                engine_on_device_state(w->engine, &w->state, w->now);
                break;
        case 10:
                if (w->pipe)
                        engine_on_data_writable(w->engine, w->now);
                break;
        default:
                switch (take_byte(in) % 6) {
                case 0:
                        (void)!engine_suspend(w->engine, w->now);
                        break;
                case 1:
                        (void)!engine_resume(w->engine, w->now);
                        break;
                case 2:
                        (void)!engine_cancel(w->engine, "an operator", w->now);
                        break;
                case 3: /* the link breaks, and with it the call and the pipe, and is there again */
                        w->call = INSTALL_CALL_NONE;
                        failure_set(&failure, FAILURE_INSTALLER, "lost");
                        if (w->linked && !engine_needs_device(w->engine))
                                engine_on_device_rest(w->engine, w->now);
                        else
                                engine_on_device_down(w->engine, &failure, w->now);
                        w->linked = false;
                        break;
                case 4:
                        engine_on_device_progress(w->engine,
                                                  &(LinkProgress){.file = take_byte(in),
                                                                  .written_bytes = take_byte(in),
                                                                  .durable_bytes = take_byte(in)},
                                                  w->now);
                        break;
                default:
                        if (w->call == INSTALL_CALL_NONE) {
                                fill_state(w, in);
                                engine_on_device_up(w->engine, &w->state, w->now);
                                w->linked = true;
                        }
                        break;
                }
                break;
        }
        engine_status(w->engine, &status);
}

static char folder[] = "/dev/shm/otad-fuzz-XXXXXX";

static void remove_folder(void)
{
        (void)rmdir(folder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static int dir_fd = -1;
        Input in = {.data = data, .size = size};
        World w = {.now = USEC_PER_SEC, .job = "j"};
        EngineParams params = {
                .thing_name = "t",
                .answer_timeout_usec = 15 * USEC_PER_SEC,
                .refresh_usec = 3600 * USEC_PER_SEC,
                .step_timeout_minutes = 60,
                .package_name = "p",
                .update = {.download = {.planes = {DOWNLOAD_PLANE_HTTPS, DOWNLOAD_PLANE_MQTT},
                                        .n_planes = 2,
                                        .block_bytes = 256,
                                        .window_bytes = 128 * 1024,
                                        .stall_usec = 60 * USEC_PER_SEC,
                                        .attempts = 3,
                                        .give_up_usec = 600 * USEC_PER_SEC},
                           .signing_required = true,
                           .algorithms = {[SIGNATURE_ALGORITHM_SHA256_ECDSA] = true},
                           .progress_usec = 30 * USEC_PER_SEC,
                           .progress_percent = 10,
                           .heartbeat_usec = 900 * USEC_PER_SEC,
                           .hook_retry_usec = 60 * USEC_PER_SEC,
                           .hook_give_up_usec = 3600 * USEC_PER_SEC},
        };

        if (dir_fd < 0) {
                log_set_max_level(-1);
                if (!mkdtemp(folder) || (dir_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0 ||
                    atexit(remove_folder) != 0)
                        abort();
        }
        params.state_dir_fd = dir_fd;
        w.state.selftest_left_usec = USEC_INFINITY;
        if (engine_new(&params, &ops, &w, &w.engine) < 0)
                abort();
        engine_on_device_up(w.engine, &w.state, w.now);
        w.linked = w.connected = true;
        engine_on_connected(w.engine, w.now);
        for (unsigned i = 0; i < 200 && in.size > 0; i++)
                one_event(&w, &in);
        engine_free(w.engine);
        (void)unlinkat(dir_fd, "outbox", 0);
        (void)unlinkat(dir_fd, "outbox.damaged", 0);
        return 0;
}
