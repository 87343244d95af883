/* The file on disk, the commented example, and the reference: all three against the table. */
#include <errno.h>
#include <fcntl.h>
#include <libconfig.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/file-util.h"
#include "config-table.h"
#include "config/config.h"
#include "unit.h"

#define MINIMAL                                                \
        "thing-name = \"t\"; broker: { endpoint = \"e\"; };\n" \
        "targets = ( { name = \"a\"; type = \"file\"; match = \"a\"; path = \"/a\"; mode = \"644\"; } );\n"

static char folder[] = "/tmp/test-config-XXXXXX";

static int make_folder(void **state)
{
        return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
        return rmdir(folder);
}

static char *path_in_folder(const char *name)
{
        char *path = NULL;

        assert_true(asprintf(&path, "%s/%s", folder, name) > 0);
        return path;
}

static void write_file(const char *path, const char *text)
{
        FILE *file = fopen(path, "we");

        assert_non_null(file);
        assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
        assert_int_equal(fclose(file), 0);
}

static void expect_load(const char *path, int error, const char *message)
{
        _cleanup_(config_freep) Config *config = NULL;
        _cleanup_free_ char *seen = NULL, *expected = NULL;

        assert_true(asprintf(&expected, "%s%s", path, message) > 0);
        assert_int_equal(config_load(path, &config, &seen), -error);
        assert_string_equal(seen, expected);
        assert_null(config);
}

static void test_load(void **state)
{
        _cleanup_free_ char *path = path_in_folder("otad.conf"), *large = NULL;
        _cleanup_(config_freep) Config *config = NULL;
        char *message = NULL;

        expect_load(path, ENOENT, ": the configuration cannot be read: No such file or directory");
        expect_load(folder, EBADF, ": the configuration cannot be read: not a regular file");

        write_file(path, MINIMAL);
        assert_int_equal(config_load(path, &config, &message), 0);
        assert_string_equal(config->thing_name, "t");

        write_file(path, MINIMAL "color = 1;\n");
        expect_load(
                path, EINVAL,
                ":3: color: unknown key; allowed: thing-name, broker, proxy, jobs, download, policy, signing, "
                "version, "
                "targets, hook, boot, selftest, reboot, installer, paths, control, certificates, metrics, package");

        large = malloc(CONFIG_FILE_MAX_BYTES + 2);
        assert_non_null(large);
        memset(large, '#', CONFIG_FILE_MAX_BYTES + 1);
        large[CONFIG_FILE_MAX_BYTES + 1] = 0;
        write_file(path, large);
        expect_load(path, EFBIG, ": the configuration cannot be read: File too large");
        assert_int_equal(unlink(path), 0);

        /* Not opened for good, which would wait for a writer. */
        assert_int_equal(mkfifo(path, 0600), 0);
        expect_load(path, EBADF, ": the configuration cannot be read: not a regular file");
        assert_int_equal(unlink(path), 0);
}

/* The example with each commented setting ("#key = ...") in force; comments in words ("# ...") stay. */
static char *uncommented_example(void)
{
        char *text = NULL;
        size_t n_text = 0;

        assert_int_equal(file_read(AT_FDCWD, EXAMPLE, CONFIG_FILE_MAX_BYTES, &text, &n_text), 0);
        for (char *p = text; (p = strchr(p, '#')); p++)
                if (p[1] >= 'a' && p[1] <= 'z')
                        *p = ' ';
        return text;
}

static void test_example_loads(void **state)
{
        _cleanup_(config_freep) Config *config = NULL;
        char *message = NULL;
        int r = config_load(EXAMPLE, &config, &message);

        if (r < 0)
                fail_msg("%s", message);
        assert_int_equal(config->n_targets, 2);
        assert_string_equal(config_match_target(config, "rootfs.img")->name, "rootfs");
        assert_string_equal(config_match_target(config, "/x/gateway-app")->name, "app");
}

/* What the example shows as defaults are the defaults: all keys that are not pointers are compared as bytes. */
static void test_example_shows_defaults(void **state)
{
        _cleanup_free_ char *text = uncommented_example();
        _cleanup_(config_freep) Config *shown = NULL, *plain = NULL;
        char *message = NULL;

        if (config_parse(text, strlen(text), EXAMPLE, &shown, &message) < 0)
                fail_msg("%s", message);
        assert_int_equal(config_load(EXAMPLE, &plain, &message), 0);
        for (size_t i = 0; i < config_table.n_keys; i++) {
                const ConfigKey *key = &config_table.keys[i];
                const char *a = (const char *)shown + key->offset, *b = (const char *)plain + key->offset;

                if (key->kind == CONFIG_KIND_LIST)
                        continue;
                if (key->kind == CONFIG_KIND_TEXT || key->kind == CONFIG_KIND_PATH)
                        assert_string_equal(*(char *const *)a, *(char *const *)b);
                else if (memcmp(a, b, key->size) != 0)
                        fail_msg("%s: the example shows another default than the table has", key->path);
        }
}

static bool has_key(const config_t *tree, const char *prefix, const char *path)
{
        _cleanup_free_ char *full = NULL;

        assert_true(asprintf(&full, "%s%s", prefix, path) > 0);
        return config_lookup(tree, full) != NULL;
}

static void test_example_has_every_key(void **state)
{
        _cleanup_free_ char *text = uncommented_example();
        _cleanup_(config_destroy) config_t tree = {};

        config_init(&tree);
        assert_int_equal(config_read_string(&tree, text), CONFIG_TRUE);
        for (size_t i = 0; i < config_table.n_keys; i++) {
                const ConfigTable *targets = config_table.keys[i].table;

                if (!has_key(&tree, "", config_table.keys[i].path))
                        fail_msg("%s is not in the example", config_table.keys[i].path);
                for (size_t k = 0; targets && k < targets->n_keys; k++)
                        if (!has_key(&tree, "targets.[0].", targets->keys[k].path) &&
                            !has_key(&tree, "targets.[1].", targets->keys[k].path))
                                fail_msg("%s of a target is not in the example", targets->keys[k].path);
        }
}

static void test_describe(void **state)
{
        _cleanup_free_ char *text = NULL;
        size_t n_text = 0, n_rows = 0;
        FILE *file = open_memstream(&text, &n_text);

        assert_non_null(file);
        assert_int_equal(config_describe(file), 0);
        assert_int_equal(fclose(file), 0);

        assert_non_null(
                strstr(text, "| `thing-name` | text | 1 to 128 letters, digits, ':', '_' and '-' | required | "));
        assert_non_null(strstr(text, "| `broker.port` | number | a number from 1 to 65535 | `8883` | "));
        assert_non_null(strstr(text, "| `broker.backoff-base-msec` | milliseconds | milliseconds from 10 to 60000 | "
                                     "`500` | "));
        assert_non_null(strstr(text,
                               "| `download.protocols` | words | one or more, each once, of \"https\", \"mqtt\" | "
                               "`https mqtt` | "));
        assert_non_null(
                strstr(text, "| `targets` | list of groups | ( { ... }, ... ) with 1 to 16 groups | required | "));
        assert_non_null(strstr(text, "\n### `targets[]`\n\n| key | kind |"));
        assert_non_null(strstr(text, "such as \"0755\"; only with type \"file\" | required | "));
        assert_non_null(strstr(text, "| `version.key` | text | 1 to 64 letters, digits and '_', the first no digit | "
                                     "none | "));
        assert_non_null(strstr(text, "\n### `targets[].slots[]`\n\n| key | kind |"));

        /* Each row has its five cells: no text has a bar in it. */
        for (char *line = text; *line; line = strchr(line, '\n') + 1) {
                size_t n_bars = 0;

                if (*line != '|')
                        continue;
                for (char *p = line; *p != '\n'; p++)
                        n_bars += *p == '|';
                assert_int_equal(n_bars, 6);
                n_rows++;
        }
        /* three heads of two lines, all keys of the file, and those of targets and slots */
        assert_true(n_rows > 6 + config_table.n_keys);
}

static void test_describe_tells_a_write_error(void **state)
{
        _cleanup_fclose_ FILE *full = fopen("/dev/full", "w");

        assert_non_null(full);
        assert_int_equal(config_describe(full), -EIO);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_load),
                cmocka_unit_test(test_example_loads),
                cmocka_unit_test(test_example_shows_defaults),
                cmocka_unit_test(test_example_has_every_key),
                cmocka_unit_test(test_describe),
                cmocka_unit_test(test_describe_tells_a_write_error),
        };

        return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
