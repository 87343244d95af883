#include <errno.h>
#include <sys/sysmacros.h>

#include "device-use.h"
#include "folder.h"

static void make_folders(void)
{
        static const char *const paths[] = {"proc/self", "sys/dev/block/7:3/loop", "sys/dev/block/8:2/holders",
                                            "sys/dev/block/253:0"};

        for (size_t i = 0; i < ELEMENTSOF(paths); i++)
                assert_int_equal(directory_make(in_folder(paths[i]), 0700), 0);
}

static void put_text(const char *name, const char *text)
{
        put_file(name, text, strlen(text), 0600);
}

static struct stat block_stat(unsigned major_number, unsigned minor_number)
{
        struct stat st;

        memset(&st, 0, sizeof(st));
        st.st_mode = S_IFBLK | 0600;
        st.st_rdev = makedev(major_number, minor_number);
        return st;
}

static int find(const struct stat *st, char text[static DEVICE_USE_TEXT_MAX])
{
        text[0] = 0;
        return device_use_find(folder, st, text);
}

static void test_all_ways(void **state)
{
        char text[DEVICE_USE_TEXT_MAX], line[512];
        struct stat image, device;

        make_folders();
        put_text("image file", "x");
        assert_int_equal(stat(in_folder("image file"), &image), 0);
        device = block_stat(8, 2);

        put_text("proc/self/mountinfo", "21 1 8:1 / / rw - ext4 /dev/none rw\n");
        put_text("proc/swaps", "Filename\tType\tSize\n");
        assert_int_equal(find(&device, text), 0);
        assert_int_equal(find(&image, text), 0);

        put_text("proc/self/mountinfo", "21 1 8:1 / / rw - ext4 /dev/none rw\n"
                                        "22 21 8:2 / /mnt/with\\040blank rw,relatime shared:1 - ext4 none rw\n");
        assert_int_equal(find(&device, text), 1);
        assert_string_equal(text, "is mounted on /mnt/with blank");
        assert_int_equal(find(&image, text), 0);

        /* A mounted loop device with the image behind it. */
        put_text("proc/self/mountinfo", "22 21 7:3 / /mnt rw - ext4 /dev/none rw\n");
        (void)snprintf(line, sizeof(line), "%s\n", in_folder("image file"));
        put_text("sys/dev/block/7:3/loop/backing_file", line);
        assert_int_equal(find(&image, text), 1);
        assert_string_equal(text, "is mounted on /mnt");
        assert_int_equal(find(&device, text), 0);

        /* A file system with a device number of its own. */
        (void)snprintf(line, sizeof(line), "22 21 0:44 / /data rw - btrfs %s/image\\040file rw\n", folder);
        put_text("proc/self/mountinfo", line);
        assert_int_equal(find(&image, text), 1);
        assert_string_equal(text, "is mounted on /data");

        put_text("proc/self/mountinfo", "garbage\n - \n1 2 3\n");
        (void)snprintf(line, sizeof(line), "Filename\tType\n%s/image\\040file file\t100\n", folder);
        put_text("proc/swaps", line);
        assert_int_equal(find(&image, text), 1);
        assert_string_equal(text, "is swap space");

        assert_int_equal(find(&device, text), 0);
        put_text("sys/dev/block/8:2/holders/dm-0", "");
        assert_int_equal(find(&device, text), 1);
        assert_string_equal(text, "is part of dm-0");
}

static void test_cannot_be_told(void **state)
{
        char text[DEVICE_USE_TEXT_MAX];
        struct stat device = block_stat(8, 2);

        assert_int_equal(find(&device, text), -ENOENT);
}

/*
 * What the machine runs from is in use, by whatever way; only where it runs from a block device we can see, and not in a
 * folder that somebody made his root, as builds of packages do.
 */
static void test_root_is_in_use(void **state)
{
        struct statx root;
        char text[DEVICE_USE_TEXT_MAX];
        struct stat device;

        assert_int_equal(statx(AT_FDCWD, "/", 0, STATX_BASIC_STATS, &root), 0);
        if (root.stx_dev_major == 0 || !(root.stx_attributes & STATX_ATTR_MOUNT_ROOT))
                skip();
        device = block_stat(root.stx_dev_major, root.stx_dev_minor);
        assert_int_equal(device_use_find("", &device, text), 1);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_all_ways, folder_set_up, folder_tear_down),
                cmocka_unit_test_setup_teardown(test_cannot_be_told, folder_set_up, folder_tear_down),
                cmocka_unit_test_setup_teardown(test_root_is_in_use, folder_set_up, folder_tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
