/* What the broker brings: each message is read, and given to the part it is for. */
#include <errno.h>

#include "base/log.h"
#include "engine-private.h"

static void on_list(Engine *e, const char *payload, size_t n_payload, const char **reterr, uint64_t now)
{
        PendingJobs list;

        if (pending_jobs_parse(payload, n_payload, &list, reterr) >= 0)
                job_queue_on_list(e->queue, &list, now);
}

static void on_execution(Engine *e, const Topic *topic, const char *payload, size_t n_payload, const char **reterr,
                         uint64_t now)
{
        _cleanup_(job_execution_freep) JobExecution *execution = NULL;
        int r;

        r = job_execution_parse(payload, n_payload, &execution, reterr);
        if (r == -EBADMSG && topic->kind == TOPIC_DESCRIBE_ACCEPTED)
                job_queue_on_unreadable(e->queue, topic->job_id, now);
        if (r < 0)
                return;
        if (topic->kind == TOPIC_NOTIFY_NEXT)
                job_queue_on_next(e->queue, execution, now);
        else
                job_queue_on_execution(e->queue, execution, now);
}

static void on_update_accepted(Engine *e, const char *payload, size_t n_payload, const char **reterr, uint64_t now)
{
        _cleanup_(job_update_freep) JobUpdate *update = NULL;

        if (job_update_parse(payload, n_payload, &update, reterr) >= 0)
                outbox_on_update(e->outbox, update, now);
}

static void on_rejection(Engine *e, TopicKind kind, const char *payload, size_t n_payload, const char **reterr,
                         uint64_t now)
{
        _cleanup_(job_rejection_freep) JobRejection *rejection = NULL;

        if (job_rejection_parse(payload, n_payload, &rejection, reterr) < 0)
                return;
        if (kind == TOPIC_UPDATE_REJECTED)
                outbox_on_rejection(e->outbox, rejection, now);
        else
                job_queue_on_rejection(e->queue, rejection, now);
}

static void on_stream(Engine *e, const Topic *topic, const void *payload, size_t n_payload, const char **reterr,
                      uint64_t now)
{
        Download *download = update_download(e->update);
        StreamDescription description;
        StreamRejection rejection;
        StreamBlock block;

        if (!download)
                return;
        if (topic->kind == TOPIC_STREAM_DATA) {
                if (stream_block_parse(payload, n_payload, &block, reterr) >= 0)
                        download_on_stream_block(download, topic->stream_id, &block, now);
                else
                        update_note_unreadable(e->update);
        } else if (topic->kind == TOPIC_STREAM_REJECTED) {
                if (stream_rejection_parse(payload, n_payload, &rejection, reterr) >= 0)
                        download_on_stream_rejection(download, topic->stream_id, &rejection, now);
        } else if (stream_description_parse(payload, n_payload, &description, reterr) >= 0) {
                download_on_stream_description(download, topic->stream_id, &description, now);
        }
        update_on_progress(e->update, now);
}

static void on_package_answer(Engine *e, TopicKind kind, const char *payload, size_t n_payload, const char **reterr,
                              uint64_t now)
{
        PackageAnswer answer;
        int r = kind == TOPIC_PACKAGE_ACCEPTED ? package_accepted_parse(payload, n_payload, &answer, reterr)
                                               : package_rejection_parse(payload, n_payload, &answer, reterr);

        if (r >= 0)
                package_report_on_answer(e->package, &answer, now);
}

void engine_on_message(Engine *e, const char *name, const void *payload, size_t n_payload, uint64_t now)
{
        const char *problem = NULL;
        Topic topic;

        e->event_usec = now;
        if (topic_parse(e->thing_name, name, &topic) < 0) {
                log_debug("A message on topic '%s' is not for us", name);
                return;
        }
        switch (topic.kind) {
        case TOPIC_NOTIFY:
        case TOPIC_GET_ACCEPTED:
                on_list(e, payload, n_payload, &problem, now);
                break;
        case TOPIC_NOTIFY_NEXT:
        case TOPIC_DESCRIBE_ACCEPTED:
                on_execution(e, &topic, payload, n_payload, &problem, now);
                break;
        case TOPIC_UPDATE_ACCEPTED:
                on_update_accepted(e, payload, n_payload, &problem, now);
                break;
        case TOPIC_GET_REJECTED:
        case TOPIC_DESCRIBE_REJECTED:
        case TOPIC_UPDATE_REJECTED:
                on_rejection(e, topic.kind, payload, n_payload, &problem, now);
                break;
        case TOPIC_STREAM_DATA:
        case TOPIC_STREAM_REJECTED:
        case TOPIC_STREAM_DESCRIPTION:
                on_stream(e, &topic, payload, n_payload, &problem, now);
                break;
        case TOPIC_PACKAGE_ACCEPTED:
        case TOPIC_PACKAGE_REJECTED:
                on_package_answer(e, topic.kind, payload, n_payload, &problem, now);
                break;
        case TOPIC_START_NEXT_ACCEPTED:
        case TOPIC_START_NEXT_REJECTED:
        case _TOPIC_KIND_MAX:
                break; /* never asked for */
        }
        if (problem)
                log_warning("A message of kind %s is not understood and ignored: %s",
                            topic_kind_to_string(topic.kind), problem);
        engine_tell_version(e, now);
}
