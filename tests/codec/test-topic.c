#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "codec/topic.h"
#include "mangle.h"
#include "unit.h"

#define T     "$aws/things/dev-7/"
#define TEN   "0123456789"
#define SIXTY TEN TEN TEN TEN TEN TEN

typedef struct ParseCase {
        const char *topic;
        int kind; /* -1: nobody's */
        const char *id;
} ParseCase;

static const ParseCase parse_cases[] = {
        {T "jobs/notify", TOPIC_NOTIFY, ""},
        {T "jobs/notify-next", TOPIC_NOTIFY_NEXT, ""},
        {T "jobs/get/accepted", TOPIC_GET_ACCEPTED, ""},
        {T "jobs/get/rejected", TOPIC_GET_REJECTED, ""},
        {T "jobs/start-next/accepted", TOPIC_START_NEXT_ACCEPTED, ""},
        {T "jobs/start-next/rejected", TOPIC_START_NEXT_REJECTED, ""},
        {T "jobs/$next/get/accepted", TOPIC_DESCRIBE_ACCEPTED, "$next"},
        {T "jobs/$next/get/rejected", TOPIC_DESCRIBE_REJECTED, "$next"},
        {T "jobs/AFR_OTA-fw-41/get/accepted", TOPIC_DESCRIBE_ACCEPTED, "AFR_OTA-fw-41"},
        {T "jobs/AFR_OTA-fw-41/get/rejected", TOPIC_DESCRIBE_REJECTED, "AFR_OTA-fw-41"},
        {T "jobs/AFR_OTA-fw-41/update/accepted", TOPIC_UPDATE_ACCEPTED, "AFR_OTA-fw-41"},
        {T "jobs/AFR_OTA-fw-41/update/rejected", TOPIC_UPDATE_REJECTED, "AFR_OTA-fw-41"},
        /* jobs whose ids are words of the API */
        {T "jobs/get/get/accepted", TOPIC_DESCRIBE_ACCEPTED, "get"},
        {T "jobs/start-next/update/accepted", TOPIC_UPDATE_ACCEPTED, "start-next"},
        {T "jobs/notify/get/rejected", TOPIC_DESCRIBE_REJECTED, "notify"},
        {T "jobs/" SIXTY "0123/update/accepted", TOPIC_UPDATE_ACCEPTED, SIXTY "0123"},
        {T "streams/AFR_OTA-0f9d/data/cbor", TOPIC_STREAM_DATA, "AFR_OTA-0f9d"},
        {T "streams/AFR_OTA-0f9d/rejected/cbor", TOPIC_STREAM_REJECTED, "AFR_OTA-0f9d"},
        {T "streams/AFR_OTA-0f9d/description/cbor", TOPIC_STREAM_DESCRIPTION, "AFR_OTA-0f9d"},
        {T "shadow/name/$package/update/accepted", TOPIC_PACKAGE_ACCEPTED, ""},
        {T "shadow/name/$package/update/rejected", TOPIC_PACKAGE_REJECTED, ""},
        {T "streams/" SIXTY SIXTY "01234567/data/cbor", TOPIC_STREAM_DATA, SIXTY SIXTY "01234567"},
        /* nobody's */
        {"", -1, NULL},
        {"$aws/things/dev-7", -1, NULL},
        {T, -1, NULL},
        {T "jobs", -1, NULL},
        {T "jobs/", -1, NULL},
        {T "jobs/notify/", -1, NULL},
        {T "jobs/notify-next-namespace-aws-gg-deployment", -1, NULL},
        {T "jobs/$next/namespace-x/get", -1, NULL},
        {T "jobs/J/namespace-x/update/accepted", -1, NULL},
        {T "jobs/get", -1, NULL},
        {T "jobs/$next/get", -1, NULL},
        {T "jobs/$next/update/accepted", -1, NULL},
        {T "jobs/$prev/get/accepted", -1, NULL},
        {T "jobs//get/accepted", -1, NULL},
        {T "jobs//update/accepted", -1, NULL},
        {T "jobs/a/b/update/accepted", -1, NULL},
        {T "jobs/a:b/update/accepted", -1, NULL},
        {T "jobs/a b/update/accepted", -1, NULL},
        {T "jobs/" SIXTY "01234/update/accepted", -1, NULL},
        {T "jobs/J/update/accepted/", -1, NULL},
        {T "jobs/J/update/Accepted", -1, NULL},
        {T "jobs/+/get/+", -1, NULL},
        {T "streams/S/data/json", -1, NULL},
        {T "streams/S/get/cbor", -1, NULL},
        {T "streams//data/cbor", -1, NULL},
        {T "streams/$next/data/cbor", -1, NULL},
        {T "streams/" SIXTY SIXTY "012345678/data/cbor", -1, NULL},
        {T "shadow/name/$package/update/delta", -1, NULL},
        {T "shadow/name/other/update/accepted", -1, NULL},
        {T "shadow/update/accepted", -1, NULL},
        {"$aws/things/dev-70/jobs/notify", -1, NULL},
        {"$aws/things/dev-/jobs/notify", -1, NULL},
        {"$aws/things/other/jobs/notify", -1, NULL},
        {"$aws/things//jobs/notify", -1, NULL},
        {"$aws/thing/dev-7/jobs/notify", -1, NULL},
        {"aws/things/dev-7/jobs/notify", -1, NULL},
        {T "jobs/" SIXTY SIXTY SIXTY SIXTY "/update/accepted", -1, NULL},
};

static void test_parse(void **state)
{
        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(parse_cases); i++) {
                const ParseCase *c = &parse_cases[i];
                Topic topic = {.kind = _TOPIC_KIND_MAX};
                int r = topic_parse("dev-7", c->topic, &topic);

                if (c->kind < 0) {
                        if (r != -EINVAL || topic.kind != _TOPIC_KIND_MAX)
                                fail_msg("taken: %s", c->topic);
                        continue;
                }
                if (r != 0 || (int)topic.kind != c->kind)
                        fail_msg("not taken: %s", c->topic);
                assert_string_equal(topic.kind >= TOPIC_STREAM_DATA ? topic.stream_id : topic.job_id, c->id);
                assert_string_equal(topic.kind >= TOPIC_STREAM_DATA ? topic.job_id : topic.stream_id, "");
        }
}

typedef struct FormatCase {
        TopicForm form;
        const char *id;
        const char *topic; /* NULL: -EINVAL */
} FormatCase;

static const FormatCase format_cases[] = {
        {TOPIC_FORM_GET, NULL, T "jobs/get"},
        {TOPIC_FORM_DESCRIBE, "$next", T "jobs/$next/get"},
        {TOPIC_FORM_DESCRIBE, "J", T "jobs/J/get"},
        {TOPIC_FORM_UPDATE, "J", T "jobs/J/update"},
        {TOPIC_FORM_STREAM_GET, "S", T "streams/S/get/cbor"},
        {TOPIC_FORM_STREAM_DESCRIBE, "S", T "streams/S/describe/cbor"},
        {TOPIC_FORM_NOTIFY, NULL, T "jobs/notify"},
        {TOPIC_FORM_NOTIFY_NEXT, NULL, T "jobs/notify-next"},
        {TOPIC_FORM_DESCRIBE_ANSWERS, NULL, T "jobs/+/get/+"},
        {TOPIC_FORM_UPDATE_ANSWERS, NULL, T "jobs/+/update/+"},
        {TOPIC_FORM_GET_ANSWERS, NULL, T "jobs/get/+"},
        {TOPIC_FORM_STREAM_DATA, "S", T "streams/S/data/cbor"},
        {TOPIC_FORM_STREAM_REJECTED, "S", T "streams/S/rejected/cbor"},
        {TOPIC_FORM_STREAM_DESCRIPTION, "S", T "streams/S/description/cbor"},
        {TOPIC_FORM_PACKAGE_UPDATE, NULL, T "shadow/name/$package/update"},
        {TOPIC_FORM_PACKAGE_ACCEPTED, NULL, T "shadow/name/$package/update/accepted"},
        {TOPIC_FORM_PACKAGE_REJECTED, NULL, T "shadow/name/$package/update/rejected"},
        {TOPIC_FORM_GET, "J", NULL},
        {TOPIC_FORM_UPDATE, NULL, NULL},
        {TOPIC_FORM_UPDATE, "$next", NULL},
        {TOPIC_FORM_UPDATE, "", NULL},
        {TOPIC_FORM_UPDATE, "+", NULL},
        {TOPIC_FORM_UPDATE, "a/b", NULL},
        {TOPIC_FORM_STREAM_GET, NULL, NULL},
        {TOPIC_FORM_STREAM_GET, "#", NULL},
        {_TOPIC_FORM_MAX, NULL, NULL},
};

static void test_format(void **state)
{
        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(format_cases); i++) {
                const FormatCase *c = &format_cases[i];
                char topic[TOPIC_MAX + 1] = "untouched";

                assert_int_equal(topic_format("dev-7", c->form, c->id, topic), c->topic ? 0 : -EINVAL);
                assert_string_equal(topic, c->topic ? c->topic : "untouched");
        }
}

/* The longest thing and the longest stream do not fit into one topic; what otad asks for in practice does. */
static void test_length(void **state)
{
        const char *thing = SIXTY SIXTY "01234567";
        char topic[TOPIC_MAX + 1];

        (void)state;
        assert_int_equal(topic_format(thing, TOPIC_FORM_STREAM_DATA, SIXTY SIXTY "01234567", topic), -ENAMETOOLONG);
        assert_int_equal(
                topic_format(thing, TOPIC_FORM_STREAM_DATA, SIXTY "0123456789012345678901234567890123456", topic), 0);
        assert_int_equal(strlen(topic), TOPIC_MAX);
        assert_int_equal(
                topic_format(thing, TOPIC_FORM_STREAM_DATA, SIXTY "01234567890123456789012345678901234567", topic),
                -ENAMETOOLONG);
        assert_int_equal(topic_format(thing, TOPIC_FORM_UPDATE, SIXTY "0123", topic), 0);
        assert_int_equal(topic_format(SIXTY SIXTY "012345678", TOPIC_FORM_GET, NULL, topic), -EINVAL);
        assert_int_equal(topic_format("", TOPIC_FORM_GET, NULL, topic), -EINVAL);
        assert_int_equal(topic_format("a/b", TOPIC_FORM_GET, NULL, topic), -EINVAL);
        assert_int_equal(topic_format("+", TOPIC_FORM_GET, NULL, topic), -EINVAL);
        assert_int_equal(topic_format("a:b_c-1", TOPIC_FORM_GET, NULL, topic), 0);
}

static void try_topic(const uint8_t *data, size_t n_data)
{
        char *text = strndup((const char *)data, n_data);
        Topic topic;

        assert_non_null(text);
        if (topic_parse("dev-7", text, &topic) == 0) {
                assert_true(topic.kind < _TOPIC_KIND_MAX);
                assert_true(topic.job_id[0] == 0 || strcmp(topic.job_id, TOPIC_NEXT_JOB) == 0 ||
                            job_id_is_valid(topic.job_id));
                assert_true(topic.stream_id[0] == 0 || stream_id_is_valid(topic.stream_id));
                assert_string_not_equal(topic_kind_to_string(topic.kind), "unknown");
        }
        free(text);
}

static void test_mangled(void **state)
{
        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(parse_cases); i++)
                if (parse_cases[i].kind >= 0)
                        mangle(parse_cases[i].topic, strlen(parse_cases[i].topic), try_topic);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_parse),
                cmocka_unit_test(test_format),
                cmocka_unit_test(test_length),
                cmocka_unit_test(test_mangled),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
