#include "world-sim.h"

#include <errno.h>
#include <inttypes.h>

#include "base/time-util.h"
#include "stream-sim.h"
#include "transcript.h"

enum { FILE_BYTES = 1000, CHUNK_BYTES = 300, PIPE_BYTES = 200, STEPS_MAX = 4000 };

#define PREFIX   "$aws/things/thing/jobs/"
#define PATIENCE (48 * 3600 * USEC_PER_SEC)

typedef enum SimEventKind {
        SIM_CONNECTED,
        SIM_GOODBYE,
        SIM_SUBSCRIBED,
        SIM_MESSAGE,
        SIM_DEVICE_UP,
        SIM_STATE,
        SIM_CALL,
        SIM_ANSWER,
        SIM_ROLLED_BACK,
        SIM_REBOOT,
        SIM_DRAIN,
        SIM_DATA,
        SIM_DATA_END,
} SimEventKind;

struct SimEvent {
        SimEvent *next;
        SimEventKind kind;
        unsigned life; /* of the connection or the fetch it belongs to */
        char topic[128];
        char *payload;
        size_t n_payload;
        InstallCall call;
        LinkBegin *begin; /* of BEGIN only: it is large, as is a state */
        Failure failure;
        unsigned file;
        uint64_t offset;
        bool failed;
        LinkError error;
        LinkOffsets offsets;
        LinkState *state;
};

/* -- the world's own -------------------------------------------------------------------------------------------- */

_printf_(2, 3) static void trace(World *w, const char *format, ...)
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

static void *copy(const void *data, size_t n)
{
        void *to = malloc(n);

        assert_non_null(to);
        return memcpy(to, data, n);
}

static SimEvent *push(World *w, SimEventKind kind)
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

static void act(World *w)
{
        if (++w->n_acts > SIM_ACTS_PER_EVENT_MAX)
                world_fail(w, "one event leads to more than %d acts", SIM_ACTS_PER_EVENT_MAX);
}

/* -- AWS IoT Jobs ----------------------------------------------------------------------------------------------- */

/* The newest execution; there must be one. */
SimJob *world_job(World *w, const char *id)
{
        size_t i = w->n_jobs;

        while (i > 0 && strcmp(w->jobs[i - 1].id, id) != 0)
                i--;
        if (i == 0)
                world_fail(w, "no job %s", id);
        return &w->jobs[i - 1];
}

_printf_(3, 4) static void tell(World *w, const char *topic, const char *format, ...)
{
        SimEvent *event;
        va_list args;

        if (!w->connected || ++w->n_messages == w->lose_message)
                return;
        for (unsigned i = 0; i < (w->twice ? 2 : 1); i++) {
                event = push(w, SIM_MESSAGE);
                event->life = w->connection;
                snprintf(event->topic, sizeof(event->topic), PREFIX "%s", topic);
                va_start(args, format);
                assert_true(vasprintf(&event->payload, format, args) >= 0);
                va_end(args);
                event->n_payload = strlen(event->payload);
        }
}

/* Those in progress first. */
static SimJob *pending(World *w, size_t index)
{
        for (int pass = 0; pass < 2; pass++)
                for (size_t i = 0; i < w->n_jobs; i++)
                        if (w->jobs[i].status == (pass ? JOB_STATUS_QUEUED : JOB_STATUS_IN_PROGRESS) && index-- == 0)
                                return &w->jobs[i];
        return NULL;
}

static const char *list_json(World *w, const char *running, const char *queued, char text[static 1024])
{
        size_t n = 0;
        SimJob *job;

        n += (size_t)snprintf(text + n, 1024 - n, "\"%s\":[", running);
        for (int pass = 0; pass < 2; pass++) {
                const char *comma = "";

                for (size_t i = 0; (job = pending(w, i)); i++) {
                        if ((job->status == JOB_STATUS_QUEUED) != (pass == 1))
                                continue;
                        n += (size_t)snprintf(text + n, 1024 - n,
                                              "%s{\"jobId\":\"%s\",\"executionNumber\":%d,\"versionNumber\":%d}",
                                              comma, job->id, job->execution, job->version);
                        comma = ",";
                }
                n += (size_t)snprintf(text + n, 1024 - n, pass ? "]" : "],\"%s\":[", queued);
        }
        return text;
}

static const char *execution_json(World *w, const SimJob *job, char text[static 2048])
{
        char document[1024];
        char *url;

        /* Signed at delivery: another one each time. */
        strcpy(document, job->document);
        url = strstr(document, "NNNN");
        if (url) {
                char number[16];

                snprintf(number, sizeof(number), "%04u", ++w->n_urls % 10000);
                memcpy(url, number, 4);
        }
        snprintf(text, 2048,
                 "\"execution\":{\"jobId\":\"%s\",\"status\":\"%s\",\"versionNumber\":%d,\"executionNumber\":%d,"
                 "\"jobDocument\":%s}",
                 job->id, job_status_to_string(job->status), job->version, job->execution, document);
        return text;
}

static void notify(World *w)
{
        char list[1024], execution[2048];

        tell(w, "notify", "{\"jobs\":{%s},\"timestamp\":1}", list_json(w, "IN_PROGRESS", "QUEUED", list));
        if (pending(w, 0))
                tell(w, "notify-next", "{%s,\"timestamp\":1}", execution_json(w, pending(w, 0), execution));
        else
                tell(w, "notify-next", "{\"timestamp\":1}");
}

void world_add_job(World *w, const char *id, const char *files)
{
        SimJob *job = &w->jobs[w->n_jobs++];
        char name[32];
        size_t n = 0;
        int i = 0, used;

        assert_true(w->n_jobs <= SIM_JOBS_MAX);
        *job = (SimJob){.execution = 1, .version = 1, .status = JOB_STATUS_QUEUED};
        snprintf(job->id, sizeof(job->id), "%s", id);
        if (!files[0]) {
                strcpy(job->document, "{\"do\":\"something else\"}");
                notify(w);
                return;
        }
        n += (size_t)snprintf(job->document, sizeof(job->document),
                              "{\"afr_ota\":{\"protocols\":[\"HTTP\"],\"files\":[");
        for (; sscanf(files, "%31s%n", name, &used) == 1; files += used, i++)
                n += (size_t)snprintf(
                        job->document + n, sizeof(job->document) - n,
                        "%s{\"filepath\":\"%s\",\"filesize\":%d,\"fileid\":%d,\"certfile\":\"/x/signer\","
                        "\"fileType\":0,\"update_data_url\":\"https://store/NNNN\","
                        "\"auth_scheme\":\"aws.s3.presigned\",\"sig-sha256-ecdsa\":\"QUJD\"}",
                        i ? "," : "", name, FILE_BYTES + i, i);
        snprintf(job->document + n, sizeof(job->document) - n, "]}}");
        notify(w);
}

void world_end_job(World *w, const char *id, JobStatus status)
{
        SimJob *job = world_job(w, id);

        if (job_status_is_terminal(job->status))
                return;
        trace(w, "cloud: %s is %s", id, job_status_to_string(status));
        job->status = status;
        job->version++;
        notify(w);
}

void world_retry_job(World *w, const char *id)
{
        SimJob *old = world_job(w, id), *job = &w->jobs[w->n_jobs++];

        assert_true(w->n_jobs <= SIM_JOBS_MAX);
        world_end_job(w, id, JOB_STATUS_TIMED_OUT);
        *job = *old;
        job->execution++;
        job->version = 1;
        job->status = JOB_STATUS_QUEUED;
        notify(w);
}

void world_delete_job(World *w, const char *id)
{
        SimJob *job = world_job(w, id);

        job->id[0] = 0;
        job->status = JOB_STATUS_REMOVED;
        notify(w);
}

static SimJob *find_execution(World *w, const char *id, long number)
{
        for (size_t i = 0; i < w->n_jobs; i++)
                if (strcmp(w->jobs[i].id, id) == 0 && (number < 0 || w->jobs[i].execution == number))
                        return &w->jobs[i];
        return NULL;
}

static void reject(World *w, const char *topic, const char *code, const SimJob *job, const char *token)
{
        char state[256] = "";

        if (job)
                snprintf(state, sizeof(state), ",\"executionState\":{\"status\":\"%s\",\"versionNumber\":%d}",
                         job_status_to_string(job->status), job->version);
        tell(w, topic, "{\"code\":\"%s\",\"message\":\"no\",\"clientToken\":\"%s\"%s}", code, token, state);
}

static void on_update(World *w, const char *id, const char *json)
{
        SimJob *job = find_execution(w, id, json_number(json, "executionNumber"));
        long expected = json_number(json, "expectedVersion");
        char topic[96], word[128], token[128];
        JobStatus status = job_status_from_string(json_text(json, "status", word));

        snprintf(topic, sizeof(topic), "%s/update/rejected", id);
        json_text(json, "clientToken", token);
        trace(w, "  update %s %s", id, job_status_to_string(status));
        if (!job) {
                reject(w, topic, "ResourceNotFound", NULL, token);
                return;
        }
        if (job_status_is_terminal(job->status) ||
            (job->status == JOB_STATUS_QUEUED && status != JOB_STATUS_IN_PROGRESS && status != JOB_STATUS_REJECTED) ||
            (job->status == JOB_STATUS_IN_PROGRESS && status == JOB_STATUS_REJECTED)) {
                job->n_refused++;
                reject(w, topic, "InvalidStateTransition", job, token);
                return;
        }
        if (expected >= 0 && expected != job->version) {
                job->n_refused++;
                reject(w, topic, "VersionMismatch", job, token);
                return;
        }
        job->status = status;
        job->version++;
        json_text(json, "phase", word);
        snprintf(job->phase, sizeof(job->phase), "%.60s", word);
        json_text(json, "error", word);
        snprintf(job->error, sizeof(job->error), "%.60s", word);
        snprintf(topic, sizeof(topic), "%s/update/accepted", id);
        tell(w, topic, "{\"executionState\":{\"status\":\"%s\",\"versionNumber\":%d},\"clientToken\":\"%s\"}",
             job_status_to_string(job->status), job->version, token);
        if (job_status_is_terminal(status))
                notify(w);
}

static void on_describe(World *w, const char *id, const char *json)
{
        SimJob *job = find_execution(w, id, json_number(json, "executionNumber"));
        char topic[96], token[128], execution[2048];

        json_text(json, "clientToken", token);
        trace(w, "  describe %s", id);
        snprintf(topic, sizeof(topic), "%s/get/rejected", id);
        if (!job) {
                reject(w, topic, "ResourceNotFound", NULL, token);
        } else if (job_status_is_terminal(job->status)) {
                reject(w, topic, "TerminalStateReached", NULL, token);
        } else {
                snprintf(topic, sizeof(topic), "%s/get/accepted", id);
                tell(w, topic, "{%s,\"clientToken\":\"%s\"}", execution_json(w, job, execution), token);
        }
}

static void op_publish(const char *topic, const void *payload, size_t n_payload, unsigned qos, void *userdata)
{
        _cleanup_free_ char *json = strndup(payload, n_payload);
        char id[64], verb[16], token[128], list[1024];
        World *w = userdata;

        act(w);
        assert_non_null(json);
        assert_true(strncmp(topic, PREFIX, strlen(PREFIX)) == 0);
        topic += strlen(PREFIX);
        if (!w->connected)
                return;
        if (strcmp(topic, "get") == 0) {
                trace(w, "  list");
                tell(w, "get/accepted", "{%s,\"clientToken\":\"%s\"}",
                     list_json(w, "inProgressJobs", "queuedJobs", list), json_text(json, "clientToken", token));
                return;
        }
        assert_int_equal(sscanf(topic, "%63[^/]/%15s", id, verb), 2);
        if (strcmp(verb, "get") == 0)
                on_describe(w, id, json);
        else
                on_update(w, id, json);
}

static void connect(World *w)
{
        w->wants_connection = true;
        push(w, SIM_CONNECTED)->life = ++w->connection;
}

static void op_subscribe(const char *const *filters, size_t n_filters, void *userdata)
{
        World *w = userdata;

        act(w);
        push(w, SIM_SUBSCRIBED)->life = w->connection;
}

static void op_unsubscribe(const char *const *filters, size_t n_filters, void *userdata)
{
        act(userdata);
}

static void op_say_goodbye(void *userdata)
{
        World *w = userdata;

        act(w);
        trace(w, "  goodbye");
        w->wants_connection = false;
        push(w, SIM_GOODBYE)->life = w->connection;
}

static void op_come_back(void *userdata)
{
        World *w = userdata;

        act(w);
        trace(w, "  come back");
        w->connected = false;
        connect(w);
}

/* -- the image store -------------------------------------------------------------------------------------------- */

static void op_http_start(const char *url, uint64_t first_byte, uint64_t total_bytes, const char *etag,
                          void *userdata)
{
        World *w = userdata;

        act(w);
        trace(w, "  http from %" PRIu64 " of %" PRIu64, first_byte, total_bytes);
        assert_false(w->fetching);
        assert_true(first_byte < total_bytes);
        w->fetching = true;
        w->paused = false;
        w->fetch_at = first_byte;
        w->fetch_end = total_bytes;
        push(w, SIM_DATA)->life = ++w->fetch;
}

static void op_http_resume(void *userdata)
{
        World *w = userdata;

        act(w);
        assert_true(w->fetching && w->paused);
        w->paused = false;
        push(w, SIM_DATA)->life = w->fetch;
}

static void op_http_cancel(void *userdata)
{
        World *w = userdata;

        act(w);
        w->fetching = false;
        w->fetch++;
}

static void end_fetch(World *w, FailureReason reason)
{
        Failure failure = {.reason = reason, .detail = "the store says no"};

        w->fetching = false;
        engine_on_http_done(w->engine, reason == FAILURE_NONE ? NULL : &failure, 0, w->now_usec);
}

static void on_data(World *w)
{
        uint64_t n = MIN2((uint64_t)CHUNK_BYTES, w->fetch_end - w->fetch_at);
        unsigned fetch = w->fetch;
        SimEvent *event;
        int r;

        if (w->expired) {
                w->expired = false;
                end_fetch(w, FAILURE_URL_EXPIRED);
                return;
        }
        r = engine_on_http_data(w->engine, stream_sim_bytes(w->fetch_at), (size_t)n, w->now_usec);
        if (r == -EAGAIN) {
                w->paused = true;
        } else {
                w->fetch_at += r < 0 ? 0 : n;
                event = push(w, r < 0 || w->fetch_at == w->fetch_end ? SIM_DATA_END : SIM_DATA);
                event->life = fetch;
                event->failed = r < 0;
        }
}

/* -- otad-installer --------------------------------------------------------------------------------------------- */

static void set_error(LinkError *error, LinkErrorKind kind, FailureReason reason)
{
        *error = (LinkError){.kind = kind, .failure = {.reason = reason, .detail = "the installer says no"}};
}

static SimEvent *push_call(World *w, InstallCall call)
{
        SimEvent *event;

        act(w);
        trace(w, "  call %d", call);
        if (w->call_under_way)
                world_fail(w, "two calls at once");
        if (!w->device.up)
                world_fail(w, "a call while the installer is down");
        w->call_under_way = true;
        w->n_calls[call]++;
        event = push(w, SIM_CALL);
        event->call = call;
        return event;
}

static void op_call(InstallCall call, void *userdata)
{
        (void)push_call(userdata, call);
}

static void op_begin(const LinkBegin *begin, void *userdata)
{
        assert_true(begin->session[0] && begin->job_id[0] && begin->n_files > 0);
        assert_string_equal(begin->files[0].cert, "signer");
        push_call(userdata, INSTALL_CALL_BEGIN)->begin = copy(begin, sizeof(*begin));
}

static void op_write(unsigned file, uint64_t offset, void *userdata)
{
        SimEvent *event = push_call(userdata, INSTALL_CALL_WRITE);

        event->file = file;
        event->offset = offset;
}

static void op_roll_back(const Failure *why, void *userdata)
{
        assert_true(failure_is_set(why));
        push_call(userdata, INSTALL_CALL_ROLL_BACK)->failure = *why;
}

static void drain(World *w)
{
        SimDevice *d = &w->device;

        if (d->pipe_open)
                d->state.files[d->pipe_file].written_bytes = d->written_at;
        d->pipe_bytes = 0;
}

static ssize_t op_data_write(const uint8_t *data, size_t n_data, void *userdata)
{
        World *w = userdata;
        SimDevice *d = &w->device;
        size_t n;

        act(w);
        if (!d->pipe_open)
                return -EPIPE;
        n = MIN2(n_data, PIPE_BYTES - d->pipe_bytes);
        if (memcmp(data, stream_sim_bytes(d->written_at), n) != 0)
                world_fail(w, "other bytes than those of byte %" PRIu64, d->written_at);
        if (d->pipe_bytes == 0 && n > 0)
                (void)push(w, SIM_DRAIN);
        d->pipe_bytes += n;
        d->written_at += n;
        d->wants_writable |= n < n_data;
        return (ssize_t)n;
}

static void op_data_close(void *userdata)
{
        World *w = userdata;

        act(w);
        drain(w);
        w->device.pipe_open = false;
        w->device.wants_writable = false;
}

static void enter(World *w, UpdateState state)
{
        w->device.state.state = state;
        trace(w, "device: %s", update_state_to_string(state));
        push(w, SIM_STATE)->state = copy(&w->device.state, sizeof(LinkState));
}

/* The installer ends the session by itself, as install/session.h describes it. */
static void end_session(World *w, const Failure *why)
{
        SimDevice *d = &w->device;

        d->pipe_open = false;
        if (d->state.state == UPDATE_STATE_IDLE)
                return;
        d->state.failure = *why;
        if (d->state.state < UPDATE_STATE_ACTIVATING) {
                enter(w, UPDATE_STATE_ROLLED_BACK);
        } else {
                bool boots = d->ab && d->state.state == UPDATE_STATE_TESTING;

                d->state.reboot_needed = boots;
                enter(w, UPDATE_STATE_ROLLING_BACK);
                w->device.next = boots ? SIM_DEVICE_REBOOTS : SIM_DEVICE_ROLLS_BACK;
        }
}

static bool begin(SimDevice *d, const LinkBegin *begin, LinkOffsets *offsets)
{
        if (!d->state.session[0]) {
                snprintf(d->state.session, sizeof(d->state.session), "%s", begin->session);
                snprintf(d->state.job_id, sizeof(d->state.job_id), "%s", begin->job_id);
                d->state.attempt = begin->attempt;
                d->state.n_files = begin->n_files;
                memset(d->state.files, 0, sizeof(d->state.files));
                for (size_t i = 0; i < begin->n_files; i++)
                        d->state.files[i].size_bytes = begin->files[i].size_bytes;
                d->state.failure = (Failure){0};
                d->state.state = UPDATE_STATE_DOWNLOADING;
        }
        if (strcmp(d->state.session, begin->session) != 0 || d->state.state > UPDATE_STATE_INSTALLED)
                return false;
        offsets->n_files = d->state.n_files;
        for (size_t i = 0; i < d->state.n_files; i++)
                offsets->resume_bytes[i] = d->state.files[i].written_bytes;
        return true;
}

static bool open_pipe(SimDevice *d, unsigned file, uint64_t offset)
{
        if (d->state.state != UPDATE_STATE_DOWNLOADING || file >= d->state.n_files ||
            offset > d->state.files[file].written_bytes)
                return false;
        d->pipe_open = true;
        d->pipe_file = file;
        d->written_at = offset;
        d->pipe_bytes = 0;
        return true;
}

static bool is_complete(const SimDevice *d)
{
        for (size_t i = 0; i < d->state.n_files; i++)
                if (d->state.files[i].written_bytes != d->state.files[i].size_bytes)
                        return false;
        return true;
}

/* The final status must not get lost any more. */
static void check_release(World *w)
{
        const LinkState *s = &w->device.state;
        SimJob *job = find_execution(w, s->job_id, (long)s->attempt);

        if (s->state != UPDATE_STATE_IDLE && job && !job_status_is_terminal(job->status) &&
            !folder_has(&w->folder, "outbox"))
                world_fail(w, "released before the final status was on disk");
}

/* False: out of turn. */
static bool execute(World *w, SimEvent *event, SimEvent *answer)
{
        SimDevice *d = &w->device;
        UpdateState state = d->state.state;

        switch (event->call) {
        case INSTALL_CALL_GET_STATE:
                return true;
        case INSTALL_CALL_BEGIN:
                if (!begin(d, event->begin, &answer->offsets))
                        return false;
                if (state == UPDATE_STATE_IDLE)
                        enter(w, UPDATE_STATE_DOWNLOADING);
                return true;
        case INSTALL_CALL_WRITE:
                return open_pipe(d, event->file, event->offset);
        case INSTALL_CALL_VERIFY:
                if ((state != UPDATE_STATE_DOWNLOADING && state != UPDATE_STATE_VERIFYING) || !is_complete(d))
                        return false;
                enter(w, UPDATE_STATE_VERIFYING);
                enter(w, UPDATE_STATE_INSTALLED);
                return true;
        case INSTALL_CALL_ACTIVATE:
                if (state != UPDATE_STATE_INSTALLED)
                        return state == UPDATE_STATE_ACTIVATING;
                d->state.reboot_needed = d->ab;
                enter(w, UPDATE_STATE_ACTIVATING);
                if (!d->ab)
                        enter(w, UPDATE_STATE_TESTING);
                return true;
        case INSTALL_CALL_REBOOT:
                if (state != UPDATE_STATE_ACTIVATING || !d->state.reboot_needed)
                        return false;
                if (w->connected)
                        world_fail(w, "a reboot without a goodbye");
                if (d->reboot_asked_usec == 0 && !w->reboot_never_comes)
                        d->next = SIM_DEVICE_REBOOTS;
                d->reboot_asked_usec = w->now_usec;
                return true;
        case INSTALL_CALL_SELF_TEST:
                d->tested = state == UPDATE_STATE_TESTING;
                return d->tested;
        case INSTALL_CALL_COMMIT:
                if (state != UPDATE_STATE_TESTING || !d->tested)
                        return false;
                enter(w, UPDATE_STATE_COMMITTED);
                return true;
        case INSTALL_CALL_ROLL_BACK:
                if (state == UPDATE_STATE_COMMITTED)
                        return false;
                if (state != UPDATE_STATE_ROLLING_BACK && state != UPDATE_STATE_ROLLED_BACK)
                        end_session(w, &event->failure);
                return true;
        case INSTALL_CALL_RELEASE:
                if (state != UPDATE_STATE_COMMITTED && state != UPDATE_STATE_ROLLED_BACK)
                        return state == UPDATE_STATE_IDLE;
                check_release(w);
                d->state = (LinkState){.selftest_left_usec = USEC_INFINITY};
                d->tested = false;
                d->reboot_asked_usec = 0;
                strcpy(d->state.version, "2.0.0");
                enter(w, UPDATE_STATE_IDLE);
                return true;
        case INSTALL_CALL_NONE:
        case _INSTALL_CALL_MAX:
                break;
        }
        fail_msg("no such call");
        return false;
}

/* What the installer does without being asked comes after its answer. */
static void go_on_alone(World *w)
{
        SimDeviceNext next = w->device.next;

        w->device.next = SIM_DEVICE_STAYS;
        if (next != SIM_DEVICE_STAYS)
                (void)push(w, next == SIM_DEVICE_REBOOTS ? SIM_REBOOT : SIM_ROLLED_BACK);
}

static void on_call(World *w, SimEvent *event)
{
        SimEvent *answer = calloc(1, sizeof(*answer));

        assert_non_null(answer);
        answer->kind = SIM_ANSWER;
        answer->call = event->call;
        if (w->n_bad > 0 && event->call == w->bad_call) {
                w->n_bad--;
                answer->failed = true;
                set_error(&answer->error, w->bad_kind, w->bad_reason);
                if (w->bad_kind == LINK_ERROR_FAILED && event->call != INSTALL_CALL_GET_STATE &&
                    event->call != INSTALL_CALL_ROLL_BACK && event->call != INSTALL_CALL_RELEASE)
                        end_session(w, &answer->error.failure);
        } else if (!execute(w, event, answer)) {
                w->n_out_of_turn++;
                answer->failed = true;
                set_error(&answer->error, LINK_ERROR_OUT_OF_TURN, FAILURE_INSTALLER);
        }
        answer->state = copy(&w->device.state, sizeof(LinkState));
        *w->last = answer;
        w->last = &answer->next;
        go_on_alone(w);
}

static void on_answer(World *w, const SimEvent *event)
{
        w->call_under_way = false;
        engine_on_call_done(w->engine, event->call, event->failed ? &event->error : NULL, &event->offsets,
                            event->state, w->now_usec);
}

static void roll_back_ends(World *w)
{
        if (w->device.state.state != UPDATE_STATE_ROLLING_BACK)
                return;
        w->device.state.reboot_needed = false;
        enter(w, UPDATE_STATE_ROLLED_BACK);
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
                .update = {.download = {.planes = {DOWNLOAD_PLANE_HTTPS, DOWNLOAD_PLANE_MQTT},
                                        .n_planes = 2,
                                        .block_bytes = 256,
                                        .window_bytes = 128 * 1024,
                                        .stall_usec = 60 * USEC_PER_SEC,
                                        .attempts = 5},
                           .signing_required = true,
                           .algorithms = {[SIGNATURE_ALGORITHM_SHA256_ECDSA] = true},
                           .reject_foreign = w->reject_foreign,
                           .progress_usec = 30 * USEC_PER_SEC,
                           .progress_percent = 10,
                           .heartbeat_usec = 900 * USEC_PER_SEC,
                           .hook_retry_usec = 60 * USEC_PER_SEC,
                           .hook_give_up_usec = 3600 * USEC_PER_SEC},
        };

        assert_int_equal(engine_new(&params, &ops, w, &w->engine), 0);
        if (w->broker_first)
                connect(w);
        (void)push(w, SIM_DEVICE_UP);
        if (!w->broker_first)
                connect(w);
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
        trace(w, "otad is killed");
        stop_otad(w);
        /* A call that is under way reached the installer. */
        for (SimEvent *event = w->first; event; event = event->next)
                if (event->kind == SIM_CALL) {
                        on_call(w, event);
                        break;
                }
        drop_events(w, is_of_otad);
        w->device.up = false;
        start_otad(w);
}

void world_lose_broker(World *w)
{
        if (!w->connected || !w->wants_connection)
                return;
        trace(w, "the broker is lost");
        w->connected = false;
        w->n_acts = 0;
        engine_on_disconnected(w->engine, w->now_usec);
        connect(w);
}

void world_lose_installer(World *w)
{
        Failure failure = {.reason = FAILURE_INSTALLER, .detail = "it is gone"};

        if (!w->device.up)
                return;
        trace(w, "the installer is lost");
        drop_events(w, is_of_link);
        w->device.up = w->device.pipe_open = w->call_under_way = false;
        w->device.pipe_bytes = 0;
        w->n_acts = 0;
        engine_on_device_down(w->engine, &failure, w->now_usec);
        (void)push(w, SIM_DEVICE_UP);
        if (w->device.state.state == UPDATE_STATE_ROLLING_BACK && !w->device.state.reboot_needed)
                (void)push(w, SIM_ROLLED_BACK);
}

static void reboot(World *w)
{
        SimDevice *d = &w->device;

        trace(w, "the machine reboots");
        stop_otad(w);
        drop_events(w, is_any);
        d->n_boots++;
        d->up = d->pipe_open = d->state.reboot_needed = false;
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
                on_call(w, event);
                return;
        case SIM_ANSWER:
                on_answer(w, event);
                return;
        case SIM_ROLLED_BACK:
                roll_back_ends(w);
                return;
        case SIM_REBOOT:
                reboot(w);
                return;
        case SIM_DRAIN:
                drain(w);
                if (d->wants_writable) {
                        d->wants_writable = false;
                        engine_on_data_writable(w->engine, w->now_usec);
                }
                return;
        case SIM_DATA:
                if (event->life == w->fetch)
                        on_data(w);
                return;
        case SIM_DATA_END:
                if (event->life == w->fetch)
                        end_fetch(w, event->failed ? FAILURE_INSTALLER : FAILURE_NONE);
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
               w->device.state.state == UPDATE_STATE_IDLE && w->device.up && w->connected;
}

static void run_timer(World *w)
{
        for (unsigned i = 0; engine_next_deadline(w->engine) <= w->now_usec; i++) {
                if (i > 8)
                        world_fail(w, "the timer is due again and again");
                w->n_acts = 0;
                trace(w, "timer");
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
        end_session(w, &failure);
        go_on_alone(w);
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
                trace(w, "%s %s%s", kind_words[event->kind], event->topic,
                      event->kind == SIM_ANSWER && event->failed ? "(refused)" : "");
                happen(w, event);
                event_free(event);
                run_timer(w);
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

static void op_changed(void *userdata)
{
        /* Nobody looks. */
}

static const WorldOps ops = {
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
