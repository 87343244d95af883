#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "codec/topic.h"

#define PREFIX "$aws/things/"

/* What has to stand in the place of an id. */
typedef enum IdKind {
        ID_NONE,
        ID_JOB,
        ID_JOB_OR_NEXT,
        ID_STREAM,
} IdKind;

/* Both tables name what follows "$aws/things/THING/"; an id stands between head and tail. */
typedef struct Shape {
        const char *name;
        const char *head;
        IdKind id;
        const char *tail;
} Shape;

static const Shape kinds[_TOPIC_KIND_MAX] = {
        [TOPIC_NOTIFY] = {"notify", "jobs/notify", ID_NONE, ""},
        [TOPIC_NOTIFY_NEXT] = {"notify-next", "jobs/notify-next", ID_NONE, ""},
        [TOPIC_GET_ACCEPTED] = {"get-accepted", "jobs/get/accepted", ID_NONE, ""},
        [TOPIC_GET_REJECTED] = {"get-rejected", "jobs/get/rejected", ID_NONE, ""},
        [TOPIC_START_NEXT_ACCEPTED] = {"start-next-accepted", "jobs/start-next/accepted", ID_NONE, ""},
        [TOPIC_START_NEXT_REJECTED] = {"start-next-rejected", "jobs/start-next/rejected", ID_NONE, ""},
        [TOPIC_DESCRIBE_ACCEPTED] = {"describe-accepted", "jobs/", ID_JOB_OR_NEXT, "/get/accepted"},
        [TOPIC_DESCRIBE_REJECTED] = {"describe-rejected", "jobs/", ID_JOB_OR_NEXT, "/get/rejected"},
        [TOPIC_UPDATE_ACCEPTED] = {"update-accepted", "jobs/", ID_JOB, "/update/accepted"},
        [TOPIC_UPDATE_REJECTED] = {"update-rejected", "jobs/", ID_JOB, "/update/rejected"},
        [TOPIC_STREAM_DATA] = {"stream-data", "streams/", ID_STREAM, "/data/cbor"},
        [TOPIC_STREAM_REJECTED] = {"stream-rejected", "streams/", ID_STREAM, "/rejected/cbor"},
        [TOPIC_STREAM_DESCRIPTION] = {"stream-description", "streams/", ID_STREAM, "/description/cbor"},
        [TOPIC_PACKAGE_ACCEPTED] = {"package-accepted", "shadow/name/$package/update/accepted", ID_NONE, ""},
        [TOPIC_PACKAGE_REJECTED] = {"package-rejected", "shadow/name/$package/update/rejected", ID_NONE, ""},
};

static const Shape forms[_TOPIC_FORM_MAX] = {
        [TOPIC_FORM_GET] = {"get", "jobs/get", ID_NONE, ""},
        [TOPIC_FORM_DESCRIBE] = {"describe", "jobs/", ID_JOB_OR_NEXT, "/get"},
        [TOPIC_FORM_UPDATE] = {"update", "jobs/", ID_JOB, "/update"},
        [TOPIC_FORM_STREAM_GET] = {"stream-get", "streams/", ID_STREAM, "/get/cbor"},
        [TOPIC_FORM_STREAM_DESCRIBE] = {"stream-describe", "streams/", ID_STREAM, "/describe/cbor"},
        [TOPIC_FORM_NOTIFY] = {"notify", "jobs/notify", ID_NONE, ""},
        [TOPIC_FORM_NOTIFY_NEXT] = {"notify-next", "jobs/notify-next", ID_NONE, ""},
        [TOPIC_FORM_DESCRIBE_ANSWERS] = {"describe-answers", "jobs/+/get/+", ID_NONE, ""},
        [TOPIC_FORM_UPDATE_ANSWERS] = {"update-answers", "jobs/+/update/+", ID_NONE, ""},
        [TOPIC_FORM_GET_ANSWERS] = {"get-answers", "jobs/get/+", ID_NONE, ""},
        [TOPIC_FORM_STREAM_DATA] = {"stream-data", "streams/", ID_STREAM, "/data/cbor"},
        [TOPIC_FORM_STREAM_REJECTED] = {"stream-rejected", "streams/", ID_STREAM, "/rejected/cbor"},
        [TOPIC_FORM_STREAM_DESCRIPTION] = {"stream-description", "streams/", ID_STREAM, "/description/cbor"},
        [TOPIC_FORM_PACKAGE_UPDATE] = {"package-update", "shadow/name/$package/update", ID_NONE, ""},
        [TOPIC_FORM_PACKAGE_ACCEPTED] = {"package-accepted", "shadow/name/$package/update/accepted", ID_NONE, ""},
        [TOPIC_FORM_PACKAGE_REJECTED] = {"package-rejected", "shadow/name/$package/update/rejected", ID_NONE, ""},
};

bool thing_name_is_valid(const char *name)
{
        return text_is_token(name, THING_NAME_MAX, ":_-");
}

bool job_id_is_valid(const char *id)
{
        return text_is_token(id, JOB_ID_MAX, "_-");
}

bool stream_id_is_valid(const char *id)
{
        return text_is_token(id, STREAM_ID_MAX, "_-");
}

static bool id_is_valid(IdKind kind, const char *id)
{
        switch (kind) {
        case ID_NONE:
                return !id;
        case ID_JOB:
                return id && job_id_is_valid(id);
        case ID_JOB_OR_NEXT:
                return id && (strcmp(id, TOPIC_NEXT_JOB) == 0 || job_id_is_valid(id));
        case ID_STREAM:
                return id && stream_id_is_valid(id);
        }
        return false;
}

/* Where `rest` has the shape, copies its id into `id`. No head but one is also another's, so the first match is it. */
static bool shape_matches(const Shape *shape, const char *rest, char id[static STREAM_ID_MAX + 1])
{
        size_t n_rest = strlen(rest), n_head = strlen(shape->head), n_tail = strlen(shape->tail), n_id;

        if (n_rest < n_head + n_tail || strncmp(rest, shape->head, n_head) != 0 ||
            strcmp(rest + n_rest - n_tail, shape->tail) != 0)
                return false;

        n_id = n_rest - n_head - n_tail;
        if (n_id > STREAM_ID_MAX)
                return false;
        memcpy(id, rest + n_head, n_id);
        id[n_id] = 0;
        return shape->id == ID_NONE ? n_id == 0 : id_is_valid(shape->id, id);
}

int topic_parse(const char *thing, const char *topic, Topic *ret)
{
        size_t n_prefix = strlen(PREFIX), n_thing = strlen(thing);
        char id[STREAM_ID_MAX + 1];
        const char *rest;

        if (strnlen(topic, TOPIC_MAX + 1) > TOPIC_MAX || strncmp(topic, PREFIX, n_prefix) != 0 ||
            strncmp(topic + n_prefix, thing, n_thing) != 0 || topic[n_prefix + n_thing] != '/')
                return -EINVAL;

        rest = topic + n_prefix + n_thing + 1;
        for (TopicKind kind = 0; kind < _TOPIC_KIND_MAX; kind++) {
                const Shape *shape = &kinds[kind];

                if (!shape_matches(shape, rest, id))
                        continue;

                *ret = (Topic){.kind = kind};
                if (shape->id == ID_STREAM)
                        memcpy(ret->stream_id, id, strlen(id) + 1);
                else
                        memcpy(ret->job_id, id, strlen(id) + 1);
                return 0;
        }
        return -EINVAL;
}

int topic_format(const char *thing, TopicForm form, const char *id, char ret[static TOPIC_MAX + 1])
{
        char topic[TOPIC_MAX + 1];
        const Shape *shape;
        int n;

        if (form >= _TOPIC_FORM_MAX || !thing_name_is_valid(thing))
                return -EINVAL;
        shape = &forms[form];
        if (!id_is_valid(shape->id, id))
                return -EINVAL;

        n = snprintf(topic, sizeof(topic), PREFIX "%s/%s%s%s", thing, shape->head, id ? id : "", shape->tail);
        if (n < 0 || (size_t)n >= sizeof(topic))
                return -ENAMETOOLONG;
        memcpy(ret, topic, (size_t)n + 1);
        return 0;
}

const char *topic_kind_to_string(TopicKind kind)
{
        return kind < _TOPIC_KIND_MAX ? kinds[kind].name : "unknown";
}
