#include "base/file-util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/cleanup.h"

int close_fd(int fd)
{
        int saved_errno = errno;

        /* Linux has released the descriptor even where close() reports EINTR; write errors were caught by
         * fsync(). */
        if (fd >= 0)
                (void)close(fd);
        errno = saved_errno;
        return -1;
}

int write_full(int fd, const void *data, size_t n_data)
{
        for (const char *p = data; n_data > 0;) {
                ssize_t n = write(fd, p, n_data);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                p += n;
                n_data -= (size_t)n;
        }
        return 0;
}

int pwrite_full(int fd, const void *data, size_t n_data, uint64_t offset)
{
        for (const char *p = data; n_data > 0;) {
                ssize_t n = pwrite(fd, p, n_data, (off_t)offset);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        return -ENOSPC;
                p += n;
                offset += (uint64_t)n;
                n_data -= (size_t)n;
        }
        return 0;
}

ssize_t pread_full(int fd, void *data, size_t n_data, uint64_t offset)
{
        size_t done = 0;

        while (done < n_data) {
                ssize_t n = pread(fd, (char *)data + done, n_data - done, (off_t)(offset + done));

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;
                done += (size_t)n;
        }
        return (ssize_t)done;
}

int directory_sync(int dir_fd)
{
        return fsync(dir_fd) < 0 ? -errno : 0;
}

static int replace(int dir_fd, const char *name, const void *data, size_t n_data, mode_t mode, bool sync)
{
        _cleanup_close_ int fd = -1;
        char temporary[256];
        int r;

        r = snprintf(temporary, sizeof(temporary), ".%s.new", name);
        if (r < 0 || (size_t)r >= sizeof(temporary))
                return -ENAMETOOLONG;
        fd = openat(dir_fd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
        if (fd < 0)
                return -errno;
        r = write_full(fd, data, n_data);
        if (r >= 0 && !sync && fchmod(fd, mode) < 0)
                r = -errno;
        if (r >= 0 && sync && fsync(fd) < 0)
                r = -errno;
        if (r >= 0 && renameat(dir_fd, temporary, dir_fd, name) < 0)
                r = -errno;
        if (r < 0) {
                (void)unlinkat(dir_fd, temporary, 0);
                return r;
        }
        return sync ? directory_sync(dir_fd) : 0;
}

int file_replace(int dir_fd, const char *name, const void *data, size_t n_data, mode_t mode)
{
        return replace(dir_fd, name, data, n_data, mode, true);
}

int file_replace_unsynced(int dir_fd, const char *name, const void *data, size_t n_data, mode_t mode)
{
        return replace(dir_fd, name, data, n_data, mode, false);
}

static int open_regular(int dir_fd, const char *name, struct stat *ret_stat)
{
        _cleanup_close_ int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

        *ret_stat = (struct stat){0};
        if (fd < 0 || fstat(fd, ret_stat) < 0)
                return -errno;
        return S_ISREG(ret_stat->st_mode) ? TAKE_FD(fd) : -EINVAL;
}

static int read_open(int fd, size_t max_bytes, char **ret, size_t *ret_size)
{
        _cleanup_free_ char *data = NULL;
        ssize_t n;

        /* One byte more than allowed is asked for: st_size says nothing about files in /proc. */
        data = malloc(max_bytes + 2);
        if (!data)
                return -ENOMEM;
        n = pread_full(fd, data, max_bytes + 1, 0);
        if (n < 0)
                return (int)n;
        if ((size_t)n > max_bytes)
                return -EFBIG;
        data[n] = 0;
        *ret = TAKE_PTR(data);
        *ret_size = (size_t)n;
        return 0;
}

int file_read(int dir_fd, const char *name, size_t max_bytes, char **ret, size_t *ret_size)
{
        struct stat st;
        _cleanup_close_ int fd = open_regular(dir_fd, name, &st);

        return fd < 0 ? fd : read_open(fd, max_bytes, ret, ret_size);
}

bool file_is_secret(const struct stat *st, gid_t group)
{
        mode_t others = st->st_gid == group || st->st_gid == 0 ? S_IRWXO | S_IWGRP | S_IXGRP : S_IRWXO | S_IRWXG;

        return !(st->st_mode & others);
}

int file_read_secret(const char *path, size_t max_bytes, gid_t group, char **ret, size_t *ret_size)
{
        struct stat st;
        _cleanup_close_ int fd = open_regular(AT_FDCWD, path, &st);

        if (fd < 0)
                return fd;
        return file_is_secret(&st, group) ? read_open(fd, max_bytes, ret, ret_size) : -EKEYREJECTED;
}

int directory_make(const char *path, mode_t mode)
{
        _cleanup_free_ char *copy = strdup(path);

        if (!copy)
                return -ENOMEM;
        for (char *p = copy + 1; *p; p++) {
                if (*p != '/')
                        continue;
                *p = 0;
                if (mkdir(copy, mode) < 0 && errno != EEXIST)
                        return -errno;
                *p = '/';
        }
        return mkdir(copy, mode) < 0 && errno != EEXIST ? -errno : 0;
}

uint64_t free_space_rule_bytes(const FreeSpaceRule *rule, const struct statvfs *fs)
{
        uint64_t size = (uint64_t)fs->f_blocks * fs->f_frsize;

        return MAX2(rule->bytes, size / 100 * rule->percent);
}
