#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file-util.h"
#include "unit.h"

static char folder[] = "/tmp/otad-test-file-util-XXXXXX";
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
        dir_fd = close_fd(dir_fd);
        return rmdir(folder);
}

static void test_replace_and_read(void **state)
{
        _cleanup_free_ char *text = NULL, *again = NULL;
        size_t n_text;

        assert_int_equal(file_read(dir_fd, "f", 100, &text, &n_text), -ENOENT);
        assert_int_equal(file_replace(dir_fd, "f", "first", 5, 0600), 0);
        assert_int_equal(file_replace(dir_fd, "f", "the second", 10, 0600), 0);
        assert_int_equal(file_read(dir_fd, "f", 10, &text, &n_text), 0);
        assert_int_equal(n_text, 10);
        assert_string_equal(text, "the second");
        assert_int_equal(file_read(dir_fd, "f", 9, &again, &n_text), -EFBIG);
        /* Nothing is left beside it. */
        assert_int_equal(faccessat(dir_fd, ".f.new", F_OK, 0), -1);
        assert_int_equal(unlinkat(dir_fd, "f", 0), 0);
}

/* Others are to read it, whatever the umask. */
static void test_replace_unsynced(void **state)
{
        mode_t before = umask(0077);
        _cleanup_free_ char *text = NULL;
        struct stat st;
        size_t n_text;

        assert_int_equal(file_replace_unsynced(dir_fd, "f", "first", 5, 0644), 0);
        assert_int_equal(file_replace_unsynced(dir_fd, "f", "2nd", 3, 0644), 0);
        (void)umask(before);
        assert_int_equal(file_read(dir_fd, "f", 10, &text, &n_text), 0);
        assert_string_equal(text, "2nd");
        assert_int_equal(fstatat(dir_fd, "f", &st, 0), 0);
        assert_int_equal(st.st_mode & 07777, 0644);
        assert_int_equal(faccessat(dir_fd, ".f.new", F_OK, 0), -1);
        assert_int_equal(unlinkat(dir_fd, "f", 0), 0);
}

static void test_directories_are_made_once(void **state)
{
        char path[128];

        snprintf(path, sizeof(path), "%s/a/b", folder);
        assert_int_equal(directory_make(path, 0700), 0);
        assert_int_equal(directory_make(path, 0700), 0);
        assert_int_equal(unlinkat(dir_fd, "a/b", AT_REMOVEDIR), 0);
        assert_int_equal(unlinkat(dir_fd, "a", AT_REMOVEDIR), 0);
}

static void test_reading_past_the_end_is_short(void **state)
{
        _cleanup_close_ int fd = openat(dir_fd, "g", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        char buffer[16];

        assert_true(fd >= 0);
        assert_int_equal(pwrite_full(fd, "0123456789", 10, 0), 0);
        assert_int_equal(pread_full(fd, buffer, sizeof(buffer), 6), 4);
        assert_memory_equal(buffer, "6789", 4);
        assert_int_equal(unlinkat(dir_fd, "g", 0), 0);
}

/* Whoever may read it besides its owner: the group given, and that of root. */
static void test_secrets(void **state)
{
        static const struct {
                mode_t mode;
                int r;
        } rows[] = {{0600, 0},
                    {0400, 0},
                    {0640, 0},
                    {0644, -EKEYREJECTED},
                    {0604, -EKEYREJECTED},
                    {0660, -EKEYREJECTED},
                    {0602, -EKEYREJECTED},
                    {0700, 0}};
        struct stat st = {.st_mode = S_IFREG | 0640, .st_gid = 1234};
        char path[64];

        snprintf(path, sizeof(path), "%s/secret", folder);
        assert_int_equal(close_fd(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600)), -1);
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                _cleanup_free_ char *text = NULL;
                size_t n_text;

                assert_int_equal(chmod(path, rows[i].mode), 0);
                assert_int_equal(file_read_secret(path, 16, getegid(), &text, &n_text), rows[i].r);
        }
        assert_int_equal(unlink(path), 0);
        assert_int_equal(file_read_secret(path, 16, getegid(), NULL, NULL), -ENOENT);
        assert_true(file_is_secret(&st, 1234));
        assert_false(file_is_secret(&st, 1235));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_replace_and_read),
                cmocka_unit_test(test_replace_unsynced),
                cmocka_unit_test(test_directories_are_made_once),
                cmocka_unit_test(test_reading_past_the_end_is_short),
                cmocka_unit_test(test_secrets),
        };

        return cmocka_run_group_tests(tests, set_up, tear_down);
}
