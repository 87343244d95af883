#include <dlfcn.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <systemd/sd-id128.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/memory.h"
#include "filled.h"
#include "unit.h"

static void *load(const char *path)
{
        void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);

        if (!library)
                print_error("%s\n", dlerror());
        assert_non_null(library);
        return library;
}

/* Whether the page is in our page tables. proc_pid_pagemap(5): bit 63, which everybody may see of himself. */
static bool is_mapped(const volatile void *address)
{
        _cleanup_(close_fdp) int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
        uint64_t entry = 0;

        if (fd < 0 ||
            pread(fd, &entry, sizeof(entry),
                  (off_t)((uintptr_t)address / (uintptr_t)sysconf(_SC_PAGESIZE) * sizeof(entry))) != sizeof(entry))
                skip(); /* a kernel without it, or an emulated processor with addresses of its own */
        return entry >> 63;
}

static void test_read_only_pages_go_and_come(void **state)
{
        void *library = load(FILLED); /* of its own: what is near to what we read ourselves comes along with that */
        const volatile unsigned char *bytes = dlsym(library, "filled"), *middle;

        assert_non_null(bytes);
        middle = &bytes[FILLED_BYTES / 2];
        assert_int_equal(*middle, FILLED_WITH);
        if (!is_mapped(middle))
                skip(); /* an emulated processor */
        memory_give_back();
        assert_false(is_mapped(middle));
        for (size_t i = 0; i < FILLED_BYTES; i++)
                assert_int_equal(bytes[i], FILLED_WITH);
        assert_true(is_mapped(middle));
        assert_int_equal(dlclose(library), 0);
}

static void test_code_of_libraries_goes_and_comes(void **state)
{
        static const char text[] = "0123456789abcdef0123456789abcdef";
        const void *code = dlsym(RTLD_DEFAULT, "sd_id128_from_string");
        char again[SD_ID128_STRING_MAX];
        sd_id128_t id;

        assert_non_null(code);
        assert_true(sd_id128_from_string(text, &id) >= 0);
        if (!is_mapped(code))
                skip();
        memory_give_back();
        assert_false(is_mapped(code));
        memset(&id, 0, sizeof(id));
        assert_true(sd_id128_from_string(text, &id) >= 0);
        assert_string_equal(sd_id128_to_string(id, again), text);
}

/* Initialised data that has changed, what is zero at first, addresses that the loader corrected, stack and heap. */
static void test_what_is_written_stays(void **state)
{
        static const char *const volatile words[] = {"one", "two", "three"};
        static volatile unsigned initialised = 1, zero;
        static __thread volatile unsigned of_thread = 5;
        _cleanup_free_ char *heap = strdup("heap");
        volatile unsigned stack = 4;

        assert_non_null(heap);
        initialised = 2;
        zero = 3;
        of_thread = 6;
        for (int i = 0; i < 3; i++) {
                memory_give_back();
                assert_string_equal(words[2], "three");
                assert_int_equal(initialised, 2);
                assert_int_equal(zero, 3);
                assert_int_equal(stack, 4);
                assert_int_equal(of_thread, 6);
                assert_string_equal(heap, "heap");
        }
}

static void test_text_with_relocations_stays(void **state)
{
        void *library = load(MOVED_TEXT);
        const uintptr_t *(*find)(void);
        const volatile uintptr_t *address;

        *(void **)&find = dlsym(library, "moved_text_find");
        assert_non_null(find);
        address = find();
        assert_int_equal(*address, (uintptr_t)find);
        memory_give_back();
        assert_int_equal(*address, (uintptr_t)find);
        assert_int_equal(dlclose(library), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_read_only_pages_go_and_come),
                cmocka_unit_test(test_code_of_libraries_goes_and_comes),
                cmocka_unit_test(test_what_is_written_stays),
                cmocka_unit_test(test_text_with_relocations_stays),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
