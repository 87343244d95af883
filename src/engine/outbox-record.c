#include "outbox-record.h"

#include <errno.h>
#include <stdio.h>

#include "base/log-event.h"
#include "base/log.h"
#include "base/record.h"

static const char record_name[] = "outbox";

void outbox_entry_done(OutboxEntry *entry)
{
        job_report_done(&entry->report);
        *entry = (OutboxEntry){0};
}

static int set_field(Record *record, size_t index, const char *name, const char *value)
{
        char field[64];

        snprintf(field, sizeof(field), "%zu.%s", index, name);
        return record_set(record, field, value);
}

static int entry_store(Record *record, size_t index, const OutboxEntry *entry)
{
        char key[JOB_KEY_TEXT_MAX], name[32];
        int r;

        r = set_field(record, index, "job", job_key_format(&entry->key, key));
        if (r >= 0)
                r = set_field(record, index, "status", job_status_to_string(entry->report.status));
        for (size_t k = 0; r >= 0 && k < entry->report.n_details; k++) {
                snprintf(name, sizeof(name), "key%zu", k);
                r = set_field(record, index, name, entry->report.details[k].key);
                if (r < 0)
                        break;
                snprintf(name, sizeof(name), "value%zu", k);
                r = set_field(record, index, name, entry->report.details[k].value);
        }
        return r;
}

int outbox_record_save(int dir_fd, const OutboxEntry *entries, size_t n_entries)
{
        _cleanup_(record_freep) Record *record = NULL;
        int r = 0;

        if (n_entries == 0)
                return record_remove(dir_fd, record_name);
        record = record_new();
        if (!record)
                return -ENOMEM;
        for (size_t i = 0; r >= 0 && i < n_entries; i++)
                r = entry_store(record, i, &entries[i]);
        return r < 0 ? r : record_save(record, dir_fd, record_name);
}

static const char *get_field(const Record *record, size_t index, const char *name)
{
        char field[64];

        snprintf(field, sizeof(field), "%zu.%s", index, name);
        return record_get(record, field);
}

/* -ENOENT: no more. -EBADMSG: the bytes are those we wrote, yet they make no sense (another version wrote them). */
static int entry_load(const Record *record, size_t index, OutboxEntry *ret)
{
        const char *key = get_field(record, index, "job"), *status = get_field(record, index, "status");
        OutboxEntry entry = {.saved = true};
        char name[32];
        int r = 0;

        if (!key)
                return -ENOENT;
        if (!status || job_key_parse(key, &entry.key) < 0 || !job_status_is_terminal(job_status_from_string(status)))
                return -EBADMSG;
        job_report_init(&entry.report, job_status_from_string(status));
        for (size_t k = 0; r >= 0 && k < JOB_DETAILS_MAX; k++) {
                const char *detail, *value;

                snprintf(name, sizeof(name), "key%zu", k);
                detail = get_field(record, index, name);
                snprintf(name, sizeof(name), "value%zu", k);
                value = get_field(record, index, name);
                if (!detail || !value)
                        break;
                r = job_report_add(&entry.report, detail, value);
        }
        if (r < 0) {
                outbox_entry_done(&entry);
                return r;
        }
        *ret = entry;
        return 0;
}

int outbox_record_load(int dir_fd, OutboxEntry *entries, size_t n_max, size_t *ret_n)
{
        _cleanup_(record_freep) Record *record = NULL;
        size_t n = 0;
        int r;

        r = record_load(dir_fd, record_name, &record);
        if (r == -EBADMSG)
                log_event(LOG_EVENT_RECORD_DAMAGED, &(LogFields){.file = record_name},
                          "The record of final statuses the cloud has not accepted yet is damaged: put aside as "
                          "'%s.damaged'. A job that ended just before may time out in the cloud.",
                          record_name);
        else if (r == -EUCLEAN)
                log_event(LOG_EVENT_RECORD_DAMAGED, &(LogFields){.file = record_name},
                          "The record of final statuses the cloud has not accepted yet can be neither read nor put "
                          "aside. A job that ended just before may time out in the cloud.");
        else if (r < 0 && r != -ENOENT)
                return r;
        while (record && r >= 0 && n < n_max) {
                r = entry_load(record, n, &entries[n]);
                if (r >= 0)
                        n++;
        }
        if (record && r == -EBADMSG)
                log_error("The record '%s' has an entry that makes no sense; it and what follows is dropped",
                          record_name);
        *ret_n = n;
        return r == -ENOMEM ? r : 0;
}
