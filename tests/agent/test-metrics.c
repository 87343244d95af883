#include <string.h>

#include "base/time-util.h"
#include "metrics.h"
#include "unit.h"

/* What the engine shows, and the time. */
typedef struct Scene {
        Metrics metrics;
        EngineStatus status;
        JobKey key;
        LinkState device;
        DownloadStats download;
        Failure failure;
        uint64_t now_usec;
} Scene;

#define WALL_USEC (UINT64_C(1800000000) * USEC_PER_SEC)

static void begin(Scene *s)
{
        memset(s, 0, sizeof(*s));
        s->now_usec = 1000 * USEC_PER_SEC;
        s->status.update = (UpdateStatus){.key = &s->key,
                                          .device = &s->device,
                                          .failure = &s->failure,
                                          .waiting = "",
                                          .retry_usec = USEC_INFINITY};
        metrics_init(&s->metrics, s->now_usec, WALL_USEC + s->now_usec);
}

static MetricsNews step(Scene *s, UpdateState state, unsigned sec)
{
        s->now_usec += sec * USEC_PER_SEC;
        s->status.update.state = state;
        return metrics_observe(&s->metrics, &s->status, s->now_usec, WALL_USEC + s->now_usec);
}

/* Whether the text has this line. */
static bool says(Scene *s, const char *line)
{
        static const CertificateWatch none;
        _cleanup_free_ char *text = NULL;
        char wanted[256];
        size_t n_text;

        assert_int_equal(metrics_format(&s->metrics, "gw", &none, s->now_usec, &text, &n_text), 0);
        assert_int_equal(strlen(text), n_text);
        snprintf(wanted, sizeof(wanted), "\n%s\n", line);
        return strstr(text, wanted) != NULL;
}

static void test_an_update(void **state)
{
        Scene s;

        begin(&s);
        assert_int_equal(step(&s, UPDATE_STATE_IDLE, 1), METRICS_NEWS_CHANGED); /* the installer is reached */
        assert_int_equal(step(&s, UPDATE_STATE_IDLE, 1), METRICS_NEWS_NONE);
        s.key = job_key_make("job", 1);
        assert_int_equal(step(&s, UPDATE_STATE_ACCEPTED, 5), METRICS_NEWS_KEEP);
        assert_int_equal(step(&s, UPDATE_STATE_DOWNLOADING, 2), METRICS_NEWS_CHANGED);
        assert_int_equal(step(&s, UPDATE_STATE_DOWNLOADING, 10), METRICS_NEWS_NONE);
        assert_true(says(&s, "otad_update_state{state=\"downloading\"} 1"));
        assert_true(says(&s, "otad_update_phase_duration_seconds{state=\"accepted\"} 2.000"));
        assert_true(says(&s, "otad_update_phase_duration_seconds{state=\"downloading\"} 10.000"));
        assert_false(says(&s, "otad_last_update_duration_seconds 22.000"));
        (void)step(&s, UPDATE_STATE_COMMITTED, 10);
        assert_int_equal(step(&s, UPDATE_STATE_IDLE, 0), METRICS_NEWS_KEEP);
        assert_true(says(&s, "otad_last_update_info{result=\"succeeded\",error=\"\"} 1"));
        assert_true(says(&s, "otad_last_update_duration_seconds 22.000"));
        assert_true(says(&s, "otad_last_success_timestamp_seconds 1800001029.000"));
        assert_true(says(&s, "otad_updates_total{result=\"succeeded\"} 1"));
        assert_true(says(&s, "otad_update_phase_duration_seconds{state=\"downloading\"} 20.000"));
        /* The next one counts for itself; when the last one succeeded stays. */
        s.key = job_key_make("job", 2);
        (void)step(&s, UPDATE_STATE_ACCEPTED, 100);
        assert_true(says(&s, "otad_update_phase_duration_seconds{state=\"downloading\"} 0.000"));
        s.failure.reason = FAILURE_NO_SPACE;
        (void)step(&s, UPDATE_STATE_ROLLED_BACK, 3);
        (void)step(&s, UPDATE_STATE_IDLE, 0);
        assert_true(says(&s, "otad_last_update_info{result=\"failed\",error=\"no-space\"} 1") ||
                    says(&s, "otad_last_update_info{result=\"rejected\",error=\"no-space\"} 1"));
        assert_true(says(&s, "otad_last_update_duration_seconds 3.000"));
        assert_true(says(&s, "otad_last_success_timestamp_seconds 1800001029.000"));
}

/* It was begun by an otad before this one. */
static void test_a_restart_between(void **state)
{
        Scene s;

        begin(&s);
        s.key = s.metrics.last.began_key = job_key_make("job", 1);
        s.metrics.last.began_wall_usec = WALL_USEC + s.now_usec - 60 * USEC_PER_SEC;
        assert_int_equal(step(&s, UPDATE_STATE_TESTING, 1), METRICS_NEWS_CHANGED);
        (void)step(&s, UPDATE_STATE_COMMITTED, 1);
        (void)step(&s, UPDATE_STATE_IDLE, 0);
        assert_true(says(&s, "otad_last_update_duration_seconds 62.000"));
}

static void see_download(Scene *s, uint64_t fetched, unsigned retries, unsigned lost)
{
        s->download = (DownloadStats){.total_bytes = 900, .held_bytes = 10 + fetched, .fetched_bytes = fetched};
        s->download.n_retries = retries;
        s->download.stream.n_lost = lost;
        s->status.update.download = &s->download;
        (void)step(s, UPDATE_STATE_DOWNLOADING, 1);
}

/* Each download counts from 0, the sums never go back. */
static void test_counters_only_grow(void **state)
{
        Scene s;

        begin(&s);
        see_download(&s, 100, 1, 7);
        see_download(&s, 300, 2, 8);
        assert_true(says(&s, "otad_download_received_bytes_total 300"));
        assert_true(says(&s, "otad_download_held_bytes 310"));
        see_download(&s, 50, 0, 0);
        assert_true(says(&s, "otad_download_received_bytes_total 350"));
        assert_true(says(&s, "otad_stream_blocks_lost_total 8"));
        s.status.update.download = NULL;
        (void)step(&s, UPDATE_STATE_VERIFYING, 1);
        (void)step(&s, UPDATE_STATE_VERIFYING, 1);
        assert_true(says(&s, "otad_download_received_bytes_total 350"));
        assert_true(says(&s, "otad_download_retries_total 2"));
        assert_true(says(&s, "otad_download_held_bytes 0"));
}

static void test_labels_are_escaped(void **state)
{
        Scene s;

        begin(&s);
        strcpy(s.device.version, "1\"2\\3");
        assert_int_equal(step(&s, UPDATE_STATE_IDLE, 1), METRICS_NEWS_CHANGED);
        assert_true(says(&s, "otad_software_info{version=\"1\\\"2\\\\3\"} 1"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_an_update),
                cmocka_unit_test(test_a_restart_between),
                cmocka_unit_test(test_counters_only_grow),
                cmocka_unit_test(test_labels_are_escaped),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
