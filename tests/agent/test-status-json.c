#include <cjson/cJSON.h>
#include <string.h>

#include "agent/status-json.h"
#include "base/time-util.h"
#include "certificate-watch.h"
#include "unit.h"

enum { NOW_SEC = 1000 };

/* An update of a slot and a file, with everything known. */
typedef struct Scene {
        EngineStatus status;
        StatusFacts facts;
        JobKey key;
        LinkState device;
        DownloadStats download;
        Failure failure;
        StatusResult last;
        CertificateWatch certificates;
} Scene;

static void scene_init(Scene *s, UpdateState state)
{
        memset(s, 0, sizeof(*s));
        s->key = job_key_make("AFR_OTA-1", 2);
        s->device = (LinkState){.state = state, .n_files = 2, .selftest_left_usec = USEC_INFINITY};
        strcpy(s->device.version, "1.2");
        strcpy(s->device.previous_version, "1.1");
        s->device.files[0] = (LinkFileState){.size_bytes = 100, .written_bytes = 64, .durable_bytes = 60};
        strcpy(s->device.files[0].target, "rootfs");
        strcpy(s->device.files[0].slot, "B");
        s->device.files[1] = (LinkFileState){.size_bytes = 100};
        strcpy(s->device.files[1].target, "app");
        s->download = (DownloadStats){.total_bytes = 200, .held_bytes = 128, .plane = DOWNLOAD_PLANE_MQTT};
        s->status = (EngineStatus){
                .connected = true,
                .update = {.state = state,
                           .waiting = "",
                           .retry_usec = USEC_INFINITY,
                           .key = &s->key,
                           .device = &s->device,
                           .failure = &s->failure},
        };
        s->facts = (StatusFacts){.thing_name = "gateway-0042", .certificates = &s->certificates};
}

static cJSON *format(const Scene *s)
{
        _cleanup_free_ char *text = NULL;
        cJSON *json;

        assert_int_equal(status_json_format(&s->status, &s->facts, NOW_SEC * USEC_PER_SEC, &text), 0);
        json = cJSON_Parse(text);
        assert_non_null(json);
        return json;
}

static const char *text_of(const cJSON *object, const char *name)
{
        const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));

        assert_non_null(text);
        return text;
}

static int64_t number_of(const cJSON *object, const char *name)
{
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

        assert_true(cJSON_IsNumber(item));
        return (int64_t)item->valuedouble;
}

static void assert_null_member(const cJSON *object, const char *name)
{
        assert_true(cJSON_IsNull(cJSON_GetObjectItemCaseSensitive(object, name)));
}

static void test_idle_is_whole(void **state)
{
        static const char expected[] =
                "{\"schema\":1,\"otad\":\"" OTAD_VERSION "\",\"thing\":\"gateway-0042\",\"state\":\"idle\","
                "\"connected\":true,\"suspended\":false,\"job\":null,\"local\":null,\"targets\":[],\"download\":null,"
                "\"reboot_needed\":false,\"failure\":null,\"waiting\":null,"
                "\"versions\":{\"running\":\"1.2\",\"previous\":null},\"selftest_seconds_left\":null,"
                "\"unsent_final_statuses\":0,\"certificates\":[],\"last\":null,\"next\":\"Waits for jobs from the "
                "cloud.\"}";
        _cleanup_free_ char *text = NULL;
        Scene s;

        scene_init(&s, UPDATE_STATE_IDLE);
        s.key = (JobKey){0};
        s.device.n_files = 0;
        s.device.previous_version[0] = 0;
        assert_int_equal(status_json_format(&s.status, &s.facts, 0, &text), 0);
        assert_string_equal(text, expected);
}

static void test_certificates(void **state)
{
        const cJSON *list, *item;
        cJSON *json;
        Scene s;

        scene_init(&s, UPDATE_STATE_IDLE);
        s.certificates.warn_usec = 30 * 24 * 3600 * USEC_PER_SEC;
        s.certificates.wall_clock_usec = CLOCK_REFERENCE_USEC;
        s.certificates.list.n_entries = 2;
        s.certificates.list.entries[0] =
                (ExpiryEntry){EXPIRY_DEVICE, "/d.pem", CLOCK_REFERENCE_USEC / USEC_PER_SEC + 10 * 24 * 3600};
        s.certificates.list.entries[1] =
                (ExpiryEntry){EXPIRY_SIGNER, "s.pem", CLOCK_REFERENCE_USEC / USEC_PER_SEC - 2 * 24 * 3600};
        for (int known = 0; known < 2; known++) {
                s.certificates.dates_count = known;
                json = format(&s);
                list = cJSON_GetObjectItemCaseSensitive(json, "certificates");
                assert_int_equal(cJSON_GetArraySize(list), 2);
                item = cJSON_GetArrayItem(list, 0);
                assert_string_equal(text_of(item, "kind"), "device");
                assert_string_equal(text_of(item, "file"), "/d.pem");
                assert_string_equal(text_of(item, "ends"), "2026-01-11T00:00:00Z");
                assert_int_equal(cJSON_IsTrue(cJSON_GetObjectItem(item, "ends_soon")), known);
                if (known)
                        assert_int_equal(number_of(item, "days_left"), 10);
                else
                        assert_null_member(item, "days_left");
                item = cJSON_GetArrayItem(list, 1);
                if (known)
                        assert_int_equal(number_of(item, "days_left"), -2);
                cJSON_Delete(json);
        }
}

static void test_nothing_known_yet(void **state)
{
        Scene s;
        cJSON *json;

        scene_init(&s, UPDATE_STATE_IDLE);
        s.status.update = (UpdateStatus){.waiting = "", .retry_usec = USEC_INFINITY};
        json = format(&s);
        assert_null_member(json, "job");
        assert_null_member(json, "failure");
        assert_null_member(cJSON_GetObjectItem(json, "versions"), "running");
        assert_string_equal(text_of(json, "next"), "Waits for otad-installer, then for jobs from the cloud.");
        cJSON_Delete(json);
}

static void test_download(void **state)
{
        const cJSON *download, *target, *stream, *waiting;
        cJSON *json;
        Scene s;

        scene_init(&s, UPDATE_STATE_DOWNLOADING);
        s.status.update.download = &s.download;
        s.download.n_retries = 3;
        s.download.stream = (StreamFetchStats){.n_requests = 7, .n_blocks = 6, .n_lost = 1, .round_trip_usec = 42000};
        s.facts.bytes_per_second = 1234;
        s.status.update.waiting = "the broker is not reached";
        s.status.update.retry_usec = (NOW_SEC + 12) * USEC_PER_SEC;
        json = format(&s);

        download = cJSON_GetObjectItem(json, "download");
        assert_string_equal(text_of(download, "protocol"), "mqtt");
        assert_int_equal(number_of(download, "percent"), 64);
        assert_int_equal(number_of(download, "held"), 128);
        assert_int_equal(number_of(download, "total"), 200);
        assert_int_equal(number_of(download, "bytes_per_second"), 1234);
        assert_int_equal(number_of(download, "retries"), 3);
        stream = cJSON_GetObjectItem(download, "stream");
        assert_int_equal(number_of(stream, "lost"), 1);
        assert_int_equal(number_of(stream, "round_trip_usec"), 42000);

        assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(json, "targets")), 2);
        target = cJSON_GetArrayItem(cJSON_GetObjectItem(json, "targets"), 0);
        assert_string_equal(text_of(target, "slot"), "B");
        assert_int_equal(number_of(target, "written"), 64);
        assert_int_equal(number_of(target, "durable"), 60);
        assert_null_member(cJSON_GetArrayItem(cJSON_GetObjectItem(json, "targets"), 1), "slot");

        waiting = cJSON_GetObjectItem(json, "waiting");
        assert_string_equal(text_of(waiting, "reason"), "the broker is not reached");
        assert_int_equal(number_of(waiting, "retry_seconds"), 12);
        assert_string_equal(text_of(cJSON_GetObjectItem(json, "job"), "id"), "AFR_OTA-1");
        assert_int_equal(number_of(cJSON_GetObjectItem(json, "job"), "attempt"), 2);
        cJSON_Delete(json);
}

/* A retry that is overdue, and one that is an event. */
static void test_retry(void **state)
{
        cJSON *json;
        Scene s;

        scene_init(&s, UPDATE_STATE_SUSPENDED);
        s.status.update.waiting = "x";
        s.status.update.retry_usec = 0;
        json = format(&s);
        assert_int_equal(number_of(cJSON_GetObjectItem(json, "waiting"), "retry_seconds"), 0);
        cJSON_Delete(json);
        s.status.update.retry_usec = USEC_INFINITY;
        json = format(&s);
        assert_null_member(cJSON_GetObjectItem(json, "waiting"), "retry_seconds");
        cJSON_Delete(json);
}

/* Numbers beyond a double's 53 bits, and what must not break out of a JSON text. */
static void test_exact_and_escaped(void **state)
{
        _cleanup_free_ char *text = NULL;
        cJSON *json;
        Scene s;

        scene_init(&s, UPDATE_STATE_ROLLING_BACK);
        s.device.files[0].size_bytes = UINT64_MAX - 1;
        s.failure.reason = FAILURE_HOOK_FAILED;
        strcpy(s.failure.detail, "say \"no\" \\x1b \x1b[2J \xff line\nend");
        assert_int_equal(status_json_format(&s.status, &s.facts, 0, &text), 0);
        assert_non_null(strstr(text, "\"size\":18446744073709551614,"));
        for (const char *c = text; *c; c++)
                assert_true((unsigned char)*c >= 0x20 && (unsigned char)*c < 0x7f);
        json = cJSON_Parse(text);
        assert_non_null(json);
        assert_string_equal(text_of(cJSON_GetObjectItem(json, "failure"), "detail"),
                            "say \"no\" \\x1b \\x1b[2J \\xff line\\x0aend");
        assert_string_equal(text_of(cJSON_GetObjectItem(json, "failure"), "error"), "hook-failed");
        cJSON_Delete(json);
}

static void test_last(void **state)
{
        const cJSON *last;
        cJSON *json;
        Scene s;

        scene_init(&s, UPDATE_STATE_IDLE);
        s.facts.last = &s.last;
        json = format(&s);
        assert_null_member(json, "last");
        cJSON_Delete(json);

        s.last = (StatusResult){.key = s.key,
                                .outcome = STATUS_OUTCOME_REJECTED,
                                .wall_clock_usec = UINT64_C(1767225600) * USEC_PER_SEC,
                                .failure = {.reason = FAILURE_TARGET_UNKNOWN, .detail = "no such target"}};
        json = format(&s);
        last = cJSON_GetObjectItem(json, "last");
        assert_string_equal(text_of(last, "job"), "AFR_OTA-1");
        assert_string_equal(text_of(last, "status"), "rejected");
        assert_string_equal(text_of(last, "error"), "target-unknown");
        assert_string_equal(text_of(last, "detail"), "no such target");
        assert_string_equal(text_of(last, "when"), "2026-01-01T00:00:00Z");
        cJSON_Delete(json);

        s.last.failure = (Failure){0};
        s.last.outcome = STATUS_OUTCOME_SUCCEEDED;
        json = format(&s);
        assert_null_member(cJSON_GetObjectItem(json, "last"), "error");
        cJSON_Delete(json);
}

static void test_selftest_left(void **state)
{
        cJSON *json;
        Scene s;

        scene_init(&s, UPDATE_STATE_TESTING);
        s.device.selftest_left_usec = 480 * USEC_PER_SEC;
        json = format(&s);
        assert_int_equal(number_of(json, "selftest_seconds_left"), 480);
        cJSON_Delete(json);
        s.device.state = UPDATE_STATE_COMMITTED;
        json = format(&s);
        assert_null_member(json, "selftest_seconds_left");
        cJSON_Delete(json);
}

/* What happens next, in every state; `waiting` as the engine says it, NULL: nothing. */
static void test_next(void **state)
{
        static const struct {
                UpdateState state;
                const char *waiting;
                unsigned retry_sec; /* 0: an event */
                bool disconnected, suspended, reboot_needed, without_signature;
                const char *next;
        } rows[] = {
                {UPDATE_STATE_IDLE, NULL, 0, false, false, false, false, "Waits for jobs from the cloud."},
                {UPDATE_STATE_IDLE, NULL, 0, true, false, false, false,
                 "Connects to the broker, then waits for jobs from the cloud."},
                {UPDATE_STATE_IDLE, "left over", 0, false, true, false, false,
                 "Waits for jobs from the cloud; does one only after 'otactl resume'."},
                {UPDATE_STATE_ACCEPTED, NULL, 0, false, false, false, false, "Prepares the targets, then downloads."},
                {UPDATE_STATE_ACCEPTED, "the hook says not now: busy", 45, false, false, false, false,
                 "Waits (the hook says not now: busy), tries again in 45s, then prepares the targets, then "
                 "downloads."},
                {UPDATE_STATE_DOWNLOADING, NULL, 0, false, false, false, false,
                 "Downloads the rest (30 % is here), then verifies the signature."},
                {UPDATE_STATE_DOWNLOADING, NULL, 0, false, false, false, true,
                 "Downloads the rest (30 % is here), then checks the image, which has no signature."},
                {UPDATE_STATE_SUSPENDED, "the broker is not reached", 0, true, false, false, false,
                 "Waits (the broker is not reached), then downloads the rest (30 % is here), then verifies the "
                 "signature."},
                {UPDATE_STATE_SUSPENDED, "suspended by the operator", 0, false, true, false, false,
                 "Waits for 'otactl resume', then downloads the rest (30 % is here), then verifies the signature."},
                {UPDATE_STATE_VERIFYING, NULL, 0, false, false, false, false,
                 "Verifies the signature, then activates the new software."},
                {UPDATE_STATE_INSTALLED, NULL, 0, false, false, false, false,
                 "Activates the new software, then tests it."},
                {UPDATE_STATE_ACTIVATING, NULL, 0, false, false, false, false,
                 "Switches to the new software, then tests it."},
                {UPDATE_STATE_ACTIVATING, NULL, 0, false, false, true, false,
                 "Reboots into slot B, then tests the new software."},
                {UPDATE_STATE_ACTIVATING, "the machine reboots", 0, false, false, true, false,
                 "Waits (the machine reboots), then starts slot B and tests the new software."},
                {UPDATE_STATE_TESTING, NULL, 0, false, false, false, false,
                 "Rolls back unless the self-test passes within 8min 0s."},
                {UPDATE_STATE_TESTING, NULL, 0, true, true, false, false,
                 "Rolls back unless the broker is reached and the self-test passes within 8min 0s."},
                {UPDATE_STATE_COMMITTED, NULL, 0, false, false, false, false,
                 "Tells the cloud that the update succeeded."},
                {UPDATE_STATE_ROLLING_BACK, NULL, 0, false, false, false, false,
                 "Goes back to the old software, then tells the cloud why."},
                {UPDATE_STATE_ROLLING_BACK, NULL, 0, false, false, true, false,
                 "Reboots into the old software, then tells the cloud why the update failed."},
                {UPDATE_STATE_ROLLING_BACK, "a reboot into the old software", 0, false, false, true, false,
                 "Waits (a reboot into the old software), then tells the cloud why the update failed."},
                {UPDATE_STATE_ROLLED_BACK, NULL, 0, false, false, false, false,
                 "Tells the cloud why the update failed."},
        };
        bool seen[_UPDATE_STATE_MAX] = {0};
        char text[STATUS_NEXT_MAX];
        Scene s;

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                scene_init(&s, rows[i].state);
                seen[rows[i].state] = true;
                s.status.connected = !rows[i].disconnected;
                s.status.update.suspended_by_operator = rows[i].suspended;
                s.status.update.waiting = rows[i].waiting ?: "";
                if (rows[i].retry_sec > 0)
                        s.status.update.retry_usec = (NOW_SEC + rows[i].retry_sec) * USEC_PER_SEC;
                s.device.reboot_needed = rows[i].reboot_needed;
                s.device.without_signature = rows[i].without_signature;
                if (rows[i].state == UPDATE_STATE_TESTING)
                        s.device.selftest_left_usec = 480 * USEC_PER_SEC;
                assert_string_equal(status_next_format(text, &s.status, NOW_SEC * USEC_PER_SEC), rows[i].next);
        }
        for (size_t i = 0; i < _UPDATE_STATE_MAX; i++)
                assert_true(seen[i]);

        scene_init(&s, UPDATE_STATE_IDLE);
        s.status.n_unsent_finals = 2;
        assert_string_equal(status_next_format(text, &s.status, 0), "Tells the cloud how 2 updates ended.");
        s.status.connected = false;
        s.status.n_unsent_finals = 1;
        assert_string_equal(status_next_format(text, &s.status, 0),
                            "Connects to the broker, then tells the cloud how 1 update ended.");
}

/* The longest texts there are must fit, whole. */
static void test_next_is_bounded(void **state)
{
        char text[STATUS_NEXT_MAX], waiting[FAILURE_DETAIL_MAX];
        Scene s;

        scene_init(&s, UPDATE_STATE_ACTIVATING);
        memset(waiting, 'w', sizeof(waiting) - 1);
        waiting[sizeof(waiting) - 1] = 0;
        memset(s.device.files[0].slot, 's', LINK_TARGET_MAX);
        s.device.reboot_needed = true;
        s.status.update.waiting = waiting;
        s.status.update.retry_usec = UINT64_MAX - 1;
        status_next_format(text, &s.status, 0);
        assert_non_null(strstr(text, "tests the new software."));
}

static void test_percent(void **state)
{
        static const struct {
                uint64_t held, total;
                unsigned percent;
        } rows[] = {{0, 0, 0},
                    {0, 10, 0},
                    {1, 3, 33},
                    {199999, 200000, 99},
                    {200000, 200000, 100},
                    {UINT64_C(1) << 53, UINT64_C(1) << 53, 100},
                    {(UINT64_C(1) << 53) - 1, UINT64_C(1) << 53, 99}};
        Scene s;

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                scene_init(&s, UPDATE_STATE_DOWNLOADING);
                s.status.update.download = &s.download;
                s.download.held_bytes = rows[i].held;
                s.download.total_bytes = rows[i].total;
                assert_int_equal(status_percent(&s.status), rows[i].percent);
        }
        scene_init(&s, UPDATE_STATE_SUSPENDED);
        assert_int_equal(status_percent(&s.status), 30);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_idle_is_whole),
                cmocka_unit_test(test_certificates),
                cmocka_unit_test(test_nothing_known_yet),
                cmocka_unit_test(test_download),
                cmocka_unit_test(test_retry),
                cmocka_unit_test(test_exact_and_escaped),
                cmocka_unit_test(test_last),
                cmocka_unit_test(test_selftest_left),
                cmocka_unit_test(test_next),
                cmocka_unit_test(test_next_is_bounded),
                cmocka_unit_test(test_percent),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
