/*
 * topic: every MQTT topic otad publishes to, subscribes to or may be sent.
 *
 * Answers of AWS IoT Jobs come without a subscription, so whatever arrives is classified here by its topic alone.
 * Topics of a job namespace, of the JSON form of streams and of other things are nobody's: -EINVAL.
 * Sources: AWS IoT Developer Guide, "Jobs device MQTT API" and "Using AWS IoT MQTT-based file delivery in devices",
 * "Device Shadow MQTT topics";
 * AWS General Reference, "AWS IoT Core endpoints and quotas" (a topic has at most 256 bytes).
 */
#pragma once

#include <stdbool.h>

#include "base/cleanup.h"

enum {
        TOPIC_MAX = 256,      /* bytes, without the NUL */
        THING_NAME_MAX = 128, /* [a-zA-Z0-9:_-]+ */
        JOB_ID_MAX = 64,      /* [a-zA-Z0-9_-]+ */
        STREAM_ID_MAX = 128,  /* [a-zA-Z0-9_-]+ */
};

/* Stands for the next pending job where a describe names its job, in the request's topic and in the answer's. */
#define TOPIC_NEXT_JOB "$next"

typedef enum TopicKind {
        TOPIC_NOTIFY,              /* pending_jobs_parse() */
        TOPIC_NOTIFY_NEXT,         /* job_execution_parse() */
        TOPIC_GET_ACCEPTED,        /* pending_jobs_parse() */
        TOPIC_GET_REJECTED,        /* job_rejection_parse(), as for all of the rejections below it */
        TOPIC_START_NEXT_ACCEPTED, /* job_execution_parse() */
        TOPIC_START_NEXT_REJECTED,
        TOPIC_DESCRIBE_ACCEPTED, /* job_execution_parse(); has a job id, or TOPIC_NEXT_JOB */
        TOPIC_DESCRIBE_REJECTED,
        TOPIC_UPDATE_ACCEPTED, /* job_update_parse(); has a job id */
        TOPIC_UPDATE_REJECTED,
        TOPIC_STREAM_DATA,        /* stream_block_parse(); has a stream id, as have the two below */
        TOPIC_STREAM_REJECTED,    /* stream_rejection_parse() */
        TOPIC_STREAM_DESCRIPTION, /* stream_description_parse() */
        TOPIC_PACKAGE_ACCEPTED,   /* package_accepted_parse() */
        TOPIC_PACKAGE_REJECTED,   /* package_rejection_parse() */
        _TOPIC_KIND_MAX,
} TopicKind;

/* A plain value. An id that the kind does not have is "". */
typedef struct Topic {
        TopicKind kind;
        char job_id[JOB_ID_MAX + 1];
        char stream_id[STREAM_ID_MAX + 1];
} Topic;

/* What to publish to, then what to subscribe to. The comment says what `id` has to be. */
typedef enum TopicForm {
        TOPIC_FORM_GET,        /* NULL */
        TOPIC_FORM_DESCRIBE,   /* a job id, or TOPIC_NEXT_JOB */
        TOPIC_FORM_UPDATE,     /* a job id */
        TOPIC_FORM_STREAM_GET, /* a stream id, as in all STREAM forms */
        TOPIC_FORM_STREAM_DESCRIBE,
        TOPIC_FORM_NOTIFY, /* NULL, as in the filters below, up to GET_ANSWERS */
        TOPIC_FORM_NOTIFY_NEXT,
        TOPIC_FORM_DESCRIBE_ANSWERS, /* jobs/+/get/+ */
        TOPIC_FORM_UPDATE_ANSWERS,   /* jobs/+/update/+ */
        TOPIC_FORM_GET_ANSWERS,      /* jobs/get/+ */
        TOPIC_FORM_STREAM_DATA,
        TOPIC_FORM_STREAM_REJECTED,
        TOPIC_FORM_STREAM_DESCRIPTION,
        TOPIC_FORM_PACKAGE_UPDATE, /* NULL, as in both filters below; published to */
        TOPIC_FORM_PACKAGE_ACCEPTED,
        TOPIC_FORM_PACKAGE_REJECTED,
        _TOPIC_FORM_MAX,
} TopicForm;

/* -EINVAL: not a topic that otad knows, or another thing's. */
_must_use_ int topic_parse(const char *thing, const char *topic, Topic *ret);

/* -EINVAL: `thing` or `id` has characters or a length it must not have. -ENAMETOOLONG: beyond TOPIC_MAX. */
_must_use_ int topic_format(const char *thing, TopicForm form, const char *id, char ret[static TOPIC_MAX + 1]);

bool thing_name_is_valid(const char *name);
bool job_id_is_valid(const char *id);
bool stream_id_is_valid(const char *id);
const char *topic_kind_to_string(TopicKind kind); /* "update-rejected", for log lines */
