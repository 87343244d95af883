#include "install/history.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/record.h"
#include "base/text.h"

/* Well below what base/record reads back, however much of it had to be escaped. */
enum { HISTORY_BYTES_MAX = 192 * 1024 };

/* An entry is a record inside a field of the file's record, whose name is its number. */
static int entry_format(const HistoryEntry *e, char **ret)
{
        _cleanup_(record_freep) Record *record = record_new();
        size_t n_text;
        int r;

        if (!record)
                return -ENOMEM;
        if ((r = record_set(record, "session", e->session)) < 0 || (r = record_set(record, "job", e->job_id)) < 0 ||
            (r = record_set_u64(record, "attempt", e->attempt)) < 0 ||
            (r = record_set(record, "operation", e->operation)) < 0 ||
            (r = record_set(record, "targets", e->targets)) < 0 ||
            (r = record_set(record, "result", e->result)) < 0 || (r = record_set(record, "reason", e->reason)) < 0 ||
            (r = record_set(record, "detail", e->detail)) < 0 ||
            (r = record_set(record, "previous-version", e->previous_version)) < 0 ||
            (r = record_set(record, "version", e->version)) < 0 ||
            (r = record_set_u64(record, "size", e->size_bytes)) < 0 ||
            (r = record_set_u64(record, "began", e->began_wall_usec)) < 0 ||
            (r = record_set_u64(record, "ended", e->ended_wall_usec)) < 0)
                return r;
        return record_format(record, ret, &n_text);
}

static int get_text(const Record *record, const char *name, char *buffer, size_t buffer_size)
{
        const char *value = record_get(record, name);

        if (!value || strlen(value) >= buffer_size || !utf8_is_valid(value, strlen(value)))
                return -EBADMSG;
        memcpy(buffer, value, strlen(value) + 1);
        return 0;
}

static int entry_parse(const char *text, HistoryEntry *ret)
{
        _cleanup_(record_freep) Record *record = NULL;
        int r;

        r = record_parse(text, strlen(text), &record);
        if (r < 0)
                return r;
        memset(ret, 0, sizeof(*ret));
        /* What the first version did not write. */
        strcpy(ret->operation, "update");
        if ((record_get(record, "operation") &&
             get_text(record, "operation", ret->operation, sizeof(ret->operation)) < 0) ||
            (record_get(record, "size") && record_get_u64(record, "size", &ret->size_bytes) < 0))
                return -EBADMSG;
        if (get_text(record, "session", ret->session, sizeof(ret->session)) < 0 ||
            get_text(record, "job", ret->job_id, sizeof(ret->job_id)) < 0 ||
            record_get_u64(record, "attempt", &ret->attempt) < 0 ||
            get_text(record, "targets", ret->targets, sizeof(ret->targets)) < 0 ||
            get_text(record, "result", ret->result, sizeof(ret->result)) < 0 ||
            get_text(record, "reason", ret->reason, sizeof(ret->reason)) < 0 ||
            get_text(record, "detail", ret->detail, sizeof(ret->detail)) < 0 ||
            get_text(record, "previous-version", ret->previous_version, sizeof(ret->previous_version)) < 0 ||
            get_text(record, "version", ret->version, sizeof(ret->version)) < 0 ||
            record_get_u64(record, "began", &ret->began_wall_usec) < 0 ||
            record_get_u64(record, "ended", &ret->ended_wall_usec) < 0)
                return -EBADMSG;
        return 0;
}

int history_load(int dir_fd, HistoryEntry **ret, size_t *ret_n)
{
        _cleanup_(record_freep) Record *file = NULL;
        _cleanup_free_ HistoryEntry *entries = NULL;
        size_t n = 0;
        int r;

        *ret = NULL;
        *ret_n = 0;
        r = record_load(dir_fd, HISTORY_NAME, &file);
        if (r == -ENOENT)
                return 0;
        if (r < 0)
                return r;
        entries = calloc(HISTORY_ENTRIES_MAX, sizeof(*entries));
        if (!entries)
                return -ENOMEM;
        for (size_t i = 0; i < HISTORY_ENTRIES_MAX; i++) {
                const char *text;
                char name[24];

                (void)snprintf(name, sizeof(name), "%zu", i);
                text = record_get(file, name);
                if (!text)
                        break;
                r = entry_parse(text, &entries[n]);
                if (r == -ENOMEM)
                        return r;
                if (r >= 0)
                        n++;
        }
        *ret = TAKE_PTR(entries);
        *ret_n = n;
        return 0;
}

/* Saves the last entries that fit: those from `first` on, or -EFBIG. */
static int save_from(int dir_fd, char *const *texts, size_t first, size_t n)
{
        _cleanup_(record_freep) Record *file = record_new();
        _cleanup_free_ char *whole = NULL;
        size_t n_whole;
        char name[24];
        int r;

        if (!file)
                return -ENOMEM;
        for (size_t i = first; i < n; i++) {
                (void)snprintf(name, sizeof(name), "%zu", i - first);
                r = record_set(file, name, texts[i]);
                if (r < 0)
                        return r;
        }
        r = record_format(file, &whole, &n_whole);
        if (r < 0)
                return r;
        return n_whole > HISTORY_BYTES_MAX ? -EFBIG : record_save(file, dir_fd, HISTORY_NAME);
}

int history_append(int dir_fd, const HistoryEntry *entry)
{
        _cleanup_free_ HistoryEntry *old = NULL;
        char *texts[HISTORY_ENTRIES_MAX + 1] = {NULL};
        size_t n_old, n = 0, first;
        int r;

        /* A damaged history has been put aside, or is replaced; a new one begins. */
        r = history_load(dir_fd, &old, &n_old);
        if (r < 0 && r != -EBADMSG && r != -EUCLEAN)
                return r;
        r = 0;
        for (size_t i = 0; r >= 0 && i < n_old; i++)
                if (strcmp(old[i].session, entry->session) != 0)
                        r = entry_format(&old[i], &texts[n++]);
        if (r >= 0)
                r = entry_format(entry, &texts[n++]);
        if (r >= 0) {
                first = n > HISTORY_ENTRIES_MAX ? n - HISTORY_ENTRIES_MAX : 0;
                do
                        r = save_from(dir_fd, texts, first++, n);
                while (r == -EFBIG && first < n);
        }
        for (size_t i = 0; i < n; i++)
                free(texts[i]);
        return r;
}
