/*
 * file-util: files that are either whole or not there.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/cleanup.h"

/* Retries short counts and EINTR. -errno; read_full returns the bytes read, fewer only at the end of the
 * file. */
_must_use_ int write_full(int fd, const void *data, size_t n_data);
_must_use_ int pwrite_full(int fd, const void *data, size_t n_data, uint64_t offset);
_must_use_ ssize_t pread_full(int fd, void *data, size_t n_data, uint64_t offset);

/*
 * Replaces dir_fd/name with `data` so that after a power cut either the old or the new content is there,
 * whole: written to a temporary name beside it, synced, renamed, directory synced.
 */
_must_use_ int file_replace(int dir_fd, const char *name, const void *data, size_t n_data, mode_t mode);

/*
 * The same for what other programs read and is written anew after a power cut: without a sync, so that it may then be the
 * old, the new, or empty; and with `mode` whatever the umask.
 */
_must_use_ int file_replace_unsynced(int dir_fd, const char *name, const void *data, size_t n_data, mode_t mode);

/* Reads at most max_bytes of a regular file; -EFBIG beyond. *ret gets a NUL after its *ret_size bytes. */
_must_use_ int file_read(int dir_fd, const char *name, size_t max_bytes, char **ret, size_t *ret_size);

/*
 * The same for a secret at `path`: -EKEYREJECTED where file_is_secret() says no. What is judged is the file that is read.
 */
_must_use_ int file_read_secret(const char *path, size_t max_bytes, gid_t group, char **ret, size_t *ret_size);
/* Nobody but the owner, and for reading `group` and the group of root, may do anything with it. */
bool file_is_secret(const struct stat *st, gid_t group);

/* Makes `path` and its parents with `mode`; fine where it is there already. */
_must_use_ int directory_make(const char *path, mode_t mode);
_must_use_ int directory_sync(int dir_fd);

/* What has to stay free of a file system; the larger of the two counts. */
typedef struct FreeSpaceRule {
        uint64_t bytes;
        unsigned percent; /* of its size */
} FreeSpaceRule;

struct statvfs;
uint64_t free_space_rule_bytes(const FreeSpaceRule *rule, const struct statvfs *fs);
