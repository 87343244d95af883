/* The cursor that reads back: the hash is that of what has arrived at the storage, taken a little behind the writer. */
#include <string.h>

#include "session-private.h"

enum {
        BEHIND_BYTES = 4 * 1024 * 1024, /* farther, and it comes first */
        SLICE_BYTES = 64 * 1024,        /* between two looks at what has come meanwhile */
};

static FileRun *next_to_hash(InstallSession *s)
{
        for (unsigned i = 0; i < s->n_runs; i++) {
                FileRun *run = &s->runs[i];

                if (run->writer && run->digest && run->hashed_bytes < target_writer_readable(run->writer))
                        return run;
        }
        return NULL;
}

bool hashing_is_busy(const InstallSession *s)
{
        return next_to_hash((InstallSession *)s) != NULL;
}

bool hashing_has_bytes(const InstallSession *s)
{
        const FileRun *run = next_to_hash((InstallSession *)s);

        return run && target_writer_has_read(run->writer);
}

static bool is_far_behind(const FileRun *run)
{
        return target_writer_written(run->writer) - run->hashed_bytes > BEHIND_BYTES;
}

static int hash_bytes(InstallSession *s, FileRun *run, const uint8_t *data, size_t n_data, Failure *reterr)
{
        for (size_t at = 0, n; at < n_data; at += n) {
                int r;

                n = MIN2(n_data - at, (size_t)SLICE_BYTES);
                r = digest_update(run->digest, data + at, n);
                if (r < 0)
                        return fail(reterr, FAILURE_INTERNAL, -r, "the hash of target %s cannot go on: %s",
                                    target_name(run->target->target), strerror(-r));
                r = is_far_behind(run) ? 0 : intake_meanwhile(s, reterr);
                if (r < 0)
                        return r;
        }
        run->hashed_bytes += n_data;
        return 0;
}

static int hash_some(InstallSession *s, FileRun *run, Failure *reterr)
{
        const void *data;
        ssize_t n;

        /* While more comes, and the cursor is not far behind, the pipe is not to wait for the storage. */
        n = target_writer_read(run->writer, run->hashed_bytes, !intake_is_open(s) || is_far_behind(run), &data,
                               reterr);
        if (n == 0)
                (void)sd_event_source_set_enabled(s->hashing, SD_EVENT_OFF);
        return n > 0 ? hash_bytes(s, run, data, (size_t)n, reterr) : (int)n;
}

static int hashing_on_turn(sd_event_source *source, void *userdata)
{
        InstallSession *s = userdata;
        FileRun *run = next_to_hash(s);
        const Step *step;
        Failure failure;

        if (!run) {
                (void)sd_event_source_set_enabled(s->hashing, SD_EVENT_OFF);
                return 0;
        }
        if (hash_some(s, run, &failure) < 0) {
                session_fail(s, &failure);
                return 0;
        }
        session_tick(s);
        if (!s->plan.running || !s->plan.pending)
                return 0;
        step = &s->plan.steps[s->plan.at];
        if (step->run == step_hashed && s->runs[step->file].hashed_bytes == session_file(s, step->file)->size_bytes)
                plan_step_done(s, STEP_DONE, NULL);
        return 0;
}

int hashing_start(InstallSession *s, Failure *reterr)
{
        int r = 0;

        if (!s->hashing) {
                r = sd_event_add_defer(s->event, &s->hashing, hashing_on_turn, s);
                if (r >= 0)
                        /* By turns with the pipe: else a fast network leaves all of it for the end. */
                        r = sd_event_source_set_priority(s->hashing, SD_EVENT_PRIORITY_NORMAL + 10);
        }
        if (r >= 0)
                r = sd_event_source_set_enabled(s->hashing, SD_EVENT_ON);
        if (r < 0)
                return fail(reterr, FAILURE_RESOURCES, -r, "cannot read back: %s", strerror(-r));
        return 0;
}
