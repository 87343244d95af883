/*
 * target: where an image is written to, and how it comes into force.
 *
 * Two kinds behind one table of calls: "ab", a pair of slots (block devices, or regular files in tests), of
 * which the one not booted is written; and "file", a single file that is replaced by rename. These calls
 * block on the storage, as the process that makes them may; each is bounded by one chunk on its way. No
 * event loop here: what runs a program is in target/boot.h and target/hook.h.
 *
 * A target that is "ab" comes into force by its boot script, not by target_activate(), which does nothing for
 * it.
 *
 * What a "file" target keeps beside the destination /DIR/NAME:
 *   .NAME.otad-new    the image being written; mode 0600 until it is activated
 *   .NAME.otad-old    activated, not yet committed: the version before, a hard link
 *   .NAME.otad-none   the same, where there was no version before (empty)
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "base/failure.h"
#include "base/file-util.h"
#include "target/boot.h"

typedef enum TargetType {
        TARGET_TYPE_AB,
        TARGET_TYPE_FILE,
        _TARGET_TYPE_MAX,
} TargetType;

const char *target_type_to_string(TargetType type); /* "ab" */

enum {
        TARGET_N_SLOTS = BOOT_N_SLOTS,
        TARGET_NO_SLOT = -1, /* for a "file" target; and "not known" for a booted slot */
};

typedef struct TargetSlotParams {
        const char *name;
        const char *device; /* block device or regular file; a symbolic link is followed; never created */
} TargetSlotParams;

/* All texts are copied. */
typedef struct TargetParams {
        const char *name;
        TargetType type;
        TargetSlotParams slots[TARGET_N_SLOTS]; /* ab */
        const char *boot_script;                /* ab */
        uint64_t boot_timeout_usec;             /* ab */
        const char *path;                       /* file: absolute */
        mode_t mode;                            /* file: permission bits, at most 07777 */
        const char *owner;                      /* file: user name; NULL or "": this process's user */
        const char *group;                      /* file: group name; NULL or "": this process's group */
        FreeSpaceRule keep_free;                /* file: what an image must leave of its file system */
} TargetParams;

typedef struct Target Target;

/* -EINVAL: something above is missing, or the path has no usable name. Nothing is touched or looked at.
 * -ENOMEM. */
_must_use_ int target_new(const TargetParams *params, Target **ret);
Target *target_free(Target *target); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(Target *, target_free);

/* Borrowed; what does not belong to the type is NULL. */
const char *target_name(const Target *target);
TargetType target_type(const Target *target);
const char *target_slot_name(const Target *target, int slot);
const char *target_slot_device(const Target *target, int slot);
int target_slot_from_name(const Target *target, const char *name); /* -ENOENT */
const BootScript *target_boot_script(const Target *target);        /* ab */
const char *target_path(const Target *target);                     /* file: the destination */
const char *target_staged_path(const Target *target);              /* file: where the image lies until activation */

/*
 * Whether the target as configured can ever work: the slots exist, are two different things, the boot script
 * is executable; the directory exists, the destination is no link or directory, owner and group are known.
 * FAILURE_TARGET_MISSING, FAILURE_TARGET_BUSY (both slots are one), FAILURE_BOOT_SCRIPT, FAILURE_TARGET_IO.
 */
_must_use_ int target_check(const Target *target, Failure *reterr);

/*
 * One image on its way onto a target. The bytes go out in aligned chunks of 512 KiB, past the page cache, one on its way
 * while the next fills; what is read back comes from the storage, and is asked for a little ahead. Where a file system has
 * no direct I/O, the page cache is written through and dropped instead (a tmpfs has nothing else).
 *
 *   0 ........ durable ........ readable ........ written ........ size
 *
 *   durable   survives a power cut (fdatasync returned)
 *   readable  has arrived at the storage: a verify cursor may read up to here. Always a multiple of 4096 or the whole size,
 *             as no block before it will be written again. May be ahead of or behind durable.
 *   written   taken by target_writer_filled(); up to 512 KiB of it still in our own memory
 */
typedef struct TargetWriter TargetWriter;

typedef struct TargetWriterParams {
        int slot;              /* ab: which; else TARGET_NO_SLOT */
        int booted_slot;       /* ab: the slot that is running, refused as `slot`; TARGET_NO_SLOT: not known */
        uint64_t size_bytes;   /* of the whole image; not 0 */
        uint64_t resume_bytes; /* what is known to be durable from before; 0: begin */
        bool skip_equal;       /* a chunk that lies there already is not written again */
} TargetWriterParams;

/*
 * Opens the slot, or the file beside the destination, for an image of that size. Nothing is written yet (a
 * file is created and its space allocated). target_writer_written() tells where to go on: resume_bytes, or
 * less where the file is shorter or gone. A block device stays claimed (O_EXCL) until the writer is freed, so
 * nobody mounts it.
 *
 * FAILURE_TARGET_MISSING: no such device or directory. FAILURE_TARGET_BUSY: mounted, swap, held by another
 * device, claimed, booted. FAILURE_IMAGE_TOO_LARGE, FAILURE_NO_SPACE: with both figures. FAILURE_TARGET_IO:
 * not a block device or regular file, read-only, or an error of the storage; also an unknown owner or group.
 * -EINVAL without failure: the params contradict each other.
 */
_must_use_ int target_writer_open(const Target *target, const TargetWriterParams *params, TargetWriter **ret,
                                  Failure *reterr);
/* Closes. Bytes not flushed are lost: flush first to suspend. NULL is fine; returns NULL. */
TargetWriter *target_writer_free(TargetWriter *writer);
DEFINE_CLEANUP(TargetWriter *, target_writer_free);

/*
 * Room for the next bytes in order, and how many fit (0: complete); they are written when target_writer_filled() says how
 * many are there. The room is void after any other call on the writer. Returns 1; or 0 where the storage has not yet taken
 * what is there. With `wait`, something has ended meanwhile, though perhaps another thing. FAILURE_TARGET_IO,
 * FAILURE_NO_SPACE, with the offset. After a failure nothing more is accepted (-EIO).
 */
_must_use_ int target_writer_room(TargetWriter *writer, bool wait, void **ret, size_t *ret_bytes, Failure *reterr);
_must_use_ int target_writer_filled(TargetWriter *writer, size_t n_bytes, Failure *reterr);
/* Makes everything written so far durable and, but for a last part block, readable. Failures as for room. */
_must_use_ int target_writer_flush(TargetWriter *writer, Failure *reterr);
/*
 * Begins to make durable what has been handed to the storage by now, unless that is under way already, and waits for
 * nothing: target_writer_durable() tells later, after further writes, that it is done. Failures as for room.
 */
_must_use_ int target_writer_start_sync(TargetWriter *writer, Failure *reterr);
/*
 * Reads back some bytes from `offset` on, not beyond readable: 0 where the cursor must wait for more to be written or
 * flushed or, unless it may `wait`, for the storage. Returns the count; *ret is the writer's, until the next read: more may
 * be written meanwhile. The offset is where the last read ended, and read ahead meanwhile, or any multiple of 4096.
 * FAILURE_TARGET_IO with the offset, also where the file ends early.
 */
_must_use_ ssize_t target_writer_read(TargetWriter *writer, uint64_t offset, bool wait, const void **ret,
                                      Failure *reterr);

/* Whether the next read, where the last one ended, waits for nothing. */
bool target_writer_has_read(const TargetWriter *writer);

uint64_t target_writer_size(const TargetWriter *writer);
uint64_t target_writer_written(const TargetWriter *writer);
uint64_t target_writer_durable(const TargetWriter *writer);
uint64_t target_writer_readable(const TargetWriter *writer);

/*
 * How a verified file comes into force and out of it. Each may be repeated after a crash at any instruction,
 * of itself or of the others, and then finishes what was begun; each has synced the directory when it returns
 * 0. All return 0 and do nothing for an "ab" target.
 *
 * activate:  owner, mode, sync; keep the version before; rename the new one over it. Done already: 0.
 *            FAILURE_ACTIVATION_FAILED, also where there is nothing to activate.
 * roll_back: the version before is back in place, or the file is gone where there was none. Before the rename
 * of activate it removes the new image instead. Nothing to undo: 0. FAILURE_ROLLBACK_FAILED. commit: forgets
 * the version before. FAILURE_COMMIT_FAILED. discard:   removes the image that was being written, and nothing
 * else. FAILURE_ROLLBACK_FAILED.
 */
_must_use_ int target_activate(const Target *target, Failure *reterr);
_must_use_ int target_roll_back(const Target *target, Failure *reterr);
_must_use_ int target_commit(const Target *target, Failure *reterr);
_must_use_ int target_discard(const Target *target, Failure *reterr);
