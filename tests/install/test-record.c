/* The record and the history: there and back, damaged, out of bounds, bounded. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file-util.h"
#include "base/record.h"
#include "fixture.h"
#include "install/history.h"
#include "stride.h"

/* last: it has a macro called fail */
#include <cmocka.h>

static void fill(InstallRecord *record)
{
        memset(record, 0, sizeof(*record));
        strcpy(record->request.session, "JOB#2");
        strcpy(record->request.job_id, "JOB");
        record->request.attempt = 2;
        record->request.n_files = INSTALL_FILES_MAX;
        record->state = UPDATE_STATE_TESTING;
        failure_set(&record->failure, FAILURE_BOOTED_OLD, "a = \"b\"");
        strcpy(record->boot_id, "11111111-1111-4111-8111-111111111111");
        strcpy(record->version, "1.1");
        record->begun = record->post_installed = record->tested = true;
        record->n_boots = 2;
        record->test_began_usec = UINT64_MAX - 1;
        for (size_t i = 0; i < INSTALL_FILES_MAX; i++) {
                InstallFile *f = &record->request.files[i];

                (void)snprintf(f->target, sizeof(f->target), "target-%zu", i);
                f->size_bytes = UINT64_C(1) << 40;
                f->algorithm = SIGNATURE_ALGORITHM_SHA256_RSA;
                f->n_signature = SIGNATURE_MAX_BYTES;
                memset(f->signature, (int)(i * 17 + 3), f->n_signature);
                strcpy(f->cert, "dir/signer.pem");
                strcpy(record->files[i].slot, "B");
                record->files[i].durable_bytes = 4096;
        }
}

static int open_state(Device *d)
{
        return d->params.state_dir_fd;
}

static void test_there_and_back(void **state)
{
        Device *d = *state;
        static InstallRecord in, out;

        assert_int_equal(install_record_load(open_state(d), &out), -ENOENT);
        fill(&in);
        assert_int_equal(install_record_save(&in, open_state(d)), 0);
        assert_int_equal(install_record_load(open_state(d), &out), 0);
        assert_true(install_request_is_same(&in.request, &out.request));
        assert_int_equal(out.state, UPDATE_STATE_TESTING);
        assert_int_equal(out.failure.reason, FAILURE_BOOTED_OLD);
        assert_string_equal(out.failure.detail, in.failure.detail);
        assert_true(out.begun && out.post_installed && out.tested && !out.activated && !out.primary_asked);
        assert_int_equal(out.n_boots, 2);
        assert_true(out.test_began_usec == UINT64_MAX - 1);
        assert_string_equal(out.files[9].slot, "B");
        assert_int_equal(install_record_remove(open_state(d)), 0);
        assert_int_equal(install_record_remove(open_state(d)), 0);
        assert_int_equal(install_record_load(open_state(d), &out), -ENOENT);
}

/* Well-formed for base/record, but no state of ours. */
static void test_out_of_bounds(void **state)
{
        static const struct {
                const char *name, *value;
        } bad[] = {
                {"session", ""},
                {"session", "a/b"},
                {"job", "a b"},
                {"state", "idle"},
                {"state", "accepted"},
                {"state", "nonsense"},
                {"files", "0"},
                {"files", "11"},
                {"files", "-1"},
                {"begun", "2"},
                {"boots", "4294967296"},
                {"attempt", "x"},
                {"file0.target", ""},
                {"file0.size", "4095"}, /* less than is durable */
                {"file0.algorithm", "none"},
                {"file0.algorithm", "rot13"},
                {"file0.signature", ""},
                {"file0.signature", "abc"},
                {"file0.signature", "zz"},
                {"file1.slot", "0123456789012345678901234567890123456789012345678901234567890123456789"},
        };
        Device *d = *state;
        static InstallRecord in, out;
        char name[64];

        fill(&in);
        assert_int_equal(install_record_save(&in, open_state(d)), 0);
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                _cleanup_(record_freep) Record *record = NULL;

                assert_int_equal(install_record_save(&in, open_state(d)), 0);
                assert_int_equal(record_load(open_state(d), INSTALL_RECORD_NAME, &record), 0);
                assert_int_equal(record_set(record, bad[i].name, bad[i].value), 0);
                assert_int_equal(record_save(record, open_state(d), INSTALL_RECORD_NAME), 0);
                if (install_record_load(open_state(d), &out) != -EBADMSG)
                        fail_msg("%s=%s was accepted", bad[i].name, bad[i].value);
                (void)snprintf(name, sizeof(name), "state/%s", INSTALL_RECORD_NAME);
                assert_false(device_has(d, name));
        }
}

/* Each byte of a small record, changed one at a time. */
static void test_every_byte(void **state)
{
        Device *d = *state;
        _cleanup_free_ char *text = NULL;
        static InstallRecord in, out;
        size_t n;

        fill(&in);
        in.request.n_files = 1;
        in.request.files[0].n_signature = 70;
        assert_int_equal(install_record_save(&in, open_state(d)), 0);
        assert_int_equal(file_read(open_state(d), INSTALL_RECORD_NAME, 65536, &text, &n), 0);
        assert_int_equal(install_record_parse(text, n, &out), 0);
        for (size_t i = 0; i < n; i += test_stride()) {
                text[i] ^= 4;
                assert_int_equal(install_record_parse(text, n, &out), -EBADMSG);
                text[i] ^= 4;
        }
        for (size_t i = 0; i < n; i += test_stride())
                assert_int_equal(install_record_parse(text, i, &out), -EBADMSG);
}

static void test_history(void **state)
{
        Device *d = *state;
        HistoryEntry entry = {.attempt = 1, .result = "rolled-back", .reason = "booted-old"};
        HistoryEntry *entries;
        size_t n;

        assert_int_equal(history_load(open_state(d), &entries, &n), 0);
        assert_int_equal(n, 0);
        memset(entry.detail, '\\', sizeof(entry.detail) - 1); /* what grows most */
        for (unsigned i = 0; i < HISTORY_ENTRIES_MAX + 5; i++) {
                (void)snprintf(entry.session, sizeof(entry.session), "JOB#%u", i);
                assert_int_equal(history_append(open_state(d), &entry), 0);
        }
        assert_int_equal(history_append(open_state(d), &entry), 0);
        assert_int_equal(history_load(open_state(d), &entries, &n), 0);
        assert_in_range(n, 10, HISTORY_ENTRIES_MAX);
        assert_string_equal(entries[n - 1].session, "JOB#104");
        assert_string_equal(entries[n - 2].session, "JOB#103");
        assert_string_equal(entries[n - 1].detail, entry.detail);
        free(entries);

        device_flip(d, "state/history", 30);
        assert_int_equal(history_append(open_state(d), &entry), 0);
        assert_int_equal(history_load(open_state(d), &entries, &n), 0);
        assert_int_equal(n, 1);
        assert_true(device_has(d, "state/history.damaged"));
        free(entries);
}

/* One of another version costs none of the others. */
static void test_history_with_a_stranger(void **state)
{
        Device *d = *state;
        HistoryEntry entry = {.session = "JOB#2", .attempt = 2, .result = "committed"};
        _cleanup_(record_freep) Record *file = NULL;
        HistoryEntry *entries;
        size_t n;

        assert_int_equal(history_append(open_state(d), &entry), 0);
        assert_int_equal(record_load(open_state(d), HISTORY_NAME, &file), 0);
        assert_int_equal(record_set(file, "1", record_get(file, "0")), 0);
        assert_int_equal(record_set(file, "0", "what is this"), 0);
        assert_int_equal(record_save(file, open_state(d), HISTORY_NAME), 0);
        assert_int_equal(history_load(open_state(d), &entries, &n), 0);
        assert_int_equal(n, 1);
        assert_string_equal(entries[0].session, "JOB#2");
        free(entries);
}

#define ON_DEVICE(test) cmocka_unit_test_setup_teardown(test, device_set_up, device_tear_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                ON_DEVICE(test_there_and_back), ON_DEVICE(test_out_of_bounds),           ON_DEVICE(test_every_byte),
                ON_DEVICE(test_history),        ON_DEVICE(test_history_with_a_stranger),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
