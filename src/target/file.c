/*
 * "file": a single file, replaced by rename. The names beside it, and what may be found after a crash, see
 * target/target.h; D is the destination, N, O and Z stand for .otad-new, .otad-old and .otad-none:
 *
 *   N            being written, or verified
 *   N O=D        activation began: O is a link to what D is
 *   N Z          the same, where there is no D
 *   O D, Z D     activated
 *   D            committed, or rolled back, or never touched
 *
 * An O that is another file than D beside an N is left over from an update whose end nobody recorded; D counts then.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/file-util.h"
#include "kind.h"

enum { NAME_BUFFER_BYTES = 16 * 1024 }; /* for a line of the user data base */

static int open_directory(const Target *target, FailureReason reason, int *ret, Failure *reterr)
{
        int fd = open(target->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (fd < 0)
                return fail(reterr, reason, errno, "target %s: directory %s: %s", target->name, target->directory,
                            strerror(errno));
        *ret = fd;
        return 0;
}

/* 1: there, and *ret filled in; 0: not there. A link is looked at, not followed. */
static int find_name(int dir_fd, const char *name, struct stat *ret)
{
        if (fstatat(dir_fd, name, ret, AT_SYMLINK_NOFOLLOW) == 0)
                return 1;
        return errno == ENOENT ? 0 : -errno;
}

static int remove_name(int dir_fd, const char *name)
{
        return unlinkat(dir_fd, name, 0) < 0 && errno != ENOENT ? -errno : 0;
}

static int rename_within(int dir_fd, const char *from, const char *to)
{
        return renameat(dir_fd, from, dir_fd, to) < 0 ? -errno : 0;
}

static bool is_same_file(const struct stat *a, const struct stat *b)
{
        return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* 1: there, 0: not there; anything but a regular file is refused, as rename would replace the link, not its aim. */
static int find_destination(const Target *target, int dir_fd, FailureReason reason, struct stat *ret, Failure *reterr)
{
        int r = find_name(dir_fd, target->file_name, ret);

        if (r < 0)
                return fail(reterr, reason, -r, "target %s: %s: %s", target->name, target->path, strerror(-r));
        if (r > 0 && !S_ISREG(ret->st_mode))
                return fail(reterr, reason, EISDIR, "target %s: %s is %s, not a regular file", target->name,
                            target->path,
                            S_ISLNK(ret->st_mode)   ? "a symbolic link"
                            : S_ISDIR(ret->st_mode) ? "a directory"
                                                    : "something else");
        return r;
}

/* (uid_t)-1 and (gid_t)-1 leave them as they are. */
static int find_owner(const Target *target, FailureReason reason, uid_t *ret_uid, gid_t *ret_gid, Failure *reterr)
{
        struct passwd passwd, *user = NULL;
        char buffer[NAME_BUFFER_BYTES];
        struct group group_entry, *group = NULL;
        int r;

        *ret_uid = (uid_t)-1;
        *ret_gid = (gid_t)-1;
        if (target->owner) {
                r = getpwnam_r(target->owner, &passwd, buffer, sizeof(buffer), &user);
                if (!user)
                        return fail(reterr, reason, ESRCH, "target %s: owner %s of %s: %s", target->name,
                                    target->owner, target->path, r != 0 ? strerror(r) : "no such user");
                *ret_uid = user->pw_uid;
        }
        if (target->group) {
                r = getgrnam_r(target->group, &group_entry, buffer, sizeof(buffer), &group);
                if (!group)
                        return fail(reterr, reason, ESRCH, "target %s: group %s of %s: %s", target->name,
                                    target->group, target->path, r != 0 ? strerror(r) : "no such group");
                *ret_gid = group->gr_gid;
        }
        return 0;
}

static int check_in(const Target *target, int dir_fd, Failure *reterr)
{
        struct stat st;
        uid_t uid;
        gid_t gid;
        int r;

        r = find_destination(target, dir_fd, FAILURE_TARGET_IO, &st, reterr);
        if (r < 0)
                return r;
        return find_owner(target, FAILURE_TARGET_IO, &uid, &gid, reterr);
}

static int file_check(const Target *target, Failure *reterr)
{
        _cleanup_close_ int dir_fd = -1;
        int r;

        r = open_directory(target, FAILURE_TARGET_MISSING, &dir_fd, reterr);
        return r < 0 ? r : check_in(target, dir_fd, reterr);
}

/* The image of before, or a new one where there is none that is ours alone. */
static int open_new_file(const Target *target, int dir_fd, int *ret, struct stat *ret_st)
{
        _cleanup_close_ int fd = -1, left_fd = -1;
        int r;

        left_fd = openat(dir_fd, target->new_name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (left_fd >= 0) {
                if (fstat(left_fd, ret_st) < 0)
                        return -errno;
                /* Somebody who may write to the directory could have put another file's link here. */
                if (S_ISREG(ret_st->st_mode) && ret_st->st_nlink == 1 && ret_st->st_uid == geteuid()) {
                        *ret = TAKE_FD(left_fd);
                        return 0;
                }
        }
        r = remove_name(dir_fd, target->new_name);
        if (r < 0)
                return r;
        fd = openat(dir_fd, target->new_name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0 || fstat(fd, ret_st) < 0)
                return -errno;
        *ret = TAKE_FD(fd);
        return 0;
}

/* Finds out before the download what would else end it. */
static int reserve_space(const Target *target, int fd, uint64_t size, Failure *reterr)
{
        uint64_t there, needed, available, keep;
        struct statvfs fs;
        struct stat st;

        if (fstat(fd, &st) < 0 || fstatvfs(fd, &fs) < 0)
                return fail(reterr, FAILURE_TARGET_IO, errno, "target %s: free space of %s: %s", target->name,
                            target->directory, strerror(errno));
        there = (uint64_t)st.st_blocks * 512;
        needed = size > there ? size - there : 0;
        available = (uint64_t)fs.f_bavail * fs.f_frsize;
        /* What is there already takes nothing more. */
        keep = needed > 0 ? free_space_rule_bytes(&target->keep_free, &fs) : 0;
        if (needed > available || keep > available - needed)
                return fail(reterr, FAILURE_NO_SPACE, ENOSPC,
                            "target %s needs %" PRIu64 " bytes more in %s, where %" PRIu64 " are free and %" PRIu64
                            " have to stay free",
                            target->name, needed, target->directory, available, keep);
        if (fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)size) == 0 || errno == EOPNOTSUPP || errno == ENOSYS)
                return 0;
        return fail(reterr,
                    errno == ENOSPC || errno == EDQUOT ? FAILURE_NO_SPACE
                    : errno == EFBIG                   ? FAILURE_IMAGE_TOO_LARGE
                                                       : FAILURE_TARGET_IO,
                    errno, "target %s: allocating %" PRIu64 " bytes in %s, where %" PRIu64 " are free: %s",
                    target->name, size, target->directory, available, strerror(errno));
}

static int file_open(const Target *target, const TargetWriterParams *params, OpenedTarget *ret, Failure *reterr)
{
        _cleanup_close_ int dir_fd = -1, fd = -1;
        uint64_t resume;
        struct stat st = {0};
        int r;

        if (params->slot != TARGET_NO_SLOT)
                return -EINVAL;
        r = open_directory(target, FAILURE_TARGET_MISSING, &dir_fd, reterr);
        if (r < 0)
                return r;
        r = check_in(target, dir_fd, reterr);
        if (r < 0)
                return r;
        r = open_new_file(target, dir_fd, &fd, &st);
        if (r < 0)
                return fail(reterr, r == -ENOSPC ? FAILURE_NO_SPACE : FAILURE_TARGET_IO, -r,
                            "target %s: opening %s: %s", target->name, target->staged_path, strerror(-r));

        resume = MIN2(params->resume_bytes, (uint64_t)st.st_size);
        if (ftruncate(fd, (off_t)resume) < 0)
                return fail(reterr, FAILURE_TARGET_IO, errno, "target %s: preparing %s: %s", target->name,
                            target->staged_path, strerror(errno));
        /* While it is empty: a mode that may not be set is found out before the download. */
        if (resume == 0 && fchmod(fd, target->mode) < 0)
                return fail(reterr, FAILURE_TARGET_IO, errno, "target %s: mode %04o for %s: %s", target->name,
                            (unsigned)target->mode, target->staged_path, strerror(errno));
        if (fchmod(fd, 0600) < 0)
                return fail(reterr, FAILURE_TARGET_IO, errno, "target %s: preparing %s: %s", target->name,
                            target->staged_path, strerror(errno));
        r = reserve_space(target, fd, params->size_bytes, reterr);
        if (r < 0 && resume == 0)
                (void)remove_name(dir_fd, target->new_name);
        if (r < 0)
                return r;
        r = directory_sync(dir_fd);
        if (r < 0)
                return fail(reterr, FAILURE_TARGET_IO, -r, "target %s: syncing %s: %s", target->name,
                            target->directory, strerror(-r));
        ret->fd = TAKE_FD(fd);
        ret->resume_bytes = resume;
        ret->label = target->staged_path;
        return 0;
}

static int fail_step(const Target *target, FailureReason reason, const char *step, int error, Failure *reterr)
{
        return fail(reterr, reason, -error, "target %s: %s %s: %s", target->name, step, target->path,
                    strerror(-error));
}

/* Until the rename there must be a way back: a link to the version before, or the mark that there was none. */
static int keep_version_before(const Target *target, int dir_fd, Failure *reterr)
{
        _cleanup_close_ int mark = -1;
        struct stat destination, old;
        int r, has_destination;

        has_destination = find_destination(target, dir_fd, FAILURE_ACTIVATION_FAILED, &destination, reterr);
        if (has_destination < 0)
                return has_destination;
        r = remove_name(dir_fd, target->none_name);
        if (r >= 0)
                r = find_name(dir_fd, target->old_name, &old);
        if (r > 0 && has_destination && is_same_file(&destination, &old))
                return 0; /* again after a crash */
        if (r > 0)
                r = remove_name(dir_fd, target->old_name);
        if (r >= 0 && has_destination) {
                r = linkat(dir_fd, target->file_name, dir_fd, target->old_name, 0) < 0 ? -errno : 0;
        } else if (r >= 0) {
                mark = openat(dir_fd, target->none_name, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
                r = mark < 0 ? -errno : 0;
        }
        return r < 0 ? fail_step(target, FAILURE_ACTIVATION_FAILED, "keeping the version before of", r, reterr) : 0;
}

static int set_owner_and_mode(const Target *target, int dir_fd, Failure *reterr)
{
        _cleanup_close_ int fd = -1;
        uid_t uid;
        gid_t gid;
        int r;

        r = find_owner(target, FAILURE_ACTIVATION_FAILED, &uid, &gid, reterr);
        if (r < 0)
                return r;
        fd = openat(dir_fd, target->new_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        /* The mode comes last: a change of owner takes set-user-ID away. */
        if (fd < 0 || fchown(fd, uid, gid) < 0 || fchmod(fd, target->mode) < 0 || fsync(fd) < 0)
                return fail_step(target, FAILURE_ACTIVATION_FAILED, "setting owner and mode of the new", -errno,
                                 reterr);
        return 0;
}

/* Whether the rename of an activation was made and is neither committed nor undone. */
static int is_activated(const Target *target, int dir_fd)
{
        struct stat destination, mark;
        int r;

        r = find_name(dir_fd, target->file_name, &destination);
        if (r <= 0)
                return r;
        r = find_name(dir_fd, target->old_name, &mark);
        if (r != 0)
                return r < 0 ? r : !is_same_file(&destination, &mark);
        return find_name(dir_fd, target->none_name, &mark);
}

static int activate_new(const Target *target, int dir_fd, Failure *reterr)
{
        int r;

        r = set_owner_and_mode(target, dir_fd, reterr);
        if (r < 0)
                return r;
        r = keep_version_before(target, dir_fd, reterr);
        if (r < 0)
                return r;
        /* The way back must be on the storage before the rename can be. */
        r = directory_sync(dir_fd);
        if (r >= 0)
                r = rename_within(dir_fd, target->new_name, target->file_name);
        return r < 0 ? fail_step(target, FAILURE_ACTIVATION_FAILED, "renaming the new file to", r, reterr) : 0;
}

static int file_activate(const Target *target, Failure *reterr)
{
        _cleanup_close_ int dir_fd = -1;
        struct stat st;
        int r;

        r = open_directory(target, FAILURE_ACTIVATION_FAILED, &dir_fd, reterr);
        if (r < 0)
                return r;
        r = find_name(dir_fd, target->new_name, &st);
        if (r > 0) {
                r = activate_new(target, dir_fd, reterr);
                if (r < 0)
                        return r;
        } else if (r == 0) {
                r = is_activated(target, dir_fd);
                if (r == 0)
                        return fail(reterr, FAILURE_ACTIVATION_FAILED, ENOENT,
                                    "target %s: there is no %s to activate", target->name, target->staged_path);
        }
        if (r >= 0)
                r = directory_sync(dir_fd);
        return r < 0 ? fail_step(target, FAILURE_ACTIVATION_FAILED, "activating", r, reterr) : 0;
}

/* Removes both names that tell what was before. */
static int forget_version_before(const Target *target, int dir_fd)
{
        int r;

        r = remove_name(dir_fd, target->old_name);
        if (r < 0)
                return r;
        r = remove_name(dir_fd, target->none_name);
        return r < 0 ? r : directory_sync(dir_fd);
}

/* Each step leaves a state from which the next call finds the rest of the way. */
static int undo(const Target *target, int dir_fd)
{
        struct stat destination, mark;
        int r;

        r = find_name(dir_fd, target->new_name, &mark);
        if (r < 0)
                return r;
        if (r > 0) {
                /* Not renamed yet. The marks go first: without the new file they would mean an activation. */
                r = forget_version_before(target, dir_fd);
                return r < 0 ? r : remove_name(dir_fd, target->new_name);
        }
        r = find_name(dir_fd, target->old_name, &mark);
        if (r < 0)
                return r;
        if (r > 0) {
                r = find_name(dir_fd, target->file_name, &destination);
                if (r < 0)
                        return r;
                /* Of two links to one file rename() removes neither. */
                return r > 0 && is_same_file(&destination, &mark)
                               ? remove_name(dir_fd, target->old_name)
                               : rename_within(dir_fd, target->old_name, target->file_name);
        }
        r = find_name(dir_fd, target->none_name, &mark);
        if (r <= 0)
                return r;
        r = remove_name(dir_fd, target->file_name);
        if (r >= 0)
                r = directory_sync(dir_fd);
        return r < 0 ? r : remove_name(dir_fd, target->none_name);
}

static int file_roll_back(const Target *target, Failure *reterr)
{
        _cleanup_close_ int dir_fd = -1;
        int r;

        r = open_directory(target, FAILURE_ROLLBACK_FAILED, &dir_fd, reterr);
        if (r < 0)
                return r;
        r = undo(target, dir_fd);
        if (r >= 0)
                r = directory_sync(dir_fd);
        return r < 0 ? fail_step(target, FAILURE_ROLLBACK_FAILED, "rolling back", r, reterr) : 0;
}

static int file_commit(const Target *target, Failure *reterr)
{
        _cleanup_close_ int dir_fd = -1;
        struct stat st;
        int r;

        r = open_directory(target, FAILURE_COMMIT_FAILED, &dir_fd, reterr);
        if (r < 0)
                return r;
        r = find_name(dir_fd, target->new_name, &st);
        if (r > 0)
                return fail(reterr, FAILURE_COMMIT_FAILED, EEXIST, "target %s: %s was never activated", target->name,
                            target->staged_path);
        if (r == 0)
                r = forget_version_before(target, dir_fd);
        return r < 0 ? fail_step(target, FAILURE_COMMIT_FAILED, "committing", r, reterr) : 0;
}

static int file_discard(const Target *target, Failure *reterr)
{
        _cleanup_close_ int dir_fd = -1;
        int r;

        r = open_directory(target, FAILURE_ROLLBACK_FAILED, &dir_fd, reterr);
        if (r < 0)
                return r;
        r = remove_name(dir_fd, target->new_name);
        if (r >= 0)
                r = directory_sync(dir_fd);
        return r < 0 ? fail_step(target, FAILURE_ROLLBACK_FAILED, "removing the new file of", r, reterr) : 0;
}

const TargetKind target_kind_file = {
        .check = file_check,
        .open = file_open,
        .activate = file_activate,
        .roll_back = file_roll_back,
        .commit = file_commit,
        .discard = file_discard,
};
