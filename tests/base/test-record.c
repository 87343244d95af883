#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/record.h"
#include "unit.h"

static char folder[] = "/tmp/otad-test-record-XXXXXX";
static int dir_fd = -1;

static int set_up(void **state)
{
        if (!mkdtemp(folder))
                return -1;
        dir_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return dir_fd < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
        (void)unlinkat(dir_fd, "r.damaged", 0);
        dir_fd = close_fd(dir_fd);
        return rmdir(folder);
}

static Record *sample(void)
{
        Record *record = record_new();

        assert_non_null(record);
        assert_int_equal(record_set(record, "job", "AFR_OTA-1"), 0);
        assert_int_equal(record_set(record, "detail", "two\nlines, a \\ and \xc3\xa4"), 0);
        assert_int_equal(record_set(record, "empty", ""), 0);
        assert_int_equal(record_set_u64(record, "bytes", UINT64_MAX), 0);
        return record;
}

static void assert_is_sample(const Record *record)
{
        uint64_t bytes = 0;

        assert_string_equal(record_get(record, "job"), "AFR_OTA-1");
        assert_string_equal(record_get(record, "detail"), "two\nlines, a \\ and \xc3\xa4");
        assert_string_equal(record_get(record, "empty"), "");
        assert_int_equal(record_get_u64(record, "bytes", &bytes), 0);
        assert_true(bytes == UINT64_MAX);
        assert_int_equal(record_get_u64(record, "job", &bytes), -EINVAL);
        assert_int_equal(record_get_u64(record, "none", &bytes), -ENOENT);
        assert_null(record_get(record, "none"));
}

static void test_comes_back_from_disk(void **state)
{
        _cleanup_(record_freep) Record *saved = sample(), *loaded = NULL;
        struct stat st;

        assert_int_equal(record_load(dir_fd, "r", &loaded), -ENOENT);
        assert_int_equal(record_save(saved, dir_fd, "r"), 0);
        assert_int_equal(record_set(saved, "job", "AFR_OTA-1"), 0);
        assert_int_equal(record_save(saved, dir_fd, "r"), 0);
        assert_int_equal(fstatat(dir_fd, "r", &st, 0), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
        assert_int_equal(record_load(dir_fd, "r", &loaded), 0);
        assert_is_sample(loaded);
        assert_int_equal(record_remove(dir_fd, "r"), 0);
        assert_int_equal(record_remove(dir_fd, "r"), 0);
}

static void test_any_damage_is_noticed(void **state)
{
        _cleanup_(record_freep) Record *record = sample();
        _cleanup_free_ char *text = NULL;
        size_t n_text;

        assert_int_equal(record_format(record, &text, &n_text), 0);
        for (size_t i = 0; i < n_text; i++) {
                Record *parsed = NULL;

                assert_int_equal(record_parse(text, i, &parsed), -EBADMSG);
                for (unsigned bit = 0; bit < 8; bit++) {
                        text[i] ^= (char)(1 << bit);
                        assert_int_equal(record_parse(text, n_text, &parsed), -EBADMSG);
                        text[i] ^= (char)(1 << bit);
                }
        }
}

static void test_damaged_file_is_put_aside(void **state)
{
        _cleanup_close_ int fd = openat(dir_fd, "r", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        Record *record = NULL;

        assert_true(fd >= 0);
        assert_int_equal(write(fd, "job=x\n", 6), 6);
        assert_int_equal(record_load(dir_fd, "r", &record), -EBADMSG);
        assert_int_equal(record_load(dir_fd, "r", &record), -ENOENT);
        assert_int_equal(faccessat(dir_fd, "r.damaged", F_OK, 0), 0);
}

/* Not only bytes that are wrong: whatever keeps it from being read would do so at the next start, too. */
static void test_what_cannot_be_read_is_put_aside(void **state)
{
        Record *loaded = NULL;

        (void)unlinkat(dir_fd, "r.damaged", 0);
        assert_int_equal(mkdirat(dir_fd, "r", 0700), 0); /* -EINVAL: no regular file */
        assert_int_equal(record_load(dir_fd, "r", &loaded), -EBADMSG);
        assert_int_equal(record_load(dir_fd, "r", &loaded), -ENOENT);
        assert_int_equal(unlinkat(dir_fd, "r.damaged", AT_REMOVEDIR), 0);
        assert_int_equal(symlinkat("r", dir_fd, "r"), 0); /* -ELOOP */
        assert_int_equal(record_load(dir_fd, "r", &loaded), -EBADMSG);
        assert_int_equal(record_load(dir_fd, "r", &loaded), -ENOENT);
}

/* There is no room for it aside: said, and it is left where it is. */
static void test_damaged_and_cannot_be_put_aside(void **state)
{
        _cleanup_close_ int fd = openat(dir_fd, "r", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        _cleanup_(record_freep) Record *record = record_new(), *loaded = NULL;

        assert_true(fd >= 0);
        (void)unlinkat(dir_fd, "r.damaged", 0);
        assert_int_equal(mkdirat(dir_fd, "r.damaged", 0700), 0);
        assert_int_equal(record_load(dir_fd, "r", &loaded), -EUCLEAN);
        assert_int_equal(record_load(dir_fd, "r", &loaded), -EUCLEAN);
        assert_int_equal(record_save(record, dir_fd, "r"), 0);
        assert_int_equal(record_load(dir_fd, "r", &loaded), 0);
        assert_int_equal(unlinkat(dir_fd, "r.damaged", AT_REMOVEDIR), 0);
        assert_int_equal(record_remove(dir_fd, "r"), 0);
}

/* With a descriptor more it can be read: nothing is wrong with it. */
static void test_no_descriptor_is_no_damage(void **state)
{
        _cleanup_(record_freep) Record *record = record_new(), *loaded = NULL;
        struct rlimit limit, none;

        assert_int_equal(record_save(record, dir_fd, "r"), 0);
        assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
        none = (struct rlimit){.rlim_cur = 0, .rlim_max = limit.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
        assert_int_equal(record_load(dir_fd, "r", &loaded), -EMFILE);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
        assert_int_equal(record_load(dir_fd, "r", &loaded), 0);
        assert_int_equal(record_remove(dir_fd, "r"), 0);
}

static void test_names_are_checked(void **state)
{
        _cleanup_(record_freep) Record *record = record_new();

        assert_int_equal(record_set(record, "a=b", "x"), -EINVAL);
        assert_int_equal(record_set(record, "", "x"), -EINVAL);
        assert_int_equal(record_set(record, "Upper", "x"), -EINVAL);
        assert_int_equal(record_set(record, "sha256", "x"), -EINVAL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_comes_back_from_disk),
                cmocka_unit_test(test_any_damage_is_noticed),
                cmocka_unit_test(test_damaged_file_is_put_aside),
                cmocka_unit_test(test_what_cannot_be_read_is_put_aside),
                cmocka_unit_test(test_damaged_and_cannot_be_put_aside),
                cmocka_unit_test(test_no_descriptor_is_no_damage),
                cmocka_unit_test(test_names_are_checked),
        };

        return cmocka_run_group_tests(tests, set_up, tear_down);
}
