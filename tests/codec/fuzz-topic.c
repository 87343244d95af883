/* A topic, which is any text below the broker's limit. */
#include <stdlib.h>
#include <string.h>

#include "codec/topic.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t n_data);

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t n_data)
{
        _cleanup_free_ char *text = strndup((const char *)data, n_data);
        char again[TOPIC_MAX + 1];
        Topic topic;

        if (!text)
                abort();
        if (topic_parse("dev-7", text, &topic) < 0)
                return 0;
        if ((topic.job_id[0] && strcmp(topic.job_id, TOPIC_NEXT_JOB) != 0 && !job_id_is_valid(topic.job_id)) ||
            (topic.stream_id[0] && !stream_id_is_valid(topic.stream_id)))
                abort();
        /* What is both sent and subscribed to must come out as it went in. */
        if (topic.kind == TOPIC_STREAM_DATA &&
            (topic_format("dev-7", TOPIC_FORM_STREAM_DATA, topic.stream_id, again) < 0 || strcmp(text, again) != 0))
                abort();
        return 0;
}
