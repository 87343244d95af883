/* What one end appends the other reads, and what breaks a bound is refused whole. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/time-util.h"
#include "begin-same.h"
#include "message-pair.h"

/* last: it has a macro called fail */
#include <cmocka.h>

static void fill_begin(LinkBegin *b, size_t n_files)
{
        memset(b, 0, sizeof(*b));
        strcpy(b->session, "AFR_OTA-1#7");
        strcpy(b->job_id, "AFR_OTA-1");
        b->attempt = 7;
        b->n_files = n_files;
        for (size_t i = 0; i < n_files; i++) {
                LinkFile *f = &b->files[i];

                (void)snprintf(f->target, sizeof(f->target), "target-%zu", i);
                f->size_bytes = UINT64_C(5000000000) + i;
                f->algorithm = SIGNATURE_ALGORITHM_SHA256_RSA;
                f->n_signature = sizeof(f->signature);
                memset(f->signature, (int)i + 1, sizeof(f->signature));
                strcpy(f->cert, "/certs/signer.pem");
        }
}

static void test_begin_there_and_back(void **state)
{
        static LinkBegin in, out;
        MessagePair pair;

        for (size_t n = 1; n <= LINK_FILES_MAX; n++) {
                pair_init(&pair);
                fill_begin(&in, n);
                if (n == 2) {
                        in.files[1].algorithm = SIGNATURE_ALGORITHM_NONE;
                        in.files[1].n_signature = 0;
                        in.files[1].cert[0] = '\0';
                }
                pair_begin(&pair);
                assert_int_equal(link_begin_append(pair.m, &in), 0);
                pair_seal(&pair);
                assert_int_equal(link_begin_read(pair.m, &out), 0);
                assert_true(begin_is_same(&in, &out));
                out.files[n - 1].signature[0] ^= 1;
                if (n != 2)
                        assert_false(begin_is_same(&in, &out));
                pair_done(&pair);
        }
}

static void test_state_there_and_back(void **state)
{
        static LinkState in, out;
        MessagePair pair;

        strcpy(in.session, "J#1");
        strcpy(in.job_id, "J");
        in.attempt = 1;
        in.state = UPDATE_STATE_TESTING;
        failure_set(&in.failure, FAILURE_BOOTED_OLD, "came up in A");
        in.reboot_needed = true;
        strcpy(in.previous_version, "1.0");
        strcpy(in.version, "1.1");
        in.selftest_left_usec = USEC_INFINITY;
        in.n_files = 1;
        strcpy(in.files[0].target, "rootfs");
        strcpy(in.files[0].slot, "B");
        in.files[0].size_bytes = 10;
        in.files[0].verified_bytes = 9;
        pair_init(&pair);
        pair_begin(&pair);
        assert_int_equal(link_state_append(pair.m, &in), 0);
        pair_seal(&pair);
        assert_int_equal(link_state_read(pair.m, &out), 0);
        assert_memory_equal(&in, &out, sizeof(in));

        /* No session: all texts empty. */
        memset(&in, 0, sizeof(in));
        pair_begin(&pair);
        assert_int_equal(link_state_append(pair.m, &in), 0);
        pair_seal(&pair);
        assert_int_equal(link_state_read(pair.m, &out), 0);
        assert_int_equal(out.state, UPDATE_STATE_IDLE);
        assert_false(failure_is_set(&out.failure));
        pair_done(&pair);
}

static void test_small_ones_there_and_back(void **state)
{
        LinkOffsets offsets = {.n_files = 2, .resume_bytes = {1, UINT64_C(1) << 40}}, offsets_back;
        LinkProgress progress = {.file = 9, .written_bytes = 3, .durable_bytes = 2, .verified_bytes = 1},
                     progress_back;
        Failure why, why_back;
        uint64_t offset;
        unsigned file;
        MessagePair pair;

        pair_init(&pair);
        pair_begin(&pair);
        assert_int_equal(link_offsets_append(pair.m, &offsets), 0);
        pair_seal(&pair);
        assert_int_equal(link_offsets_read(pair.m, &offsets_back), 0);
        assert_int_equal(offsets_back.n_files, 2);
        assert_true(offsets_back.resume_bytes[1] == UINT64_C(1) << 40);

        pair_begin(&pair);
        assert_int_equal(link_progress_append(pair.m, &progress), 0);
        pair_seal(&pair);
        assert_int_equal(link_progress_read(pair.m, &progress_back), 0);
        assert_int_equal(progress_back.file, 9);
        assert_int_equal(progress_back.written_bytes, 3);
        assert_int_equal(progress_back.durable_bytes, 2);
        assert_int_equal(progress_back.verified_bytes, 1);

        pair_begin(&pair);
        assert_int_equal(link_write_append(pair.m, 3, 4096), 0);
        pair_seal(&pair);
        assert_int_equal(link_write_read(pair.m, &file, &offset), 0);
        assert_int_equal(file, 3);
        assert_int_equal(offset, 4096);

        failure_set(&why, FAILURE_CANCELLED, "by the cloud");
        pair_begin(&pair);
        assert_int_equal(link_roll_back_append(pair.m, &why), 0);
        pair_seal(&pair);
        assert_int_equal(link_roll_back_read(pair.m, &why_back), 0);
        assert_int_equal(why_back.reason, FAILURE_CANCELLED);
        assert_string_equal(why_back.detail, "by the cloud");
        pair_done(&pair);
}

/* One Begin by hand, everything in it hostile in turn. */
static int read_begin(const char *session, const char *job_id, const char *target, const char *word,
                      size_t n_signature, const char *cert, unsigned n_files)
{
        static LinkBegin out;
        uint8_t signature[4096] = {0};
        MessagePair pair;
        int r;

        pair_init(&pair);
        pair_begin(&pair);
        assert_true(sd_bus_message_append(pair.m, "sst", session, job_id, UINT64_C(1)) >= 0);
        assert_true(sd_bus_message_open_container(pair.m, 'a', "(stsays)") >= 0);
        for (unsigned i = 0; i < n_files; i++) {
                assert_true(sd_bus_message_open_container(pair.m, 'r', "stsays") >= 0);
                assert_true(sd_bus_message_append(pair.m, "sts", target, UINT64_C(1), word) >= 0);
                assert_true(sd_bus_message_append_array(pair.m, 'y', signature, n_signature) >= 0);
                assert_true(sd_bus_message_append(pair.m, "s", cert) >= 0);
                assert_true(sd_bus_message_close_container(pair.m) >= 0);
        }
        assert_true(sd_bus_message_close_container(pair.m) >= 0);
        pair_seal(&pair);
        r = link_begin_read(pair.m, &out);
        pair_done(&pair);
        return r;
}

static void fill_entry(LinkHistoryEntry *e)
{
        *e = (LinkHistoryEntry){.attempt = 3, .size_bytes = UINT64_MAX, .began_wall_usec = 5, .ended_wall_usec = 6};
        strcpy(e->session, "AFR_OTA-1#3");
        strcpy(e->job_id, "AFR_OTA-1");
        strcpy(e->operation, "update");
        strcpy(e->targets, "rootfs,app");
        strcpy(e->result, "rolled-back");
        strcpy(e->reason, "selftest-failed");
        strcpy(e->detail, "the pump says \xc2\xb0");
        strcpy(e->previous_version, "1.0");
}

static void test_history_there_and_back(void **state)
{
        LinkHistoryEntry in[LINK_HISTORY_MAX + 1];
        LinkHistoryEntry *out = NULL;
        MessagePair pair;
        size_t n_out;

        pair_init(&pair);
        for (size_t i = 0; i < ELEMENTSOF(in); i++)
                fill_entry(&in[i]);
        for (size_t n = 0; n <= LINK_HISTORY_MAX; n += LINK_HISTORY_MAX / 2) {
                pair_begin(&pair);
                assert_int_equal(link_history_append(pair.m, in, n), 0);
                pair_seal(&pair);
                assert_int_equal(link_history_read(pair.m, &out, &n_out), 0);
                assert_int_equal(n_out, n);
                for (size_t i = 0; i < n; i++)
                        assert_memory_equal(&in[i], &out[i], sizeof(in[i]));
                free(out);
        }
        /* One too many. */
        pair_begin(&pair);
        assert_int_equal(link_history_append(pair.m, in, ELEMENTSOF(in)), 0);
        pair_seal(&pair);
        assert_int_equal(link_history_read(pair.m, &out, &n_out), -EBADMSG);
        strcpy(in[1].detail, "two\nlines");
        pair_begin(&pair);
        assert_int_equal(link_history_append(pair.m, in, 2), 0);
        pair_seal(&pair);
        assert_int_equal(link_history_read(pair.m, &out, &n_out), -EBADMSG);
        pair_done(&pair);
}

static void test_revert_bounds(void **state)
{
        static const struct {
                const char *session;
                const char *target;
                size_t n_targets;
                int result;
        } cases[] = {
                {"local#rollback-1f", "rootfs", 1, 0},
                {"local#rollback-1f", "rootfs", LINK_FILES_MAX, 0},
                {"local#rollback-1f", "rootfs", 0, -EBADMSG},
                {"local#rollback-1f", "root fs", 1, -EBADMSG},
                {"local#rollback-1f", "../x", 1, -EBADMSG},
                {"local#rollback-1f", "", 1, -EBADMSG},
                {"local#1", "rootfs", 1, -EBADMSG}, /* that is a job's */
                {"local#", "rootfs", 1, -EBADMSG},
                {"JOB#1", "rootfs", 1, -EBADMSG},
                {"", "rootfs", 1, -EBADMSG},
        };
        MessagePair pair;
        LinkRevert in, out;

        pair_init(&pair);
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                in = (LinkRevert){.n_targets = cases[i].n_targets};
                strcpy(in.session, cases[i].session);
                for (size_t k = 0; k < in.n_targets; k++)
                        strcpy(in.targets[k], cases[i].target);
                pair_begin(&pair);
                assert_int_equal(link_revert_append(pair.m, &in), 0);
                pair_seal(&pair);
                assert_int_equal(link_revert_read(pair.m, &out), cases[i].result);
                if (cases[i].result == 0)
                        assert_memory_equal(&in, &out, sizeof(in));
        }
        pair_done(&pair);
}

static void test_begin_bounds(void **state)
{
        char big[2049];

        memset(big, 'a', sizeof(big) - 1);
        big[sizeof(big) - 1] = '\0';

        assert_int_equal(read_begin("J#1", "J", "app", "sha256-ecdsa", 70, "c", 1), 0);
        assert_int_equal(read_begin("J#1", "J", "app", "none", 0, "", 10), 0);

        assert_int_equal(read_begin("", "J", "app", "none", 0, "", 1), -EBADMSG);
        assert_int_equal(read_begin(big, "J", "app", "none", 0, "", 1), -EBADMSG);
        assert_int_equal(read_begin("J/../1", "J", "app", "none", 0, "", 1), -EBADMSG);
        assert_int_equal(read_begin("J#1", "", "app", "none", 0, "", 1), -EBADMSG);
        assert_int_equal(read_begin("J#1", big, "app", "none", 0, "", 1), -EBADMSG);
        assert_int_equal(read_begin("J#1", "J", big, "none", 0, "", 1), -EBADMSG);
        assert_int_equal(read_begin("J#1", "J", "/etc/passwd", "none", 0, "", 1), -EBADMSG);
        assert_int_equal(read_begin("J#1", "J", "", "none", 0, "", 1), -EBADMSG);
        assert_int_equal(read_begin("J#1", "J", "app", "md5", 70, "", 1), -EBADMSG);
        assert_int_equal(read_begin("J#1", "J", "app", "none", 1, "", 1), -EBADMSG);
        assert_int_equal(read_begin("J#1", "J", "app", "sha256-rsa", 0, "", 1), -EBADMSG);
        assert_int_equal(read_begin("J#1", "J", "app", "sha256-rsa", 1024, "", 1), 0);
        assert_int_equal(read_begin("J#1", "J", "app", "sha256-rsa", 1025, "", 1), -EBADMSG);
        assert_int_equal(read_begin("J#1", "J", "app", "none", 0, big, 1), -EBADMSG);
        assert_int_equal(read_begin("J#1", "J", "app", "none", 0, "a\nb", 1), -EBADMSG);
        assert_int_equal(read_begin("J#1", "J", "app", "none", 0,
                                    "a\xc2\x9b"
                                    "b",
                                    1),
                         -EBADMSG);
        assert_int_equal(read_begin("J#1", "J", "app", "none", 0, "", 0), -EBADMSG);
        assert_int_equal(read_begin("J#1", "J", "app", "none", 0, "", 11), -EBADMSG);
}

static void test_wrong_types(void **state)
{
        static LinkBegin begin;
        static LinkState link_state;
        LinkOffsets offsets;
        LinkProgress progress;
        Failure why;
        uint64_t offset, many[LINK_FILES_MAX + 1] = {0};
        unsigned file;
        MessagePair pair;

        pair_init(&pair);
        pair_begin(&pair);
        assert_true(sd_bus_message_append(pair.m, "uuu", 1, 2, 3) >= 0);
        pair_seal(&pair);
        assert_int_equal(link_begin_read(pair.m, &begin), -EBADMSG);
        assert_true(sd_bus_message_rewind(pair.m, true) >= 0);
        assert_int_equal(link_state_read(pair.m, &link_state), -EBADMSG);
        assert_true(sd_bus_message_rewind(pair.m, true) >= 0);
        assert_int_equal(link_offsets_read(pair.m, &offsets), -EBADMSG);
        assert_true(sd_bus_message_rewind(pair.m, true) >= 0);
        assert_int_equal(link_progress_read(pair.m, &progress), -EBADMSG);
        assert_true(sd_bus_message_rewind(pair.m, true) >= 0);
        assert_int_equal(link_roll_back_read(pair.m, &why), -EBADMSG);

        /* Nothing at all. */
        pair_begin(&pair);
        pair_seal(&pair);
        assert_int_equal(link_begin_read(pair.m, &begin), -EBADMSG);
        assert_int_equal(link_write_read(pair.m, &file, &offset), -EBADMSG);

        /* A file beyond the last, more offsets than files, an argument too many, a rollback for no reason. */
        pair_begin(&pair);
        assert_true(sd_bus_message_append(pair.m, "ut", LINK_FILES_MAX, UINT64_C(0)) >= 0);
        pair_seal(&pair);
        assert_int_equal(link_write_read(pair.m, &file, &offset), -EBADMSG);
        pair_begin(&pair);
        assert_true(sd_bus_message_append_array(pair.m, 't', many, sizeof(many)) >= 0);
        pair_seal(&pair);
        assert_int_equal(link_offsets_read(pair.m, &offsets), -EBADMSG);
        pair_begin(&pair);
        assert_true(sd_bus_message_append(pair.m, "utt", 0, UINT64_C(0), UINT64_C(0)) >= 0);
        pair_seal(&pair);
        assert_int_equal(link_write_read(pair.m, &file, &offset), -EBADMSG);
        pair_begin(&pair);
        assert_true(sd_bus_message_append(pair.m, "ss", "", "because") >= 0);
        pair_seal(&pair);
        assert_int_equal(link_roll_back_read(pair.m, &why), -EBADMSG);
        pair_done(&pair);
}

static void test_errors(void **state)
{
        static const LinkErrorKind kinds[] = {LINK_ERROR_FAILED, LINK_ERROR_NOT_NOW, LINK_ERROR_BUSY,
                                              LINK_ERROR_OUT_OF_TURN};
        static const FailureReason reasons[] = {FAILURE_KEY_MISMATCH, FAILURE_HOOK_NOT_NOW, FAILURE_INSTALLER,
                                                FAILURE_INSTALLER};
        LinkError in, out;

        for (size_t i = 0; i < ELEMENTSOF(kinds); i++) {
                sd_bus_error wire = SD_BUS_ERROR_NULL;

                link_error_set(&in, kinds[i], reasons[i], "two words");
                link_error_format(&in, &wire);
                link_error_parse(&wire, &out);
                assert_int_equal(out.kind, kinds[i]);
                assert_int_equal(out.failure.reason, reasons[i]);
                assert_string_equal(out.failure.detail, "two words");
                sd_bus_error_free(&wire);
        }
        link_error_parse(&SD_BUS_ERROR_MAKE_CONST("org.freedesktop.DBus.Error.Unknown", "x\033[31m"), &out);
        assert_int_equal(out.kind, LINK_ERROR_FAILED);
        assert_int_equal(out.failure.reason, FAILURE_INSTALLER);
        assert_null(strchr(out.failure.detail, '\033'));
        link_error_parse(&SD_BUS_ERROR_MAKE_CONST(LINK_ERROR_NAME_FAILED, "nodetail"), &out);
        assert_int_equal(out.failure.reason, FAILURE_INSTALLER);
        link_error_parse(&SD_BUS_ERROR_MAKE_CONST(LINK_ERROR_NAME_FAILED, "no-such-word d"), &out);
        assert_int_equal(out.failure.reason, FAILURE_INTERNAL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_begin_there_and_back),
                cmocka_unit_test(test_state_there_and_back),
                cmocka_unit_test(test_small_ones_there_and_back),
                cmocka_unit_test(test_history_there_and_back),
                cmocka_unit_test(test_revert_bounds),
                cmocka_unit_test(test_begin_bounds),
                cmocka_unit_test(test_wrong_types),
                cmocka_unit_test(test_errors),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
