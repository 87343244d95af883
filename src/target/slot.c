/* "ab": one of two slots, each a block device or a regular file, written in place. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "device-use.h"
#include "kind.h"

static int stat_slot(const Target *target, int slot, struct stat *ret, Failure *reterr)
{
        const char *name = target->slot_names[slot], *device = target->slot_devices[slot];

        if (stat(device, ret) < 0)
                return fail(reterr, errno == ENOENT || errno == ENOTDIR ? FAILURE_TARGET_MISSING : FAILURE_TARGET_IO,
                            errno, "slot %s of target %s: %s: %s", name, target->name, device, strerror(errno));
        if (!S_ISBLK(ret->st_mode) && !S_ISREG(ret->st_mode))
                return fail(reterr, FAILURE_TARGET_IO, ENOTBLK,
                            "slot %s of target %s: %s is neither a block device nor a regular file", name,
                            target->name, device);
        return 0;
}

static bool is_same_thing(const struct stat *a, const struct stat *b)
{
        if (S_ISBLK(a->st_mode) || S_ISBLK(b->st_mode))
                return S_ISBLK(a->st_mode) && S_ISBLK(b->st_mode) && a->st_rdev == b->st_rdev;
        return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Two names for one device would overwrite the system that runs, whatever the names say. */
static int check_pair(const Target *target, Failure *reterr)
{
        struct stat st[TARGET_N_SLOTS];

        for (int i = 0; i < TARGET_N_SLOTS; i++) {
                int r = stat_slot(target, i, &st[i], reterr);

                if (r < 0)
                        return r;
        }
        if (is_same_thing(&st[0], &st[1]))
                return fail(reterr, FAILURE_TARGET_BUSY, EBUSY,
                            "target %s: slots %s (%s) and %s (%s) are the same device", target->name,
                            target->slot_names[0], target->slot_devices[0], target->slot_names[1],
                            target->slot_devices[1]);
        return 0;
}

static int slot_check(const Target *target, Failure *reterr)
{
        struct stat st;
        int r;

        r = check_pair(target, reterr);
        if (r < 0)
                return r;
        if (stat(target->boot_path, &st) < 0)
                return fail(reterr, FAILURE_BOOT_SCRIPT, errno, "boot script %s of target %s: %s", target->boot_path,
                            target->name, strerror(errno));
        if (!S_ISREG(st.st_mode) || access(target->boot_path, X_OK) < 0)
                return fail(reterr, FAILURE_BOOT_SCRIPT, EACCES, "boot script %s of target %s is not executable",
                            target->boot_path, target->name);
        return 0;
}

static int get_capacity(int fd, const struct stat *st, uint64_t *ret)
{
        if (S_ISREG(st->st_mode)) {
                *ret = (uint64_t)st->st_size;
                return 0;
        }
        return ioctl(fd, BLKGETSIZE64, ret) < 0 ? -errno : 0;
}

static int check_use(const Target *target, int slot, const struct stat *st, Failure *reterr)
{
        const char *name = target->slot_names[slot], *device = target->slot_devices[slot];
        char use[DEVICE_USE_TEXT_MAX];
        int r;

        r = device_use_find("", st, use);
        if (r < 0)
                return fail(reterr, FAILURE_TARGET_IO, -r,
                            "cannot tell whether slot %s of target %s (%s) is in use: %s", name, target->name, device,
                            strerror(-r));
        if (r > 0)
                return fail(reterr, FAILURE_TARGET_BUSY, EBUSY, "slot %s of target %s (%s) %s", name, target->name,
                            device, use);
        return 0;
}

/* Of the device that was looked at, and claimed where it is one. */
static int open_device(const Target *target, int slot, const struct stat *st, int *ret, Failure *reterr)
{
        const char *name = target->slot_names[slot], *device = target->slot_devices[slot];
        _cleanup_close_ int fd = -1;
        struct stat opened;
        int read_only = 0;

        fd = open(device, O_RDWR | O_CLOEXEC | O_NOCTTY | (S_ISBLK(st->st_mode) ? O_EXCL : 0));
        if (fd < 0 && errno == EBUSY)
                return fail(reterr, FAILURE_TARGET_BUSY, EBUSY,
                            "slot %s of target %s (%s) is claimed by another user", name, target->name, device);
        if (fd < 0)
                return fail(reterr, errno == ENOENT || errno == ENXIO ? FAILURE_TARGET_MISSING : FAILURE_TARGET_IO,
                            errno, "slot %s of target %s: opening %s for writing: %s", name, target->name, device,
                            strerror(errno));
        if (fstat(fd, &opened) < 0 || !is_same_thing(st, &opened))
                return fail(reterr, FAILURE_TARGET_IO, EAGAIN, "slot %s of target %s: %s changed while it was opened",
                            name, target->name, device);
        if (S_ISBLK(st->st_mode) && ioctl(fd, BLKROGET, &read_only) == 0 && read_only)
                return fail(reterr, FAILURE_TARGET_IO, EROFS, "slot %s of target %s: %s is read-only", name,
                            target->name, device);
        *ret = TAKE_FD(fd);
        return 0;
}

static int slot_open(const Target *target, const TargetWriterParams *params, OpenedTarget *ret, Failure *reterr)
{
        _cleanup_close_ int fd = -1;
        uint64_t capacity = 0;
        struct stat st;
        int r;

        if (params->slot < 0 || params->slot >= TARGET_N_SLOTS)
                return -EINVAL;
        if (params->slot == params->booted_slot)
                return fail(reterr, FAILURE_TARGET_BUSY, EBUSY, "slot %s of target %s is the one that is running",
                            target->slot_names[params->slot], target->name);
        r = check_pair(target, reterr);
        if (r < 0)
                return r;
        r = stat_slot(target, params->slot, &st, reterr);
        if (r < 0)
                return r;
        r = check_use(target, params->slot, &st, reterr);
        if (r < 0)
                return r;
        r = open_device(target, params->slot, &st, &fd, reterr);
        if (r < 0)
                return r;
        r = get_capacity(fd, &st, &capacity);
        if (r < 0)
                return fail(reterr, FAILURE_TARGET_IO, -r, "slot %s of target %s: size of %s: %s",
                            target->slot_names[params->slot], target->name, target->slot_devices[params->slot],
                            strerror(-r));
        if (params->size_bytes > capacity)
                return fail(reterr, FAILURE_IMAGE_TOO_LARGE, EFBIG,
                            "an image of %" PRIu64 " bytes does not fit into slot %s of target %s (%s, %" PRIu64
                            " bytes)",
                            params->size_bytes, target->slot_names[params->slot], target->name,
                            target->slot_devices[params->slot], capacity);
        ret->fd = TAKE_FD(fd);
        ret->resume_bytes = params->resume_bytes;
        ret->label = target->slot_devices[params->slot];
        return 0;
}

/* The switch is the boot script's: target/boot.h. */
const TargetKind target_kind_slot = {
        .check = slot_check,
        .open = slot_open,
};
