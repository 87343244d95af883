#include "update-report.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/version.h"

typedef struct Bytes {
        uint64_t held;
        uint64_t total;
} Bytes;

/* From the download where there is one in this run, else from what the device tells of its targets. */
static Bytes count_bytes(const UpdateStatus *status)
{
        Bytes bytes = {0};

        if (status->download)
                return (Bytes){.held = status->download->held_bytes, .total = status->download->total_bytes};
        if (status->device && status->device->n_files > 0) {
                for (size_t i = 0; i < status->device->n_files; i++) {
                        bytes.held += status->device->files[i].durable_bytes;
                        bytes.total += status->device->files[i].size_bytes;
                }
        } else if (status->document) {
                for (size_t i = 0; i < status->document->n_files; i++)
                        bytes.total += status->document->files[i].size_bytes;
        }
        return bytes;
}

unsigned update_percent(const UpdateStatus *status)
{
        Bytes bytes = count_bytes(status);

        return bytes.total == 0 ? 0 : (unsigned)(bytes.held / (bytes.total / 100.0));
}

const char *update_cert_selector(const char *certfile)
{
        const char *slash = strrchr(certfile, '/');

        return slash ? slash + 1 : certfile;
}

static int add_receive(JobReport *report, const UpdateStatus *status, uint32_t block_bytes)
{
        Bytes bytes = count_bytes(status);
        char text[64];

        if (bytes.total == 0)
                return 0;
        snprintf(text, sizeof(text), "%" PRIu64 "/%" PRIu64, (bytes.held + block_bytes - 1) / block_bytes,
                 (bytes.total + block_bytes - 1) / block_bytes);
        return job_report_add(report, "receive", text);
}

static int add_self_test(JobReport *report, const UpdateStatus *status)
{
        char word[VERSION_WORD_TEXT_MAX];
        int r;

        if (!status->device || status->state < UPDATE_STATE_INSTALLED || status->state > UPDATE_STATE_TESTING)
                return 0;
        r = job_report_add(report, "self_test", status->state == UPDATE_STATE_TESTING ? "active" : "ready");
        if (r >= 0)
                r = job_report_add(report, "updatedBy",
                                   version_word_format(word, version_to_word(status->device->version)));
        return r;
}

static int add_failure(JobReport *report, const UpdateStatus *status)
{
        int r;

        if (!failure_is_set(status->failure))
                return 0;
        r = job_report_add(report, "error", failure_reason_to_string(status->failure->reason));
        if (r >= 0)
                r = job_report_add(report, "detail", status->failure->detail);
        return r;
}

int update_report_progress(const UpdateStatus *status, uint32_t block_bytes, JobReport *ret)
{
        JobReport report;
        int r;

        job_report_init(&report, JOB_STATUS_IN_PROGRESS);
        r = job_report_add(&report, "phase", update_state_to_string(status->state));
        if (r >= 0)
                r = add_receive(&report, status, block_bytes);
        if (r >= 0)
                r = add_self_test(&report, status);
        if (r >= 0)
                r = add_failure(&report, status);
        if (r >= 0 && status->waiting[0])
                r = job_report_add(&report, "waiting", status->waiting);
        if (r < 0) {
                job_report_done(&report);
                return r;
        }
        *ret = report;
        return 0;
}

static int add_accepted(JobReport *report, const UpdateStatus *status)
{
        char text[LINK_VERSION_MAX + 16];
        int r;

        snprintf(text, sizeof(text), "accepted  v%s", status->device->version);
        r = job_report_add(report, "reason", text);
        if (r < 0)
                return r;
        snprintf(text, sizeof(text), "  v%s", status->device->previous_version);
        return job_report_add(report, "updatedBy", text);
}

int update_report_final(const UpdateStatus *status, JobStatus job_status, uint32_t block_bytes, JobReport *ret)
{
        JobReport report;
        int r;

        job_report_init(&report, job_status);
        if (job_status == JOB_STATUS_SUCCEEDED)
                r = add_accepted(&report, status);
        else
                r = job_report_add(&report, "reason", failure_reason_to_freertos(status->failure->reason));
        if (r >= 0)
                r = job_report_add(&report, "phase", update_state_to_string(status->state));
        if (r >= 0)
                r = add_receive(&report, status, block_bytes);
        if (r >= 0 && job_status != JOB_STATUS_SUCCEEDED)
                r = add_failure(&report, status);
        if (r < 0) {
                job_report_done(&report);
                return r;
        }
        *ret = report;
        return 0;
}
