/* An outbox record whose checksum is right and whose fields are hostile: "name=value" lines become a sealed file first. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/record.h"
#include "base/text.h"
#include "engine/outbox.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_publish(const JobKey *key, const char *json, void *userdata)
{
        if (!job_key_is_set(key) || !utf8_is_valid(json, strlen(json)))
                abort();
}

static void on_accepted(const JobKey *key, JobStatus status, void *userdata)
{
}

static void on_gone(const JobKey *key, JobStatus status, const char *why, void *userdata)
{
}

static const OutboxOps ops = {.publish = on_publish, .accepted = on_accepted, .gone = on_gone};

/* Two starts: what the first one could not read is put aside, and the second finds nothing. */
static void load_twice(int dir_fd)
{
        OutboxParams params = {.dir_fd = dir_fd, .answer_timeout_usec = 1000, .step_timeout_minutes = 60};

        for (unsigned i = 0; i < 2; i++) {
                _cleanup_(outbox_freep) Outbox *outbox = NULL;
                uint64_t now = 1;

                if (outbox_new(&params, &ops, NULL, &outbox) < 0)
                        continue;
                outbox_on_connected(outbox, now);
                for (unsigned k = 0; k < 20 && outbox_next_deadline(outbox) != UINT64_MAX; k++) {
                        now = MAX2(now, outbox_next_deadline(outbox));
                        outbox_on_timer(outbox, now);
                }
        }
}

static char folder[] = "/dev/shm/otad-fuzz-XXXXXX";

static void remove_folder(void)
{
        (void)rmdir(folder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static int dir_fd = -1;
        _cleanup_(record_freep) Record *record = record_new();
        _cleanup_free_ char *text = strndup((const char *)data, size);
        char *rest = text, *line;

        if (dir_fd < 0) {
                log_set_max_level(-1);
                if (!mkdtemp(folder) || (dir_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0 ||
                    atexit(remove_folder) != 0)
                        abort();
        }
        if (!record || !text)
                return 0;
        while ((line = strsep(&rest, "\n"))) {
                char *value = strchr(line, '=');

                if (!value)
                        continue;
                *value++ = '\0';
                (void)!record_set(record, line, value);
        }
        if (record_save(record, dir_fd, "outbox") >= 0)
                load_twice(dir_fd);
        (void)unlinkat(dir_fd, "outbox", 0);
        (void)unlinkat(dir_fd, "outbox.damaged", 0);
        return 0;
}
