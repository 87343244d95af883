#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "fill.h"
#include "folder.h"
#include "target/target.h"

#define MIB (1024 * 1024)

static uint8_t pattern(uint64_t at)
{
        return (uint8_t)((at * UINT64_C(2654435761)) >> 13);
}

static void put_sparse(const char *name, uint64_t size)
{
        put_file(name, "", 0, 0600);
        assert_int_equal(truncate(in_folder(name), (off_t)size), 0);
}

static Target *make_target(const char *a, const char *b)
{
        Target *target = NULL;

        put_script("boot", "exit 0");
        assert_int_equal(target_new(&(TargetParams){.name = "rootfs",
                                                    .type = TARGET_TYPE_AB,
                                                    .slots = {{"A", a}, {"B", b}},
                                                    .boot_script = in_folder("boot"),
                                                    .boot_timeout_usec = USEC_PER_SEC},
                                    &target),
                         0);
        return target;
}

static Target *make_pair(uint64_t size)
{
        put_sparse("a", size);
        put_sparse("b", size);
        return make_target(in_folder("a"), in_folder("b"));
}

static int open_b(const Target *target, uint64_t size, uint64_t resume, TargetWriter **ret, Failure *failure)
{
        return target_writer_open(
                target,
                &(TargetWriterParams){
                        .slot = 1, .booted_slot = TARGET_NO_SLOT, .size_bytes = size, .resume_bytes = resume},
                ret, failure);
}

/* [from, to) of the pattern, in pieces of uneven size. */
static void write_pattern(TargetWriter *writer, uint64_t from, uint64_t to, size_t piece)
{
        _cleanup_free_ uint8_t *data = malloc(piece);

        assert_non_null(data);
        while (from < to) {
                size_t n = (size_t)MIN2((uint64_t)piece, to - from);

                for (size_t i = 0; i < n; i++)
                        data[i] = pattern(from + i);
                assert_int_equal(fill(writer, data, n, NULL), 0);
                from += n;
                assert_true(target_writer_written(writer) == from);
                assert_true(target_writer_readable(writer) <= from);
        }
}

/* All that is readable from `from` on; returns where it ended. */
static uint64_t check_pattern(TargetWriter *writer, uint64_t from)
{
        for (;;) {
                const void *data;
                ssize_t n = target_writer_read(writer, from, true, &data, NULL);

                assert_true(n >= 0);
                if (n == 0)
                        return from;
                for (ssize_t i = 0; i < n; i++, from++)
                        if (((const uint8_t *)data)[i] != pattern(from))
                                assert_int_equal(from, UINT64_MAX);
        }
}

static void test_write_and_read_behind(void **state)
{
        const uint64_t size = 35 * MIB + 12345;
        _cleanup_(target_freep) Target *target = make_pair(36 * MIB);
        _cleanup_(target_writer_freep) TargetWriter *writer = NULL;
        uint64_t cursor = 0;

        assert_int_equal(open_b(target, size, 0, &writer, NULL), 0);
        assert_true(target_writer_size(writer) == size);
        for (uint64_t at = 0; at < size; at += 3 * MIB + 77) {
                write_pattern(writer, at, MIN2(at + 3 * MIB + 77, size), 65521);
                cursor = check_pattern(writer, cursor);
                assert_true(cursor == target_writer_readable(writer));
                /* Never more than what is under way behind. */
                assert_true(target_writer_written(writer) - cursor <= MIB);
        }
        assert_true(cursor == size);
        assert_true(target_writer_durable(writer) == 0);
        assert_int_equal(target_writer_flush(writer, NULL), 0);
        assert_true(target_writer_durable(writer) == size && target_writer_readable(writer) == size);
        assert_true(check_pattern(writer, cursor) == size);
        assert_true(check_pattern(writer, 0) == size);
}

/* As the installer does it: filled in place, the storage asked for room and waited for by turns, the cursor behind it. */
static void test_room_and_cursor(void **state)
{
        const uint64_t size = 35 * MIB + 12345;
        _cleanup_(target_freep) Target *target = make_pair(36 * MIB);
        _cleanup_(target_writer_freep) TargetWriter *writer = NULL;
        uint64_t cursor = 0;
        const void *data;
        ssize_t n_data = 0;
        bool wait = false;

        assert_int_equal(open_b(target, size, 0, &writer, NULL), 0);
        while (target_writer_written(writer) < size) {
                uint64_t at = target_writer_written(writer);
                void *room = NULL;
                size_t n_room = 0;
                int r;

                if (target_writer_has_read(writer)) {
                        /* Read late, after more was written: the bytes stay till the next read. */
                        for (ssize_t i = 0; i < n_data; i++)
                                assert_true(((const uint8_t *)data)[i] ==
                                            pattern(cursor - (uint64_t)n_data + (uint64_t)i));
                        n_data = target_writer_read(writer, cursor, false, &data, NULL);
                        assert_true(n_data > 0);
                        cursor += (uint64_t)n_data;
                }
                r = target_writer_room(writer, wait, &room, &n_room, NULL);
                assert_in_range(r, 0, 1);
                wait = r == 0;
                if (wait)
                        continue;
                assert_true(n_room > 0 && n_room <= size - at);
                n_room = MIN2(n_room, (size_t)65521);
                for (size_t i = 0; i < n_room; i++)
                        ((uint8_t *)room)[i] = pattern(at + i);
                assert_int_equal(target_writer_filled(writer, n_room, NULL), 0);
        }
        assert_true(cursor > 0);
        assert_int_equal(target_writer_flush(writer, NULL), 0);
        assert_true(check_pattern(writer, cursor) == size);
        assert_true(check_pattern(writer, 0) == size);
}

/* Made durable in the background: never more than was asked for, and told by what is written next. */
static void test_sync_meanwhile(void **state)
{
        const uint64_t size = 12 * MIB, first = 3 * MIB + 77;
        _cleanup_(target_freep) Target *target = make_pair(size);
        _cleanup_(target_writer_freep) TargetWriter *writer = NULL;
        uint64_t at;

        assert_int_equal(open_b(target, size, 0, &writer, NULL), 0);
        write_pattern(writer, 0, first, 65521);
        assert_int_equal(target_writer_start_sync(writer, NULL), 0);
        for (at = first; at < size && target_writer_durable(writer) == 0; at += MIB / 2) {
                write_pattern(writer, at, MIN2(at + MIB / 2, size), 65521);
                assert_int_equal(target_writer_start_sync(writer, NULL), 0);
        }
        assert_true(target_writer_durable(writer) > first - MIB && target_writer_durable(writer) <= first);
        assert_int_equal(target_writer_flush(writer, NULL), 0);
        assert_true(target_writer_durable(writer) == target_writer_written(writer));
}

static void test_resume(void **state)
{
        static const uint64_t stops[] = {1, 4095, 4096, 100001, MIB, 9 * MIB + 5, 16 * MIB};
        const uint64_t size = 18 * MIB + 3;
        _cleanup_(target_freep) Target *target = make_pair(20 * MIB);
        uint64_t resume = 0;

        for (size_t i = 0; i < ELEMENTSOF(stops); i++) {
                _cleanup_(target_writer_freep) TargetWriter *writer = NULL;

                assert_int_equal(open_b(target, size, resume, &writer, NULL), 0);
                assert_true(target_writer_written(writer) == resume && target_writer_durable(writer) == resume);
                write_pattern(writer, resume, stops[i], 70001);
                assert_int_equal(target_writer_flush(writer, NULL), 0);
                assert_true(target_writer_durable(writer) == stops[i]);
                /* A block that is still to be written to again is not read back yet. */
                assert_true(target_writer_readable(writer) == stops[i] - stops[i] % 4096);
                assert_true(check_pattern(writer, 0) == target_writer_readable(writer));
                resume = stops[i];
        }
        _cleanup_(target_writer_freep) TargetWriter *last = NULL;
        assert_int_equal(open_b(target, size, resume, &last, NULL), 0);
        write_pattern(last, resume, size, 99);
        assert_int_equal(target_writer_flush(last, NULL), 0);
        assert_true(check_pattern(last, 0) == size);
        /* Everything there already: nothing to write, all to read. */
        last = target_writer_free(last);
        assert_int_equal(open_b(target, size, size, &last, NULL), 0);
        assert_true(check_pattern(last, 0) == size);
}

/* On a sparse file a block that was not written takes no space. */
static void test_skip_equal(void **state)
{
        static const uint8_t zeros[100000];
        const uint64_t size = 8 * MIB + 5, first = 3 * MIB + 7;
        _cleanup_(target_freep) Target *target = make_pair(9 * MIB);
        struct stat before, after;

        for (int skip = 0; skip < 2; skip++) {
                TargetWriterParams params = {
                        .slot = 1, .booted_slot = TARGET_NO_SLOT, .size_bytes = size, .skip_equal = skip == 0};
                _cleanup_(target_writer_freep) TargetWriter *writer = NULL;
                const void *data;

                assert_int_equal(target_writer_open(target, &params, &writer, NULL), 0);
                for (uint64_t at = 0; at < size; at += sizeof(zeros))
                        assert_int_equal(fill(writer, zeros, (size_t)MIN2(sizeof(zeros), size - at), NULL), 0);
                assert_int_equal(target_writer_flush(writer, NULL), 0);
                assert_true(target_writer_durable(writer) == size && target_writer_readable(writer) == size);
                assert_int_equal(target_writer_read(writer, 8 * MIB, true, &data, NULL), 5);
                assert_int_equal(stat(in_folder("b"), &after), 0);
                assert_true(skip == 0 ? after.st_blocks == 0 : after.st_blocks * 512 >= (blkcnt_t)size);
        }

        /* Other bytes are written, the first and the last of a chunk as well; going on from the middle of one, too. */
        for (int round = 0; round < 2; round++) {
                TargetWriterParams params = {
                        .slot = 1, .booted_slot = TARGET_NO_SLOT, .size_bytes = size, .skip_equal = true};
                TargetWriter *writer;

                assert_int_equal(target_writer_open(target, &params, &writer, NULL), 0);
                write_pattern(writer, 0, first, 70001);
                assert_int_equal(target_writer_flush(writer, NULL), 0);
                writer = target_writer_free(writer);
                params.resume_bytes = first;
                assert_int_equal(target_writer_open(target, &params, &writer, NULL), 0);
                write_pattern(writer, first, size, 65521);
                assert_int_equal(target_writer_flush(writer, NULL), 0);
                assert_true(check_pattern(writer, 0) == size);
                writer = target_writer_free(writer);
                /* The second time all of it is there. */
                if (round == 0)
                        assert_int_equal(stat(in_folder("b"), &before), 0);
        }
        assert_int_equal(stat(in_folder("b"), &after), 0);
        assert_true(before.st_mtim.tv_sec == after.st_mtim.tv_sec && before.st_mtim.tv_nsec == after.st_mtim.tv_nsec);
}

static void test_not_more_than_announced(void **state)
{
        const uint64_t sizes[] = {10, MIB};

        for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
                _cleanup_(target_freep) Target *target = make_pair(2 * MIB);
                _cleanup_(target_writer_freep) TargetWriter *writer = NULL;
                size_t n_room = 1;
                void *room;

                assert_int_equal(open_b(target, sizes[i], 0, &writer, NULL), 0);
                write_pattern(writer, 0, sizes[i], 10);
                while (target_writer_room(writer, true, &room, &n_room, NULL) == 0)
                        ;
                assert_int_equal(n_room, 0);
                assert_true(target_writer_written(writer) == sizes[i]);
        }
}

static void test_too_large(void **state)
{
        _cleanup_(target_freep) Target *target = make_pair(MIB);
        _cleanup_(target_writer_freep) TargetWriter *writer = NULL;
        Failure failure = {};

        assert_int_equal(open_b(target, MIB + 1, 0, &writer, &failure), -EFBIG);
        assert_int_equal(failure.reason, FAILURE_IMAGE_TOO_LARGE);
        assert_non_null(strstr(failure.detail, "1048577"));
        assert_non_null(strstr(failure.detail, "1048576"));
        assert_int_equal(open_b(target, MIB, 0, &writer, &failure), 0);
}

static void test_refusals(void **state)
{
        _cleanup_(target_writer_freep) TargetWriter *writer = NULL;
        _cleanup_(target_freep) Target *target = make_pair(MIB), *missing = NULL, *same = NULL, *odd = NULL;
        Failure failure = {};

        assert_int_equal(target_writer_open(target,
                                            &(TargetWriterParams){.slot = 1, .booted_slot = 1, .size_bytes = 5},
                                            &writer, &failure),
                         -EBUSY);
        assert_int_equal(failure.reason, FAILURE_TARGET_BUSY);

        missing = make_target(in_folder("a"), in_folder("not-there"));
        assert_int_equal(open_b(missing, 5, 0, &writer, &failure), -ENOENT);
        assert_int_equal(failure.reason, FAILURE_TARGET_MISSING);
        assert_int_equal(access(in_folder("not-there"), F_OK), -1);
        assert_int_equal(target_check(missing, &failure), -ENOENT);

        assert_int_equal(symlink(in_folder("a"), in_folder("link")), 0);
        same = make_target(in_folder("a"), in_folder("link"));
        failure.reason = FAILURE_NONE;
        assert_int_equal(open_b(same, 5, 0, &writer, &failure), -EBUSY);
        assert_int_equal(failure.reason, FAILURE_TARGET_BUSY);
        assert_int_equal(target_check(same, NULL), -EBUSY);

        odd = make_target(in_folder("a"), "/dev/null");
        assert_int_equal(open_b(odd, 5, 0, &writer, &failure), -ENOTBLK);
        assert_int_equal(failure.reason, FAILURE_TARGET_IO);

        assert_int_equal(open_b(target, 0, 0, &writer, NULL), -EINVAL);
        assert_int_equal(open_b(target, 5, 6, &writer, NULL), -EINVAL);
        assert_null(writer);
}

static void test_check(void **state)
{
        _cleanup_(target_freep) Target *target = make_pair(MIB);
        Failure failure = {};

        assert_int_equal(target_check(target, &failure), 0);
        put_file("boot", "", 0, 0644);
        assert_int_equal(target_check(target, &failure), -EACCES);
        assert_int_equal(failure.reason, FAILURE_BOOT_SCRIPT);
        assert_int_equal(unlink(in_folder("boot")), 0);
        assert_int_equal(target_check(target, &failure), -ENOENT);
        assert_int_equal(target_slot_from_name(target, "B"), 1);
        assert_int_equal(target_slot_from_name(target, "C"), -ENOENT);
        assert_string_equal(target_boot_script(target)->slots[1], "B");
        assert_null(target_path(target));
        /* The switch is the boot script's. */
        assert_int_equal(target_activate(target, NULL), 0);
        assert_int_equal(target_roll_back(target, NULL), 0);
}

static void test_bad_params(void **state)
{
        TargetParams good = {.name = "r",
                             .type = TARGET_TYPE_AB,
                             .slots = {{"A", "/dev/a"}, {"B", "/dev/b"}},
                             .boot_script = "/boot"};
        TargetParams params;
        Target *target = NULL;

        params = good, params.slots[1].name = "A";
        assert_int_equal(target_new(&params, &target), -EINVAL);
        params = good, params.slots[0].device = "dev/a";
        assert_int_equal(target_new(&params, &target), -EINVAL);
        params = good, params.boot_script = NULL;
        assert_int_equal(target_new(&params, &target), -EINVAL);
        params = good, params.name = "";
        assert_int_equal(target_new(&params, &target), -EINVAL);
}

/* The limit on a file's size makes writes beyond it fail, as a broken device would. The chunk that does is named. */
static void test_write_error_ends_it(void **state)
{
        _cleanup_(target_freep) Target *target = make_pair(8 * MIB);
        _cleanup_(target_writer_freep) TargetWriter *writer = NULL;
        _cleanup_free_ uint8_t *data = calloc(1, 4 * MIB);
        struct rlimit before, limit;
        Failure failure = {};
        int r;

        assert_int_equal(open_b(target, 8 * MIB, 0, &writer, NULL), 0);
        assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
        limit = before;
        limit.rlim_cur = 3 * 512 * 1024;
        (void)signal(SIGXFSZ, SIG_IGN);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
        r = fill(writer, data, 4 * MIB, &failure);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
        (void)signal(SIGXFSZ, SIG_DFL);
        assert_int_equal(r, -EFBIG);
        assert_int_equal(failure.reason, FAILURE_TARGET_IO);
        assert_non_null(strstr(failure.detail, "at offset 1572864 failed"));
        assert_non_null(strstr(failure.detail, in_folder("b")));
        /* No way on, though writing would work again. */
        assert_int_equal(fill(writer, data, 1, &failure), -EIO);
        assert_int_equal(target_writer_flush(writer, &failure), -EIO);
        assert_true(target_writer_durable(writer) == 0);
}

static void test_read_error_names_the_offset(void **state)
{
        _cleanup_(target_freep) Target *target = make_pair(4 * MIB);
        _cleanup_(target_writer_freep) TargetWriter *writer = NULL;
        _cleanup_free_ uint8_t *data = calloc(1, 2 * MIB);
        Failure failure = {};
        const void *found;
        uint64_t at = 0;
        ssize_t n;

        assert_int_equal(open_b(target, 4 * MIB, 0, &writer, NULL), 0);
        assert_int_equal(fill(writer, data, 2 * MIB, NULL), 0);
        assert_int_equal(target_writer_flush(writer, NULL), 0);
        /* What was written and is gone when it is read back. */
        assert_int_equal(truncate(in_folder("b"), 100), 0);
        do /* some of it had been read ahead */
                n = target_writer_read(writer, at, true, &found, &failure);
        while (n > 0 && (at += (uint64_t)n) < 2 * MIB);
        assert_int_equal(n, -EIO);
        assert_int_equal(failure.reason, FAILURE_TARGET_IO);
        assert_non_null(strstr(failure.detail, "ends before"));
        assert_int_equal(target_writer_read(writer, 3 * MIB, true, &found, NULL), 0);
}

/* A free loop device over FOLDER/name, detached when its last user closes it; -1 where there is none. */
static int attach_loop(const char *name, char device[static 32])
{
        _cleanup_close_ int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), file = -1, loop = -1;
        struct loop_config config = {.info.lo_flags = LO_FLAGS_AUTOCLEAR};

        file = open(in_folder(name), O_RDWR | O_CLOEXEC);
        if (control < 0 || file < 0)
                return -1;
        config.fd = (uint32_t)file;
        for (unsigned i = 0; i < 8; i++) { /* another test may take the one we were told */
                int n = ioctl(control, LOOP_CTL_GET_FREE);

                (void)snprintf(device, 32, "/dev/loop%d", n);
                loop = n < 0 ? -1 : open(device, O_RDWR | O_CLOEXEC);
                if (loop >= 0 && ioctl(loop, LOOP_CONFIGURE, &config) == 0)
                        return TAKE_FD(loop);
                loop = close_fd(loop);
        }
        return -1;
}

static void test_block_device(void **state)
{
        _cleanup_(target_writer_freep) TargetWriter *writer = NULL, *second = NULL;
        _cleanup_(target_freep) Target *target = NULL;
        _cleanup_close_ int loop = -1;
        Failure failure = {};
        char device[32];

        put_sparse("a", 12 * MIB);
        put_sparse("disk", 12 * MIB);
        loop = attach_loop("disk", device);
        if (loop < 0)
                skip();
        target = make_target(in_folder("a"), device);
        assert_int_equal(target_check(target, NULL), 0);
        assert_int_equal(open_b(target, 12 * MIB + 1, 0, &writer, &failure), -EFBIG);
        assert_int_equal(open_b(target, 10 * MIB + 100, 0, &writer, &failure), 0);
        write_pattern(writer, 0, 10 * MIB + 100, 50000);
        assert_int_equal(target_writer_flush(writer, NULL), 0);
        assert_true(check_pattern(writer, 0) == 10 * MIB + 100);

        /* Claimed while it is written. */
        assert_int_equal(open_b(target, MIB, 0, &second, &failure), -EBUSY);
        assert_int_equal(failure.reason, FAILURE_TARGET_BUSY);
        writer = target_writer_free(writer);
        assert_int_equal(open_b(target, MIB, 0, &second, &failure), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_write_and_read_behind, folder_set_up, folder_tear_down),
                cmocka_unit_test_setup_teardown(test_room_and_cursor, folder_set_up, folder_tear_down),
                cmocka_unit_test_setup_teardown(test_skip_equal, folder_set_up, folder_tear_down),
                cmocka_unit_test_setup_teardown(test_sync_meanwhile, folder_set_up, folder_tear_down),
                cmocka_unit_test_setup_teardown(test_resume, folder_set_up, folder_tear_down),
                cmocka_unit_test_setup_teardown(test_not_more_than_announced, folder_set_up, folder_tear_down),
                cmocka_unit_test_setup_teardown(test_too_large, folder_set_up, folder_tear_down),
                cmocka_unit_test_setup_teardown(test_refusals, folder_set_up, folder_tear_down),
                cmocka_unit_test_setup_teardown(test_check, folder_set_up, folder_tear_down),
                cmocka_unit_test_setup_teardown(test_bad_params, folder_set_up, folder_tear_down),
                cmocka_unit_test_setup_teardown(test_write_error_ends_it, folder_set_up, folder_tear_down),
                cmocka_unit_test_setup_teardown(test_read_error_names_the_offset, folder_set_up, folder_tear_down),
                cmocka_unit_test_setup_teardown(test_block_device, folder_set_up, folder_tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
