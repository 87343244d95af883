#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fill.h"
#include "folder.h"
#include "target/target.h"

/* What stands at the destination and beside it; NULL: nothing. */
typedef struct Scene {
        const char *destination, *staged, *old;
        bool none, old_is_destination;
} Scene;

static Target *make_target(mode_t mode)
{
        Target *target = NULL;

        assert_int_equal(target_new(&(TargetParams){.name = "app",
                                                    .type = TARGET_TYPE_FILE,
                                                    .path = in_folder("app"),
                                                    .mode = mode},
                                    &target),
                         0);
        return target;
}

static int open_writer(const Target *target, uint64_t size, uint64_t resume, TargetWriter **ret, Failure *failure)
{
        return target_writer_open(target,
                                  &(TargetWriterParams){.slot = TARGET_NO_SLOT,
                                                        .booted_slot = TARGET_NO_SLOT,
                                                        .size_bytes = size,
                                                        .resume_bytes = resume},
                                  ret, failure);
}

static void stage(const Target *target, const char *text)
{
        _cleanup_(target_writer_freep) TargetWriter *writer = NULL;

        assert_int_equal(open_writer(target, strlen(text), 0, &writer, NULL), 0);
        assert_int_equal(fill(writer, text, strlen(text), NULL), 0);
        assert_int_equal(target_writer_flush(writer, NULL), 0);
}

static void expect_file(const char *name, const char *content)
{
        _cleanup_free_ char *text = get_file(name);

        if (content) {
                assert_non_null(text);
                assert_string_equal(text, content);
        } else {
                assert_null(text);
        }
}

static void expect_scene(const Scene *scene)
{
        expect_file("app", scene->destination);
        expect_file(".app.otad-new", scene->staged);
        expect_file(".app.otad-old", scene->old);
        expect_file(".app.otad-none", scene->none ? "" : NULL);
}

static void put_scene(const Scene *scene)
{
        static const char *const names[] = {"app", ".app.otad-new", ".app.otad-old", ".app.otad-none"};

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                assert_true(unlink(in_folder(names[i])) == 0 || errno == ENOENT);
        if (scene->destination)
                put_file("app", scene->destination, strlen(scene->destination), 0600);
        if (scene->staged)
                put_file(".app.otad-new", scene->staged, strlen(scene->staged), 0600);
        if (scene->old_is_destination)
                assert_int_equal(link(in_folder("app"), in_folder(".app.otad-old")), 0);
        else if (scene->old)
                put_file(".app.otad-old", scene->old, strlen(scene->old), 0600);
        if (scene->none)
                put_file(".app.otad-none", "", 0, 0600);
}

static void test_replace_and_commit(void **state)
{
        _cleanup_(target_freep) Target *target = make_target(04755);
        struct stat st;

        put_file("app", "one", 3, 0700);
        stage(target, "two");
        expect_scene(&(Scene){.destination = "one", .staged = "two"});
        assert_int_equal(stat(target_staged_path(target), &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);

        assert_int_equal(target_activate(target, NULL), 0);
        expect_scene(&(Scene){.destination = "two", .old = "one"});
        assert_int_equal(stat(target_path(target), &st), 0);
        assert_int_equal(st.st_mode & 07777, 04755);

        assert_int_equal(target_commit(target, NULL), 0);
        expect_scene(&(Scene){.destination = "two"});
}

/* What RestrictSUIDSGID= of a unit does. */
static int forbid_set_id(void)
{
        struct sock_filter rules[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fchmod, 0, 3),
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
                BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, S_ISUID | S_ISGID, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog program = {.len = ELEMENTSOF(rules), .filter = rules};

        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return -errno;
        return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0 ? -errno : 0;
}

/* Found out before the download, not at the activation. */
static void test_mode_that_may_not_be_set(void **state)
{
        _cleanup_(target_freep) Target *target = make_target(04755);
        int status = 0;
        pid_t pid = fork();

        if (pid == 0) {
                TargetWriter *writer = NULL;
                Failure failure = {.reason = FAILURE_NONE};

                if (forbid_set_id() < 0)
                        _exit(77);
                if (open_writer(target, 10, 0, &writer, &failure) != -EPERM || failure.reason != FAILURE_TARGET_IO)
                        _exit(1);
                _exit(strstr(failure.detail, "mode 4755") ? 0 : 2);
        }
        assert_true(pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status));
        if (WEXITSTATUS(status) == 77)
                skip(); /* an emulator has no filters */
        assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_resume(void **state)
{
        _cleanup_(target_freep) Target *target = make_target(0755);
        TargetWriter *writer = NULL;

        assert_int_equal(open_writer(target, 10, 0, &writer, NULL), 0);
        assert_int_equal(fill(writer, "012345", 6, NULL), 0);
        assert_int_equal(target_writer_flush(writer, NULL), 0);
        writer = target_writer_free(writer);

        /* Durable by the record were 4; what came after is written again. */
        assert_int_equal(open_writer(target, 10, 4, &writer, NULL), 0);
        assert_true(target_writer_written(writer) == 4);
        assert_int_equal(fill(writer, "abcdef", 6, NULL), 0);
        assert_int_equal(target_writer_flush(writer, NULL), 0);
        writer = target_writer_free(writer);
        expect_file(".app.otad-new", "0123abcdef");

        /* More than is there is not believed. */
        assert_int_equal(truncate(target_staged_path(target), 3), 0);
        assert_int_equal(open_writer(target, 10, 8, &writer, NULL), 0);
        assert_true(target_writer_written(writer) == 3);
        writer = target_writer_free(writer);
        assert_int_equal(target_discard(target, NULL), 0);
        assert_int_equal(open_writer(target, 10, 8, &writer, NULL), 0);
        assert_true(target_writer_written(writer) == 0);
        writer = target_writer_free(writer);
}

#define SCENE(d, n, o)                                        \
        {                                                     \
                .destination = (d), .staged = (n), .old = (o) \
        }
#define SCENE_NONE(d, n)                                        \
        {                                                       \
                .destination = (d), .staged = (n), .none = true \
        }
#define SCENE_LINK(d, n)                                                                  \
        {                                                                                 \
                .destination = (d), .staged = (n), .old = (d), .old_is_destination = true \
        }

typedef int (*Act)(const Target *target, Failure *reterr);

/* Every state a crash may leave, and what each act makes of it; each is done twice, for it may be repeated. */
static void test_acts_from_every_state(void **state)
{
        static const struct {
                Act act;
                int r;
                Scene before, after;
        } cases[] = {
                /* activate: an existing version */
                {target_activate, 0, SCENE("one", "two", NULL), SCENE("two", NULL, "one")},
                {target_activate, 0, SCENE_LINK("one", "two"), SCENE("two", NULL, "one")},
                {target_activate, 0, SCENE("two", NULL, "one"), SCENE("two", NULL, "one")},
                /* ... a version left over from an update nobody remembers, other than the one that runs */
                {target_activate, 0, SCENE("one", "two", "zero"), SCENE("two", NULL, "one")},
                {target_activate, 0, SCENE_NONE("one", "two"), SCENE("two", NULL, "one")},
                /* ... none before */
                {target_activate, 0, SCENE(NULL, "two", NULL), SCENE_NONE("two", NULL)},
                {target_activate, 0, SCENE_NONE(NULL, "two"), SCENE_NONE("two", NULL)},
                {target_activate, 0, SCENE(NULL, "two", "zero"), SCENE_NONE("two", NULL)},
                {target_activate, 0, SCENE_NONE("two", NULL), SCENE_NONE("two", NULL)},
                /* ... nothing to activate */
                {target_activate, -ENOENT, SCENE("one", NULL, NULL), SCENE("one", NULL, NULL)},
                {target_activate, -ENOENT, SCENE(NULL, NULL, NULL), SCENE(NULL, NULL, NULL)},
                {target_activate, -ENOENT, SCENE_LINK("one", NULL), SCENE("one", NULL, "one")},
                {target_activate, -ENOENT, SCENE_NONE(NULL, NULL), SCENE_NONE(NULL, NULL)},
                /* roll back before the rename: the new file goes, and nothing else changes */
                {target_roll_back, 0, SCENE("one", "two", NULL), SCENE("one", NULL, NULL)},
                {target_roll_back, 0, SCENE_LINK("one", "two"), SCENE("one", NULL, NULL)},
                {target_roll_back, 0, SCENE("one", "two", "zero"), SCENE("one", NULL, NULL)},
                {target_roll_back, 0, SCENE_LINK("one", NULL), SCENE("one", NULL, NULL)},
                {target_roll_back, 0, SCENE_NONE(NULL, "two"), SCENE(NULL, NULL, NULL)},
                /* ... after it */
                {target_roll_back, 0, SCENE("two", NULL, "one"), SCENE("one", NULL, NULL)},
                {target_roll_back, 0, SCENE(NULL, NULL, "one"), SCENE("one", NULL, NULL)},
                {target_roll_back, 0, SCENE_NONE("two", NULL), SCENE(NULL, NULL, NULL)},
                {target_roll_back, 0, SCENE_NONE(NULL, NULL), SCENE(NULL, NULL, NULL)},
                {target_roll_back, 0, SCENE("one", NULL, NULL), SCENE("one", NULL, NULL)},
                /* commit */
                {target_commit, 0, SCENE("two", NULL, "one"), SCENE("two", NULL, NULL)},
                {target_commit, 0, SCENE_NONE("two", NULL), SCENE("two", NULL, NULL)},
                {target_commit, 0, SCENE("two", NULL, NULL), SCENE("two", NULL, NULL)},
                {target_commit, -EEXIST, SCENE("one", "two", NULL), SCENE("one", "two", NULL)},
                /* discard */
                {target_discard, 0, SCENE("one", "two", NULL), SCENE("one", NULL, NULL)},
                {target_discard, 0, SCENE("one", NULL, NULL), SCENE("one", NULL, NULL)},
                {target_discard, 0, SCENE("two", NULL, "one"), SCENE("two", NULL, "one")},
        };
        _cleanup_(target_freep) Target *target = make_target(0755);

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                put_scene(&cases[i].before);
                for (unsigned n = 0; n < 2; n++) {
                        assert_int_equal(cases[i].act(target, NULL), cases[i].r);
                        expect_scene(&cases[i].after);
                }
        }
}

static void test_destination_must_be_a_file(void **state)
{
        _cleanup_(target_freep) Target *target = make_target(0755);
        TargetWriter *writer = NULL;
        Failure failure = {};

        assert_int_equal(mkdir(in_folder("app"), 0700), 0);
        assert_true(target_check(target, &failure) < 0);
        assert_non_null(strstr(failure.detail, "a directory"));
        assert_true(open_writer(target, 5, 0, &writer, NULL) < 0);
        assert_int_equal(rmdir(in_folder("app")), 0);

        stage(target, "two");
        assert_int_equal(symlink("/etc/passwd", in_folder("app")), 0);
        assert_true(target_check(target, &failure) < 0);
        assert_non_null(strstr(failure.detail, "a symbolic link"));
        assert_true(target_activate(target, &failure) < 0);
        assert_int_equal(failure.reason, FAILURE_ACTIVATION_FAILED);
        assert_int_equal(unlink(in_folder("app")), 0);
        assert_int_equal(target_activate(target, NULL), 0);
        expect_file("app", "two");
}

static void test_planted_staged_file(void **state)
{
        _cleanup_(target_freep) Target *target = make_target(0755);

        put_file("victim", "safe", 4, 0600);
        assert_int_equal(symlink(in_folder("victim"), in_folder(".app.otad-new")), 0);
        stage(target, "two");
        expect_file("victim", "safe");
        expect_file(".app.otad-new", "two");
        assert_int_equal(target_discard(target, NULL), 0);

        assert_int_equal(link(in_folder("victim"), in_folder(".app.otad-new")), 0);
        stage(target, "two");
        expect_file("victim", "safe");
        expect_file(".app.otad-new", "two");
}

static void test_missing_directory(void **state)
{
        _cleanup_(target_freep) Target *target = NULL;
        TargetWriter *writer = NULL;
        Failure failure = {};

        assert_int_equal(target_new(&(TargetParams){.name = "app",
                                                    .type = TARGET_TYPE_FILE,
                                                    .path = in_folder("no/app"),
                                                    .mode = 0755},
                                    &target),
                         0);
        assert_int_equal(target_check(target, &failure), -ENOENT);
        assert_int_equal(failure.reason, FAILURE_TARGET_MISSING);
        assert_int_equal(open_writer(target, 5, 0, &writer, NULL), -ENOENT);
        assert_int_equal(target_activate(target, &failure), -ENOENT);
        assert_int_equal(failure.reason, FAILURE_ACTIVATION_FAILED);
}

static void test_no_space(void **state)
{
        _cleanup_(target_freep) Target *target = make_target(0755);
        TargetWriter *writer = NULL;
        Failure failure = {};

        assert_int_equal(open_writer(target, UINT64_C(1) << 60, 0, &writer, &failure), -ENOSPC);
        assert_int_equal(failure.reason, FAILURE_NO_SPACE);
        assert_non_null(strstr(failure.detail, "1152921504606846976 bytes"));
        assert_non_null(strstr(failure.detail, "are free"));
        expect_scene(&(Scene){.destination = NULL});
}

/* It fits, but not with what has to stay free; what is there already asks for nothing more. */
static void test_space_to_keep(void **state)
{
        static const FreeSpaceRule rules[] = {{.bytes = UINT64_C(1) << 60}, {.percent = 100}};
        TargetParams params = {.name = "app", .type = TARGET_TYPE_FILE, .path = in_folder("app"), .mode = 0755};

        for (size_t i = 0; i < ELEMENTSOF(rules); i++) {
                _cleanup_(target_freep) Target *plain = make_target(0755), *target = NULL;
                TargetWriter *writer = NULL;
                Failure failure = {};

                params.keep_free = rules[i];
                assert_int_equal(target_new(&params, &target), 0);
                assert_int_equal(open_writer(target, 65536, 0, &writer, &failure), -ENOSPC);
                assert_int_equal(failure.reason, FAILURE_NO_SPACE);
                assert_non_null(strstr(failure.detail, "needs 65536 bytes more"));
                assert_non_null(strstr(failure.detail, "have to stay free"));
                if (i == 0)
                        assert_non_null(strstr(failure.detail, " 1152921504606846976 have to stay free"));
                expect_scene(&(Scene){.destination = NULL});

                stage(plain, "all of it");
                assert_int_equal(open_writer(target, 9, 9, &writer, NULL), 0);
                writer = target_writer_free(writer);
                assert_int_equal(target_discard(target, NULL), 0);
        }
}

static void test_owner(void **state)
{
        _cleanup_(target_freep) Target *target = NULL, *unknown = NULL;
        TargetParams params = {.name = "app",
                               .type = TARGET_TYPE_FILE,
                               .path = in_folder("app"),
                               .mode = 0640,
                               .owner = "daemon",
                               .group = "daemon"};
        Failure failure = {};
        struct stat st;

        params.owner = "no-such-user";
        assert_int_equal(target_new(&params, &unknown), 0);
        assert_int_equal(target_check(unknown, &failure), -ESRCH);
        assert_non_null(strstr(failure.detail, "no-such-user"));
        if (geteuid() != 0)
                skip();
        params.owner = "daemon";
        assert_int_equal(target_new(&params, &target), 0);
        stage(target, "two");
        assert_int_equal(target_activate(target, NULL), 0);
        assert_int_equal(stat(target_path(target), &st), 0);
        assert_true(st.st_uid != 0 && st.st_gid != 0);
        assert_int_equal(st.st_mode & 07777, 0640);
}

static void test_bad_params(void **state)
{
        static const char *const paths[] = {"relative", "/", "/opt/", "/opt/.", "/opt/..", "", NULL};
        char longest[300] = "/";
        Target *target = NULL;

        memset(longest + 1, 'n', sizeof(longest) - 2);
        for (size_t i = 0; i < ELEMENTSOF(paths); i++)
                assert_int_equal(
                        target_new(&(TargetParams){.name = "app", .type = TARGET_TYPE_FILE, .path = paths[i]},
                                   &target),
                        -EINVAL);
        assert_int_equal(
                target_new(&(TargetParams){.name = "app", .type = TARGET_TYPE_FILE, .path = longest}, &target),
                -EINVAL);
        assert_int_equal(
                target_new(
                        &(TargetParams){.name = "app", .type = TARGET_TYPE_FILE, .path = "/opt/app", .mode = 010755},
                        &target),
                -EINVAL);
        assert_int_equal(
                target_new(&(TargetParams){.name = "app", .type = TARGET_TYPE_FILE, .path = "/app"}, &target), 0);
        assert_string_equal(target_staged_path(target), "/.app.otad-new");
        assert_null(target_boot_script(target));
        target = target_free(target);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_replace_and_commit, folder_set_up, folder_tear_down),
                cmocka_unit_test_setup_teardown(test_mode_that_may_not_be_set, folder_set_up, folder_tear_down),
                cmocka_unit_test_setup_teardown(test_resume, folder_set_up, folder_tear_down),
                cmocka_unit_test_setup_teardown(test_acts_from_every_state, folder_set_up, folder_tear_down),
                cmocka_unit_test_setup_teardown(test_destination_must_be_a_file, folder_set_up, folder_tear_down),
                cmocka_unit_test_setup_teardown(test_planted_staged_file, folder_set_up, folder_tear_down),
                cmocka_unit_test_setup_teardown(test_missing_directory, folder_set_up, folder_tear_down),
                cmocka_unit_test_setup_teardown(test_no_space, folder_set_up, folder_tear_down),
                cmocka_unit_test_setup_teardown(test_space_to_keep, folder_set_up, folder_tear_down),
                cmocka_unit_test_setup_teardown(test_owner, folder_set_up, folder_tear_down),
                cmocka_unit_test_setup_teardown(test_bad_params, folder_set_up, folder_tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
