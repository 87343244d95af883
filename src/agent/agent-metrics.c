#include "agent-private.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include "base/file-util.h"
#include "base/log-event.h"
#include "base/log.h"
#include "base/record.h"
#include "base/time-util.h"

#define GAP_USEC (1 * USEC_PER_SEC) /* between two writings, however much happens */

static const char record_name[] = "last-update";

/* -- how the last update ended, over restarts --------------------------------------------------------------------- */

static int fill_record(const MetricsLast *last, Record *record)
{
        char key[JOB_KEY_TEXT_MAX];
        int r;

        r = record_set(record, "began-session", job_key_format(&last->began_key, key));
        if (r >= 0)
                r = record_set_u64(record, "began", last->began_wall_usec);
        if (r >= 0 && last->ended)
                r = record_set(record, "result", status_outcome_to_string(last->outcome));
        if (r >= 0 && last->error != FAILURE_NONE)
                r = record_set(record, "error", failure_reason_to_string(last->error));
        if (r >= 0)
                r = record_set_u64(record, "ended", last->ended_wall_usec);
        if (r >= 0)
                r = record_set_u64(record, "duration", last->duration_usec);
        if (r >= 0)
                r = record_set_u64(record, "success", last->success_wall_usec);
        return r;
}

static void keep_last(Agent *a)
{
        _cleanup_(record_freep) Record *record = record_new();
        int r = record ? fill_record(&a->metrics.last, record) : -ENOMEM;

        if (r >= 0)
                r = record_save(record, a->state_dir_fd, record_name);
        if (r < 0)
                (void)log_warning_errno(r, "Cannot keep how the last update ended, a restart forgets it: %m");
}

static void read_record(const Record *record, MetricsLast *ret)
{
        const char *session = record_get(record, "began-session"), *result = record_get(record, "result");
        const char *error = record_get(record, "error");
        MetricsLast last = {0};

        if (!session || job_key_parse(session, &last.began_key) < 0 ||
            record_get_u64(record, "began", &last.began_wall_usec) < 0 ||
            record_get_u64(record, "ended", &last.ended_wall_usec) < 0 ||
            record_get_u64(record, "duration", &last.duration_usec) < 0 ||
            record_get_u64(record, "success", &last.success_wall_usec) < 0)
                return;
        for (StatusOutcome outcome = 0; result && outcome < _STATUS_OUTCOME_MAX; outcome++)
                if (strcmp(result, status_outcome_to_string(outcome)) == 0) {
                        last.ended = true;
                        last.outcome = outcome;
                }
        if (error)
                last.error = failure_reason_from_string(error);
        *ret = last;
}

static void load_last(Agent *a)
{
        _cleanup_(record_freep) Record *record = NULL;
        int r;

        r = record_load(a->state_dir_fd, record_name, &record);
        if (r >= 0)
                read_record(record, &a->metrics.last);
        else if (r == -EBADMSG)
                log_event(LOG_EVENT_RECORD_DAMAGED, &(LogFields){.file = record_name},
                          "The record of how the last update ended is damaged: put aside as '%s.damaged'",
                          record_name);
        else if (r == -EUCLEAN)
                log_event(LOG_EVENT_RECORD_DAMAGED, &(LogFields){.file = record_name},
                          "The record of how the last update ended can be neither read nor put aside");
        else if (r != -ENOENT)
                (void)log_warning_errno(r, "Cannot read how the last update ended: %m");
}

/* -- the file ----------------------------------------------------------------------------------------------------- */

/* `name` is where the path's last part begins. */
static int open_folder(const char *path, const char **ret_name)
{
        const char *slash = strrchr(path, '/');
        _cleanup_free_ char *folder = strndup(path, slash == path ? 1 : (size_t)(slash - path));
        int fd;

        if (!folder)
                return -ENOMEM;
        *ret_name = slash + 1;
        fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

static int write_file(Agent *a)
{
        _cleanup_close_ int folder_fd = -1;
        _cleanup_free_ char *text = NULL;
        const char *name;
        size_t n_text;
        int r;

        r = metrics_format(&a->metrics, a->config->thing_name, agent_certificates(a), now_usec(), &text, &n_text);
        if (r < 0)
                return r;
        folder_fd = open_folder(a->config->metrics.file, &name);
        return folder_fd < 0 ? folder_fd : file_replace_unsynced(folder_fd, name, text, n_text, 0644);
}

static void arm(Agent *a, uint64_t due, uint64_t accuracy)
{
        int r = sd_event_source_set_time_accuracy(a->metrics_timer, accuracy);

        if (r >= 0)
                r = sd_event_source_set_time(a->metrics_timer, due);
        if (r >= 0)
                r = sd_event_source_set_enabled(a->metrics_timer, SD_EVENT_ONESHOT);
        if (r < 0)
                (void)log_error_errno(r, "Cannot set the timer for the metrics, they are out of date: %m");
}

static int on_metrics_due(sd_event_source *source, uint64_t usec, void *userdata)
{
        Agent *a = userdata;
        uint64_t interval = a->config->metrics.interval_usec;
        int r;

        r = write_file(a);
        if (r < 0 && !a->metrics_failed)
                (void)log_warning_errno(r, "Cannot write the metrics to %s, trying on: %m", a->config->metrics.file);
        a->metrics_failed = r < 0;
        a->metrics_changed = false;
        a->metrics_usec = now_usec();
        /* With so much slack it comes along with the keep-alive or another wake-up, and costs none of its own. */
        arm(a, usec_add(a->metrics_usec, interval / 2), interval / 2);
        return 0;
}

void agent_observe_metrics(Agent *a)
{
        EngineStatus status = {0};
        MetricsNews news;

        if (!a->metrics_timer)
                return;
        engine_status(a->engine, &status);
        news = metrics_observe(&a->metrics, &status, now_usec(), wall_clock_usec());
        if (news == METRICS_NEWS_KEEP)
                keep_last(a);
        if (news == METRICS_NEWS_NONE || a->metrics_changed)
                return;
        a->metrics_changed = true;
        arm(a, usec_add(a->metrics_usec, GAP_USEC), 0);
}

int agent_start_metrics(Agent *a)
{
        if (!a->config->metrics.file[0])
                return 0;
        metrics_init(&a->metrics, now_usec(), wall_clock_usec());
        load_last(a);
        a->metrics_changed = true;
        return sd_event_add_time(a->event, &a->metrics_timer, CLOCK_BOOTTIME, now_usec(), 1, on_metrics_due, a);
}

/* An otad that has ended has nothing to say: what is absent can be alerted on, what is old cannot. */
void agent_stop_metrics(Agent *a)
{
        if (!a->metrics_timer)
                return;
        a->metrics_timer = sd_event_source_disable_unref(a->metrics_timer);
        if (unlink(a->config->metrics.file) < 0 && errno != ENOENT)
                (void)log_warning_errno(-errno, "Cannot remove the metrics %s: %m", a->config->metrics.file);
}
