/*
 * A history whose checksums are right and whose fields are hostile: each "N.name=value" line is a field of entry N. What
 * can be read of it is text, and one more entry can always be added.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/record.h"
#include "base/text.h"
#include "install/history.h"

enum { ENTRIES_MAX = 8 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[] = "/dev/shm/otad-fuzz-XXXXXX";

static void remove_folder(void)
{
        (void)rmdir(folder);
}

static int open_folder(void)
{
        static int dir_fd = -1;

        if (dir_fd < 0 && (!mkdtemp(folder) || (dir_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0 ||
                           atexit(remove_folder) != 0))
                abort();
        return dir_fd;
}

static void save(int dir_fd, char *text)
{
        _cleanup_(record_freep) Record *file = record_new();
        Record *entries[ENTRIES_MAX] = {NULL};
        char *line, *value;

        while ((line = strsep(&text, "\n"))) {
                unsigned n = (unsigned)(line[0] - '0');

                value = strchr(line, '=');
                if (n >= ENTRIES_MAX || line[1] != '.' || !value)
                        continue;
                *value++ = '\0';
                if (entries[n] || (entries[n] = record_new()))
                        (void)!record_set(entries[n], line + 2, value);
        }
        for (unsigned n = 0; n < ENTRIES_MAX; n++) {
                _cleanup_free_ char *sealed = NULL;
                char name[2] = {(char)('0' + n)};
                size_t n_sealed;

                if (file && entries[n] && record_format(entries[n], &sealed, &n_sealed) >= 0)
                        (void)!record_set(file, name, sealed);
                record_free(entries[n]);
        }
        if (file)
                (void)!record_save(file, dir_fd, HISTORY_NAME);
}

static size_t check(int dir_fd)
{
        _cleanup_free_ HistoryEntry *entries = NULL;
        size_t n;

        if (history_load(dir_fd, &entries, &n) < 0)
                return 0;
        for (size_t i = 0; i < n; i++)
                if (!utf8_is_valid(entries[i].session, strlen(entries[i].session)) ||
                    !utf8_is_valid(entries[i].detail, strlen(entries[i].detail)))
                        abort();
        return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const HistoryEntry entry = {.session = "ours#1", .job_id = "ours", .result = "committed"};
        _cleanup_free_ char *text = strndup((const char *)data, size);
        int dir_fd = open_folder();
        size_t n;

        if (!text)
                return 0;
        save(dir_fd, text);
        n = check(dir_fd);
        if (history_append(dir_fd, &entry) < 0 || check(dir_fd) < n || check(dir_fd) == 0)
                abort();
        (void)unlinkat(dir_fd, HISTORY_NAME, 0);
        (void)unlinkat(dir_fd, HISTORY_NAME ".damaged", 0);
        return 0;
}
