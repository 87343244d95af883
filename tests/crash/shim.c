/*
 * Preloaded into otad and otad-installer by the crash tests: counts the calls that change something outside the
 * process, ends the process with SIGKILL at one of them, and writes down what was changed in files, so that a power
 * cut can be played afterwards.
 *
 *   CRASH_LOG    the file to append to; without it nothing is done
 *   CRASH_ROOT   only files below this folder are recorded
 *   CRASH_AT     the number of the call to die at; 0 or none: never
 *   CRASH_AFTER  1: die after that call took effect, not before
 *   CRASH_DATA   1: record what was changed
 *
 * From before a recorded call until it is written down, a shared lock is held on the log. Who has it exclusively may end
 * the process without losing a line.
 *
 * The log has a line for each call, before it is made, and one for each change of a file, after it was made:
 *
 *   PROGRAM NUMBER CALL WHAT
 *   +w INODE OFFSET LENGTH     and LENGTH bytes after the line's end
 *   +t INODE SIZE              truncated or grown
 *   +a INODE MODE              mode
 *   +i INODE OFFSET            what was just written there is still on its way,
 *   +k INODE OFFSET            and has arrived
 *   +s INODE, +d INODE         fsync (of a file or folder), fdatasync
 *   +b INODE, +e INODE         an asynchronous fdatasync begins, and has ended well
 *   +c FOLDER NAME INODE MODE  created; FOLDER is an inode, too
 *   +u FOLDER NAME             removed
 *   +r FOLDER NAME FOLDER NAME renamed
 *   +l FOLDER NAME FOLDER NAME linked
 *   +p PROGRAM LENGTH          put into the data pipe since the call before; what a process put there after its last call, when
 *                              it is ended from outside, is missing
 *
 * Only what the C library's callers see is seen here. That nothing of it is missing is tested by comparing with what
 * the kernel was asked for, see test_kill.py.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <libaio.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { LOG_FD = 1000 };

static bool active, with_data, die_after;
static unsigned long die_at, n_calls;
static char root[512];
static size_t n_root;

/* A hook leads a session of its own, with all that it has started. */
static void kill_children(void)
{
        FILE *children = fopen("/proc/thread-self/children", "re");
        int pid;

        while (children && fscanf(children, "%d", &pid) == 1) {
                syscall(SYS_kill, -pid, SIGKILL);
                syscall(SYS_kill, pid, SIGKILL);
        }
}

static void die(void)
{
        kill_children();
        syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
        for (;;)
                pause();
}

__attribute__((format(printf, 1, 2))) static void note(const char *format, ...)
{
        char line[4096];
        va_list list;
        int n;

        va_start(list, format);
        n = vsnprintf(line, sizeof(line), format, list);
        va_end(list);
        if (n < 0 || (size_t)n >= sizeof(line) || syscall(SYS_write, LOG_FD, line, n) != n)
                abort();
}

__attribute__((constructor)) static void start(void)
{
        const char *log = getenv("CRASH_LOG"), *at = getenv("CRASH_AT"), *after = getenv("CRASH_AFTER"),
                   *data = getenv("CRASH_DATA"), *folder = getenv("CRASH_ROOT");
        int fd;

        if (!log || !folder || strncmp(program_invocation_short_name, "otad", 4) != 0)
                return;
        fd = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0 || syscall(SYS_dup3, fd, LOG_FD, O_CLOEXEC) < 0)
                abort();
        syscall(SYS_close, fd);
        die_at = at ? strtoul(at, NULL, 10) : 0;
        die_after = after && *after == '1';
        with_data = data && *data == '1';
        n_root = (size_t)snprintf(root, sizeof(root), "%s/", folder);
        /* What these programs start is not to be counted. */
        unsetenv("LD_PRELOAD");
        unsetenv("CRASH_LOG");
        unsetenv("CRASH_AT");
        unsetenv("CRASH_AFTER");
        unsetenv("CRASH_DATA");
        unsetenv("CRASH_ROOT");
        active = true;
}

#define REAL(name) ((typeof(&name))real(#name))

static void *real(const char *name)
{
        void *found = dlsym(RTLD_NEXT, name);

        if (!found)
                abort();
        return found;
}

static void lock_log(int how)
{
        while (with_data && syscall(SYS_flock, LOG_FD, how) < 0)
                if (errno != EINTR)
                        abort();
}

/* The count in a data pipe of which we have the writing end (base/data-pipe.h); NULL: there is none. */
static const volatile uint32_t *handed;
static uint32_t n_handed;

static void note_handed(void)
{
        uint32_t n = handed ? *handed - n_handed : 0;

        if (n == 0)
                return;
        n_handed += n;
        note("+p %s %u\n", program_invocation_short_name, n);
}

/* The call is about to be made; dies here if it is the one. */
static void count(const char *call, const char *what)
{
        int saved_errno = errno;

        if (!active)
                return;
        lock_log(LOCK_SH);
        note_handed();
        n_calls++;
        note("%s %lu %s %s\n", program_invocation_short_name, n_calls, call, what);
        if (n_calls == die_at && !die_after)
                die();
        errno = saved_errno;
}

/* The call was made, and is written down. */
static void made(void)
{
        int saved_errno = errno;

        if (!active)
                return;
        if (n_calls == die_at && die_after)
                die();
        lock_log(LOCK_UN);
        errno = saved_errno;
}

typedef struct What {
        bool counts;   /* not one of our own log's, and nothing inside the process */
        bool recorded; /* a file or folder below the root */
        unsigned long inode;
        char text[600];
} What;

static What describe(int fd)
{
        What what = {.counts = false};
        int saved_errno = errno;
        char link[64];
        struct stat st;
        ssize_t n;

        if (!active || fd == STDOUT_FILENO || fd == STDERR_FILENO || fstat(fd, &st) < 0) {
                errno = saved_errno;
                return what;
        }
        what.inode = st.st_ino;
        if (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode)) {
                what.counts = true;
                strcpy(what.text, S_ISFIFO(st.st_mode) ? "pipe" : "socket");
        } else if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)) {
                snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
                n = readlink(link, what.text, sizeof(what.text) - 1);
                what.text[n > 0 ? n : 0] = 0;
                what.counts = true;
                what.recorded = strncmp(what.text, root, n_root) == 0;
                if (what.recorded)
                        memmove(what.text, what.text + n_root, strlen(what.text + n_root) + 1);
        }
        errno = saved_errno;
        return what;
}

/* The folder a name is in. `*ret_name`: the last part of the path. */
static What describe_folder(int dir_fd, const char *path, const char **ret_name)
{
        const char *slash = strrchr(path, '/');
        char folder[1024];
        What what = {.counts = false};
        int fd, saved_errno = errno;

        if (!active)
                return what;
        *ret_name = slash ? slash + 1 : path;
        snprintf(folder, sizeof(folder), "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
        fd = (int)syscall(SYS_openat, dir_fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        if (fd >= 0) {
                what = describe(fd);
                syscall(SYS_close, fd);
        }
        what.counts = true;
        strncat(what.text, "/", sizeof(what.text) - strlen(what.text) - 1);
        strncat(what.text, *ret_name, sizeof(what.text) - strlen(what.text) - 1);
        errno = saved_errno;
        return what;
}

#define RECORD(what, ...)                                   \
        do {                                                \
                int saved_errno_ = errno;                   \
                if (active && with_data && (what).recorded) \
                        note(__VA_ARGS__);                  \
                errno = saved_errno_;                       \
        } while (0)

/* ---- data ---- */

/* In one piece: the other program writes to the same log. */
static void record_data(const What *what, const struct iovec *parts, size_t n_parts, uint64_t offset, ssize_t n)
{
        size_t left = n > 0 ? (size_t)n : 0, n_pieces = 1;
        struct iovec pieces[16];
        int saved_errno = errno;
        char line[128];

        if (!active || !with_data || !what->recorded || n < 0)
                return;
        if (n_parts >= sizeof(pieces) / sizeof(pieces[0]))
                abort();
        pieces[0].iov_base = line;
        pieces[0].iov_len =
                (size_t)snprintf(line, sizeof(line), "+w %lu %llu %zd\n", what->inode, (unsigned long long)offset, n);
        for (size_t i = 0; i < n_parts && left > 0; i++) {
                size_t part = parts[i].iov_len < left ? parts[i].iov_len : left;

                pieces[n_pieces++] = (struct iovec){parts[i].iov_base, part};
                left -= part;
        }
        if (syscall(SYS_writev, LOG_FD, pieces, n_pieces) != (long)pieces[0].iov_len + n)
                abort();
        errno = saved_errno;
}

static uint64_t position(int fd)
{
        int saved_errno = errno;
        off_t at = lseek(fd, 0, SEEK_CUR);

        errno = saved_errno;
        return at < 0 ? 0 : (uint64_t)at;
}

static void see_mapping(const void *at, int fd)
{
        int saved_errno = errno;
        char link[64], name[64] = "";

        if (!active || strcmp(program_invocation_short_name, "otad") != 0)
                return;
        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        if (readlink(link, name, sizeof(name) - 1) > 0 && strncmp(name, "/memfd:otad-data-pipe", 21) == 0) {
                handed = at;
                n_handed = *handed;
        }
        errno = saved_errno;
}

void *mmap(void *wanted, size_t n, int protection, int flags, int fd, off_t offset)
{
        void *at = REAL(mmap)(wanted, n, protection, flags, fd, offset);

        if (at != MAP_FAILED && flags & MAP_SHARED)
                see_mapping(at, fd);
        return at;
}

/* What it is called where offsets have 64 bits. */
void *mmap64(void *wanted, size_t n, int protection, int flags, int fd, off64_t offset)
{
        return mmap(wanted, n, protection, flags, fd, offset);
}

int munmap(void *at, size_t n)
{
        if (at == (const volatile void *)handed) {
                note_handed();
                handed = NULL;
        }
        return REAL(munmap)(at, n);
}

ssize_t write(int fd, const void *data, size_t n_data)
{
        What what = describe(fd);
        uint64_t at = what.recorded ? position(fd) : 0;
        ssize_t n;

        if (what.counts)
                count("write", what.text);
        n = REAL(write)(fd, data, n_data);
        record_data(&what, &(struct iovec){(void *)data, n_data}, 1, at, n);
        made();
        return n;
}

ssize_t writev(int fd, const struct iovec *parts, int n_parts)
{
        What what = describe(fd);
        uint64_t at = what.recorded ? position(fd) : 0;
        ssize_t n;

        if (what.counts)
                count("writev", what.text);
        n = REAL(writev)(fd, parts, n_parts);
        record_data(&what, parts, (size_t)n_parts, at, n);
        made();
        return n;
}

ssize_t pwrite(int fd, const void *data, size_t n_data, off_t offset)
{
        What what = describe(fd);
        ssize_t n;

        if (what.counts)
                count("pwrite", what.text);
        n = REAL(pwrite)(fd, data, n_data, offset);
        record_data(&what, &(struct iovec){(void *)data, n_data}, 1, (uint64_t)offset, n);
        made();
        return n;
}

ssize_t pwrite64(int fd, const void *data, size_t n_data, off64_t offset)
{
        return pwrite(fd, data, n_data, offset);
}

ssize_t send(int fd, const void *data, size_t n_data, int flags)
{
        ssize_t n;

        count("sendto", "socket");
        n = REAL(send)(fd, data, n_data, flags);
        made();
        return n;
}

ssize_t sendto(int fd, const void *data, size_t n_data, int flags, const struct sockaddr *to, socklen_t n_to)
{
        ssize_t n;

        count("sendto", "socket");
        n = REAL(sendto)(fd, data, n_data, flags, to, n_to);
        made();
        return n;
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
        ssize_t n;

        count("sendmsg", "socket");
        n = REAL(sendmsg)(fd, message, flags);
        made();
        return n;
}

int fsync(int fd)
{
        What what = describe(fd);
        int r;

        count("fsync", what.text);
        r = REAL(fsync)(fd);
        if (r >= 0)
                RECORD(what, "+s %lu\n", what.inode);
        made();
        return r;
}

int fdatasync(int fd)
{
        What what = describe(fd);
        int r;

        count("fdatasync", what.text);
        r = REAL(fdatasync)(fd);
        if (r >= 0)
                RECORD(what, "+d %lu\n", what.inode);
        made();
        return r;
}

/* A read changes nothing. */
int io_submit(io_context_t context, long n, struct iocb **calls)
{
        const struct iocb *call = calls[0];
        What what = describe(call->aio_fildes);
        bool is_sync = call->aio_lio_opcode == IO_CMD_FDSYNC;
        int r;

        if (active && n != 1)
                abort();
        if (call->aio_lio_opcode == IO_CMD_PREAD)
                return REAL(io_submit)(context, n, calls);
        count(is_sync ? "io_fdsync" : "io_pwrite", what.text);
        r = REAL(io_submit)(context, n, calls);
        if (r == 1 && is_sync)
                RECORD(what, "+b %lu\n", what.inode);
        if (r == 1 && !is_sync) {
                struct iovec data = {call->u.c.buf, call->u.c.nbytes};

                record_data(&what, &data, 1, (uint64_t)call->u.c.offset, (ssize_t)data.iov_len);
                RECORD(what, "+i %lu %lld\n", what.inode, call->u.c.offset);
        }
        made();
        return r;
}

int io_getevents(io_context_t context, long n_least, long n_most, struct io_event *events, struct timespec *timeout)
{
        int n = REAL(io_getevents)(context, n_least, n_most, events, timeout);

        for (int i = 0; i < n; i++) {
                const struct iocb *call = events[i].obj;
                What what = describe(call->aio_fildes);

                if (call->aio_lio_opcode == IO_CMD_FDSYNC && events[i].res == 0)
                        RECORD(what, "+e %lu\n", what.inode);
                if (call->aio_lio_opcode == IO_CMD_PWRITE && events[i].res == call->u.c.nbytes)
                        RECORD(what, "+k %lu %lld\n", what.inode, call->u.c.offset);
        }
        return n;
}

/* Asks for write-back and empties no cache of the storage: nothing is safe by it. */
int sync_file_range(int fd, off64_t offset, off64_t n_bytes, unsigned flags)
{
        What what = describe(fd);
        int r;

        count("sync_file_range", what.text);
        r = REAL(sync_file_range)(fd, offset, n_bytes, flags);
        made();
        return r;
}

int ftruncate(int fd, off_t size)
{
        What what = describe(fd);
        int r;

        count("ftruncate", what.text);
        r = REAL(ftruncate)(fd, size);
        if (r >= 0)
                RECORD(what, "+t %lu %llu\n", what.inode, (unsigned long long)size);
        made();
        return r;
}

int ftruncate64(int fd, off64_t size)
{
        return ftruncate(fd, size);
}

/* Only ever with FALLOC_FL_KEEP_SIZE: space, not content. */
int fallocate(int fd, int mode, off_t offset, off_t n_bytes)
{
        What what = describe(fd);
        int r;

        if (active && !(mode & FALLOC_FL_KEEP_SIZE))
                abort();
        count("fallocate", what.text);
        r = REAL(fallocate)(fd, mode, offset, n_bytes);
        made();
        return r;
}

int fallocate64(int fd, int mode, off64_t offset, off64_t n_bytes)
{
        return fallocate(fd, mode, offset, n_bytes);
}

int fchmod(int fd, mode_t mode)
{
        What what = describe(fd);
        int r;

        count("fchmod", what.text);
        r = REAL(fchmod)(fd, mode);
        if (r >= 0)
                RECORD(what, "+a %lu %o\n", what.inode, mode);
        made();
        return r;
}

int fchown(int fd, uid_t owner, gid_t group)
{
        What what = describe(fd);
        int r;

        count("fchown", what.text);
        r = REAL(fchown)(fd, owner, group);
        made();
        return r;
}

int chmod(const char *path, mode_t mode)
{
        int r;

        count("chmod", path);
        r = REAL(chmod)(path, mode);
        made();
        return r;
}

/* ---- names ---- */

static int open_file(int dir_fd, const char *path, int flags, mode_t mode)
{
        bool is_new = false, counts = active && (flags & (O_CREAT | O_TRUNC));
        int (*const real_openat)(int, const char *, int, ...) = real("openat");
        const char *name = "";
        What folder = {.counts = false}, what = {.counts = false};
        struct stat st;
        int fd;

        if (counts) {
                int saved_errno = errno;

                folder = describe_folder(dir_fd, path, &name);
                is_new = fstatat(dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0;
                errno = saved_errno;
                count("openat", folder.text);
        }
        fd = real_openat(dir_fd, path, flags, mode);
        if (fd >= 0 && counts && folder.recorded) {
                what = describe(fd);
                if (is_new && fstat(fd, &st) >= 0)
                        RECORD(what, "+c %lu %s %lu %o\n", folder.inode, name, what.inode, st.st_mode & 07777);
                else if (flags & O_TRUNC)
                        RECORD(what, "+t %lu 0\n", what.inode);
        }
        if (counts)
                made();
        return fd;
}

#define OPEN_MODE(flags, mode)                   \
        mode_t mode = 0;                         \
        if ((flags) & (O_CREAT | __O_TMPFILE)) { \
                va_list list;                    \
                va_start(list, flags);           \
                mode = va_arg(list, mode_t);     \
                va_end(list);                    \
        }

int open(const char *path, int flags, ...)
{
        OPEN_MODE(flags, mode);
        return open_file(AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
        OPEN_MODE(flags, mode);
        return open_file(AT_FDCWD, path, flags, mode);
}

int openat(int dir_fd, const char *path, int flags, ...)
{
        OPEN_MODE(flags, mode);
        return open_file(dir_fd, path, flags, mode);
}

int openat64(int dir_fd, const char *path, int flags, ...)
{
        OPEN_MODE(flags, mode);
        return open_file(dir_fd, path, flags, mode);
}

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
        const char *from_name = "", *to_name = "";
        What a = describe_folder(from_fd, from, &from_name), b = describe_folder(to_fd, to, &to_name);
        int r;

        count("renameat", b.text);
        r = REAL(renameat)(from_fd, from, to_fd, to);
        if (r >= 0)
                RECORD(b, "+r %lu %s %lu %s\n", a.inode, from_name, b.inode, to_name);
        made();
        return r;
}

int rename(const char *from, const char *to)
{
        return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

int unlinkat(int dir_fd, const char *path, int flags)
{
        const char *name = "";
        What folder = describe_folder(dir_fd, path, &name);
        int r;

        count("unlinkat", folder.text);
        r = REAL(unlinkat)(dir_fd, path, flags);
        if (r >= 0)
                RECORD(folder, "+u %lu %s\n", folder.inode, name);
        made();
        return r;
}

int unlink(const char *path)
{
        return unlinkat(AT_FDCWD, path, 0);
}

int linkat(int from_fd, const char *from, int to_fd, const char *to, int flags)
{
        const char *from_name = "", *to_name = "";
        What a = describe_folder(from_fd, from, &from_name), b = describe_folder(to_fd, to, &to_name);
        int r;

        count("linkat", b.text);
        r = REAL(linkat)(from_fd, from, to_fd, to, flags);
        if (r >= 0)
                RECORD(b, "+l %lu %s %lu %s\n", a.inode, from_name, b.inode, to_name);
        made();
        return r;
}

int link(const char *from, const char *to)
{
        return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

/* What is there already is not made. */
int mkdir(const char *path, mode_t mode)
{
        struct stat st;
        int r, saved_errno = errno;
        bool is_new = lstat(path, &st) < 0;

        errno = saved_errno;
        if (is_new)
                count("mkdir", path);
        r = REAL(mkdir)(path, mode);
        if (is_new)
                made();
        return r;
}

/* ---- others ---- */

int posix_spawn(pid_t *restrict ret, const char *restrict path, const posix_spawn_file_actions_t *actions,
                const posix_spawnattr_t *restrict attributes, char *const argv[restrict], char *const env[restrict])
{
        int r;

        count("posix_spawn", argv[1] ? argv[1] : path);
        r = REAL(posix_spawn)(ret, path, actions, attributes, argv, env);
        made();
        return r;
}

int bind(int fd, const struct sockaddr *address, socklen_t n_address)
{
        int r;

        count("bind", "socket");
        r = REAL(bind)(fd, address, n_address);
        made();
        return r;
}

int listen(int fd, int backlog)
{
        int r;

        count("listen", "socket");
        r = REAL(listen)(fd, backlog);
        made();
        return r;
}

int connect(int fd, const struct sockaddr *address, socklen_t n_address)
{
        int r;

        count("connect", "socket");
        r = REAL(connect)(fd, address, n_address);
        made();
        return r;
}

int kill(pid_t pid, int signal_number)
{
        int r;

        count("kill", "process");
        r = REAL(kill)(pid, signal_number);
        made();
        return r;
}
