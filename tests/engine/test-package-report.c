/* What the shadow named $package is told, as transcripts: an event, and the acts it has to lead to. */
#include "base/time-util.h"
#include "engine/package-report.h"
#include "folder.h"
#include "transcript.h"

/*
 * Events: "connected", "disconnected", "idle VERSION" (at rest), "job VERSION" (at rest, and a job brought it), "busy",
 * "timer" (at the next deadline), "wait" (a minute passes), "restart", "rename NAME" (and a restart), "accepted",
 * "late accepted" (of the one before), "rejected CODE".
 * Acts: "subscribe", "tell VERSION".
 */
typedef struct Step {
        const char *event;
        const char *acts;
} Step;

typedef struct Room {
        Folder folder;
        PackageReport *report;
        char name[32];
        uint64_t now_usec;
        Transcript acts;
        char token[128], last_token[128];
} Room;

static void on_subscribe(void *userdata)
{
        note(&((Room *)userdata)->acts, "subscribe");
}

static void on_publish(const char *json, void *userdata)
{
        Room *room = userdata;
        char version[128];

        assert_non_null(strstr(json, room->name));
        note(&room->acts, "tell %s", json_text(json, "version", version));
        strcpy(room->last_token, room->token);
        json_text(json, "clientToken", room->token);
        assert_string_not_equal(room->token, room->last_token);
}

static const PackageReportOps ops = {.subscribe = on_subscribe, .publish = on_publish};

static void restart(Room *room)
{
        const PackageReportParams params = {
                .name = room->name, .dir_fd = room->folder.fd, .answer_timeout_usec = 15 * USEC_PER_SEC};

        package_report_free(room->report);
        room->token[0] = 0;
        assert_int_equal(package_report_new(&params, &ops, room, &room->report), 0);
}

static bool is(const char *event, const char *word, const char **ret_rest)
{
        size_t n = strlen(word);

        if (strncmp(event, word, n) != 0)
                return false;
        *ret_rest = event[n] ? event + n + 1 : event + n;
        return true;
}

static void happen(Room *room, const char *event)
{
        PackageReport *p = room->report;
        PackageAnswer answer = {0};
        uint64_t due, now = room->now_usec += USEC_PER_MSEC;
        const char *rest;

        if (is(event, "connected", &rest)) {
                package_report_on_connected(p, now);
        } else if (is(event, "disconnected", &rest)) {
                package_report_on_disconnected(p, now);
        } else if (is(event, "idle", &rest)) {
                package_report_on_version(p, rest, false, now);
        } else if (is(event, "job", &rest)) {
                package_report_on_version(p, rest, true, now);
        } else if (is(event, "busy", &rest)) {
                package_report_on_version(p, NULL, false, now);
        } else if (is(event, "timer", &rest)) {
                due = package_report_next_deadline(p);
                assert_true(due != USEC_INFINITY && due >= now);
                room->now_usec = due;
                package_report_on_timer(p, due);
        } else if (is(event, "wait", &rest)) {
                room->now_usec += 60 * USEC_PER_SEC;
                package_report_on_timer(p, room->now_usec);
        } else if (is(event, "restart", &rest)) {
                restart(room);
        } else if (is(event, "rename", &rest)) {
                strcpy(room->name, rest);
                restart(room);
        } else if (is(event, "accepted", &rest) || is(event, "late accepted", &rest)) {
                strcpy(answer.client_token, event[0] == 'l' ? room->last_token : room->token);
                package_report_on_answer(p, &answer, now);
        } else {
                assert_true(is(event, "rejected", &rest));
                answer.code = atoi(rest);
                strcpy(answer.client_token, room->token);
                package_report_on_answer(p, &answer, now);
        }
}

static void begin(Room *room, const char *name)
{
        *room = (Room){.now_usec = 1000 * USEC_PER_SEC};
        strcpy(room->name, name);
        folder_make(&room->folder);
        restart(room);
}

static void end(Room *room)
{
        package_report_free(room->report);
        folder_remove(&room->folder);
}

static void run(const char *name, const Step *steps)
{
        Room room;

        begin(&room, name);
        for (unsigned i = 0; steps[i].event; i++) {
                forget_notes(&room.acts);
                happen(&room, steps[i].event);
                if (strcmp(room.acts.text, steps[i].acts) != 0)
                        fail_msg("step %u, '%s': '%s' instead of '%s'", i, steps[i].event, room.acts.text,
                                 steps[i].acts);
        }
        end(&room);
}

static void test_told_once(void **state)
{
        run("image", (Step[]){
                             {"connected", ""}, /* what runs is not known yet */
                             {"idle 1.0", "subscribe; tell 1.0"},
                             {"idle 1.0", ""},
                             {"accepted", ""},
                             {"wait", ""},
                             {"disconnected", ""},
                             {"connected", ""},
                             {"restart", ""},
                             {"idle 1.0", ""},
                             {"connected", ""},
                             {"rename other", ""}, /* of this one the cloud knows nothing */
                             {"connected", ""},
                             {"idle 1.0", "subscribe; tell 1.0"},
                             {},
                     });
}

/* What a job brings is left to the service, until the next connect. */
static void test_by_job_or_not(void **state)
{
        run("image", (Step[]){
                             {"idle 1.0", ""},
                             {"connected", "subscribe; tell 1.0"},
                             {"accepted", ""},
                             {"busy", ""},
                             {"job 2.0", ""},
                             {"wait", ""},
                             {"disconnected", ""},
                             {"connected", "subscribe; tell 2.0"},
                             {"accepted", ""},
                             {"idle 3.0", "tell 3.0"}, /* out of band */
                             {"accepted", ""},
                             {"restart", ""},
                             {"connected", ""},
                             {"busy", ""},
                             {"job 4.0", ""}, /* the first that a new otad sees, after a reboot */
                             {"disconnected", ""},
                             {"connected", "subscribe; tell 4.0"},
                             {},
                     });
}

static void test_not_while_busy(void **state)
{
        run("image", (Step[]){
                             {"connected", ""},
                             {"busy", ""},
                             {"wait", ""},
                             {"idle 1.0", "subscribe; tell 1.0"},
                             {"busy", ""},
                             {"timer", ""}, /* no answer: to be said again, but not now */
                             {"wait", ""},
                             {"idle 1.0", "tell 1.0"},
                             {"late accepted", ""},
                             {"accepted", ""},
                             {"wait", ""},
                             {},
                     });
}

static void test_rejected(void **state)
{
        run("image", (Step[]){
                             {"idle 1.0", ""},
                             {"connected", "subscribe; tell 1.0"},
                             {"rejected 500", ""},
                             {"timer", "tell 1.0"},
                             {"rejected 429", ""},
                             {"timer", "tell 1.0"},
                             {"rejected 403", ""},
                             {"wait", ""}, /* an hour, not a minute */
                             {"disconnected", ""},
                             {"connected", ""}, /* and a new connection does not make it shorter */
                             {"timer", "subscribe; tell 1.0"},
                             {"idle 1.1", ""}, /* one at a time */
                             {"accepted", "tell 1.1"},
                             {"accepted", ""},
                             {},
                     });
}

/* No answer, ever more rarely. */
static void test_backoff_grows(void **state)
{
        uint64_t longest = 0;
        Room room;

        begin(&room, "image");
        happen(&room, "idle 1.0");
        happen(&room, "connected");
        for (unsigned i = 0; i < 12; i++) {
                uint64_t before;

                happen(&room, "timer"); /* no answer */
                before = room.now_usec;
                happen(&room, "timer");
                longest = MAX2(longest, room.now_usec - before);
                assert_true(room.now_usec - before <= 3600 * USEC_PER_SEC);
        }
        assert_true(longest > 300 * USEC_PER_SEC);
        end(&room);
}

/* Where the policy forbids the shadow, AWS closes the connection: that must not become a loop. */
static void test_connection_ends_instead(void **state)
{
        Room room;

        begin(&room, "image");
        happen(&room, "idle 1.0");
        for (unsigned i = 0; i < 3; i++) {
                forget_notes(&room.acts);
                happen(&room, "connected");
                if (i > 0)
                        happen(&room, "timer");
                assert_string_equal(room.acts.text, "subscribe; tell 1.0");
                happen(&room, "disconnected");
        }
        happen(&room, "connected");
        assert_true(package_report_next_deadline(room.report) - room.now_usec > 23 * 3600 * USEC_PER_SEC);
        end(&room);
}

static void test_nothing_to_tell(void **state)
{
        run("", (Step[]){{"connected", ""}, {"idle 1.0", ""}, {"wait", ""}, {}});
        run("image", (Step[]){{"connected", ""}, {"idle", ""}, {"idle 1.0~rc1", ""}, {"wait", ""}, {}});
}

static void test_damaged_record(void **state)
{
        int fd;
        Room room;

        begin(&room, "image");
        fd = openat(room.folder.fd, "package", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_int_equal(write(fd, "garbage", 7), 7);
        assert_int_equal(close(fd), 0);
        happen(&room, "restart");
        happen(&room, "connected");
        happen(&room, "idle 1.0");
        assert_string_equal(room.acts.text, "subscribe; tell 1.0");
        end(&room);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_told_once),       cmocka_unit_test(test_by_job_or_not),
                cmocka_unit_test(test_not_while_busy),  cmocka_unit_test(test_rejected),
                cmocka_unit_test(test_backoff_grows),   cmocka_unit_test(test_connection_ends_instead),
                cmocka_unit_test(test_nothing_to_tell), cmocka_unit_test(test_damaged_record),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
