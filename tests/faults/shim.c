/*
 * A storage that fails and a clock that is wrong, put between one program and the C library by LD_PRELOAD.
 *
 * $OTAD_SHIM names a file of rules, read again whenever it has changed; one a line:
 *
 *   fail CALL ERRNO SKIP PATTERN    CALL on a file whose path matches PATTERN (fnmatch) fails, after SKIP good ones
 *   short CALL BYTES 0 PATTERN      writes and reads of at most so many bytes
 *   clock SECONDS                   what the wall clock shows more (or less) than the real one
 *
 * CALL: write, pwrite, read, pread, submit (of an asynchronous pwrite, pread or sync), sync (all kinds of it), open (for
 * writing), rename, unlink, truncate, allocate; "*" is all but read and pread. One program, one thread: no lock.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <libaio.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { RULES_MAX = 16 };

static struct Rule {
        char kind[8], call[16], pattern[256];
        int value, skip;
} rules[RULES_MAX];
static int n_rules;
static long clock_offset;
static struct timespec rules_time;
static ino_t rules_inode;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* By system calls, so that reading the rules never meets the rules. */
static void load(void)
{
        static char text[8192];
        const char *path = getenv("OTAD_SHIM");
        struct stat st;
        ssize_t n;
        int fd;

        if (!path || syscall(SYS_newfstatat, AT_FDCWD, path, &st, 0) != 0)
                return;
        if (st.st_ino == rules_inode && st.st_mtim.tv_sec == rules_time.tv_sec &&
            st.st_mtim.tv_nsec == rules_time.tv_nsec)
                return;
        rules_inode = st.st_ino;
        rules_time = st.st_mtim;
        n_rules = 0;
        clock_offset = 0;
        fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return;
        n = syscall(SYS_read, fd, text, sizeof(text) - 1);
        (void)syscall(SYS_close, fd);
        text[n > 0 ? n : 0] = 0;
        for (char *rest = text, *line; (line = strsep(&rest, "\n"));) {
                struct Rule *r = &rules[n_rules];

                if (sscanf(line, "clock %ld", &clock_offset) == 1)
                        continue;
                if (n_rules < RULES_MAX &&
                    sscanf(line, "%7s %15s %d %d %255s", r->kind, r->call, &r->value, &r->skip, r->pattern) == 5)
                        n_rules++;
        }
}

static struct Rule *find(const char *kind, const char *call, const char *path)
{
        load();
        for (int i = 0; i < n_rules; i++) {
                struct Rule *r = &rules[i];
                int is_read = strcmp(call, "read") == 0 || strcmp(call, "pread") == 0;

                if (strcmp(r->kind, kind) != 0 ||
                    (strcmp(r->call, call) != 0 && (strcmp(r->call, "*") != 0 || is_read)) ||
                    fnmatch(r->pattern, path, 0) != 0)
                        continue;
                if (r->skip > 0) {
                        r->skip--;
                        continue;
                }
                return r;
        }
        return NULL;
}

static const char *path_of(int fd, char path[static PATH_MAX])
{
        char link[64];
        ssize_t n;

        (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        n = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
        path[n > 0 ? n : 0] = 0;
        return path;
}

static const char *path_at(int dir, const char *name, char path[static PATH_MAX])
{
        size_t n;

        path[0] = 0;
        if (name[0] != '/' && dir != AT_FDCWD)
                (void)path_of(dir, path);
        n = strlen(path);
        (void)snprintf(path + n, PATH_MAX - n, "%s%s", n > 0 ? "/" : "", name);
        return path;
}

static int fails(const char *call, const char *path)
{
        struct Rule *r = find("fail", call, path);

        if (!r)
                return 0;
        errno = r->value;
        return 1;
}

static int fails_fd(const char *call, int fd)
{
        char path[PATH_MAX];

        return fails(call, path_of(fd, path));
}

static int fails_at(const char *call, int dir, const char *name)
{
        char path[PATH_MAX];

        return fails(call, path_at(dir, name, path));
}

static size_t limit(const char *call, int fd, size_t n)
{
        char path[PATH_MAX];
        struct Rule *r = find("short", call, path_of(fd, path));

        return r && n > (size_t)r->value ? (size_t)r->value : n;
}

ssize_t write(int fd, const void *data, size_t n)
{
        return fails_fd("write", fd) ? -1 : REAL(write)(fd, data, limit("write", fd, n));
}

ssize_t pwrite64(int fd, const void *data, size_t n, off64_t offset)
{
        return fails_fd("pwrite", fd) ? -1 : REAL(pwrite64)(fd, data, limit("pwrite", fd, n), offset);
}

ssize_t pwrite(int fd, const void *data, size_t n, off_t offset)
{
        return pwrite64(fd, data, n, offset);
}

ssize_t read(int fd, void *data, size_t n)
{
        return fails_fd("read", fd) ? -1 : REAL(read)(fd, data, limit("read", fd, n));
}

ssize_t pread64(int fd, void *data, size_t n, off64_t offset)
{
        return fails_fd("pread", fd) ? -1 : REAL(pread64)(fd, data, limit("pread", fd, n), offset);
}

ssize_t pread(int fd, void *data, size_t n, off_t offset)
{
        return pread64(fd, data, n, offset);
}

/* Asynchronous calls are made, and then end as the rules have it. */
static struct Spoiled {
        struct iocb *call; /* NULL: free */
        long result;
} spoiled[16];

static void spoil(struct iocb *call, long result)
{
        for (int i = 0; i < 16; i++)
                if (!spoiled[i].call) {
                        spoiled[i] = (struct Spoiled){call, result};
                        return;
                }
        abort();
}

int io_submit(io_context_t context, long n, struct iocb **calls)
{
        if (fails_fd("submit", calls[0]->aio_fildes))
                return -errno;
        for (long i = 0; i < n; i++) {
                struct iocb *c = calls[i];
                const char *name = c->aio_lio_opcode == IO_CMD_PWRITE  ? "pwrite"
                                   : c->aio_lio_opcode == IO_CMD_PREAD ? "pread"
                                                                       : "sync";

                if (fails_fd(name, c->aio_fildes))
                        spoil(c, -errno);
                else if (c->aio_lio_opcode != IO_CMD_FDSYNC &&
                         limit(name, c->aio_fildes, c->u.c.nbytes) < c->u.c.nbytes)
                        spoil(c, (long)limit(name, c->aio_fildes, c->u.c.nbytes));
        }
        return REAL(io_submit)(context, n, calls);
}

int io_getevents(io_context_t context, long n_least, long n_most, struct io_event *events, struct timespec *timeout)
{
        int n = REAL(io_getevents)(context, n_least, n_most, events, timeout);

        for (int i = 0; i < n; i++)
                for (int k = 0; k < 16; k++)
                        if (spoiled[k].call && spoiled[k].call == events[i].obj) {
                                events[i].res = (unsigned long)spoiled[k].result;
                                spoiled[k].call = NULL;
                        }
        return n;
}

int fsync(int fd)
{
        return fails_fd("sync", fd) ? -1 : REAL(fsync)(fd);
}

int fdatasync(int fd)
{
        return fails_fd("sync", fd) ? -1 : REAL(fdatasync)(fd);
}

int sync_file_range(int fd, off64_t offset, off64_t n, unsigned flags)
{
        return fails_fd("sync", fd) ? -1 : REAL(sync_file_range)(fd, offset, n, flags);
}

int ftruncate64(int fd, off64_t n)
{
        return fails_fd("truncate", fd) ? -1 : REAL(ftruncate64)(fd, n);
}

int ftruncate(int fd, off_t n)
{
        return ftruncate64(fd, n);
}

int fallocate64(int fd, int mode, off64_t offset, off64_t n)
{
        return fails_fd("allocate", fd) ? -1 : REAL(fallocate64)(fd, mode, offset, n);
}

int fallocate(int fd, int mode, off_t offset, off_t n)
{
        return fallocate64(fd, mode, offset, n);
}

int posix_fallocate64(int fd, off64_t offset, off64_t n)
{
        return fails_fd("allocate", fd) ? errno : REAL(posix_fallocate64)(fd, offset, n);
}

int posix_fallocate(int fd, off_t offset, off_t n)
{
        return posix_fallocate64(fd, offset, n);
}

int openat64(int dir, const char *name, int flags, ...)
{
        mode_t mode = 0;
        va_list args;

        va_start(args, flags);
        if (flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE)
                mode = va_arg(args, mode_t);
        va_end(args);
        if ((flags & O_ACCMODE) != O_RDONLY && fails_at("open", dir, name))
                return -1;
        return REAL(openat64)(dir, name, flags, mode);
}

int openat(int dir, const char *name, int flags, ...)
{
        mode_t mode = 0;
        va_list args;

        va_start(args, flags);
        if (flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE)
                mode = va_arg(args, mode_t);
        va_end(args);
        return openat64(dir, name, flags, mode);
}

int open64(const char *name, int flags, ...)
{
        mode_t mode = 0;
        va_list args;

        va_start(args, flags);
        if (flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE)
                mode = va_arg(args, mode_t);
        va_end(args);
        return openat64(AT_FDCWD, name, flags, mode);
}

int open(const char *name, int flags, ...)
{
        mode_t mode = 0;
        va_list args;

        va_start(args, flags);
        if (flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE)
                mode = va_arg(args, mode_t);
        va_end(args);
        return openat64(AT_FDCWD, name, flags, mode);
}

/* What the C library makes of these calls with _FORTIFY_SOURCE. */
int __open_2(const char *name, int flags);
int __open64_2(const char *name, int flags);
int __openat_2(int dir, const char *name, int flags);
int __openat64_2(int dir, const char *name, int flags);
ssize_t __read_chk(int fd, void *data, size_t n, size_t size);
ssize_t __pread_chk(int fd, void *data, size_t n, off_t offset, size_t size);
ssize_t __pread64_chk(int fd, void *data, size_t n, off64_t offset, size_t size);

int __open_2(const char *name, int flags)
{
        return open64(name, flags);
}

int __open64_2(const char *name, int flags)
{
        return open64(name, flags);
}

int __openat_2(int dir, const char *name, int flags)
{
        return openat64(dir, name, flags);
}

int __openat64_2(int dir, const char *name, int flags)
{
        return openat64(dir, name, flags);
}

ssize_t __read_chk(int fd, void *data, size_t n, size_t size)
{
        return n > size ? (abort(), -1) : read(fd, data, n);
}

ssize_t __pread64_chk(int fd, void *data, size_t n, off64_t offset, size_t size)
{
        return n > size ? (abort(), -1) : pread64(fd, data, n, offset);
}

ssize_t __pread_chk(int fd, void *data, size_t n, off_t offset, size_t size)
{
        return __pread64_chk(fd, data, n, offset, size);
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
        return fails_at("rename", to_dir, to) ? -1 : REAL(renameat)(from_dir, from, to_dir, to);
}

int rename(const char *from, const char *to)
{
        return fails_at("rename", AT_FDCWD, to) ? -1 : REAL(rename)(from, to);
}

int unlinkat(int dir, const char *name, int flags)
{
        return fails_at("unlink", dir, name) ? -1 : REAL(unlinkat)(dir, name, flags);
}

int unlink(const char *name)
{
        return fails_at("unlink", AT_FDCWD, name) ? -1 : REAL(unlink)(name);
}

int clock_gettime(clockid_t clock, struct timespec *ret)
{
        int r = REAL(clock_gettime)(clock, ret);

        if (r == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
                load();
                ret->tv_sec += clock_offset;
        }
        return r;
}

time_t time(time_t *ret)
{
        struct timespec now;

        (void)clock_gettime(CLOCK_REALTIME, &now);
        if (ret)
                *ret = now.tv_sec;
        return now.tv_sec;
}

int gettimeofday(struct timeval *restrict ret, void *restrict zone)
{
        struct timespec now;

        (void)zone;
        (void)clock_gettime(CLOCK_REALTIME, &now);
        ret->tv_sec = now.tv_sec;
        ret->tv_usec = now.tv_nsec / 1000;
        return 0;
}
