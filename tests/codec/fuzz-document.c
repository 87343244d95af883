/* A job document, as otad gets it out of a message. */
#include <errno.h>
#include <stdlib.h>

#include "codec/job-document.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_data);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_data)
{
        _cleanup_(job_document_freep) JobDocument *document = NULL;
        Failure failure = {0};
        int r;

        r = job_document_parse((const char *)data, n_data, &document, &failure);
        /* A refusal says why; a custom job is none; what is taken keeps its bounds. */
        if ((r < 0) == (document != NULL) || (r < 0 && r != -ENOMSG) != failure_is_set(&failure))
                abort();
        if (document && (document->n_files < 1 || document->n_files > JOB_FILES_MAX ||
                         document->mqtt != (document->stream_name != NULL)))
                abort();
        return 0;
}
