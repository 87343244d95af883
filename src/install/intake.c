#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/log.h"
#include "base/time-util.h"
#include "session-private.h"

enum { PIPE_BYTES = 2 * 1024 * 1024 };

bool intake_is_open(const InstallSession *s)
{
        return s->intake.pipe;
}

/* What has become durable, noted: a start after a crash goes on there. */
static int note_durable(InstallSession *s, unsigned file, Failure *reterr)
{
        uint64_t *noted = &s->record.files[file].durable_bytes, durable = target_writer_durable(s->runs[file].writer);

        if (*noted == durable)
                return 0;
        *noted = durable;
        return session_save(s, reterr);
}

int intake_checkpoint(InstallSession *s, unsigned file, Failure *reterr)
{
        int r;

        r = target_writer_flush(s->runs[file].writer, reterr);
        return r < 0 ? r : note_durable(s, file, reterr);
}

static void intake_drop(InstallSession *s)
{
        Intake *in = &s->intake;

        in->bell = sd_event_source_disable_unref(in->bell);
        in->reading = sd_event_source_disable_unref(in->reading);
        in->patience = sd_event_source_disable_unref(in->patience);
        in->pipe = data_pipe_free(in->pipe);
        /* What was left for when more comes. */
        if (s->hashing)
                (void)sd_event_source_set_enabled(s->hashing, SD_EVENT_ON);
}

void intake_refuse_next(InstallSession *s, InstallOutcome outcome, const Failure *failure)
{
        Intake *in = &s->intake;
        InstallWriteFn done = TAKE_PTR(in->next_done);

        if (done)
                done(outcome, failure, -1, in->next_userdata);
}

/* The pipe has ended, by the size reached or by its writer: whoever waited for that goes on. */
static void intake_end(InstallSession *s)
{
        Intake *in = &s->intake;
        Failure failure;
        InstallWriteFn done;
        int r;

        intake_drop(s);
        r = s->runs[in->file].writer ? intake_checkpoint(s, in->file, &failure) : 0;
        s->ops->on_progress(in->file, s->userdata);
        if (r < 0) {
                session_fail(s, &failure);
                return;
        }
        done = TAKE_PTR(in->next_done);
        if (done)
                install_session_write(s, in->next_file, in->next_offset, done, in->next_userdata);
        if (!intake_is_open(s) && s->plan.running && s->plan.pending &&
            s->plan.steps[s->plan.at].run == step_intake_ended)
                plan_step_done(s, STEP_DONE, NULL);
}

/* At most one checkpoint interval is to be fetched twice after a crash. The pipe, as it was filled once and as it may be
 * full again, is part of that. */
static uint64_t pipe_bytes(const InstallSession *s)
{
        return MIN2(s->params->checkpoint_bytes / 4, (uint64_t)PIPE_BYTES);
}

static uint64_t checkpoint_due_bytes(const InstallSession *s)
{
        return s->params->checkpoint_bytes - 2 * pipe_bytes(s);
}

/* Begun a little early, so that the storage may see to it while more is written. If it has not when the interval is over,
 * it is waited for. */
static int checkpoint_in_time(InstallSession *s, Failure *reterr)
{
        Intake *in = &s->intake;
        TargetWriter *writer = s->runs[in->file].writer;
        const uint64_t noted = s->record.files[in->file].durable_bytes, due = checkpoint_due_bytes(s);
        const uint64_t n_unsafe = target_writer_written(writer) - noted;
        int r = 0;

        if (target_writer_durable(writer) == noted && n_unsafe >= due - due / 8 &&
            usec_sub(now_usec(), in->checkpoint_usec) >= s->params->checkpoint_usec)
                r = n_unsafe < due ? target_writer_start_sync(writer, reterr) : target_writer_flush(writer, reterr);
        if (r < 0 || target_writer_durable(writer) == noted)
                return r;
        in->checkpoint_usec = now_usec();
        return note_durable(s, in->file, reterr);
}

/* Of `n` bytes that lie in the pipe as many as have room; 0: the storage has not yet taken what was before them. */
static ssize_t intake_take(InstallSession *s, size_t n, bool wait, Failure *reterr)
{
        TargetWriter *writer = s->runs[s->intake.file].writer;
        size_t n_room;
        void *room;
        int r;

        r = target_writer_room(writer, wait, &room, &n_room, reterr);
        if (r <= 0)
                return r;
        /* Never more than is still to come. */
        n = MIN2(n, n_room);
        data_pipe_read(s->intake.pipe, room, n);
        r = target_writer_filled(writer, n, reterr);
        return r < 0 ? r : (ssize_t)n;
}

/* What lies in the pipe by now is kept, too. */
static int intake_take_rest(InstallSession *s, Failure *reterr)
{
        Intake *in = &s->intake;
        const TargetWriter *writer = s->runs[in->file].writer;
        ssize_t left = data_pipe_look(in->pipe), n;

        while (left > 0 && target_writer_written(writer) < target_writer_size(writer)) {
                n = intake_take(s, (size_t)left, true, reterr);
                if (n < 0)
                        return (int)n;
                left -= n;
        }
        return intake_checkpoint(s, in->file, reterr);
}

void intake_close(InstallSession *s)
{
        Failure failure;

        if (!intake_is_open(s))
                return;
        if (s->runs[s->intake.file].writer && intake_take_rest(s, &failure) < 0)
                log_warning("%s: what was received last may have to be sent again: %s", s->record.request.session,
                            failure.detail);
        intake_drop(s);
}

static int intake_on_bell(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
        InstallSession *s = userdata;
        Intake *in = &s->intake;

        if (!data_pipe_on_bell(in->pipe))
                (void)sd_event_source_set_enabled(in->bell, SD_EVENT_OFF);
        (void)sd_event_source_set_enabled(in->reading, SD_EVENT_ON);
        return 0;
}

static int intake_on_turn(sd_event_source *source, void *userdata)
{
        InstallSession *s = userdata;
        Intake *in = &s->intake;
        const TargetWriter *writer = s->runs[in->file].writer;
        Failure failure;
        ssize_t n;
        int r = 0;

        n = data_pipe_look(in->pipe);
        if (n == -EAGAIN) {
                (void)sd_event_source_set_enabled(in->reading, SD_EVENT_OFF);
                return 0;
        }
        if (n < 0)
                (void)log_warning_errno((int)n, "Cannot read the data pipe, closing it: %m");
        if (n <= 0) {
                intake_end(s);
                return 0;
        }
        /* Where the storage is busy, it is the turn of the hash, and it is waited for if there is nothing to hash. */
        n = intake_take(s, (size_t)n, !hashing_has_bytes(s), &failure);
        if (n > 0)
                r = checkpoint_in_time(s, &failure);
        if (n >= 0 && r >= 0)
                r = hashing_start(s, &failure);
        if (n < 0 || r < 0) {
                session_fail(s, &failure);
                return 0;
        }
        session_tick(s);
        if (target_writer_written(writer) == target_writer_size(writer))
                intake_end(s);
        return 0;
}

int intake_meanwhile(InstallSession *s, Failure *reterr)
{
        const TargetWriter *writer = s->runs[s->intake.file].writer;
        ssize_t n;

        if (!intake_is_open(s))
                return 0;
        n = data_pipe_look(s->intake.pipe);
        if (n <= 0 || (uint64_t)n >= target_writer_size(writer) - target_writer_written(writer))
                return 0; /* intake_on_turn() ends with what comes last */
        n = intake_take(s, (size_t)n, false, reterr);
        return n > 0 ? checkpoint_in_time(s, reterr) : (int)n;
}

static int intake_on_impatient(sd_event_source *source, uint64_t usec, void *userdata)
{
        InstallSession *s = userdata;
        Failure failure;

        s->intake.patience = sd_event_source_disable_unref(s->intake.patience);
        (void)fail(&failure, FAILURE_INSTALLER, EBUSY, "the data pipe for file %u was not closed in %d s",
                   s->intake.file, INTAKE_END_SEC);
        intake_refuse_next(s, INSTALL_OUTCOME_BUSY, &failure);
        if (s->plan.running && s->plan.pending && s->plan.steps[s->plan.at].run == step_intake_ended)
                plan_step_done(s, -ESTALE, &failure);
        return 0;
}

void intake_be_patient(InstallSession *s)
{
        if (s->intake.patience)
                return;
        if (sd_event_add_time_relative(s->event, &s->intake.patience, CLOCK_BOOTTIME, INTAKE_END_SEC * USEC_PER_SEC,
                                       0, intake_on_impatient, s) < 0)
                log_error("Cannot set a deadline for the end of the data pipe");
}

static int intake_open(InstallSession *s, unsigned file, int *ret_fd)
{
        Intake *in = &s->intake;
        _cleanup_(data_pipe_freep) DataPipe *pipe = NULL;
        _cleanup_close_ int writer_fd = -1;
        int r;

        r = data_pipe_new(pipe_bytes(s), &pipe, &writer_fd);
        if (r < 0)
                return r;
        r = sd_event_add_io(s->event, &in->bell, data_pipe_fd(pipe), EPOLLIN, intake_on_bell, s);
        if (r < 0)
                return r;
        r = sd_event_add_defer(s->event, &in->reading, intake_on_turn, s);
        /* Calls come before bytes and bells, or a cancel would wait for megabytes. */
        if (r >= 0)
                r = sd_event_source_set_priority(in->bell, SD_EVENT_PRIORITY_NORMAL + 10);
        if (r >= 0)
                r = sd_event_source_set_priority(in->reading, SD_EVENT_PRIORITY_NORMAL + 10);
        if (r < 0) {
                in->bell = sd_event_source_disable_unref(in->bell);
                in->reading = sd_event_source_disable_unref(in->reading);
                return r;
        }
        (void)sd_event_source_set_description(in->bell, "install-bell");
        (void)sd_event_source_set_description(in->reading, "install-intake");
        in->pipe = TAKE_PTR(pipe);
        in->file = file;
        in->checkpoint_usec = now_usec();
        *ret_fd = TAKE_FD(writer_fd);
        return 0;
}

void intake_start(InstallSession *s, unsigned file, uint64_t offset, InstallWriteFn done, void *userdata)
{
        Intake *in = &s->intake;
        _cleanup_close_ int fd = -1;
        Failure failure = {.reason = FAILURE_NONE};
        int r;

        if (intake_is_open(s)) {
                if (in->next_done) {
                        (void)fail(&failure, FAILURE_INSTALLER, EBUSY, "another Write() waits already");
                        done(INSTALL_OUTCOME_BUSY, &failure, -1, userdata);
                        return;
                }
                in->next_done = done;
                in->next_userdata = userdata;
                in->next_file = file;
                in->next_offset = offset;
                intake_be_patient(s);
                return;
        }
        if (offset < run_written_bytes(s, file) && run_step_back(s, file, offset, &failure) < 0) {
                if (!failure_is_set(&failure))
                        (void)fail(&failure, FAILURE_RESOURCES, ENOMEM, "out of memory");
                session_fail(s, &failure);
                done(INSTALL_OUTCOME_FAILED, &failure, -1, userdata);
                return;
        }
        r = intake_open(s, file, &fd);
        if (r < 0) {
                (void)fail(&failure, FAILURE_RESOURCES, -r, "cannot make a data pipe: %s", strerror(-r));
                done(INSTALL_OUTCOME_BUSY, &failure, -1, userdata);
                return;
        }
        session_tick(s);
        done(INSTALL_OUTCOME_DONE, NULL, fd, userdata);
}
