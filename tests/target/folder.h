/*
 * folder: a folder of a test's own, with scripts and files in it, and a loop that does not wait for ever.
 */
#pragma once

#include <fcntl.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file-util.h"
#include "base/time-util.h"
#include "unit.h"

static char folder[64];

static inline int folder_remove_one(const char *path, const struct stat *st _unused_, int type _unused_,
                                    struct FTW *ftw _unused_)
{
        return remove(path);
}

static inline int folder_set_up(void **state _unused_)
{
        (void)snprintf(folder, sizeof(folder), "/tmp/otad-test-target-XXXXXX");
        return mkdtemp(folder) ? 0 : -1;
}

static inline int folder_tear_down(void **state _unused_)
{
        return nftw(folder, folder_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* "FOLDER/name", in one of a few buffers that take turns. */
static inline const char *in_folder(const char *name)
{
        static char paths[8][128];
        static unsigned turn;
        char *path = paths[turn++ % ELEMENTSOF(paths)];

        (void)snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
        return path;
}

static inline const char *put_file(const char *name, const void *data, size_t n_data, mode_t mode)
{
        const char *path = in_folder(name);
        _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

        assert_true(fd >= 0);
        assert_int_equal(write_full(fd, data, n_data), 0);
        assert_int_equal(fchmod(fd, mode), 0);
        return path;
}

static inline const char *put_script(const char *name, const char *body)
{
        char text[2048];
        int n = snprintf(text, sizeof(text), "#!/bin/sh\n%s\n", body);

        assert_true(n > 0 && (size_t)n < sizeof(text));
        return put_file(name, text, (size_t)n, 0755);
}

/* NULL where there is no such file; else its content, the caller's. */
static inline char *get_file(const char *name)
{
        char *text = NULL;
        size_t n_text;

        return file_read(AT_FDCWD, in_folder(name), 1 << 20, &text, &n_text) < 0 ? NULL : text;
}

/* Until *done, 10 seconds at most. */
static inline void run_until(sd_event *event, const bool *done)
{
        uint64_t deadline = now_usec() + 10 * USEC_PER_SEC;

        while (!*done) {
                assert_true(now_usec() < deadline);
                assert_true(sd_event_run(event, USEC_PER_SEC) >= 0);
        }
}
