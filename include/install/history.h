/*
 * history: the finished sessions of this device, oldest first, for `otactl history`.
 *
 * Kept beside the session's record, in the same form (base/record.h), bounded in number and bytes: the oldest go first.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "install/record.h"

enum { HISTORY_ENTRIES_MAX = 100, HISTORY_DETAIL_MAX = 200, HISTORY_TARGETS_MAX = 256 };

#define HISTORY_NAME "history"

/* A plain value. */
typedef struct HistoryEntry {
        char session[INSTALL_SESSION_MAX + 1];
        char job_id[INSTALL_JOB_ID_MAX + 1];
        uint64_t attempt;
        char operation[16];                /* "update", "rollback": what `otactl rollback` did after a commit */
        char targets[HISTORY_TARGETS_MAX]; /* names with a comma between, cut where there are many */
        char result[16];                   /* "committed", "rolled-back" */
        char reason[64];                   /* failure word; "" after a commit */
        char detail[HISTORY_DETAIL_MAX];
        char previous_version[INSTALL_VERSION_MAX + 1];
        char version[INSTALL_VERSION_MAX + 1]; /* "" where the new software never ran */
        uint64_t size_bytes;                   /* of all images; 0 for a rollback */
        uint64_t began_wall_usec;              /* since 1970 */
        uint64_t ended_wall_usec;
} HistoryEntry;

/* An entry of the same session is replaced, so that a repetition after a crash leaves one line. */
_must_use_ int history_append(int dir_fd, const HistoryEntry *entry);
/*
 * *ret is the caller's to free(); NULL and 0 where there is none. An entry that makes no sense, another version's say, is
 * left out. -EBADMSG: damaged, and put aside.
 */
_must_use_ int history_load(int dir_fd, HistoryEntry **ret, size_t *ret_n);
