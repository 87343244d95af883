#include <errno.h>
#include <string.h>

#include "cli/status-view.h"
#include "unit.h"

static const char downloading[] =
        "{\"schema\":1,\"otad\":\"0.1.0\",\"thing\":\"gw\",\"state\":\"downloading\",\"connected\":true,"
        "\"suspended\":false,\"job\":{\"id\":\"J\",\"attempt\":2},"
        "\"targets\":[{\"target\":\"rootfs\",\"slot\":\"B\",\"size\":2097152,\"written\":1048576,\"durable\":4096,"
        "\"verified\":2048},{\"target\":\"app\",\"slot\":null,\"size\":1024,\"written\":0,\"durable\":0,\"verified\":"
        "0}],"
        "\"download\":{\"protocol\":\"https\",\"percent\":50,\"held\":1048576,\"total\":2098176,"
        "\"bytes_per_second\":104857,\"retries\":3,\"stream\":null},\"reboot_needed\":false,\"failure\":null,"
        "\"waiting\":null,\"versions\":{\"running\":\"1.2\",\"previous\":\"1.1\"},\"selftest_seconds_left\":null,"
        "\"unsent_final_statuses\":1,\"certificates\":[{\"kind\":\"device\",\"file\":\"/d\",\"ends\":\"2027\","
        "\"days_left\":400,\"ends_soon\":false},{\"kind\":\"signer\",\"file\":\"s.pem\",\"ends\":\"2026-02-01T00:00:"
        "00Z\","
        "\"days_left\":12,\"ends_soon\":true},{\"kind\":\"root-ca\",\"file\":\"/"
        "r\",\"ends\":\"2026-01-01T00:00:00Z\","
        "\"days_left\":-19,\"ends_soon\":true}],\"last\":{\"job\":\"I\",\"attempt\":1,\"status\":\"failed\","
        "\"error\":\"hook-failed\",\"detail\":\"no\",\"when\":\"2026-01-01T00:00:00Z\"},"
        "\"next\":\"Downloads the rest.\"}";

static void test_print(void **state)
{
        static const char expected[] =
                "otad      0.1.0, thing gw, connected\n"
                "State     downloading\n"
                "Job       J (attempt 2)\n"
                "Target    rootfs (slot B), 1.0 MiB of 2.0 MiB written, 2.0 KiB read back\n"
                "Target    app, 0 B of 1.0 KiB written\n"
                "Download  https, 50 %, 1.0 MiB of 2.0 MiB, 102.3 KiB/s, 11s left, tried again 3 times\n"
                "Version   1.2, before the update 1.1\n"
                "Unsent    1 results the cloud has not heard of\n"
                "Warning   the signer certificate s.pem ends on 2026-02-01T00:00:00Z, in 12 days\n"
                "Warning   the root-ca certificate /r has ended on 2026-01-01T00:00:00Z\n"
                "Last      I (attempt 1) failed at 2026-01-01T00:00:00Z: hook-failed: no\n"
                "Next      Downloads the rest.\n";
        _cleanup_free_ char *text = NULL;
        StatusView view;
        size_t n_text;
        FILE *file;

        assert_int_equal(status_view_parse(downloading, &view), 0);
        file = open_memstream(&text, &n_text);
        assert_non_null(file);
        status_view_print(&view, file);
        assert_int_equal(fclose(file), 0);
        assert_string_equal(text, expected);
}

static void test_print_troubles(void **state)
{
        static const char json[] =
                "{\"schema\":1,\"otad\":\"0.1.0\",\"thing\":\"gw\",\"state\":\"suspended\",\"connected\":false,"
                "\"suspended\":true,\"reboot_needed\":true,\"failure\":{\"error\":\"no-space\",\"detail\":\"full\"},"
                "\"waiting\":{\"reason\":\"the broker is not reached\",\"retry_seconds\":75},\"next\":\"Waits.\"}";
        static const char expected[] = "otad      0.1.0, thing gw, not connected to the broker\n"
                                       "State     suspended, suspended by an operator, a reboot is needed\n"
                                       "Failure   no-space: full\n"
                                       "Waiting   the broker is not reached, again in 1min 15s\n"
                                       "Next      Waits.\n";
        _cleanup_free_ char *text = NULL;
        StatusView view;
        size_t n_text;
        FILE *file;

        assert_int_equal(status_view_parse(json, &view), 0);
        file = open_memstream(&text, &n_text);
        assert_non_null(file);
        status_view_print(&view, file);
        assert_int_equal(fclose(file), 0);
        assert_string_equal(text, expected);
}

static void test_progress(void **state)
{
        char line[256], narrow[256];
        StatusView view;

        assert_int_equal(status_view_parse(downloading, &view), 0);
        assert_string_equal(status_view_progress(&view, 80, line, sizeof(line)),
                            "downloading  [#######........]   50 %  1.0 MiB of 2.0 MiB  102.3 KiB/s  11s left");
        assert_int_equal(strlen(line), 80);
        /* No room for a bar, then not even for the figures. */
        status_view_progress(&view, 65, narrow, sizeof(narrow));
        assert_null(strchr(narrow, '['));
        assert_non_null(strstr(narrow, "11s left"));
        for (unsigned width = 0; width < 120; width++)
                assert_true(strlen(status_view_progress(&view, width, line, sizeof(line))) <= width);
        strcpy(view.waiting.reason, "x");
        assert_string_equal(status_view_progress(&view, 80, line, sizeof(line)), "downloading  Downloads the rest.");
}

/* otad may have been broken into, and its words go to a terminal. */
static void test_hostile(void **state)
{
        static const char *const refused[] = {
                "",
                "null",
                "[]",
                "{}",
                "{\"schema\":1}",
                "{\"schema\":2,\"state\":\"idle\"}",
                "{\"schema\":1,\"state\":7}",
                "{\"schema\":1,\"state\":\"idle\"",
        };
        _cleanup_free_ char *huge = NULL;
        char many[8192];
        StatusView view;

        for (size_t i = 0; i < ELEMENTSOF(refused); i++)
                assert_int_equal(status_view_parse(refused[i], &view), -EBADMSG);
        huge = malloc(STATUS_VIEW_JSON_MAX + 2);
        assert_non_null(huge);
        memset(huge, ' ', STATUS_VIEW_JSON_MAX + 1);
        huge[STATUS_VIEW_JSON_MAX + 1] = 0;
        assert_int_equal(status_view_parse(huge, &view), -EBADMSG);

        assert_int_equal(status_view_parse("{\"schema\":1,\"state\":\"\\u001b[2Jx\",\"job\":[1],\"download\":\"x\","
                                           "\"targets\":{\"a\":1},\"last\":7,\"unsent_final_statuses\":-1,"
                                           "\"selftest_seconds_left\":1e300,\"next\":\"a\\nb\\u009b\"}",
                                           &view),
                         0);
        assert_string_equal(view.state, "\\x1b[2Jx");
        assert_string_equal(view.next, "a\\x0ab\\xc2\\x9b");
        assert_int_equal(view.unsent_final_statuses, 0);
        assert_true(view.selftest_seconds_left == UINT64_MAX);

        strcpy(many, "{\"schema\":1,\"state\":\"idle\",\"targets\":[");
        for (size_t i = 0; i < 3 * STATUS_VIEW_TARGETS_MAX; i++)
                strcat(many, i == 0 ? "{\"size\":1}" : ",{\"size\":1}");
        strcat(many, "]}");
        assert_int_equal(status_view_parse(many, &view), 0);
        assert_int_equal(view.n_targets, STATUS_VIEW_TARGETS_MAX);
}

static void test_has_ended(void **state)
{
        StatusView before = {0}, now = {0};

        assert_false(status_view_has_ended(&before, &now));
        strcpy(now.last.job, "J");
        now.last.attempt = 1;
        assert_true(status_view_has_ended(&before, &now));
        before = now;
        assert_false(status_view_has_ended(&before, &now));
        now.last.attempt = 2;
        assert_true(status_view_has_ended(&before, &now));
        /* A new otad has forgotten: that is no end. */
        memset(&now, 0, sizeof(now));
        assert_false(status_view_has_ended(&before, &now));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_print),     cmocka_unit_test(test_print_troubles),
                cmocka_unit_test(test_progress),  cmocka_unit_test(test_hostile),
                cmocka_unit_test(test_has_ended),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
