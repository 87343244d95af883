#include "agent/status-json.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

#include "base/json-writer.h"
#include "base/time-util.h"
#include "certificate-watch.h"

static const char *const outcome_words[_STATUS_OUTCOME_MAX] = {
        [STATUS_OUTCOME_SUCCEEDED] = "succeeded",
        [STATUS_OUTCOME_FAILED] = "failed",
        [STATUS_OUTCOME_REJECTED] = "rejected",
        [STATUS_OUTCOME_CANCELLED] = "cancelled",
};

const char *status_outcome_to_string(StatusOutcome outcome)
{
        assert(outcome >= 0 && outcome < _STATUS_OUTCOME_MAX);
        return outcome_words[outcome];
}

typedef struct Bytes {
        uint64_t held;
        uint64_t total;
} Bytes;

static Bytes count_bytes(const EngineStatus *status)
{
        const UpdateStatus *u = &status->update;
        Bytes bytes = {0};

        if (u->download)
                return (Bytes){.held = u->download->held_bytes, .total = u->download->total_bytes};
        if (u->device && u->device->n_files > 0) {
                for (size_t i = 0; i < u->device->n_files; i++) {
                        bytes.held += u->device->files[i].durable_bytes;
                        bytes.total += u->device->files[i].size_bytes;
                }
        } else if (u->document) {
                for (size_t i = 0; i < u->document->n_files; i++)
                        bytes.total += u->document->files[i].size_bytes;
        }
        return bytes;
}

unsigned status_percent(const EngineStatus *status)
{
        Bytes bytes = count_bytes(status);
        unsigned percent;

        if (bytes.total == 0)
                return 0;
        percent = (unsigned)((double)bytes.held / (double)bytes.total * 100.0);
        /* 100 means all of it, whatever rounding says. */
        return bytes.held >= bytes.total ? 100 : MIN2(percent, 99u);
}

static void write_targets(JsonWriter *w, const LinkState *device)
{
        json_writer_open(w, "targets", '[');
        for (size_t i = 0; device && i < device->n_files; i++) {
                const LinkFileState *file = &device->files[i];

                json_writer_open(w, NULL, '{');
                json_writer_text(w, "target", file->target);
                json_writer_text(w, "slot", file->slot);
                json_writer_u64(w, "size", file->size_bytes);
                json_writer_u64(w, "written", file->written_bytes);
                json_writer_u64(w, "durable", file->durable_bytes);
                json_writer_u64(w, "verified", file->verified_bytes);
                json_writer_close(w, '}');
        }
        json_writer_close(w, ']');
}

static void write_stream(JsonWriter *w, const StreamFetchStats *stream)
{
        if (stream->n_requests == 0) {
                json_writer_null(w, "stream");
                return;
        }
        json_writer_open(w, "stream", '{');
        json_writer_u64(w, "requests", stream->n_requests);
        json_writer_u64(w, "blocks", stream->n_blocks);
        json_writer_u64(w, "lost", stream->n_lost);
        json_writer_u64(w, "ignored", stream->n_ignored);
        json_writer_u64(w, "round_trip_usec", stream->round_trip_usec);
        json_writer_close(w, '}');
}

static void write_download(JsonWriter *w, const EngineStatus *status, const StatusFacts *facts)
{
        const DownloadStats *download = status->update.download;

        if (!download) {
                json_writer_null(w, "download");
                return;
        }
        json_writer_open(w, "download", '{');
        json_writer_text(w, "protocol", download_plane_to_string(download->plane));
        json_writer_u64(w, "percent", status_percent(status));
        json_writer_u64(w, "held", download->held_bytes);
        json_writer_u64(w, "total", download->total_bytes);
        json_writer_u64(w, "bytes_per_second", facts->bytes_per_second);
        json_writer_u64(w, "retries", download->n_retries);
        write_stream(w, &download->stream);
        json_writer_close(w, '}');
}

static void write_failure_members(JsonWriter *w, const Failure *failure)
{
        if (failure && failure_is_set(failure)) {
                json_writer_text(w, "error", failure_reason_to_string(failure->reason));
                json_writer_text(w, "detail", failure->detail);
        } else {
                json_writer_null(w, "error");
                json_writer_null(w, "detail");
        }
}

static void write_failure(JsonWriter *w, const Failure *failure)
{
        if (!failure || !failure_is_set(failure)) {
                json_writer_null(w, "failure");
                return;
        }
        json_writer_open(w, "failure", '{');
        write_failure_members(w, failure);
        json_writer_close(w, '}');
}

static void write_job(JsonWriter *w, const JobKey *key)
{
        if (!key || !job_key_is_set(key)) {
                json_writer_null(w, "job");
                return;
        }
        json_writer_open(w, "job", '{');
        json_writer_text(w, "id", key->job_id);
        json_writer_u64(w, "attempt", (uint64_t)key->execution_number);
        json_writer_close(w, '}');
}

static void write_waiting(JsonWriter *w, const UpdateStatus *u, uint64_t now)
{
        if (!u->waiting || !u->waiting[0]) {
                json_writer_null(w, "waiting");
                return;
        }
        json_writer_open(w, "waiting", '{');
        json_writer_text(w, "reason", u->waiting);
        if (u->retry_usec == USEC_INFINITY)
                json_writer_null(w, "retry_seconds");
        else
                json_writer_u64(w, "retry_seconds", usec_sub(u->retry_usec, now) / USEC_PER_SEC);
        json_writer_close(w, '}');
}

static void write_device(JsonWriter *w, const LinkState *device)
{
        json_writer_open(w, "versions", '{');
        json_writer_text(w, "running", device ? device->version : NULL);
        json_writer_text(w, "previous", device ? device->previous_version : NULL);
        json_writer_close(w, '}');
        if (device && device->state == UPDATE_STATE_TESTING && device->selftest_left_usec != USEC_INFINITY)
                json_writer_u64(w, "selftest_seconds_left", device->selftest_left_usec / USEC_PER_SEC);
        else
                json_writer_null(w, "selftest_seconds_left");
}

static void write_certificates(JsonWriter *w, const CertificateWatch *watch)
{
        json_writer_open(w, "certificates", '[');
        for (size_t i = 0; i < watch->list.n_entries; i++) {
                const ExpiryEntry *entry = &watch->list.entries[i];
                char ends[TIMESTAMP_TEXT_MAX];

                json_writer_open(w, NULL, '{');
                json_writer_text(w, "kind", expiry_kind_to_string(entry->kind));
                json_writer_text(w, "file", entry->file);
                json_writer_text(w, "ends",
                                 entry->not_after_sec < 0
                                         ? NULL
                                         : timestamp_format(ends, (uint64_t)entry->not_after_sec * USEC_PER_SEC));
                if (watch->dates_count)
                        json_writer_i64(w, "days_left", certificate_watch_seconds_left(watch, entry) / SEC_PER_DAY);
                else
                        json_writer_null(w, "days_left");
                json_writer_bool(w, "ends_soon", certificate_watch_is_near(watch, entry));
                json_writer_close(w, '}');
        }
        json_writer_close(w, ']');
}

static void write_last(JsonWriter *w, const StatusResult *last)
{
        char when[TIMESTAMP_TEXT_MAX];

        if (!last || !job_key_is_set(&last->key)) {
                json_writer_null(w, "last");
                return;
        }
        json_writer_open(w, "last", '{');
        json_writer_text(w, "job", last->key.job_id);
        json_writer_u64(w, "attempt", (uint64_t)last->key.execution_number);
        json_writer_text(w, "status", status_outcome_to_string(last->outcome));
        write_failure_members(w, &last->failure);
        json_writer_text(w, "when", timestamp_format(when, last->wall_clock_usec));
        json_writer_close(w, '}');
}

int status_json_format(const EngineStatus *status, const StatusFacts *facts, uint64_t now, char **ret)
{
        _cleanup_(json_writer_done) JsonWriter w;
        const UpdateStatus *u = &status->update;
        char next[STATUS_NEXT_MAX];
        int r;

        r = json_writer_init(&w);
        if (r < 0)
                return r;
        json_writer_open(&w, NULL, '{');
        json_writer_u64(&w, "schema", STATUS_SCHEMA);
        json_writer_text(&w, "otad", OTAD_VERSION);
        json_writer_text(&w, "thing", facts->thing_name);
        json_writer_text(&w, "state", update_state_to_string(u->state));
        json_writer_bool(&w, "connected", status->connected);
        json_writer_bool(&w, "suspended", u->suspended_by_operator);
        write_job(&w, u->key);
        json_writer_text(&w, "local", u->local_session);
        write_targets(&w, u->device);
        write_download(&w, status, facts);
        json_writer_bool(&w, "reboot_needed", u->device && u->device->reboot_needed);
        write_failure(&w, u->failure);
        write_waiting(&w, u, now);
        write_device(&w, u->device);
        json_writer_u64(&w, "unsent_final_statuses", status->n_unsent_finals);
        write_certificates(&w, facts->certificates);
        write_last(&w, facts->last);
        json_writer_text(&w, "next", status_next_format(next, status, now));
        json_writer_close(&w, '}');
        return json_writer_finish(&w, ret);
}
