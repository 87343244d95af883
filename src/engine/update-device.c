#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/local-session.h"
#include "base/log.h"
#include "base/time-util.h"
#include "update-private.h"

enum {
        OUT_OF_TURN_RETRY_USEC = 2 * 1000 * 1000,
        OUT_OF_TURN_MAX = 30,
};

/* An update that otactl brought. What the cloud has waits, and no call of ours disturbs it. */
static void stand_aside(Update *u, uint64_t now_usec)
{
        if (u->aside)
                return;
        log_notice("A local update is at hand (%s), jobs wait for its end", u->device.session);
        if (job_key_is_set(&u->key)) {
                job_queue_put_back(u->queue);
                update_drop_job(u, now_usec);
        }
        u->aside = true;
}

static void step_back_in(Update *u, uint64_t now_usec)
{
        log_info("The local update has ended, jobs go on");
        u->aside = false;
        u->failure = (Failure){0};
        u->retry_usec = USEC_INFINITY;
        job_queue_let_go(u->queue, now_usec);
}

/* A session that an earlier run of otad began, or that we took for over. */
static void adopt(Update *u, uint64_t now_usec)
{
        char ours[JOB_KEY_TEXT_MAX];
        JobKey key;

        if (session_is_local(u->device.session)) {
                stand_aside(u, now_usec);
                return;
        }
        if (u->aside)
                step_back_in(u, now_usec);
        if (!u->device.session[0] || strcmp(u->device.session, job_key_format(&u->key, ours)) == 0)
                return;
        if (job_key_is_set(&u->key)) {
                log_notice("Job %s waits: otad-installer is still busy with %s", u->key.job_id, u->device.session);
                job_queue_put_back(u->queue);
                update_drop_job(u, now_usec);
        }
        if (job_key_parse(u->device.session, &key) < 0) {
                log_error("otad-installer holds a session '%s' that is no job: it is rolled back", u->device.session);
                key = job_key_make("unknown", 0);
                u->gone = true;
                (void)fail(&u->failure, FAILURE_INTERNAL, EINVAL, "session '%s' is no job", u->device.session);
        }
        u->key = key;
        log_info("Job %s (attempt %" PRId64 "): found %s on the device", key.job_id, key.execution_number,
                 update_state_to_string(u->device.state));
        job_queue_hold(u->queue, &u->key);
        job_queue_describe_held(u->queue, now_usec);
}

void update_on_device_up(Update *u, const LinkState *state, uint64_t now_usec)
{
        u->device = *state;
        u->device_known = true;
        u->device_rests = false;
        u->call = INSTALL_CALL_NONE;
        update_set_waiting(u, "");
        update_end_download(u);
        u->begun = u->downloaded = u->self_tested = false;
        adopt(u, now_usec);
        u->world->changed(u->world_userdata);
        update_reconcile(u, now_usec);
}

bool update_needs_device(const Update *u)
{
        if (job_key_is_set(&u->key) || u->call != INSTALL_CALL_NONE)
                return true;
        return !u->device_rests && (!u->device_known || u->device.state != UPDATE_STATE_IDLE || u->device.session[0]);
}

void update_on_device_rest(Update *u)
{
        assert(u->device_known && u->call == INSTALL_CALL_NONE);
        u->device_known = u->begun = false;
        u->device_rests = true;
}

void update_on_device_down(Update *u, const Failure *failure, uint64_t now_usec)
{
        u->device_known = u->device_rests = u->begun = false;
        u->call = INSTALL_CALL_NONE;
        update_end_download(u);
        update_set_waiting(u, "otad-installer is not reached");
        if (u->state == UPDATE_STATE_DOWNLOADING || u->state == UPDATE_STATE_VERIFYING)
                update_enter(u, UPDATE_STATE_SUSPENDED, now_usec);
}

void update_on_device_state(Update *u, const LinkState *state, uint64_t now_usec)
{
        if (!u->device_known)
                return;
        /* A wait was for something in the state before. */
        if (state->state != u->device.state)
                u->retry_usec = USEC_INFINITY;
        u->device = *state;
        adopt(u, now_usec);
        u->world->changed(u->world_userdata);
        update_reconcile(u, now_usec);
}

void update_on_device_progress(Update *u, const LinkProgress *progress)
{
        LinkFileState *file;

        if (!u->device_known || progress->file >= u->device.n_files)
                return;
        file = &u->device.files[progress->file];
        file->written_bytes = progress->written_bytes;
        file->durable_bytes = progress->durable_bytes;
        file->verified_bytes = progress->verified_bytes;
        u->world->changed(u->world_userdata);
}

static void on_not_now(Update *u, InstallCall which, const Failure *why, uint64_t now_usec)
{
        char text[FAILURE_DETAIL_MAX], duration[DURATION_TEXT_MAX];

        if (u->not_now_call != which) {
                u->not_now_call = which;
                u->not_now_since_usec = now_usec;
        }
        update_come_back(u);
        if (now_usec - u->not_now_since_usec >= u->params.hook_give_up_usec) {
                (void)fail(&u->failure, FAILURE_HOOK_NOT_NOW, ETIMEDOUT, "the hook said not now for %s: %s",
                           duration_format(duration, now_usec - u->not_now_since_usec), why->detail);
                return;
        }
        snprintf(text, sizeof(text), "the hook says not now: %.400s", why->detail);
        update_set_waiting(u, text);
        u->retry_usec = usec_add(now_usec, u->params.hook_retry_usec);
}

static void on_out_of_turn(Update *u, const Failure *why, uint64_t now_usec)
{
        if (++u->n_out_of_turn > OUT_OF_TURN_MAX)
                u->failure = *why;
        u->retry_usec = usec_add(now_usec, OUT_OF_TURN_RETRY_USEC);
}

/*
 * A plan of a call that an earlier connection made is at work still: a hook of minutes, or a large image that is read back.
 * It has its own end, and a hang the link notices, so this is never a failure, however often it is said.
 */
static void on_busy(Update *u, const Failure *why, uint64_t now_usec)
{
        char text[FAILURE_DETAIL_MAX];

        snprintf(text, sizeof(text), "otad-installer is busy: %.400s", why->detail);
        update_set_waiting(u, text);
        u->retry_usec = usec_add(now_usec, backoff_next_usec(&u->busy));
}

static void on_call_failed(Update *u, InstallCall which, const LinkError *error, uint64_t now_usec)
{
        if (which == INSTALL_CALL_WRITE)
                update_give_up_pipe(u);
        switch (error->kind) {
        case LINK_ERROR_NOT_NOW:
                on_not_now(u, which, &error->failure, now_usec);
                break;
        case LINK_ERROR_BUSY:
                on_busy(u, &error->failure, now_usec);
                break;
        case LINK_ERROR_OUT_OF_TURN:
        case LINK_ERROR_NOTHING:
                on_out_of_turn(u, &error->failure, now_usec);
                break;
        case LINK_ERROR_FAILED:
                if (which == INSTALL_CALL_ROLL_BACK || which == INSTALL_CALL_RELEASE ||
                    which == INSTALL_CALL_GET_STATE) {
                        log_error("otad-installer could not %s, trying again: %s",
                                  which == INSTALL_CALL_GET_STATE ? "tell its state" : "end the update",
                                  error->failure.detail);
                        u->retry_usec = usec_add(now_usec, OUT_OF_TURN_RETRY_USEC);
                        break;
                }
                if (!failure_is_set(&u->failure))
                        u->failure = error->failure;
                update_come_back(u);
                break;
        case LINK_ERROR_LOST:
        case _LINK_ERROR_MAX:
                break; /* update_on_device_down() says it */
        }
}

static void on_call_went_well(Update *u, InstallCall which, const LinkOffsets *offsets, uint64_t now_usec)
{
        uint64_t bytes = 0;

        u->n_out_of_turn = 0;
        backoff_reset(&u->busy);
        u->not_now_call = INSTALL_CALL_NONE;
        switch (which) {
        case INSTALL_CALL_BEGIN:
                u->begun = true;
                u->offsets = *offsets;
                for (size_t i = 0; i < offsets->n_files; i++)
                        bytes += offsets->resume_bytes[i];
                if (bytes > u->resumed_bytes)
                        u->n_pipes_lost = 0;
                u->resumed_bytes = bytes;
                return;
        case INSTALL_CALL_WRITE:
                if (u->download)
                        download_on_opened(u->download, now_usec);
                return;
        case INSTALL_CALL_SELF_TEST:
                u->self_tested = true;
                return;
        case INSTALL_CALL_REBOOT:
                u->rebooting = true;
                return;
        case INSTALL_CALL_VERIFY:
        case INSTALL_CALL_ACTIVATE:
        case INSTALL_CALL_COMMIT:
        case INSTALL_CALL_ROLL_BACK:
        case INSTALL_CALL_RELEASE:
        case INSTALL_CALL_GET_STATE:
        case INSTALL_CALL_NONE:
        case _INSTALL_CALL_MAX:
                return;
        }
}

void update_on_call_done(Update *u, InstallCall which, const LinkError *error, const LinkOffsets *offsets,
                         const LinkState *state, uint64_t now_usec)
{
        /* A late answer to a call that update_on_device_down() has already written off. */
        if (which != u->call)
                return;
        u->call = INSTALL_CALL_NONE;
        if (error)
                on_call_failed(u, which, error, now_usec);
        else if (which != INSTALL_CALL_GET_STATE)
                on_call_went_well(u, which, offsets, now_usec);
        if (!u->device_known)
                return;
        if (!error && which == INSTALL_CALL_GET_STATE) {
                u->device = *state;
                adopt(u, now_usec);
        }
        /* Where that leaves the device is the installer's to say. */
        if (which != INSTALL_CALL_GET_STATE && !(which == INSTALL_CALL_WRITE && !error) &&
            u->call == INSTALL_CALL_NONE)
                update_call(u, INSTALL_CALL_GET_STATE);
        else
                update_reconcile(u, now_usec);
}
