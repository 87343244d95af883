#include "world-private.h"

#define THING  "$aws/things/thing/"
#define PREFIX THING "jobs/"
#define SHADOW THING "shadow/name/$package/update"

enum { FILE_BYTES = 1000 };

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
                event = sim_push(w, SIM_MESSAGE);
                event->life = w->connection;
                snprintf(event->topic, sizeof(event->topic), "%s%s", topic[0] == '$' ? "" : PREFIX, topic);
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
        sim_trace(w, "cloud: %s is %s", id, job_status_to_string(status));
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

SimJob *sim_find_execution(World *w, const char *id, long number)
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
        SimJob *job = sim_find_execution(w, id, json_number(json, "executionNumber"));
        long expected = json_number(json, "expectedVersion");
        char topic[96], word[128], token[128];
        JobStatus status = job_status_from_string(json_text(json, "status", word));

        snprintf(topic, sizeof(topic), "%s/update/rejected", id);
        json_text(json, "clientToken", token);
        sim_trace(w, "  update %s %s", id, job_status_to_string(status));
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
        job->n_updates++;
        json_text(json, "phase", word);
        snprintf(job->phase, sizeof(job->phase), "%.60s", word);
        json_text(json, "error", word);
        snprintf(job->error, sizeof(job->error), "%.60s", word);
        json_text(json, "waiting", word);
        snprintf(job->waiting, sizeof(job->waiting), "%.120s", word);
        snprintf(topic, sizeof(topic), "%s/update/accepted", id);
        tell(w, topic, "{\"executionState\":{\"status\":\"%s\",\"versionNumber\":%d},\"clientToken\":\"%s\"}",
             job_status_to_string(job->status), job->version, token);
        if (job_status_is_terminal(status))
                notify(w);
}

static void on_describe(World *w, const char *id, const char *json)
{
        SimJob *job = sim_find_execution(w, id, json_number(json, "executionNumber"));
        char topic[96], token[128], execution[2048];

        json_text(json, "clientToken", token);
        sim_trace(w, "  describe %s", id);
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

void sim_op_publish(const char *topic, const void *payload, size_t n_payload, unsigned qos, void *userdata)
{
        _cleanup_free_ char *json = strndup(payload, n_payload);
        char id[64], verb[16], token[128], list[1024];
        World *w = userdata;

        sim_act(w);
        assert_non_null(json);
        if (strcmp(topic, SHADOW) == 0) {
                json_text(json, "version", w->reported);
                tell(w, SHADOW "/accepted", "{\"clientToken\":\"%s\"}", json_text(json, "clientToken", token));
                return;
        }
        assert_true(strncmp(topic, PREFIX, strlen(PREFIX)) == 0);
        topic += strlen(PREFIX);
        if (!w->connected)
                return;
        if (strcmp(topic, "get") == 0) {
                sim_trace(w, "  list");
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

void sim_connect(World *w)
{
        w->wants_connection = true;
        sim_push(w, SIM_CONNECTED)->life = ++w->connection;
}

void sim_op_subscribe(const char *const *filters, size_t n_filters, void *userdata)
{
        World *w = userdata;

        sim_act(w);
        sim_push(w, SIM_SUBSCRIBED)->life = w->connection;
}

void sim_op_unsubscribe(const char *const *filters, size_t n_filters, void *userdata)
{
        sim_act(userdata);
}

void sim_op_say_goodbye(void *userdata)
{
        World *w = userdata;

        sim_act(w);
        sim_trace(w, "  goodbye");
        w->wants_connection = false;
        sim_push(w, SIM_GOODBYE)->life = w->connection;
}

void sim_op_come_back(void *userdata)
{
        World *w = userdata;

        sim_act(w);
        sim_trace(w, "  come back");
        w->connected = false;
        sim_connect(w);
}
