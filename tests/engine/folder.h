/*
 * folder: a state folder of its own for one test.
 *
 * Its disk can be made full for records: what is written first, a temporary file, meets a directory of that name.
 */
#pragma once

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "unit.h"

typedef struct Folder {
        char path[64];
        int fd;
} Folder;

static inline void folder_make(Folder *folder)
{
        /* In memory where that can be had: there are thousands of them, and none lives through a power cut. */
        snprintf(folder->path, sizeof(folder->path), "%s/otad-test-engine-XXXXXX",
                 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
        assert_non_null(mkdtemp(folder->path));
        folder->fd = open(folder->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(folder->fd >= 0);
}

static inline void folder_set_full(Folder *folder, bool full)
{
        if (full)
                assert_int_equal(mkdirat(folder->fd, ".outbox.new", 0700), 0);
        else
                assert_int_equal(unlinkat(folder->fd, ".outbox.new", AT_REMOVEDIR), 0);
}

static inline bool folder_has(const Folder *folder, const char *name)
{
        return faccessat(folder->fd, name, F_OK, 0) == 0;
}

static inline void folder_remove(Folder *folder)
{
        static const char *const records[] = {"outbox", "outbox.damaged", "package", "package.damaged"};

        for (size_t i = 0; i < ELEMENTSOF(records); i++)
                (void)unlinkat(folder->fd, records[i], 0);
        folder->fd = close_fd(folder->fd);
        assert_int_equal(rmdir(folder->path), 0);
}
