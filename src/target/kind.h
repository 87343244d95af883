/*
 * kind: what a kind of target must be able to do; slot.c and file.c, one each.
 */
#pragma once

#include "target/target.h"

/* A place open for reading and writing, checked and large enough. */
typedef struct OpenedTarget {
        int fd;                /* the receiver's */
        uint64_t resume_bytes; /* what is there of the image */
        const char *label;     /* what messages call it; the target's */
} OpenedTarget;

/* A missing act: nothing to do for this kind. */
typedef struct TargetKind {
        int (*check)(const Target *target, Failure *reterr);
        int (*open)(const Target *target, const TargetWriterParams *params, OpenedTarget *ret, Failure *reterr);
        int (*activate)(const Target *target, Failure *reterr);
        int (*roll_back)(const Target *target, Failure *reterr);
        int (*commit)(const Target *target, Failure *reterr);
        int (*discard)(const Target *target, Failure *reterr);
} TargetKind;

struct Target {
        const TargetKind *kind;
        TargetType type;
        char *name;

        /* ab */
        char *slot_names[TARGET_N_SLOTS];
        char *slot_devices[TARGET_N_SLOTS];
        char *boot_path;
        BootScript boot; /* borrows from the above */

        /* file */
        char *path, *directory, *staged_path;
        const char *file_name; /* part of path */
        char *new_name, *old_name, *none_name;
        mode_t mode;
        char *owner, *group; /* NULL: ours */
        FreeSpaceRule keep_free;
};

extern const TargetKind target_kind_slot;
extern const TargetKind target_kind_file;
