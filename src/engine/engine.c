#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "base/time-util.h"
#include "engine-private.h"

static const TopicForm filter_forms[] = {
        TOPIC_FORM_NOTIFY,      TOPIC_FORM_NOTIFY_NEXT,    TOPIC_FORM_DESCRIBE_ANSWERS,
        TOPIC_FORM_GET_ANSWERS, TOPIC_FORM_UPDATE_ANSWERS,
};

_Static_assert(ELEMENTSOF(filter_forms) == N_FILTERS, "each has its place in struct Engine");

/* -- what the parts ask for ------------------------------------------------------------------------------------- */

static void publish(Engine *e, TopicForm form, const char *job_id, const char *json)
{
        char topic[TOPIC_MAX + 1];
        int r = topic_format(e->thing_name, form, job_id, topic);

        if (r < 0)
                log_error_errno(r, "Cannot name a topic for job '%s', so the cloud is not asked: %m",
                                job_id ? job_id : "");
        else
                e->world->publish(topic, json, strlen(json), 1, e->userdata);
}

static void on_outbox_publish(const JobKey *key, const char *json, void *userdata)
{
        publish(userdata, TOPIC_FORM_UPDATE, key->job_id, json);
}

static void on_outbox_accepted(const JobKey *key, JobStatus status, void *userdata)
{
        Engine *e = userdata;

        update_on_accepted(e->update, key, status, e->event_usec);
}

static void on_outbox_gone(const JobKey *key, JobStatus status, const char *why, void *userdata)
{
        Engine *e = userdata;

        update_on_gone(e->update, key, why, e->event_usec);
}

static const OutboxOps outbox_ops = {
        .publish = on_outbox_publish,
        .accepted = on_outbox_accepted,
        .gone = on_outbox_gone,
};

static void on_queue_publish_get(const char *json, void *userdata)
{
        publish(userdata, TOPIC_FORM_GET, NULL, json);
}

static void on_queue_publish_describe(const char *job_id, const char *json, void *userdata)
{
        publish(userdata, TOPIC_FORM_DESCRIBE, job_id, json);
}

static JobVerdict on_queue_job(const JobExecution *execution, void *userdata)
{
        Engine *e = userdata;

        return update_on_job(e->update, execution, e->event_usec);
}

static void on_queue_gone(const JobKey *key, JobStatus status, const char *why, void *userdata)
{
        Engine *e = userdata;

        update_on_gone(e->update, key, why, e->event_usec);
}

static const JobQueueOps queue_ops = {
        .publish_get = on_queue_publish_get,
        .publish_describe = on_queue_publish_describe,
        .job = on_queue_job,
        .gone = on_queue_gone,
};

static void on_package_subscribe(void *userdata)
{
        static const TopicForm forms[] = {TOPIC_FORM_PACKAGE_ACCEPTED, TOPIC_FORM_PACKAGE_REJECTED};
        char topics[ELEMENTSOF(forms)][TOPIC_MAX + 1];
        const char *filters[ELEMENTSOF(forms)];
        Engine *e = userdata;

        for (size_t i = 0; i < ELEMENTSOF(forms); i++) {
                int r = topic_format(e->thing_name, forms[i], NULL, topics[i]);

                if (r < 0) {
                        log_error_errno(
                                r, "Cannot name the topics of the $package shadow, its answers are not heard: %m");
                        return;
                }
                filters[i] = topics[i];
        }
        e->world->subscribe_aside(filters, ELEMENTSOF(filters), e->userdata);
}

static void on_package_publish(const char *json, void *userdata)
{
        publish(userdata, TOPIC_FORM_PACKAGE_UPDATE, NULL, json);
}

static const PackageReportOps package_ops = {
        .subscribe = on_package_subscribe,
        .publish = on_package_publish,
};

void engine_tell_version(Engine *e, uint64_t now)
{
        UpdateStatus status;
        bool idle;

        if (!e->tells_version)
                return;
        update_status(e->update, &status);
        e->job_committed |= status.state == UPDATE_STATE_COMMITTED;
        idle = status.device && status.device->state == UPDATE_STATE_IDLE && status.state == UPDATE_STATE_IDLE;
        package_report_on_version(e->package, idle ? status.device->version : NULL, e->job_committed, now);
        if (idle)
                e->job_committed = false;
}

/* -- life ------------------------------------------------------------------------------------------------------- */

Engine *engine_free(Engine *e)
{
        if (!e)
                return NULL;
        package_report_free(e->package);
        update_free(e->update);
        job_queue_free(e->queue);
        outbox_free(e->outbox);
        free(e);
        return NULL;
}

int engine_new(const EngineParams *params, const WorldOps *world, void *userdata, Engine **ret)
{
        _cleanup_(engine_freep) Engine *e = calloc(1, sizeof(*e));
        OutboxParams outbox = {
                .dir_fd = params->state_dir_fd,
                .answer_timeout_usec = params->answer_timeout_usec,
                .step_timeout_minutes = params->step_timeout_minutes,
        };
        JobQueueParams queue = {
                .answer_timeout_usec = params->answer_timeout_usec,
                .refresh_usec = params->refresh_usec,
        };
        PackageReportParams package = {
                .name = params->package_name ?: "",
                .dir_fd = params->state_dir_fd,
                .answer_timeout_usec = params->answer_timeout_usec,
        };
        UpdateParams update = params->update;
        int r;

        if (!e)
                return -ENOMEM;
        if (!thing_name_is_valid(params->thing_name))
                return -EINVAL;
        strcpy(e->thing_name, params->thing_name);
        e->world = world;
        e->tells_version = package.name[0];
        e->userdata = userdata;
        for (size_t i = 0; i < N_FILTERS; i++) {
                r = topic_format(e->thing_name, filter_forms[i], NULL, e->filters[i]);
                if (r < 0)
                        return r;
                e->filter_list[i] = e->filters[i];
        }
        update.download.thing_name = e->thing_name;
        r = outbox_new(&outbox, &outbox_ops, e, &e->outbox);
        if (r >= 0)
                r = job_queue_new(&queue, &queue_ops, e, &e->queue);
        if (r >= 0)
                r = update_new(&update, world, userdata, e->outbox, e->queue, &e->update);
        if (r >= 0)
                r = package_report_new(&package, &package_ops, e, &e->package);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(e);
        return 0;
}

const char *const *engine_filters(const Engine *e, size_t *ret_n)
{
        *ret_n = N_FILTERS;
        return e->filter_list;
}

/* -- the cloud -------------------------------------------------------------------------------------------------- */

/* What lies half done on the device comes before any new job: no job is looked at until the installer has answered. */
static void start_queue(Engine *e, uint64_t now)
{
        if (!e->connected || !e->device_known || e->queue_started)
                return;
        e->queue_started = true;
        job_queue_on_connected(e->queue, now);
}

void engine_on_connected(Engine *e, uint64_t now)
{
        e->event_usec = now;
        e->connected = true;
        update_on_connected(e->update, now);
        outbox_on_connected(e->outbox, now);
        start_queue(e, now);
        package_report_on_connected(e->package, now);
}

void engine_on_disconnected(Engine *e, uint64_t now)
{
        e->event_usec = now;
        e->connected = e->queue_started = false;
        outbox_on_disconnected(e->outbox);
        job_queue_on_disconnected(e->queue);
        update_on_disconnected(e->update, now);
        package_report_on_disconnected(e->package, now);
}

void engine_on_goodbye(Engine *e, uint64_t now)
{
        e->event_usec = now;
        e->connected = e->queue_started = false;
        outbox_on_disconnected(e->outbox);
        job_queue_on_disconnected(e->queue);
        update_on_goodbye(e->update, now);
        package_report_on_disconnected(e->package, now);
}

void engine_on_subscribed(Engine *e, bool granted, uint64_t now)
{
        Download *download = update_download(e->update);

        e->event_usec = now;
        if (download)
                download_on_subscribed(download, granted, now);
        update_on_progress(e->update, now);
}

/* -- HTTPS and the data pipe ------------------------------------------------------------------------------------ */

void engine_on_http_headers(Engine *e, const char *etag)
{
        Download *download = update_download(e->update);

        if (download)
                download_on_http_headers(download, etag);
}

int engine_on_http_data(Engine *e, const uint8_t *data, size_t n_data, uint64_t now)
{
        Download *download = update_download(e->update);
        int r;

        e->event_usec = now;
        if (!download)
                return -ECANCELED;
        r = download_on_http_data(download, data, n_data, now);
        if (r >= 0)
                update_on_progress(e->update, now);
        return r;
}

void engine_on_http_done(Engine *e, const Failure *failure, uint64_t retry_after_usec, uint64_t now)
{
        Download *download = update_download(e->update);

        e->event_usec = now;
        if (download)
                download_on_http_done(download, failure, retry_after_usec, now);
        update_on_progress(e->update, now);
}

void engine_on_data_writable(Engine *e, uint64_t now)
{
        Download *download = update_download(e->update);

        e->event_usec = now;
        if (download)
                download_on_writable(download, now);
        update_on_progress(e->update, now);
}

/* -- the device ------------------------------------------------------------------------------------------------- */

void engine_on_device_up(Engine *e, const LinkState *state, uint64_t now)
{
        e->event_usec = now;
        e->device_known = true;
        update_on_device_up(e->update, state, now);
        start_queue(e, now);
        engine_tell_version(e, now);
}

void engine_on_device_rest(Engine *e, uint64_t now)
{
        e->event_usec = now;
        update_on_device_rest(e->update);
}

bool engine_needs_device(const Engine *e)
{
        return update_needs_device(e->update);
}

void engine_on_device_down(Engine *e, const Failure *failure, uint64_t now)
{
        e->event_usec = now;
        update_on_device_down(e->update, failure, now);
        engine_tell_version(e, now);
}

void engine_on_device_state(Engine *e, const LinkState *state, uint64_t now)
{
        e->event_usec = now;
        update_on_device_state(e->update, state, now);
        engine_tell_version(e, now);
}

void engine_on_device_progress(Engine *e, const LinkProgress *progress, uint64_t now)
{
        e->event_usec = now;
        update_on_device_progress(e->update, progress);
}

void engine_on_call_done(Engine *e, InstallCall call, const LinkError *error, const LinkOffsets *offsets,
                         const LinkState *state, uint64_t now)
{
        e->event_usec = now;
        update_on_call_done(e->update, call, error, offsets, state, now);
        engine_tell_version(e, now);
}

void engine_on_metered(Engine *e, bool is_metered, uint64_t now)
{
        e->event_usec = now;
        update_on_metered(e->update, is_metered, now);
}

/* -- operator and time ------------------------------------------------------------------------------------------ */

int engine_suspend(Engine *e, uint64_t now)
{
        e->event_usec = now;
        return update_suspend(e->update, now);
}

int engine_resume(Engine *e, uint64_t now)
{
        e->event_usec = now;
        return update_resume(e->update, now);
}

int engine_cancel(Engine *e, const char *why, uint64_t now)
{
        e->event_usec = now;
        return update_cancel(e->update, why, now);
}

void engine_on_timer(Engine *e, uint64_t now)
{
        e->event_usec = now;
        outbox_on_timer(e->outbox, now);
        job_queue_on_timer(e->queue, now);
        update_on_timer(e->update, now);
        engine_tell_version(e, now);
        package_report_on_timer(e->package, now);
}

uint64_t engine_next_deadline(const Engine *e)
{
        uint64_t deadline = MIN2(outbox_next_deadline(e->outbox), job_queue_next_deadline(e->queue));

        deadline = MIN2(deadline, package_report_next_deadline(e->package));
        return MIN2(deadline, update_next_deadline(e->update));
}

void engine_totals(const Engine *e, uint64_t now, UpdateTotals *ret)
{
        update_totals(e->update, now, ret);
}

void engine_status(const Engine *e, EngineStatus *ret)
{
        update_status(e->update, &ret->update);
        ret->connected = e->connected;
        ret->n_unsent_finals = outbox_n_finals(e->outbox);
}
