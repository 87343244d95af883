/*
 * record: a small set of named texts that survives a power cut, or is known to be damaged.
 *
 * On disk: one "name=value" line a field (control characters, backslash and line ends escaped), then one line
 * "sha256=HEX" over all bytes before it. Order is kept. Used for all state of both processes; who reads a
 * field checks its meaning, this module only that the bytes are those that were written.
 */
#pragma once

#include <stdint.h>

#include "base/cleanup.h"

typedef struct Record Record;

Record *record_new(void);            /* NULL: out of memory */
Record *record_free(Record *record); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(Record *, record_free);

/* Names: lower-case letters, digits, '-' and '.', at most 64. A field set again is replaced. -EINVAL,
 * -ENOMEM. */
_must_use_ int record_set(Record *record, const char *name, const char *value);
_must_use_ int record_set_u64(Record *record, const char *name, uint64_t value);
/* NULL where absent; borrowed until the field is set again. */
const char *record_get(const Record *record, const char *name);
/* -ENOENT, -EINVAL (not a decimal number of 64 bits). */
_must_use_ int record_get_u64(const Record *record, const char *name, uint64_t *ret);

/* The pure halves, for tests and fuzzers. -EBADMSG: damaged. */
_must_use_ int record_format(const Record *record, char **ret, size_t *ret_size);
_must_use_ int record_parse(const char *text, size_t n_text, Record **ret);

/* Whole or not at all; both file and directory are synced before it returns. */
_must_use_ int record_save(const Record *record, int dir_fd, const char *name);
/*
 * -ENOENT: none. -EBADMSG: damaged, or not to be read at all; the file was put aside as "name.damaged" (an older one is
 * replaced), so that the next start finds none. -EUCLEAN: the same, but it could not be put aside either (a read-only file
 * system), so that the next start finds it again, and perhaps whole. -ENOMEM, -EMFILE, -ENFILE: not to be read for now.
 */
_must_use_ int record_load(int dir_fd, const char *name, Record **ret);
/* For who finds that the bytes are ours and their meaning is not. -EBADMSG or -EUCLEAN, as above; never 0. */
_must_use_ int record_put_aside(int dir_fd, const char *name);
/* Fine where there is none; the directory is synced. */
_must_use_ int record_remove(int dir_fd, const char *name);
