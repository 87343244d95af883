/*
 * outbox-record: the outbox's entries, and those on disk: final statuses the cloud has not accepted yet, oldest first.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "codec/job-report.h"
#include "engine/job-key.h"

typedef struct OutboxEntry {
        JobKey key; /* not set: free */
        JobReport report;
        bool saved;                /* finals: is on disk */
        bool claim_first, claimed; /* finals: the cloud wants to hear IN_PROGRESS before; that was tried */
} OutboxEntry;

void outbox_entry_done(OutboxEntry *entry); /* fine twice */

/* Replaces the record as a whole; removes it where there are no entries. Negative: it is as it was. */
_must_use_ int outbox_record_save(int dir_fd, const OutboxEntry *entries, size_t n_entries);
/*
 * At most `n_max` entries, which are the caller's. A damaged record is put aside and logged, and is none then.
 * Negative: it could not be read, or -ENOMEM; *ret_n is set in the latter case, too.
 */
_must_use_ int outbox_record_load(int dir_fd, OutboxEntry *entries, size_t n_max, size_t *ret_n);
