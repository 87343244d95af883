/* A payload below `jobs`, read as each kind of message, and its text sent back as a status detail. */
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "codec/job-document.h"
#include "codec/job-message.h"
#include "codec/job-report.h"
#include "codec/package-shadow.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_data);

static void read_all(const char *text, size_t n_text)
{
        _cleanup_(job_execution_freep) JobExecution *execution = NULL;
        _cleanup_(job_rejection_freep) JobRejection *rejection = NULL;
        _cleanup_(job_document_freep) JobDocument *document = NULL;
        _cleanup_(job_update_freep) JobUpdate *update = NULL;
        const char *error = NULL;
        PackageAnswer answer;
        PendingJobs pending;
        Failure failure;

        if (pending_jobs_parse(text, n_text, &pending, &error) < 0 && !error)
                abort();
        error = NULL;
        if (package_accepted_parse(text, n_text, &answer, &error) < 0 && !error)
                abort();
        error = NULL;
        if (package_rejection_parse(text, n_text, &answer, &error) < 0 && !error)
                abort();
        error = NULL;
        if (job_update_parse(text, n_text, &update, &error) < 0 && !error)
                abort();
        error = NULL;
        if (job_rejection_parse(text, n_text, &rejection, &error) < 0 && !error)
                abort();
        error = NULL;
        if (job_execution_parse(text, n_text, &execution, &error) < 0) {
                if (!error)
                        abort();
        } else if (execution->document &&
                   job_document_parse(execution->document, execution->n_document, &document, &failure) == 0 &&
                   !execution->present)
                abort();
}

static void report(const char *text)
{
        char clean[JOB_REPORT_VALUE_MAX_BYTES + 1];
        size_t n = strlen(job_report_clean(clean, text));

        if (n < 1 || n > JOB_REPORT_VALUE_MAX_BYTES || !utf8_is_valid(clean, n))
                abort();
        for (size_t i = 0; i < n; i++)
                if ((unsigned char)clean[i] < 0x20 || clean[i] == 0x7f)
                        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_data)
{
        _cleanup_free_ char *text = strndup((const char *)data, n_data);

        if (!text)
                abort();
        read_all((const char *)data, n_data);
        report(text);
        return 0;
}
