#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/signature-algorithm.h"
#include "base/time-util.h"
#include "config/config.h"
#include "unit.h"

#define T           "thing-name = \"t\";\n"
#define B           "broker: { endpoint = \"e\"; };\n"
#define A           "targets = ( { name = \"app\"; type = \"file\"; match = \"app\"; path = \"/o/app\"; mode = \"0755\"; } );\n"
#define SLOTS(a, b) "slots = ( { name = \"A\"; device = \"" a "\"; }, { name = \"B\"; device = \"" b "\"; } ); "

static Config *parse(const char *text)
{
        _cleanup_free_ char *message = NULL;
        Config *config = NULL;
        int r = config_parse(text, strlen(text), "x", &config, &message);

        if (r < 0)
                fail_msg("%d %s for\n%s", r, message ? message : "", text);
        assert_null(message);
        return config;
}

static void test_defaults(void **state)
{
        _cleanup_(config_freep) Config *c = parse(T B A);

        assert_string_equal(c->thing_name, "t");
        assert_string_equal(c->broker.endpoint, "e");
        assert_int_equal(c->broker.port, 8883);
        assert_string_equal(c->broker.root_ca, "/etc/otad/tls/root-ca.pem");
        assert_string_equal(c->broker.cert, "/etc/otad/tls/device.pem.crt");
        assert_string_equal(c->broker.key, "/etc/otad/tls/device.pem.key");
        assert_int_equal(c->broker.keep_alive_usec, 60 * USEC_PER_SEC);
        assert_int_equal(c->broker.connect_timeout_usec, 30 * USEC_PER_SEC);
        assert_int_equal(c->broker.answer_timeout_usec, 15 * USEC_PER_SEC);
        assert_int_equal(c->broker.backoff_base_usec, 500 * USEC_PER_MSEC);
        assert_int_equal(c->broker.backoff_cap_usec, 300 * USEC_PER_SEC);
        assert_int_equal(c->broker.stable_usec, 60 * USEC_PER_SEC);
        assert_int_equal(c->broker.mqtt_version, CONFIG_MQTT_5);
        assert_false(c->jobs.reject_foreign);
        assert_int_equal(c->jobs.refresh_usec, 3600 * USEC_PER_SEC);
        assert_int_equal(c->jobs.step_timeout_min, 60);
        assert_int_equal(c->jobs.progress_usec, 30 * USEC_PER_SEC);
        assert_int_equal(c->jobs.progress_percent, 10);
        assert_int_equal(c->download.protocols.n, 2);
        assert_int_equal(c->download.protocols.values[0], CONFIG_PROTOCOL_HTTPS);
        assert_int_equal(c->download.protocols.values[1], CONFIG_PROTOCOL_MQTT);
        assert_string_equal(c->download.https_ca, "/etc/ssl/certs/ca-certificates.crt");
        assert_int_equal(c->download.block_bytes, 32768);
        assert_int_equal(c->download.window_bytes, 2097152);
        assert_true(c->download.aws_limits);
        assert_int_equal(c->download.stall_usec, 60 * USEC_PER_SEC);
        assert_int_equal(c->download.low_speed_bytes, 100);
        assert_int_equal(c->download.attempts, 5);
        assert_int_equal(c->download.give_up_usec, 3600 * USEC_PER_SEC);
        assert_int_equal(c->download.checkpoint_bytes, 16777216);
        assert_int_equal(c->download.checkpoint_usec, 0);
        assert_false(c->download.skip_equal);
        assert_int_equal(c->policy.download_windows.n, 0);
        assert_int_equal(c->policy.activate_windows.n, 0);
        assert_int_equal(c->policy.metered, CONFIG_METERED_AUTO);
        assert_int_equal(c->policy.metered_max_bytes, 0);
        assert_int_equal(c->policy.max_bytes_per_sec, 0);
        assert_int_equal(c->policy.min_free_bytes, 0);
        assert_int_equal(c->policy.min_free_percent, 0);
        assert_int_equal(c->policy.io_priority, CONFIG_IO_PRIORITY_NORMAL);
        assert_int_equal(c->policy.nice, 0);
        assert_true(c->signing.required);
        assert_string_equal(c->signing.trust_store, "/etc/otad/trust");
        assert_int_equal(c->signing.algorithms.n, 2);
        assert_int_equal(c->signing.algorithms.values[0], SIGNATURE_ALGORITHM_SHA256_ECDSA);
        assert_int_equal(c->signing.algorithms.values[1], SIGNATURE_ALGORITHM_SHA256_RSA);
        assert_int_equal(c->signing.dates, CONFIG_SIGNING_DATES_AUTO);
        assert_string_equal(c->version.file, "/etc/os-release");
        assert_string_equal(c->version.key, "IMAGE_VERSION");
        assert_false(c->version.allow_downgrade);
        assert_string_equal(c->hook.script, "/etc/otad/hook");
        assert_int_equal(c->hook.timeout_usec, 300 * USEC_PER_SEC);
        assert_int_equal(c->hook.retry_usec, 60 * USEC_PER_SEC);
        assert_int_equal(c->hook.give_up_usec, 86400 * USEC_PER_SEC);
        assert_int_equal(c->boot.timeout_usec, 30 * USEC_PER_SEC);
        assert_int_equal(c->selftest.timeout_usec, 600 * USEC_PER_SEC);
        assert_int_equal(c->selftest.max_boots, 3);
        assert_int_equal(c->reboot.timeout_usec, 600 * USEC_PER_SEC);
        assert_string_equal(c->installer.peer_user, "otad");
        assert_int_equal(c->installer.idle_exit_usec, 30 * USEC_PER_SEC);
        assert_string_equal(c->paths.state, "/var/lib/otad");
        assert_string_equal(c->paths.installer_state, "/var/lib/otad-installer");
        assert_string_equal(c->paths.runtime, "/run/otad");
        assert_string_equal(c->paths.boot_id, "/proc/sys/kernel/random/boot_id");
        assert_string_equal(c->control.bus, "system");
        assert_int_equal(c->certificates.warn_days, 30);
        assert_string_equal(c->metrics.file, "");
        assert_false(c->package.report);
        assert_string_equal(c->package.name, "");
        assert_int_equal(c->metrics.interval_usec, 60 * USEC_PER_SEC);
}

static void test_hook_without_end(void **state)
{
        _cleanup_(config_freep) Config *c = parse(T B A "hook: { retry-sec = 60; give-up-sec = 0; };\n");

        assert_int_equal(c->hook.give_up_usec, 0);
}

/* Every key away from its default, at the ends of its range where it has one. */
static void test_every_key_is_read(void **state)
{
        _cleanup_(config_freep) Config *c =
                parse("thing-name: \"a:Z_9-\"; broker = { endpoint = \"::1\"; port = 0x1BB; root-ca = \"/r\"; cert = "
                      "\"/c\"; "
                      "key = \"/k\"; keep-alive-sec = 1200L; connect-timeout-sec = 300; answer-timeout-sec = 1; "
                      "backoff-base-msec = 10; backoff-cap-sec = 1; stable-sec = 86400; away-sec = 1; mqtt-version = "
                      "\"3.1.1\"; }; "
                      "jobs: { reject-foreign = TRUE; refresh-sec = 10; step-timeout-min = 10080; progress-sec = 1; "
                      "progress-percent = 100; }; download: { protocols = ( \"mqtt\" ); https-ca = \"/h\"; "
                      "block-bytes = 256; window-bytes = 131072; aws-limits = false; stall-sec = 3600; "
                      "low-speed-bytes = 1048576; attempts = 1000; give-up-sec = 2592000; "
                      "checkpoint-bytes = 1073741824; checkpoint-msec = 60000; skip-equal = true; }; "
                      "policy: { download-windows = ( \"01:00-02:30\", \"Sat,Sun 22:00-06:00\" ); "
                      "activate-windows = [ \"00:00-24:00\" ]; metered = \"no\"; metered-max-bytes = 1; "
                      "max-bytes-per-sec = 1099511627776; "
                      "min-free-bytes = 1099511627776; min-free-percent = 90; io-priority = \"idle\"; nice = 19; }; "
                      "signing: { required = false; trust-store = \"/t\"; "
                      "algorithms = [ \"sha1-rsa\", \"sha1-ecdsa\", \"sha256-rsa\", \"sha256-ecdsa\" ]; dates = "
                      "\"always\"; }; "
                      "version: { file = \"/v\"; key = \"_V2\"; allow-downgrade = true; }; " A
                      "hook: { script = \"\"; timeout-sec = 1; retry-sec = 2; give-up-sec = 2592000; }; "
                      "boot: { timeout-sec = 600; }; selftest: { timeout-sec = 86400; max-boots = 1; }; "
                      "reboot: { timeout-sec = 1; }; installer: { peer-user = \"u\"; idle-exit-sec = 86400; }; "
                      "paths: { state = \"/s\"; installer-state = \"/i\"; runtime = \"/st\"; boot-id = \"/b\"; }; "
                      "control: { bus = \"unix:path=/tmp/bus\"; }; certificates: { warn-days = 0; }; "
                      "metrics: { file = \"/m.prom\"; interval-sec = 86400; }; package: { report = true; name = "
                      "\"p.1\"; };");

        assert_string_equal(c->thing_name, "a:Z_9-");
        assert_string_equal(c->broker.endpoint, "::1");
        assert_int_equal(c->broker.port, 443);
        assert_string_equal(c->broker.root_ca, "/r");
        assert_string_equal(c->broker.cert, "/c");
        assert_string_equal(c->broker.key, "/k");
        assert_int_equal(c->broker.keep_alive_usec, 1200 * USEC_PER_SEC);
        assert_int_equal(c->broker.connect_timeout_usec, 300 * USEC_PER_SEC);
        assert_int_equal(c->broker.answer_timeout_usec, USEC_PER_SEC);
        assert_int_equal(c->broker.backoff_base_usec, 10 * USEC_PER_MSEC);
        assert_int_equal(c->broker.backoff_cap_usec, USEC_PER_SEC);
        assert_int_equal(c->broker.stable_usec, 86400 * USEC_PER_SEC);
        assert_int_equal(c->broker.away_usec, USEC_PER_SEC);
        assert_int_equal(c->broker.mqtt_version, CONFIG_MQTT_3_1_1);
        assert_true(c->jobs.reject_foreign);
        assert_int_equal(c->jobs.refresh_usec, 10 * USEC_PER_SEC);
        assert_int_equal(c->jobs.step_timeout_min, 10080);
        assert_int_equal(c->jobs.progress_usec, USEC_PER_SEC);
        assert_int_equal(c->jobs.progress_percent, 100);
        assert_int_equal(c->download.protocols.n, 1);
        assert_int_equal(c->download.protocols.values[0], CONFIG_PROTOCOL_MQTT);
        assert_string_equal(c->download.https_ca, "/h");
        assert_int_equal(c->download.block_bytes, 256);
        assert_int_equal(c->download.window_bytes, 131072);
        assert_false(c->download.aws_limits);
        assert_int_equal(c->download.stall_usec, 3600 * USEC_PER_SEC);
        assert_int_equal(c->download.low_speed_bytes, 1048576);
        assert_int_equal(c->download.attempts, 1000);
        assert_int_equal(c->download.give_up_usec, 2592000 * USEC_PER_SEC);
        assert_int_equal(c->download.checkpoint_bytes, 1073741824);
        assert_int_equal(c->download.checkpoint_usec, 60 * USEC_PER_SEC);
        assert_true(c->download.skip_equal);
        assert_int_equal(c->policy.download_windows.n, 2);
        assert_int_equal(c->policy.download_windows.windows[0].length_sec, 5400);
        assert_int_equal(c->policy.download_windows.windows[1].days, 0x41);
        assert_int_equal(c->policy.activate_windows.n, 1);
        assert_int_equal(c->policy.metered, CONFIG_METERED_NO);
        assert_int_equal(c->policy.metered_max_bytes, 1);
        assert_int_equal(c->policy.max_bytes_per_sec, UINT64_C(1) << 40);
        assert_int_equal(c->policy.min_free_bytes, UINT64_C(1) << 40);
        assert_int_equal(c->policy.min_free_percent, 90);
        assert_int_equal(c->policy.io_priority, CONFIG_IO_PRIORITY_IDLE);
        assert_int_equal(c->policy.nice, 19);
        assert_false(c->signing.required);
        assert_string_equal(c->signing.trust_store, "/t");
        assert_int_equal(c->signing.algorithms.n, 4);
        assert_int_equal(c->signing.algorithms.values[0], SIGNATURE_ALGORITHM_SHA1_RSA);
        assert_int_equal(c->signing.algorithms.values[3], SIGNATURE_ALGORITHM_SHA256_ECDSA);
        assert_int_equal(c->signing.dates, CONFIG_SIGNING_DATES_ALWAYS);
        assert_string_equal(c->version.file, "/v");
        assert_string_equal(c->version.key, "_V2");
        assert_true(c->version.allow_downgrade);
        assert_string_equal(c->hook.script, "");
        assert_int_equal(c->hook.timeout_usec, USEC_PER_SEC);
        assert_int_equal(c->hook.retry_usec, 2 * USEC_PER_SEC);
        assert_int_equal(c->hook.give_up_usec, 2592000 * USEC_PER_SEC);
        assert_int_equal(c->boot.timeout_usec, 600 * USEC_PER_SEC);
        assert_int_equal(c->selftest.timeout_usec, 86400 * USEC_PER_SEC);
        assert_int_equal(c->selftest.max_boots, 1);
        assert_int_equal(c->reboot.timeout_usec, USEC_PER_SEC);
        assert_string_equal(c->installer.peer_user, "u");
        assert_int_equal(c->installer.idle_exit_usec, 86400 * USEC_PER_SEC);
        assert_string_equal(c->paths.state, "/s");
        assert_string_equal(c->paths.installer_state, "/i");
        assert_string_equal(c->paths.runtime, "/st"); /* begins like paths.state and is not inside it */
        assert_string_equal(c->paths.boot_id, "/b");
        assert_string_equal(c->control.bus, "unix:path=/tmp/bus");
        assert_int_equal(c->certificates.warn_days, 0);
        assert_string_equal(c->metrics.file, "/m.prom");
        assert_true(c->package.report);
        assert_string_equal(c->package.name, "p.1");
        assert_int_equal(c->metrics.interval_usec, 86400 * USEC_PER_SEC);
}

static void test_targets(void **state)
{
        _cleanup_(config_freep) Config *c = parse(
                T B
                "version: { file = \"/v\"; key = \"V\"; }; targets = ("
                "{ name = \"os\"; type = \"ab\"; match = \"os\"; boot = \"/boot\"; " SLOTS(
                        "/a", "/b") "}, "
                                    "{ name = \"fw\"; type = \"ab\"; match = \"fw\"; boot = \"/boot\"; " SLOTS(
                                            "/c",
                                            "/d") "version: { file = \"/fw\"; key = \"F\"; }; }, "
                                                  "{ name = \"app\"; type = \"file\"; match = \"a*\"; path = \"/p\"; "
                                                  "mode = \"4750\"; owner = \"root\"; "
                                                  "group = \"app\"; version: { file = \"/app\"; key = \"A\"; }; }, "
                                                  "{ name = \"data\"; type = \"file\"; match = \"d\"; path = \"/q\"; "
                                                  "mode = \"600\"; } );\n");
        const ConfigTarget *t = c->targets;

        assert_int_equal(c->n_targets, 4);
        assert_int_equal(t[0].type, CONFIG_TARGET_AB);
        assert_int_equal(t[0].n_slots, CONFIG_SLOTS);
        assert_string_equal(t[0].slots[0].name, "A");
        assert_string_equal(t[0].slots[0].device, "/a");
        assert_string_equal(t[0].slots[1].name, "B");
        assert_string_equal(t[0].slots[1].device, "/b");
        assert_string_equal(t[0].boot, "/boot");
        assert_null(t[0].path);
        assert_null(t[0].owner);
        assert_null(t[0].group);
        assert_string_equal(t[0].version_file, "/v"); /* the device's */
        assert_string_equal(t[0].version_key, "V");
        assert_string_equal(t[1].version_file, "/fw");
        assert_string_equal(t[1].version_key, "F");

        assert_int_equal(t[2].type, CONFIG_TARGET_FILE);
        assert_string_equal(t[2].path, "/p");
        assert_int_equal(t[2].mode, 04750);
        assert_string_equal(t[2].owner, "root");
        assert_string_equal(t[2].group, "app");
        assert_string_equal(t[2].version_file, "/app");
        assert_null(t[2].boot);
        assert_null(t[2].slots);
        assert_int_equal(t[2].n_slots, 0);
        assert_int_equal(t[3].mode, 0600);
        assert_string_equal(t[3].owner, "");
        assert_string_equal(t[3].group, "");
        assert_null(t[3].version_file); /* and not the device's */
        assert_null(t[3].version_key);
}

/* What looks like a number, a comment or @include but is part of something else stays what it is. */
static void test_numbers_in_other_things(void **state)
{
        _cleanup_(config_freep) Config *c =
                parse("/* 99999999999999999999 \" @include */ thing-name = \"9\"; # @include \"x\" \"\n"
                      "// 99999999999999999999 '\"'\n"
                      "broker: { endpoint = \"1.2.3.4\"; key = \"/a@b/99999999999999999999#/*\"; cert = "
                      "\"/\\\"5\\\\\"; };" A "jobs: { refresh-sec=60;progress-sec=+7L;progress-percent=0X1f };");

        assert_string_equal(c->thing_name, "9");
        assert_string_equal(c->broker.endpoint, "1.2.3.4");
        assert_string_equal(c->broker.key, "/a@b/99999999999999999999#/*");
        assert_string_equal(c->broker.cert, "/\"5\\");
        assert_int_equal(c->jobs.refresh_usec, 60 * USEC_PER_SEC);
        assert_int_equal(c->jobs.progress_usec, 7 * USEC_PER_SEC);
        assert_int_equal(c->jobs.progress_percent, 31);
}

static void test_match(void **state)
{
        static const struct {
                const char *filepath;
                const char *target; /* NULL: none */
        } cases[] = {
                {"rootfs.img", "os"},
                {"/var/lib/rootfs.img", "os"},
                {"a/b/rootfs.img", "os"},
                {"rootfs.img/", NULL},
                {"xrootfs.img", NULL},
                {"ROOTFS.IMG", NULL},
                {"rootfs.img\n", NULL},
                {"app-1.bin", "app"},
                {"app-.bin", "app"},
                {"app-x/y.bin", NULL}, /* a star stops at a slash */
                {"dir/app-1.bin", "app"},
                {"opt/data", "in-opt"},
                {"/opt/data", NULL}, /* that pattern has a slash and takes the whole filepath */
                {"x/opt/data", NULL},
                {"v1", "version"},
                {"v9", NULL},
                {"a*b", "literal"},
                {"axb", NULL},
                {".hidden.any", "last"},
                {"../../etc/x.any", "last"}, /* text, never a path */
                {"app-1.bin.any", "last"},
                {"", NULL},
                {"/", NULL},
                {"\xff\xfe.any", "last"},
        };
        _cleanup_(config_freep) Config *c = parse(
                T B "targets = (\n"
                    "{ name = \"os\"; type = \"file\"; match = \"rootfs.img\"; path = \"/1\"; mode = \"644\"; },\n"
                    "{ name = \"app\"; type = \"file\"; match = \"app-*.bin\"; path = \"/2\"; mode = \"644\"; },\n"
                    "{ name = \"late\"; type = \"file\"; match = \"app-1.bin?\"; path = \"/3\"; mode = \"644\"; },\n"
                    "{ name = \"in-opt\"; type = \"file\"; match = \"opt/*\"; path = \"/4\"; mode = \"644\"; },\n"
                    "{ name = \"version\"; type = \"file\"; match = \"v[1-3]\"; path = \"/5\"; mode = \"644\"; },\n"
                    "{ name = \"literal\"; type = \"file\"; match = \"a\\\\*b\"; path = \"/6\"; mode = \"644\"; },\n"
                    "{ name = \"last\"; type = \"file\"; match = \"*.any\"; path = \"/7\"; mode = \"644\"; } );\n");
        char longest[CONFIG_FILEPATH_MAX_BYTES + 2] = {};

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                const ConfigTarget *target = config_match_target(c, cases[i].filepath);
                const char *name = target ? target->name : "none";

                if (strcmp(name, cases[i].target ? cases[i].target : "none") != 0)
                        fail_msg("\"%s\" matches %s", cases[i].filepath, name);
        }

        memset(longest, 'x', CONFIG_FILEPATH_MAX_BYTES);
        memcpy(longest + CONFIG_FILEPATH_MAX_BYTES - 4, ".any", 4);
        assert_non_null(config_match_target(c, longest));
        memmove(longest + 1, longest, CONFIG_FILEPATH_MAX_BYTES);
        assert_null(config_match_target(c, longest));
}

static void test_first_match_wins(void **state)
{
        _cleanup_(config_freep) Config *c = parse(
                T B
                "targets = ( { name = \"any\"; type = \"file\"; match = \"*\"; path = \"/1\"; mode = \"644\"; },\n"
                "{ name = \"never\"; type = \"file\"; match = \"app\"; path = \"/2\"; mode = \"644\"; } );\n");

        assert_ptr_equal(config_match_target(c, "app"), &c->targets[0]);
        assert_ptr_equal(config_match_target(c, "a/b"), &c->targets[0]); /* by its last part */
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_defaults),
                cmocka_unit_test(test_hook_without_end),
                cmocka_unit_test(test_every_key_is_read),
                cmocka_unit_test(test_targets),
                cmocka_unit_test(test_numbers_in_other_things),
                cmocka_unit_test(test_match),
                cmocka_unit_test(test_first_match_wins),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
