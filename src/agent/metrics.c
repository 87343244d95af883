#include "metrics.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "base/time-util.h"

/* -- what is counted ---------------------------------------------------------------------------------------------- */

void metrics_init(Metrics *m, uint64_t now, uint64_t wall_clock)
{
        *m = (Metrics){.state_usec = now, .state_wall_usec = wall_clock, .connection_wall_usec = wall_clock};
}

static void count_download(Metrics *m, const DownloadStats *now)
{
        const DownloadStats *seen = &m->download;

        /* Another one: it counts from 0 again. */
        if (!now || now->fetched_bytes < seen->fetched_bytes || now->n_retries < seen->n_retries) {
                m->sum_received_bytes += seen->fetched_bytes;
                m->sum_retries += seen->n_retries;
                m->sum_requests += seen->stream.n_requests;
                m->sum_blocks += seen->stream.n_blocks;
                m->sum_lost += seen->stream.n_lost;
        }
        m->download = now ? *now : (DownloadStats){0};
}

static void enter(Metrics *m, const UpdateStatus *u, uint64_t now, uint64_t wall_clock)
{
        if (u->state != UPDATE_STATE_IDLE && m->state == UPDATE_STATE_IDLE)
                memset(m->phase_usec, 0, sizeof(m->phase_usec));
        else
                m->phase_usec[m->state] += usec_sub(now, m->state_usec);
        m->state = u->state;
        m->state_usec = now;
        m->state_wall_usec = wall_clock;
}

static void note_end(Metrics *m)
{
        MetricsLast *last = &m->last;

        last->ended = true;
        last->outcome = m->watch.last.outcome;
        last->error = m->watch.last.failure.reason;
        last->ended_wall_usec = m->watch.last.wall_clock_usec;
        last->duration_usec = usec_sub(last->ended_wall_usec, last->began_wall_usec);
        if (last->outcome == STATUS_OUTCOME_SUCCEEDED)
                last->success_wall_usec = last->ended_wall_usec;
        m->n_ended[last->outcome]++;
}

/* One that a restart has interrupted began before it. */
static bool note_begin(Metrics *m, const UpdateStatus *u, uint64_t wall_clock)
{
        if (u->state == UPDATE_STATE_IDLE || !u->key || !job_key_is_set(u->key) ||
            job_key_equal(u->key, &m->last.began_key))
                return false;
        m->last.began_key = *u->key;
        m->last.began_wall_usec = wall_clock;
        return true;
}

MetricsNews metrics_observe(Metrics *m, const EngineStatus *status, uint64_t now, uint64_t wall_clock)
{
        const UpdateStatus *u = &status->update;
        const char *version = u->device ? u->device->version : m->version;
        bool keep, changed;

        count_download(m, u->download);
        keep = note_begin(m, u, wall_clock);
        if (status_watch_observe(&m->watch, status, now, wall_clock)) {
                note_end(m);
                keep = true;
        }
        changed = keep || m->state != u->state || m->connected != status->connected ||
                  m->installer_reached != (u->device != NULL) || m->n_unsent_finals != status->n_unsent_finals ||
                  strcmp(m->version, version) != 0;
        if (m->state != u->state)
                enter(m, u, now, wall_clock);
        if (m->connected != status->connected) {
                m->connected = status->connected;
                m->connection_wall_usec = wall_clock;
                m->n_connections += status->connected;
        }
        m->installer_reached = u->device != NULL;
        m->n_unsent_finals = status->n_unsent_finals;
        snprintf(m->version, sizeof(m->version), "%s", version);
        return keep ? METRICS_NEWS_KEEP : changed ? METRICS_NEWS_CHANGED : METRICS_NEWS_NONE;
}

/* -- the text ----------------------------------------------------------------------------------------------------- */

static void put_family(FILE *file, const char *name, const char *type, const char *help)
{
        fprintf(file, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_label(FILE *file, char before, const char *name, const char *value)
{
        fprintf(file, "%c%s=\"", before, name);
        for (const char *c = value; *c; c++) {
                if (*c == '\\' || *c == '"')
                        fputc('\\', file);
                fputc(*c, file);
        }
        fputc('"', file);
}

/* `label2` NULL: one label only. */
static void put_labels(FILE *file, const char *name, const char *label, const char *value, const char *label2,
                       const char *value2)
{
        fputs(name, file);
        put_label(file, '{', label, value);
        if (label2)
                put_label(file, ',', label2, value2);
        fputs("} ", file);
}

static void put_number(FILE *file, const char *name, const char *type, const char *help, uint64_t value)
{
        put_family(file, name, type, help);
        fprintf(file, "%s %" PRIu64 "\n", name, value);
}

static void print_usec(FILE *file, uint64_t usec)
{
        fprintf(file, "%" PRIu64 ".%03" PRIu64 "\n", usec / USEC_PER_SEC, usec % USEC_PER_SEC / USEC_PER_MSEC);
}

static void put_seconds(FILE *file, const char *name, const char *help, uint64_t usec)
{
        put_family(file, name, "gauge", help);
        fprintf(file, "%s ", name);
        print_usec(file, usec);
}

static void put_update(FILE *file, const Metrics *m, uint64_t now)
{
        put_family(file, "otad_update_state", "gauge", "Where the update stands: 1 for the present state, else 0.");
        for (UpdateState state = 0; state < _UPDATE_STATE_MAX; state++) {
                put_labels(file, "otad_update_state", "state", update_state_to_string(state), NULL, NULL);
                fprintf(file, "%d\n", state == m->state);
        }
        put_seconds(file, "otad_update_state_change_timestamp_seconds",
                    "When this state was entered, since otad started.", m->state_wall_usec);
        put_family(file, "otad_update_phase_duration_seconds", "gauge",
                   "How long the update under way, or the last one, was in each state since otad started.");
        for (UpdateState state = UPDATE_STATE_ACCEPTED; state < _UPDATE_STATE_MAX; state++) {
                uint64_t usec = m->phase_usec[state] + (state == m->state ? usec_sub(now, m->state_usec) : 0);

                put_labels(file, "otad_update_phase_duration_seconds", "state", update_state_to_string(state), NULL,
                           NULL);
                print_usec(file, usec);
        }
}

static void put_download(FILE *file, const Metrics *m)
{
        const DownloadStats *d = &m->download;

        put_number(file, "otad_download_size_bytes", "gauge", "Bytes of all files that are downloaded now; 0: none.",
                   d->total_bytes);
        put_number(file, "otad_download_held_bytes", "gauge", "Bytes of them that are here.", d->held_bytes);
        put_number(file, "otad_download_received_bytes_total", "counter", "Bytes of images received.",
                   m->sum_received_bytes + d->fetched_bytes);
        put_number(file, "otad_download_retries_total", "counter", "Tries of a download that failed.",
                   m->sum_retries + d->n_retries);
        put_number(file, "otad_stream_requests_total", "counter", "Requests for blocks of an MQTT stream.",
                   m->sum_requests + d->stream.n_requests);
        put_number(file, "otad_stream_blocks_total", "counter", "Blocks of MQTT streams taken.",
                   m->sum_blocks + d->stream.n_blocks);
        put_number(file, "otad_stream_blocks_lost_total", "counter", "Blocks of MQTT streams asked for again.",
                   m->sum_lost + d->stream.n_lost);
}

static void put_ended(FILE *file, const Metrics *m)
{
        const MetricsLast *last = &m->last;

        put_family(file, "otad_updates_total", "counter", "Updates that ended, by how.");
        for (StatusOutcome outcome = 0; outcome < _STATUS_OUTCOME_MAX; outcome++) {
                put_labels(file, "otad_updates_total", "result", status_outcome_to_string(outcome), NULL, NULL);
                fprintf(file, "%" PRIu64 "\n", m->n_ended[outcome]);
        }
        if (!last->ended)
                return;
        put_family(file, "otad_last_update_info", "gauge",
                   "How the last update ended; error is empty where it succeeded.");
        put_labels(file, "otad_last_update_info", "result", status_outcome_to_string(last->outcome), "error",
                   last->error == FAILURE_NONE ? "" : failure_reason_to_string(last->error));
        fputs("1\n", file);
        put_seconds(file, "otad_last_update_end_timestamp_seconds", "When the last update ended.",
                    last->ended_wall_usec);
        put_seconds(file, "otad_last_update_duration_seconds", "From its beginning to its end, reboots included.",
                    last->duration_usec);
        if (last->success_wall_usec > 0)
                put_seconds(file, "otad_last_success_timestamp_seconds", "When an update succeeded last.",
                            last->success_wall_usec);
}

static void put_certificates(FILE *file, const CertificateWatch *w)
{
        put_family(file, "otad_certificate_end_timestamp_seconds", "gauge", "When a certificate ends.");
        for (size_t i = 0; i < w->list.n_entries; i++) {
                const ExpiryEntry *entry = &w->list.entries[i];

                put_labels(file, "otad_certificate_end_timestamp_seconds", "kind", expiry_kind_to_string(entry->kind),
                           "file", entry->file);
                fprintf(file, "%" PRId64 "\n", entry->not_after_sec);
        }
        /* By a clock that is not right, the rest would be wrong, too. */
        if (!w->dates_count)
                return;
        for (size_t i = 0; i < w->list.n_entries; i++) {
                if (w->list.entries[i].kind != EXPIRY_DEVICE)
                        continue;
                put_family(file, "otad_device_certificate_remaining_seconds", "gauge",
                           "Until the device's certificate ends; negative: it has.");
                fprintf(file, "otad_device_certificate_remaining_seconds %" PRId64 "\n",
                        certificate_watch_seconds_left(w, &w->list.entries[i]));
        }
}

int metrics_format(const Metrics *m, const char *thing_name, const CertificateWatch *certificates, uint64_t now,
                   char **ret, size_t *ret_size)
{
        _cleanup_free_ char *text = NULL;
        size_t n_text = 0;
        FILE *file = open_memstream(&text, &n_text);
        bool failed;

        if (!file)
                return -ENOMEM;
        put_family(file, "otad_info", "gauge", "The version of otad, and the thing it is.");
        put_labels(file, "otad_info", "version", OTAD_VERSION, "thing", thing_name);
        fputs("1\n", file);
        put_family(file, "otad_software_info", "gauge", "The version of the software that runs; empty: not known.");
        put_labels(file, "otad_software_info", "version", m->version, NULL, NULL);
        fputs("1\n", file);
        put_update(file, m, now);
        put_download(file, m);
        put_ended(file, m);
        put_number(file, "otad_connected", "gauge", "1: the broker is reached.", m->connected);
        put_seconds(file, "otad_connection_change_timestamp_seconds", "Since when it is so.",
                    m->connection_wall_usec);
        put_number(file, "otad_connections_total", "counter", "Connections to the broker.", m->n_connections);
        put_number(file, "otad_installer_reached", "gauge", "1: otad-installer is reached.", m->installer_reached);
        put_number(file, "otad_unsent_final_statuses", "gauge", "Finished updates the cloud has not heard of.",
                   m->n_unsent_finals);
        put_certificates(file, certificates);
        failed = ferror(file) != 0;
        failed |= fclose(file) != 0;
        if (failed)
                return -ENOMEM;
        *ret = TAKE_PTR(text);
        *ret_size = n_text;
        return 0;
}
