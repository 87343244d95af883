/* What the cloud must still hear, as transcripts: an event, and the acts it has to lead to. */
#include <inttypes.h>

#include "base/record.h"
#include "base/time-util.h"
#include "engine/outbox.h"
#include "folder.h"
#include "transcript.h"

enum { STEPS_MAX = 24 };

/*
 * Events: "connected", "disconnected", "timer" (at the next deadline), "restart" (a new outbox on the same folder),
 * "progress JOB", "final JOB STATUS", "drop", "version JOB N", "accepted [N]", "late accepted",
 * "rejected CODE [STATUS N]", "full", "space".
 * Acts: "JOB STATUS" is published, with "vN" where a version is expected and "bare" without details; "accepted JOB
 * STATUS", "gone JOB STATUS".
 */
typedef struct Step {
        const char *event;
        const char *acts;
} Step;

typedef struct Room {
        Folder folder;
        Outbox *outbox;
        uint64_t now_usec;
        Transcript acts;
        char token[CLIENT_TOKEN_MAX + 1];
        char last_token[CLIENT_TOKEN_MAX + 1];
} Room;

static void on_publish(const JobKey *key, const char *json, void *userdata)
{
        char status[128], token[128], version[32] = "";
        Room *room = userdata;

        if (json_number(json, "expectedVersion") >= 0)
                snprintf(version, sizeof(version), " v%ld", json_number(json, "expectedVersion"));
        assert_int_equal(json_number(json, "executionNumber"), key->execution_number);
        assert_non_null(strstr(json, "\"includeJobExecutionState\":true"));
        note(&room->acts, "%s %s%s%s", key->job_id, json_text(json, "status", status), version,
             strstr(json, "statusDetails") ? "" : " bare");
        strcpy(room->last_token, room->token);
        snprintf(room->token, sizeof(room->token), "%s", json_text(json, "clientToken", token));
        assert_true(strcmp(room->token, room->last_token) != 0 || strcmp(room->token, "u-1") == 0);
}

static void on_accepted(const JobKey *key, JobStatus status, void *userdata)
{
        Room *room = userdata;

        note(&room->acts, "accepted %s %s", key->job_id, job_status_to_string(status));
}

static void on_gone(const JobKey *key, JobStatus status, const char *why, void *userdata)
{
        Room *room = userdata;

        assert_true(why[0] != 0);
        note(&room->acts, "gone %s %s", key->job_id, job_status_to_string(status));
}

static const OutboxOps ops = {.publish = on_publish, .accepted = on_accepted, .gone = on_gone};

static void open_outbox(Room *room)
{
        OutboxParams params = {
                .dir_fd = room->folder.fd,
                .answer_timeout_usec = 15 * USEC_PER_SEC,
                .step_timeout_minutes = 60,
        };

        outbox_free(room->outbox);
        assert_int_equal(outbox_new(&params, &ops, room, &room->outbox), 0);
}

static int set_up(void **state)
{
        Room *room = calloc(1, sizeof(*room));

        assert_non_null(room);
        folder_make(&room->folder);
        room->now_usec = 1000 * USEC_PER_SEC;
        open_outbox(room);
        *state = room;
        return 0;
}

static int tear_down(void **state)
{
        Room *room = *state;

        outbox_free(room->outbox);
        folder_remove(&room->folder);
        free(room);
        return 0;
}

static JobReport report_of(JobStatus status)
{
        JobReport report;

        job_report_init(&report, status);
        assert_int_equal(job_report_add(&report, "phase", "downloading"), 0);
        assert_int_equal(job_report_add(&report, "detail", "two\nlines"), 0);
        return report;
}

static void progress(Room *room, const char *job)
{
        JobReport report = report_of(JOB_STATUS_IN_PROGRESS);
        JobKey key = job_key_make(job, 1);

        outbox_progress(room->outbox, &key, &report, room->now_usec);
}

static int finish(Room *room, const char *job, const char *status)
{
        JobReport report = report_of(job_status_from_string(status));
        JobKey key = job_key_make(job, 1);

        return outbox_finish(room->outbox, &key, &report, room->now_usec);
}

static void accept(Room *room, const char *token, long version)
{
        JobUpdate update = {.state = {.present = version >= 0, .version_number = version}};

        strcpy(update.client_token, token);
        outbox_on_update(room->outbox, &update, room->now_usec);
}

static JobRejectionCode rejection_from_string(const char *word)
{
        for (JobRejectionCode code = 0; code < _JOB_REJECTION_MAX; code++)
                if (strcmp(job_rejection_code_to_string(code), word) == 0)
                        return code;
        fail_msg("no such code: %s", word);
        return JOB_REJECTION_UNKNOWN;
}

static void reject(Room *room, const char *code, const char *status, long version)
{
        JobRejection rejection = {.code = rejection_from_string(code), .message = "why"};

        snprintf(rejection.code_text, sizeof(rejection.code_text), "%s", code);
        strcpy(rejection.client_token, room->token);
        if (status[0])
                rejection.state = (JobState){
                        .present = true, .status = job_status_from_string(status), .version_number = version};
        outbox_on_rejection(room->outbox, &rejection, room->now_usec);
}

static void happen(Room *room, const char *event)
{
        char a[64] = "", b[64] = "";
        long n = -1;

        if (strcmp(event, "connected") == 0) {
                outbox_on_connected(room->outbox, room->now_usec);
        } else if (strcmp(event, "disconnected") == 0) {
                outbox_on_disconnected(room->outbox);
        } else if (strcmp(event, "timer") == 0) {
                uint64_t deadline = outbox_next_deadline(room->outbox);

                assert_true(deadline != USEC_INFINITY && deadline > room->now_usec);
                room->now_usec = deadline;
                outbox_on_timer(room->outbox, room->now_usec);
        } else if (strcmp(event, "restart") == 0) {
                open_outbox(room);
        } else if (strcmp(event, "drop") == 0) {
                outbox_drop_progress(room->outbox);
        } else if (strcmp(event, "full") == 0 || strcmp(event, "space") == 0) {
                folder_set_full(&room->folder, event[0] == 'f');
        } else if (strcmp(event, "late accepted") == 0) {
                accept(room, room->last_token, 99);
        } else if (sscanf(event, "progress %63s", a) == 1) {
                progress(room, a);
        } else if (sscanf(event, "final %63s %63s", a, b) == 2) {
                int r = finish(room, a, b);

                if (r < 0)
                        note(&room->acts, "not saved");
        } else if (sscanf(event, "version %63s %ld", a, &n) == 2) {
                JobKey key = job_key_make(a, 1);

                outbox_note_version(room->outbox, &key, n);
        } else if (sscanf(event, "rejected %63s %63s %ld", a, b, &n) >= 1) {
                reject(room, a, b, n);
        } else {
                assert_true(strncmp(event, "accepted", 8) == 0);
                (void)sscanf(event, "accepted %ld", &n);
                accept(room, room->token, n);
        }
}

static void play(void **state, const Step *steps)
{
        Room *room = *state;

        for (unsigned i = 0; i < STEPS_MAX && steps[i].event; i++) {
                forget_notes(&room->acts);
                room->now_usec += USEC_PER_MSEC;
                happen(room, steps[i].event);
                if (strcmp(room->acts.text, steps[i].acts) != 0)
                        fail_msg("step %u, '%s': '%s' instead of '%s'", i, steps[i].event, room->acts.text,
                                 steps[i].acts);
        }
}

#define TRANSCRIPT(name, ...)                                       \
        static void name(void **state)                              \
        {                                                           \
                static const Step steps[STEPS_MAX] = {__VA_ARGS__}; \
                                                                    \
                play(state, steps);                                 \
        }                                                           \
        struct transcript_needs_a_semicolon_

/* -- what is to be sent ----------------------------------------------------------------------------------------- */

TRANSCRIPT(test_one_at_a_time_and_the_latest, {"progress a", ""}, {"connected", "a IN_PROGRESS"}, {"progress a", ""},
           {"progress a", ""}, {"accepted 4", "accepted a IN_PROGRESS; a IN_PROGRESS v4"},
           {"accepted", "accepted a IN_PROGRESS"}, {"progress a", "a IN_PROGRESS v5"},
           {"accepted 9", "accepted a IN_PROGRESS"}, {"late accepted", ""});

TRANSCRIPT(test_final_replaces_progress, {"connected", ""}, {"progress a", "a IN_PROGRESS"}, {"progress a", ""},
           {"final a SUCCEEDED", ""}, {"progress a", ""}, {"accepted 2", "accepted a IN_PROGRESS; a SUCCEEDED v2"},
           {"accepted 3", "accepted a SUCCEEDED"}, {"restart", ""}, {"connected", ""});

TRANSCRIPT(test_finals_come_first_and_in_order, {"final a FAILED", ""}, {"final b SUCCEEDED", ""}, {"progress c", ""},
           {"connected", "a FAILED"}, {"accepted 2", "accepted a FAILED; b SUCCEEDED"},
           {"accepted 2", "accepted b SUCCEEDED; c IN_PROGRESS"}, {"accepted 2", "accepted c IN_PROGRESS"});

TRANSCRIPT(test_dropped_progress_is_not_sent, {"progress a", ""}, {"drop", ""}, {"connected", ""});

TRANSCRIPT(test_version_that_a_describe_told, {"connected", ""}, {"version a 7", ""},
           {"progress a", "a IN_PROGRESS v7"}, {"accepted 8", "accepted a IN_PROGRESS"},
           {"progress b", "b IN_PROGRESS"});

/* -- answers that do not come ----------------------------------------------------------------------------------- */

TRANSCRIPT(test_lost_answer, {"connected", ""}, {"version a 3", ""}, {"progress a", "a IN_PROGRESS v3"},
           {"timer", ""}, {"timer", "a IN_PROGRESS v3"}, {"late accepted", ""},
           {"rejected VersionMismatch IN_PROGRESS 4", "accepted a IN_PROGRESS"}, {"progress a", "a IN_PROGRESS v4"});

TRANSCRIPT(test_lost_answer_to_a_final, {"connected", ""}, {"version a 3", ""},
           {"final a SUCCEEDED", "a SUCCEEDED v3"}, {"disconnected", ""}, {"connected", "a SUCCEEDED v3"},
           {"rejected VersionMismatch SUCCEEDED 4", "accepted a SUCCEEDED"}, {"restart", ""}, {"connected", ""});

TRANSCRIPT(test_disconnected_in_between, {"connected", ""}, {"progress a", "a IN_PROGRESS"}, {"disconnected", ""},
           {"connected", "a IN_PROGRESS"}, {"disconnected", ""}, {"progress a", ""}, {"connected", "a IN_PROGRESS"},
           {"accepted", "accepted a IN_PROGRESS"}, {"disconnected", ""}, {"connected", ""});

TRANSCRIPT(test_throttled, {"connected", ""}, {"progress a", "a IN_PROGRESS"}, {"rejected RequestThrottled", ""},
           {"progress a", ""}, {"timer", "a IN_PROGRESS"}, {"rejected InternalError", ""}, {"timer", "a IN_PROGRESS"},
           {"rejected unknown", ""}, {"final a FAILED", ""}, {"timer", "a FAILED"}, {"rejected RequestThrottled", ""},
           {"timer", "a FAILED"}, {"accepted", "accepted a FAILED"});

/* -- refusals --------------------------------------------------------------------------------------------------- */

TRANSCRIPT(test_somebody_else_wrote, {"connected", ""}, {"version a 3", ""}, {"progress a", "a IN_PROGRESS v3"},
           {"rejected VersionMismatch IN_PROGRESS 6", "a IN_PROGRESS v6"}, {"accepted 7", "accepted a IN_PROGRESS"},
           {"final a SUCCEEDED", "a SUCCEEDED v7"}, {"rejected VersionMismatch IN_PROGRESS 8", "a SUCCEEDED v8"},
           {"accepted 9", "accepted a SUCCEEDED"});

TRANSCRIPT(test_somebody_else_writes_all_the_time, {"connected", ""}, {"version a 3", ""},
           {"progress a", "a IN_PROGRESS v3"}, {"rejected VersionMismatch IN_PROGRESS 6", "a IN_PROGRESS v6"},
           {"rejected VersionMismatch IN_PROGRESS 9", "a IN_PROGRESS v9"},
           {"rejected VersionMismatch IN_PROGRESS 12", "a IN_PROGRESS v12"},
           {"rejected VersionMismatch IN_PROGRESS 15", ""}, {"timer", "a IN_PROGRESS v15"},
           {"accepted 16", "accepted a IN_PROGRESS"});

TRANSCRIPT(test_version_mismatch_without_a_state, {"connected", ""}, {"version a 3", ""},
           {"progress a", "a IN_PROGRESS v3"}, {"rejected VersionMismatch", "a IN_PROGRESS"},
           {"accepted 9", "accepted a IN_PROGRESS"});

TRANSCRIPT(test_over_in_the_cloud, {"connected", ""}, {"version a 3", ""}, {"progress a", "a IN_PROGRESS v3"},
           {"rejected VersionMismatch TIMED_OUT 4", "gone a TIMED_OUT"}, {"progress b", "b IN_PROGRESS"},
           {"rejected InvalidStateTransition CANCELED 2", "gone b CANCELED"}, {"final c FAILED", "c FAILED"},
           {"rejected ResourceNotFound", "gone c UNKNOWN"}, {"final d FAILED", "d FAILED"},
           {"rejected TerminalStateReached", "gone d UNKNOWN"}, {"restart", ""}, {"connected", ""});

/* The end of one job says nothing about the next. */
TRANSCRIPT(test_gone_spares_the_next_job, {"final a SUCCEEDED", ""}, {"progress b", ""}, {"connected", "a SUCCEEDED"},
           {"rejected InvalidStateTransition TIMED_OUT 5", "gone a TIMED_OUT; b IN_PROGRESS"},
           {"accepted", "accepted b IN_PROGRESS"});

TRANSCRIPT(test_rejected_becomes_failed, {"connected", ""}, {"final a REJECTED", "a REJECTED"},
           {"rejected InvalidStateTransition IN_PROGRESS 2", "a FAILED"}, {"restart", ""}, {"connected", "a FAILED"},
           {"accepted", "accepted a FAILED"}, {"restart", ""}, {"connected", ""});

/* Cancelled before the cloud heard that it had begun. */
TRANSCRIPT(test_failed_before_it_began, {"connected", ""}, {"final a FAILED", "a FAILED"},
           {"rejected InvalidStateTransition QUEUED 1", "a IN_PROGRESS v1 bare"}, {"timer", ""},
           {"timer", "a IN_PROGRESS v1 bare"}, {"accepted 2", "accepted a IN_PROGRESS; a FAILED v2"},
           {"accepted 3", "accepted a FAILED"});

TRANSCRIPT(test_never_to_be_had, {"connected", ""}, {"final a FAILED", "a FAILED"},
           {"rejected InvalidStateTransition QUEUED 1", "a IN_PROGRESS v1 bare"},
           {"rejected InvalidRequest", "a FAILED v1"}, {"rejected InvalidStateTransition QUEUED 1", ""},
           {"restart", ""}, {"connected", ""});

TRANSCRIPT(test_details_are_dropped, {"connected", ""}, {"progress a", "a IN_PROGRESS"},
           {"rejected InvalidRequest", "a IN_PROGRESS bare"}, {"rejected InvalidRequest", ""},
           {"final a SUCCEEDED", "a SUCCEEDED"}, {"rejected InvalidRequest", "a SUCCEEDED bare"},
           {"accepted", "accepted a SUCCEEDED"});

TRANSCRIPT(test_our_own_mistakes_end, {"connected", ""}, {"progress a", "a IN_PROGRESS"},
           {"rejected InvalidJson", ""}, {"final a FAILED", "a FAILED"}, {"rejected InvalidTopic", ""},
           {"restart", ""}, {"connected", ""});

/* -- the disk --------------------------------------------------------------------------------------------------- */

TRANSCRIPT(test_finals_survive_a_restart, {"final a FAILED", ""}, {"final b SUCCEEDED", ""}, {"progress c", ""},
           {"restart", ""}, {"connected", "a FAILED"}, {"restart", ""}, {"connected", "a FAILED"},
           {"rejected InvalidStateTransition FAILED 5", "gone a FAILED; b SUCCEEDED"}, {"restart", ""},
           {"connected", "b SUCCEEDED"}, {"accepted", "accepted b SUCCEEDED"}, {"restart", ""}, {"connected", ""});

TRANSCRIPT(test_disk_full, {"full", ""}, {"connected", ""}, {"final a FAILED", "a FAILED; not saved"},
           {"final a FAILED", "not saved"}, {"space", ""}, {"final a FAILED", ""}, {"restart", ""},
           {"connected", "a FAILED"}, {"full", ""}, {"accepted", "accepted a FAILED"}, {"space", ""},
           {"connected", ""});

static void test_final_is_on_disk_before_finish_returns(void **state)
{
        JobKey key = job_key_make("a", 1), other = job_key_make("a", 2);
        Room *room = *state;

        assert_true(outbox_is_idle(room->outbox));
        assert_int_equal(finish(room, "a", "FAILED"), 0);
        assert_true(folder_has(&room->folder, "outbox"));
        assert_true(outbox_holds_final(room->outbox, &key));
        assert_false(outbox_holds_final(room->outbox, &other));
        assert_false(outbox_is_idle(room->outbox));
        outbox_on_connected(room->outbox, room->now_usec);
        accept(room, room->token, 2);
        assert_false(folder_has(&room->folder, "outbox"));
        assert_true(outbox_is_idle(room->outbox));
}

static void write_record(Room *room, const char *fields[][2])
{
        _cleanup_(record_freep) Record *record = record_new();

        assert_non_null(record);
        for (unsigned i = 0; fields[i][0]; i++)
                assert_int_equal(record_set(record, fields[i][0], fields[i][1]), 0);
        assert_int_equal(record_save(record, room->folder.fd, "outbox"), 0);
        open_outbox(room);
}

static void test_damaged_record(void **state)
{
        Room *room = *state;
        int fd;

        assert_int_equal(finish(room, "a", "FAILED"), 0);
        fd = openat(room->folder.fd, "outbox", O_WRONLY | O_APPEND | O_CLOEXEC);
        assert_int_equal(write(fd, "x", 1), 1);
        close_fd(fd);
        open_outbox(room);
        assert_int_equal(outbox_n_finals(room->outbox), 0);
        assert_true(folder_has(&room->folder, "outbox.damaged"));
        assert_int_equal(finish(room, "b", "FAILED"), 0);
        open_outbox(room);
        assert_int_equal(outbox_n_finals(room->outbox), 1);
}

/* Not even put aside, as on a read-only file system: no reason not to start. */
static void test_damaged_record_that_stays(void **state)
{
        Room *room = *state;
        int fd;

        assert_int_equal(finish(room, "a", "FAILED"), 0);
        assert_int_equal(mkdirat(room->folder.fd, "outbox.damaged", 0700), 0);
        fd = openat(room->folder.fd, "outbox", O_WRONLY | O_TRUNC | O_CLOEXEC);
        assert_true(fd >= 0);
        close_fd(fd);
        open_outbox(room);
        assert_int_equal(outbox_n_finals(room->outbox), 0);
        assert_true(folder_has(&room->folder, "outbox"));
        assert_int_equal(finish(room, "b", "FAILED"), 0);
        open_outbox(room);
        assert_int_equal(outbox_n_finals(room->outbox), 1);
        assert_int_equal(unlinkat(room->folder.fd, "outbox.damaged", AT_REMOVEDIR), 0);
}

static void test_record_that_makes_no_sense(void **state)
{
        const char *rows[][5][2] = {
                {{"0.job", "a"}, {"0.status", "FAILED"}},
                {{"0.job", "a#1"}, {"0.status", "IN_PROGRESS"}},
                {{"0.job", "a#1"}, {"0.status", "DONE"}},
                {{"0.job", "a#1"}},
                {{"0.job", "../a#1"}, {"0.status", "FAILED"}},
                {{"0.job", "a#9999999999999999999"}, {"0.status", "FAILED"}},
                {{"1.job", "a#1"}, {"1.status", "FAILED"}},
        };
        const char *good[][2] = {{"0.job", "a#1"}, {"0.status", "FAILED"}, {"0.key0", "b c"}, {"0.value0", "d"}, {0}};

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                write_record(*state, rows[i]);
                assert_int_equal(outbox_n_finals(((Room *)*state)->outbox), 0);
        }
        write_record(*state, good); /* but for a key that the service would refuse */
        assert_int_equal(outbox_n_finals(((Room *)*state)->outbox), 0);
        good[2][0] = NULL;
        write_record(*state, good);
        assert_int_equal(outbox_n_finals(((Room *)*state)->outbox), 1);
}

static void test_more_finals_than_fit(void **state)
{
        Room *room = *state;
        char job[16];

        outbox_on_connected(room->outbox, room->now_usec);
        for (unsigned i = 0; i < 20; i++) {
                snprintf(job, sizeof(job), "j-%u", i);
                assert_int_equal(finish(room, job, "FAILED"), 0);
        }
        assert_int_equal(outbox_n_finals(room->outbox), 16);
        forget_notes(&room->acts);
        accept(room, room->token, 5); /* of the first, which is not remembered any more */
        assert_string_equal(room->acts.text, "accepted j-0 FAILED; j-4 FAILED");
}

static void test_hostile_answers(void **state)
{
        JobRejection rejection = {.code = JOB_REJECTION_RESOURCE_NOT_FOUND, .client_token = "u-999"};
        JobUpdate update = {.client_token = ""};
        Room *room = *state;

        outbox_on_update(room->outbox, &update, room->now_usec); /* nothing was asked */
        outbox_on_rejection(room->outbox, &rejection, room->now_usec);
        outbox_on_connected(room->outbox, room->now_usec);
        progress(room, "a");
        forget_notes(&room->acts);
        outbox_on_update(room->outbox, &update, room->now_usec); /* something, but not by this token */
        outbox_on_rejection(room->outbox, &rejection, room->now_usec);
        assert_string_equal(room->acts.text, "");
        rejection.client_token[0] = 0; /* a refusal need not name one */
        strcpy(rejection.code_text, "ResourceNotFound");
        outbox_on_rejection(room->outbox, &rejection, room->now_usec);
        assert_string_equal(room->acts.text, "gone a UNKNOWN");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(test_one_at_a_time_and_the_latest),
                CASE(test_final_replaces_progress),
                CASE(test_finals_come_first_and_in_order),
                CASE(test_dropped_progress_is_not_sent),
                CASE(test_version_that_a_describe_told),
                CASE(test_lost_answer),
                CASE(test_lost_answer_to_a_final),
                CASE(test_disconnected_in_between),
                CASE(test_throttled),
                CASE(test_somebody_else_wrote),
                CASE(test_somebody_else_writes_all_the_time),
                CASE(test_version_mismatch_without_a_state),
                CASE(test_over_in_the_cloud),
                CASE(test_gone_spares_the_next_job),
                CASE(test_rejected_becomes_failed),
                CASE(test_failed_before_it_began),
                CASE(test_never_to_be_had),
                CASE(test_details_are_dropped),
                CASE(test_our_own_mistakes_end),
                CASE(test_finals_survive_a_restart),
                CASE(test_disk_full),
                CASE(test_final_is_on_disk_before_finish_returns),
                CASE(test_damaged_record),
                CASE(test_damaged_record_that_stays),
                CASE(test_record_that_makes_no_sense),
                CASE(test_more_finals_than_fit),
                CASE(test_hostile_answers),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
