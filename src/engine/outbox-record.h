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
 * At most `n_max` entries, which are the caller's. A record that is damaged or cannot be read is put aside, if that can be,
 * and logged, and is none then. -ENOMEM, -EMFILE, -ENFILE: not to be read for now; *ret_n is set where there is no memory.
 */
_must_use_ int outbox_record_load(int dir_fd, OutboxEntry *entries, size_t n_max, size_t *ret_n);
