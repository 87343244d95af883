#include "engine/update.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/time-util.h"
#include "update-report.h"

enum {
        GOODBYE_PATIENCE_USEC = 5 * 1000 * 1000, /* for the last report to be answered */
        SAVE_RETRY_USEC = 10 * 1000 * 1000,
        OUT_OF_TURN_RETRY_USEC = 2 * 1000 * 1000,
        OUT_OF_TURN_MAX = 30,
        PIPE_RETRY_USEC = 1 * 1000 * 1000, /* time for the installer to say why it closed the data pipe */
        PIPES_MAX = 5,                     /* broken or refused in a row, without a byte more on the targets */
};

typedef enum Goodbye { GOODBYE_NOT_SAID, GOODBYE_ASKED, GOODBYE_SAID } Goodbye;

struct Update {
        UpdateParams params;
        const WorldOps *world;
        void *world_userdata;
        Outbox *outbox;
        JobQueue *queue;

        UpdateState state;
        bool connected;
        bool suspended; /* by the operator */

        /* the job */
        JobKey key;
        JobDocument *document;
        const char *targets[JOB_FILES_MAX];
        bool confirmed; /* described since the last connect: it is still ours */
        bool claimed;   /* IN_PROGRESS in the cloud */
        bool gone;      /* over in the cloud: nobody wants to hear how it ended */
        bool concluded; /* the final status is in the outbox, on disk */
        Failure failure;

        /* the device */
        bool device_known;
        LinkState device;
        InstallCall call; /* under way */
        bool begun;       /* Begin() answered on this connection to the installer */
        LinkOffsets offsets;
        uint64_t resumed_bytes; /* of all files, at the last Begin() */
        unsigned n_pipes_lost;
        Download *download;
        bool downloaded;
        bool self_tested;
        bool rebooting;
        Goodbye goodbye;
        uint64_t goodbye_deadline_usec;

        /* waiting */
        char waiting[FAILURE_DETAIL_MAX];
        uint64_t retry_usec; /* nothing is done before; USEC_INFINITY: no wait */
        InstallCall not_now_call;
        uint64_t not_now_since_usec;
        unsigned n_out_of_turn;

        uint64_t reported_usec;
        unsigned reported_percent;
};

static void reconcile(Update *u, uint64_t now_usec);

/* The table of docs/architecture.md: from each state, the states that may follow. */
#define TO(state) (1u << UPDATE_STATE_##state)
#define ANY       ((1u << _UPDATE_STATE_MAX) - 1)
static const unsigned transitions[_UPDATE_STATE_MAX] = {
        /* Anything may be found half done when the installer is reached, at the start or again. */
        [UPDATE_STATE_IDLE] = ANY,
        [UPDATE_STATE_ACCEPTED] = ANY,
        [UPDATE_STATE_DOWNLOADING] =
                TO(IDLE) | TO(ACCEPTED) | TO(SUSPENDED) | TO(VERIFYING) | TO(ROLLING_BACK) | TO(ROLLED_BACK),
        [UPDATE_STATE_SUSPENDED] = ANY,
        [UPDATE_STATE_VERIFYING] = TO(IDLE) | TO(ACCEPTED) | TO(SUSPENDED) | TO(DOWNLOADING) | TO(INSTALLED) |
                                   TO(ROLLING_BACK) | TO(ROLLED_BACK),
        [UPDATE_STATE_INSTALLED] = TO(IDLE) | TO(ACCEPTED) | TO(SUSPENDED) | TO(DOWNLOADING) | TO(VERIFYING) |
                                   TO(ACTIVATING) | TO(TESTING) | TO(ROLLING_BACK) | TO(ROLLED_BACK),
        [UPDATE_STATE_ACTIVATING] = TO(IDLE) | TO(TESTING) | TO(ROLLING_BACK) | TO(ROLLED_BACK),
        [UPDATE_STATE_TESTING] = TO(IDLE) | TO(COMMITTED) | TO(ROLLING_BACK) | TO(ROLLED_BACK),
        [UPDATE_STATE_COMMITTED] = TO(IDLE),
        [UPDATE_STATE_ROLLING_BACK] = TO(IDLE) | TO(ROLLED_BACK),
        [UPDATE_STATE_ROLLED_BACK] = TO(IDLE),
};

int update_new(const UpdateParams *params, const WorldOps *world, void *world_userdata, Outbox *outbox,
               JobQueue *queue, Update **ret)
{
        Update *u = calloc(1, sizeof(*u));

        if (!u)
                return -ENOMEM;
        *u = (Update){
                .params = *params,
                .world = world,
                .world_userdata = world_userdata,
                .outbox = outbox,
                .queue = queue,
                .retry_usec = USEC_INFINITY,
        };
        *ret = u;
        return 0;
}

Update *update_free(Update *u)
{
        if (!u)
                return NULL;
        download_free(u->download);
        job_document_free(u->document);
        free(u);
        return NULL;
}

static void set_waiting(Update *u, const char *why)
{
        if (strcmp(u->waiting, why) == 0)
                return;
        snprintf(u->waiting, sizeof(u->waiting), "%s", why);
        if (why[0])
                log_info("Job %s waits: %s", u->key.job_id, why);
        u->world->changed(u->world_userdata);
}

static void report(Update *u, uint64_t now_usec)
{
        UpdateStatus status;
        JobReport message;

        if (u->gone || u->concluded || !job_key_is_set(&u->key))
                return;
        u->reported_usec = now_usec;
        update_status(u, &status);
        if (update_report_progress(&status, u->params.download.block_bytes, &message) < 0)
                return; /* no memory: the next one tells the same and more */
        u->reported_percent = update_percent(&status);
        outbox_progress(u->outbox, &u->key, &message, now_usec);
}

static void enter(Update *u, UpdateState next, uint64_t now_usec)
{
        UpdateState last = u->state;

        if (next == last)
                return;
        assert(transitions[last] & (1u << next));
        log_info("Job %s: %s -> %s", u->key.job_id, update_state_to_string(last), update_state_to_string(next));
        u->state = next;
        u->retry_usec = USEC_INFINITY;
        u->world->changed(u->world_userdata);
        switch (next) {
        case UPDATE_STATE_IDLE:
        case UPDATE_STATE_COMMITTED:
        case UPDATE_STATE_ROLLED_BACK:
                return; /* the final status tells it */
        case UPDATE_STATE_DOWNLOADING:
                set_waiting(u, "");
                if (last == UPDATE_STATE_ACCEPTED)
                        return; /* the claim has just been reported */
                break;
        case UPDATE_STATE_ACCEPTED:
        case UPDATE_STATE_SUSPENDED:
        case UPDATE_STATE_VERIFYING:
        case UPDATE_STATE_INSTALLED:
        case UPDATE_STATE_ACTIVATING:
        case UPDATE_STATE_TESTING:
        case UPDATE_STATE_ROLLING_BACK:
                break;
        case _UPDATE_STATE_MAX:
                assert(false);
        }
        report(u, now_usec);
}

/* The reboot that the broker was told of does not come now. */
static void come_back(Update *u)
{
        if (u->goodbye != GOODBYE_SAID)
                return;
        u->goodbye = GOODBYE_NOT_SAID;
        u->world->come_back(u->world_userdata);
}

static void drop_job(Update *u, uint64_t now_usec)
{
        u->download = download_free(u->download);
        u->document = job_document_free(u->document);
        enter(u, UPDATE_STATE_IDLE, now_usec);
        u->key = (JobKey){0};
        u->confirmed = u->claimed = u->gone = u->concluded = false;
        u->begun = u->downloaded = u->self_tested = u->rebooting = false;
        u->goodbye = GOODBYE_NOT_SAID;
        u->goodbye_deadline_usec = 0;
        u->failure = (Failure){0};
        u->waiting[0] = 0;
        u->n_out_of_turn = u->n_pipes_lost = 0;
        u->resumed_bytes = 0;
        u->not_now_call = INSTALL_CALL_NONE;
        outbox_drop_progress(u->outbox);
}

static void forget(Update *u, uint64_t now_usec)
{
        drop_job(u, now_usec);
        job_queue_let_go(u->queue, now_usec);
}

static void call(Update *u, InstallCall which)
{
        assert(u->call == INSTALL_CALL_NONE);
        if (which != INSTALL_CALL_GET_STATE)
                set_waiting(u, "");
        u->call = which;
        u->world->call(which, u->world_userdata);
}

static void call_roll_back(Update *u)
{
        assert(u->call == INSTALL_CALL_NONE && failure_is_set(&u->failure));
        u->download = download_free(u->download);
        set_waiting(u, "");
        u->call = INSTALL_CALL_ROLL_BACK;
        u->world->roll_back(&u->failure, u->world_userdata);
}

static void call_begin(Update *u)
{
        LinkBegin begin = {.attempt = (uint64_t)u->key.execution_number};
        char session[JOB_KEY_TEXT_MAX];

        assert(u->call == INSTALL_CALL_NONE && u->document);
        u->download = download_free(u->download); /* it counts from offsets that are not true any more */
        u->downloaded = false;
        begin.n_files = u->document->n_files;
        snprintf(begin.session, sizeof(begin.session), "%s", job_key_format(&u->key, session));
        snprintf(begin.job_id, sizeof(begin.job_id), "%s", u->key.job_id);
        for (size_t i = 0; i < u->document->n_files; i++) {
                const JobFile *file = &u->document->files[i];
                LinkFile *to = &begin.files[i];

                snprintf(to->target, sizeof(to->target), "%s", u->targets[i]);
                to->size_bytes = file->size_bytes;
                to->algorithm = file->algorithm;
                to->n_signature = file->n_signature;
                memcpy(to->signature, file->signature, file->n_signature);
                if (file->cert_name)
                        snprintf(to->cert, sizeof(to->cert), "%s", update_cert_selector(file->cert_name));
        }
        set_waiting(u, "");
        u->call = INSTALL_CALL_BEGIN;
        u->world->begin(&begin, u->world_userdata);
}

/* -- download, as seen from here ------------------------------------------------------------------------------ */

static void on_download_open(unsigned file, uint64_t offset, void *userdata)
{
        Update *u = userdata;

        assert(u->call == INSTALL_CALL_NONE);
        u->call = INSTALL_CALL_WRITE;
        u->world->write(file, offset, u->world_userdata);
}

static void on_download_need_document(uint64_t now_usec, void *userdata)
{
        Update *u = userdata;

        job_queue_describe_held(u->queue, now_usec);
}

/* What is in the pipe, and from where it may go on, only Begin() tells. */
static void give_up_pipe(Update *u)
{
        u->begun = false;
        if (++u->n_pipes_lost > PIPES_MAX)
                (void)fail(&u->failure, FAILURE_INSTALLER, EPIPE,
                           "otad-installer refused or closed the data pipe %u times and took no byte",
                           u->n_pipes_lost);
}

/* This and the next are called from inside the download: what follows is done by the timer. */
static void on_download_pipe_lost(uint64_t now_usec, void *userdata)
{
        Update *u = userdata;

        log_warning("Job %s: otad-installer has closed the data pipe, asking it how many bytes it has",
                    u->key.job_id);
        give_up_pipe(u);
        u->retry_usec = usec_add(now_usec, PIPE_RETRY_USEC);
}

static void on_download_done(const Failure *failure, void *userdata)
{
        Update *u = userdata;

        if (failure)
                u->failure = *failure;
        else
                u->downloaded = true;
        u->retry_usec = 0;
}

static const DownloadOps download_ops = {
        .open = on_download_open,
        .need_document = on_download_need_document,
        .done = on_download_done,
        .pipe_lost = on_download_pipe_lost,
};

Download *update_download(Update *u)
{
        return u->download;
}

static void go_on_downloading(Update *u, uint64_t now_usec)
{
        int r;

        enter(u, UPDATE_STATE_DOWNLOADING, now_usec);
        if (!u->download) {
                r = download_new(&u->params.download, u->world, u->world_userdata, &download_ops, u, u->document,
                                 &u->offsets, &u->download);
                if (r < 0) {
                        (void)fail(&u->failure, r == -ENOMEM ? FAILURE_RESOURCES : FAILURE_INSTALLER, -r,
                                   "cannot prepare the download: %s", strerror(-r));
                        call_roll_back(u);
                        return;
                }
        }
        download_resume(u->download, now_usec);
}

/* -- the end ------------------------------------------------------------------------------------------------ */

static void conclude(Update *u, JobStatus job_status, uint64_t now_usec)
{
        UpdateStatus status;
        JobReport message;
        int r;

        if (!u->concluded && !u->gone) {
                update_status(u, &status);
                r = update_report_final(&status, job_status, u->params.download.block_bytes, &message);
                if (r >= 0)
                        r = outbox_finish(u->outbox, &u->key, &message, now_usec);
                if (r < 0) {
                        log_error_errno(r, "Cannot write down that job %s ended %s, trying again in %d s: %m",
                                        u->key.job_id, job_status_to_string(job_status),
                                        SAVE_RETRY_USEC / (int)USEC_PER_SEC);
                        set_waiting(u, "the state folder cannot be written");
                        u->retry_usec = usec_add(now_usec, SAVE_RETRY_USEC);
                        return;
                }
        }
        if (!u->concluded)
                log_notice("Job %s: %s%s%s", u->key.job_id, job_status_to_string(job_status),
                           failure_is_set(&u->failure) ? ": " : "", u->failure.detail);
        u->concluded = true;
        if (u->device.session[0])
                call(u, INSTALL_CALL_RELEASE);
        else
                forget(u, now_usec);
}

/* -- the one next thing ------------------------------------------------------------------------------------- */

static bool is_still_ours(Update *u)
{
        if (!u->connected)
                set_waiting(u, "the broker is not reached");
        else if (!u->confirmed)
                set_waiting(u, "the cloud has not confirmed the job yet");
        else
                return true;
        return false;
}

static bool is_ready(Update *u)
{
        if (!u->suspended)
                return is_still_ours(u);
        set_waiting(u, "suspended by the operator");
        return false;
}

/* Ends the update: what the cloud or the operator asked for does not wait for a retry. */
static void end_with(Update *u, const Failure *failure, uint64_t now_usec)
{
        if (!failure_is_set(&u->failure))
                u->failure = *failure;
        u->retry_usec = USEC_INFINITY;
        reconcile(u, now_usec);
}

static JobStatus failed_status(const Update *u)
{
        return failure_reason_is_permanent(u->failure.reason) ? JOB_STATUS_REJECTED : JOB_STATUS_FAILED;
}

/* Confirmed on trial, where the document is of no matter any more, and thrown back from there. */
static bool cannot_begin(const Update *u)
{
        return u->confirmed && !u->document;
}

static void reconcile_download(Update *u, uint64_t now_usec)
{
        if (failure_is_set(&u->failure)) {
                call_roll_back(u);
        } else if (!is_ready(u)) {
                if (u->download)
                        download_suspend(u->download);
                if (u->state != UPDATE_STATE_ACCEPTED)
                        enter(u, UPDATE_STATE_SUSPENDED, now_usec);
        } else if (!u->begun && cannot_begin(u)) {
                (void)fail(&u->failure, FAILURE_RECORD_DAMAGED, EBADMSG,
                           "otad-installer went back to %s, and the job document is not good for that",
                           update_state_to_string(u->device.state));
                call_roll_back(u);
        } else if (!u->begun) {
                call_begin(u);
        } else if (u->downloaded) {
                set_waiting(u, "");
                enter(u, UPDATE_STATE_VERIFYING, now_usec);
                call(u, INSTALL_CALL_VERIFY);
        } else {
                go_on_downloading(u, now_usec);
        }
}

/* The broker hears of it first: the last report is answered, then DISCONNECT, then the hook that reboots. */
static void reconcile_reboot(Update *u, uint64_t now_usec)
{
        if (u->rebooting) {
                set_waiting(u, "the machine reboots");
        } else if (u->goodbye == GOODBYE_SAID) {
                call(u, INSTALL_CALL_REBOOT);
        } else if (u->goodbye == GOODBYE_ASKED) {
                return;
        } else if (is_ready(u)) {
                if (u->goodbye_deadline_usec == 0)
                        u->goodbye_deadline_usec = usec_add(now_usec, GOODBYE_PATIENCE_USEC);
                if (!outbox_is_idle(u->outbox) && now_usec < u->goodbye_deadline_usec) {
                        u->retry_usec = u->goodbye_deadline_usec;
                        return;
                }
                u->goodbye_deadline_usec = 0;
                u->goodbye = GOODBYE_ASKED;
                u->world->say_goodbye(u->world_userdata);
        }
}

static void reconcile_idle(Update *u, uint64_t now_usec)
{
        if (!job_key_is_set(&u->key))
                return;
        if (u->concluded || u->gone) {
                forget(u, now_usec);
                return;
        }
        if (u->state == UPDATE_STATE_COMMITTED) {
                conclude(u, JOB_STATUS_SUCCEEDED, now_usec);
                return;
        }
        if (!failure_is_set(&u->failure) && (u->state >= UPDATE_STATE_ACTIVATING || cannot_begin(u)))
                (void)fail(&u->failure, FAILURE_RECORD_DAMAGED, EBADMSG,
                           "otad-installer has lost its record of the update while it was %s",
                           update_state_to_string(u->state));
        if (failure_is_set(&u->failure)) {
                conclude(u, failed_status(u), now_usec);
                return;
        }
        if (u->document)
                enter(u, UPDATE_STATE_ACCEPTED, now_usec);
        u->begun = u->downloaded = u->self_tested = false;
        u->download = download_free(u->download);
        if (is_ready(u) && u->claimed)
                call_begin(u);
}

static bool may_follow(UpdateState ours, UpdateState device)
{
        switch (device) {
        case UPDATE_STATE_IDLE:
                return true;
        case UPDATE_STATE_DOWNLOADING:
        case UPDATE_STATE_VERIFYING:
                return ours <= UPDATE_STATE_INSTALLED;
        case UPDATE_STATE_INSTALLED:
        case UPDATE_STATE_ACTIVATING:
        case UPDATE_STATE_TESTING:
        case UPDATE_STATE_COMMITTED:
        case UPDATE_STATE_ROLLING_BACK:
        case UPDATE_STATE_ROLLED_BACK:
        case UPDATE_STATE_ACCEPTED:
        case UPDATE_STATE_SUSPENDED:
        case _UPDATE_STATE_MAX:
                break;
        }
        return ours == device || (transitions[ours] & (1u << device));
}

static void reconcile(Update *u, uint64_t now_usec)
{
        if (!u->device_known || u->call != INSTALL_CALL_NONE)
                return;
        if (u->retry_usec != USEC_INFINITY && now_usec < u->retry_usec)
                return;
        u->retry_usec = USEC_INFINITY;
        if (u->device.state != UPDATE_STATE_ACTIVATING)
                come_back(u);
        /* Whatever it is, the installer knows better: from there on as if it had been found at the start. */
        if (!may_follow(u->state, u->device.state)) {
                log_warning("Job %s was %s, but otad-installer says %s", u->key.job_id,
                            update_state_to_string(u->state), update_state_to_string(u->device.state));
                enter(u, UPDATE_STATE_IDLE, now_usec);
        }

        switch (u->device.state) {
        case UPDATE_STATE_IDLE:
                reconcile_idle(u, now_usec);
                return;
        case UPDATE_STATE_DOWNLOADING:
        case UPDATE_STATE_VERIFYING:
                reconcile_download(u, now_usec);
                return;
        case UPDATE_STATE_INSTALLED:
                enter(u, UPDATE_STATE_INSTALLED, now_usec);
                if (failure_is_set(&u->failure))
                        call_roll_back(u);
                else if (is_ready(u))
                        call(u, INSTALL_CALL_ACTIVATE);
                return;
        case UPDATE_STATE_ACTIVATING:
                enter(u, UPDATE_STATE_ACTIVATING, now_usec);
                if (failure_is_set(&u->failure))
                        call_roll_back(u);
                else if (u->device.reboot_needed)
                        reconcile_reboot(u, now_usec);
                else if (is_ready(u))
                        call(u, INSTALL_CALL_ACTIVATE);
                return;
        case UPDATE_STATE_TESTING:
                enter(u, UPDATE_STATE_TESTING, now_usec);
                if (failure_is_set(&u->failure))
                        call_roll_back(u);
                else if (is_still_ours(u))
                        call(u, u->self_tested ? INSTALL_CALL_COMMIT : INSTALL_CALL_SELF_TEST);
                return;
        case UPDATE_STATE_COMMITTED:
                enter(u, UPDATE_STATE_COMMITTED, now_usec);
                u->failure = (Failure){0};
                conclude(u, JOB_STATUS_SUCCEEDED, now_usec);
                return;
        case UPDATE_STATE_ROLLING_BACK:
                u->failure = u->device.failure;
                enter(u, UPDATE_STATE_ROLLING_BACK, now_usec);
                set_waiting(u, u->device.reboot_needed ? "a reboot into the old software" : "");
                return;
        case UPDATE_STATE_ROLLED_BACK:
                u->failure = u->device.failure;
                enter(u, UPDATE_STATE_ROLLED_BACK, now_usec);
                conclude(u, failed_status(u), now_usec);
                return;
        case UPDATE_STATE_ACCEPTED:
        case UPDATE_STATE_SUSPENDED:
        case _UPDATE_STATE_MAX:
                break; /* words of otad, which the link does not let pass from the installer */
        }
        assert(false);
}

/* -- the cloud ---------------------------------------------------------------------------------------------- */

void update_on_connected(Update *u, uint64_t now_usec)
{
        u->connected = true;
        u->confirmed = false;
        u->world->changed(u->world_userdata);
        reconcile(u, now_usec);
}

void update_on_disconnected(Update *u, uint64_t now_usec)
{
        u->connected = u->confirmed = false;
        if (u->goodbye == GOODBYE_ASKED)
                u->goodbye = GOODBYE_SAID;
        u->world->changed(u->world_userdata);
        reconcile(u, now_usec);
}

void update_on_goodbye(Update *u, uint64_t now_usec)
{
        u->connected = u->confirmed = false;
        if (u->goodbye == GOODBYE_NOT_SAID)
                u->world->come_back(u->world_userdata); /* meanwhile there is nothing to reboot for */
        else
                u->goodbye = GOODBYE_SAID;
        u->world->changed(u->world_userdata);
        reconcile(u, now_usec);
}

/* A job that is not begun at all: the cloud hears why at once. */
static JobVerdict refuse(Update *u, const JobKey *key, const Failure *failure, uint64_t now_usec)
{
        UpdateStatus status;
        JobReport message;
        int r;

        log_notice("Job %s refused: %s (%s)", key->job_id, failure->detail,
                   failure_reason_to_string(failure->reason));
        update_status(u, &status);
        status.state = UPDATE_STATE_IDLE;
        status.failure = failure;
        status.download = NULL;
        status.document = NULL;
        r = update_report_final(&status, JOB_STATUS_REJECTED, u->params.download.block_bytes, &message);
        if (r >= 0)
                r = outbox_finish(u->outbox, key, &message, now_usec);
        if (r < 0)
                log_error_errno(r, "Cannot write that down; after a restart the job is looked at again: %m");
        return JOB_VERDICT_SKIP;
}

/* Whether some plane that is enabled here can carry the file at all. */
static bool has_plane(const Update *u, const JobDocument *document, const JobFile *file)
{
        const DownloadParams *params = &u->params.download;

        for (size_t i = 0; i < params->n_planes; i++)
                if (params->planes[i] == DOWNLOAD_PLANE_HTTPS
                            ? document->https && file->url
                            : document->mqtt && file->size_bytes <= STREAM_FILE_MAX_BYTES)
                        return true;
        return false;
}

static int check_policy(const Update *u, const JobDocument *document, const char *targets[static JOB_FILES_MAX],
                        Failure *reterr)
{
        for (size_t i = 0; i < document->n_files; i++) {
                const JobFile *file = &document->files[i];

                targets[i] = u->world->find_target(file->path, u->world_userdata);
                if (!targets[i])
                        return fail(reterr, FAILURE_TARGET_UNKNOWN, ENOENT,
                                    "no configured target matches the file path '%s'", file->path);
                for (size_t k = 0; k < i; k++)
                        if (strcmp(targets[k], targets[i]) == 0)
                                return fail(reterr, FAILURE_TARGET_REPEATED, EINVAL,
                                            "the files '%s' and '%s' are both for target '%s'",
                                            document->files[k].path, file->path, targets[i]);
                if (!has_plane(u, document, file))
                        return fail(reterr, FAILURE_NO_PROTOCOL, EPROTONOSUPPORT,
                                    "the job offers no protocol that is enabled here and can carry file '%s' of "
                                    "%" PRIu64 " bytes",
                                    file->path, file->size_bytes);
                if (file->algorithm == SIGNATURE_ALGORITHM_NONE && u->params.signing_required)
                        return fail(reterr, FAILURE_SIGNATURE_MISSING, EKEYREJECTED,
                                    "file '%s' has no signature, and signing.required is set", file->path);
                if (file->algorithm != SIGNATURE_ALGORITHM_NONE && !u->params.algorithms[file->algorithm])
                        return fail(reterr, FAILURE_ALGORITHM_REFUSED, EKEYREJECTED,
                                    "signature algorithm %s of file '%s' is not among signing.algorithms",
                                    signature_algorithm_to_string(file->algorithm), file->path);
                if (file->cert_name && strlen(update_cert_selector(file->cert_name)) > LINK_CERT_MAX)
                        return fail(reterr, FAILURE_DOCUMENT_INVALID, EINVAL,
                                    "certfile of file '%s' is too long a name", file->path);
        }
        return 0;
}

/* The held job, described again: the URLs are fresh. */
static void take_fresh_document(Update *u, JobDocument *document, uint64_t now_usec)
{
        JobDocument *old = u->document;

        u->document = document;
        if (u->download)
                download_on_document(u->download, document, now_usec);
        job_document_free(old);
}

static bool is_same_text(const char *a, const char *b)
{
        return a == b || (a && b && strcmp(a, b) == 0);
}

/* But for the URLs. */
static bool is_same_document(const JobDocument *a, const JobDocument *b)
{
        if (a->n_files != b->n_files || !is_same_text(a->stream_name, b->stream_name))
                return false;
        for (size_t i = 0; i < a->n_files; i++) {
                const JobFile *x = &a->files[i], *y = &b->files[i];

                if (x->size_bytes != y->size_bytes || x->file_id != y->file_id || !is_same_text(x->path, y->path) ||
                    !is_same_text(x->cert_name, y->cert_name) || x->algorithm != y->algorithm ||
                    x->n_signature != y->n_signature || memcmp(x->signature, y->signature, x->n_signature) != 0)
                        return false;
        }
        return true;
}

static JobVerdict on_held_job(Update *u, const JobExecution *execution, JobDocument *document, uint64_t now_usec)
{
        u->confirmed = true;
        u->claimed |= execution->status == JOB_STATUS_IN_PROGRESS;
        if (u->document && !is_same_document(u->document, document)) {
                Failure failure;

                job_document_free(document);
                (void)fail(&failure, FAILURE_DOCUMENT_INVALID, EINVAL,
                           "the job document changed while it was carried out");
                end_with(u, &failure, now_usec);
                return JOB_VERDICT_HOLD;
        }
        take_fresh_document(u, document, now_usec);
        if (!u->claimed)
                report(u, now_usec);
        reconcile(u, now_usec);
        return JOB_VERDICT_HOLD;
}

static JobVerdict on_new_job(Update *u, const JobKey *key, const JobExecution *execution, JobDocument *document,
                             uint64_t now_usec)
{
        u->key = *key;
        u->document = document;
        u->confirmed = true;
        job_queue_hold(u->queue, key);
        log_info("Job %s (attempt %" PRId64 "): %zu file(s)", key->job_id, key->execution_number, document->n_files);
        enter(u, UPDATE_STATE_ACCEPTED, now_usec);
        return JOB_VERDICT_HOLD;
}

JobVerdict update_on_job(Update *u, const JobExecution *execution, uint64_t now_usec)
{
        _cleanup_(job_document_freep) JobDocument *document = NULL;
        JobKey key = job_key_make(execution->job_id, execution->execution_number);
        const char *targets[JOB_FILES_MAX];
        Failure failure = {0};
        int r;

        if (execution->execution_number < 0) {
                log_warning("Job %s has no execution number: ignored", key.job_id);
                return JOB_VERDICT_SKIP;
        }
        outbox_note_version(u->outbox, &key, execution->version_number);
        if (outbox_holds_final(u->outbox, &key))
                return JOB_VERDICT_SKIP;
        if (!execution->document)
                r = fail(&failure, FAILURE_DOCUMENT_INVALID, EBADMSG, "the job has no document");
        else
                r = job_document_parse(execution->document, execution->n_document, &document, &failure);
        if (r == -ENOMSG && !u->params.reject_foreign) {
                log_debug("Job %s is not an OTA update: left alone", key.job_id);
                return JOB_VERDICT_SKIP;
        }
        if (r == -ENOMSG)
                (void)fail(&failure, FAILURE_DOCUMENT_UNSUPPORTED, EOPNOTSUPP,
                           "not an OTA update, and jobs.reject-foreign is set");
        if (document)
                r = check_policy(u, document, targets, &failure);
        if (r == -ENOMEM) {
                log_error("No memory to read job %s, looking at it again later", key.job_id);
                return JOB_VERDICT_LATER;
        }
        if (r < 0 && !job_key_equal(&key, &u->key))
                return refuse(u, &key, &failure, now_usec);
        /* What runs on trial is not undone because the config it brought would not take the same job again. */
        if (r < 0 && u->device_known && u->device.state >= UPDATE_STATE_ACTIVATING) {
                u->confirmed = true;
                reconcile(u, now_usec);
                return JOB_VERDICT_HOLD;
        }
        if (r < 0) {
                u->confirmed = true;
                end_with(u, &failure, now_usec);
                return JOB_VERDICT_HOLD;
        }
        assert(document);
        memcpy(u->targets, targets, sizeof(targets));
        if (job_key_equal(&key, &u->key))
                return on_held_job(u, execution, TAKE_PTR(document), now_usec);
        if (job_key_is_set(&u->key))
                return JOB_VERDICT_WAIT; /* one after the other */
        return on_new_job(u, &key, execution, TAKE_PTR(document), now_usec);
}

void update_on_accepted(Update *u, const JobKey *key, JobStatus status, uint64_t now_usec)
{
        if (!job_key_equal(key, &u->key))
                return;
        if (status == JOB_STATUS_IN_PROGRESS)
                u->claimed = true;
        if (job_status_is_terminal(status) && !u->concluded) {
                u->concluded =
                        true; /* heard in the cloud, so that it is of no matter whether the disk could hold it */
                u->retry_usec = USEC_INFINITY;
        }
        if (u->goodbye_deadline_usec > 0)
                u->retry_usec = USEC_INFINITY; /* was a wait for just this answer */
        reconcile(u, now_usec);
}

void update_on_gone(Update *u, const JobKey *key, const char *why, uint64_t now_usec)
{
        Failure failure;

        if (!job_key_equal(key, &u->key) || u->gone || u->concluded)
                return;
        u->gone = true;
        (void)fail(&failure, FAILURE_CANCELLED, ECANCELED, "the job is over in the cloud: %s", why);
        if (u->device_known && u->device.state != UPDATE_STATE_COMMITTED)
                log_notice("Job %s is over in the cloud (%s) while %s: the update is %s", key->job_id, why,
                           update_state_to_string(u->state),
                           u->device.state >= UPDATE_STATE_ACTIVATING ? "rolled back" : "abandoned");
        end_with(u, &failure, now_usec);
}

/* -- the device --------------------------------------------------------------------------------------------- */

/* A session that an earlier run of otad began, or that we took for over. */
static void adopt(Update *u, uint64_t now_usec)
{
        char ours[JOB_KEY_TEXT_MAX];
        JobKey key;

        if (!u->device.session[0] || strcmp(u->device.session, job_key_format(&u->key, ours)) == 0)
                return;
        if (job_key_is_set(&u->key)) {
                log_notice("Job %s waits: otad-installer is still busy with %s", u->key.job_id, u->device.session);
                job_queue_put_back(u->queue);
                drop_job(u, now_usec);
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
        u->call = INSTALL_CALL_NONE;
        u->download = download_free(u->download);
        u->begun = u->downloaded = u->self_tested = false;
        adopt(u, now_usec);
        u->world->changed(u->world_userdata);
        reconcile(u, now_usec);
}

void update_on_device_down(Update *u, const Failure *failure, uint64_t now_usec)
{
        u->device_known = u->begun = false;
        u->call = INSTALL_CALL_NONE;
        u->download = download_free(u->download);
        set_waiting(u, "otad-installer is not reached");
        if (u->state == UPDATE_STATE_DOWNLOADING || u->state == UPDATE_STATE_VERIFYING)
                enter(u, UPDATE_STATE_SUSPENDED, now_usec);
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
        reconcile(u, now_usec);
}

static void on_not_now(Update *u, InstallCall which, const Failure *why, uint64_t now_usec)
{
        char text[FAILURE_DETAIL_MAX], duration[DURATION_TEXT_MAX];

        if (u->not_now_call != which) {
                u->not_now_call = which;
                u->not_now_since_usec = now_usec;
        }
        come_back(u);
        if (now_usec - u->not_now_since_usec >= u->params.hook_give_up_usec) {
                (void)fail(&u->failure, FAILURE_HOOK_NOT_NOW, ETIMEDOUT, "the hook said not now for %s: %s",
                           duration_format(duration, now_usec - u->not_now_since_usec), why->detail);
                return;
        }
        snprintf(text, sizeof(text), "the hook says not now: %.400s", why->detail);
        set_waiting(u, text);
        u->retry_usec = usec_add(now_usec, u->params.hook_retry_usec);
}

static void on_out_of_turn(Update *u, const Failure *why, uint64_t now_usec)
{
        if (++u->n_out_of_turn > OUT_OF_TURN_MAX)
                u->failure = *why;
        u->retry_usec = usec_add(now_usec, OUT_OF_TURN_RETRY_USEC);
}

static void on_call_failed(Update *u, InstallCall which, const LinkError *error, uint64_t now_usec)
{
        if (which == INSTALL_CALL_WRITE)
                give_up_pipe(u);
        switch (error->kind) {
        case LINK_ERROR_NOT_NOW:
                on_not_now(u, which, &error->failure, now_usec);
                break;
        case LINK_ERROR_BUSY:
        case LINK_ERROR_OUT_OF_TURN:
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
                come_back(u);
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
                call(u, INSTALL_CALL_GET_STATE);
        else
                reconcile(u, now_usec);
}

/* -- the operator ------------------------------------------------------------------------------------------- */

int update_suspend(Update *u, uint64_t now_usec)
{
        if (u->suspended)
                return -EALREADY;
        u->suspended = true;
        reconcile(u, now_usec);
        return 0;
}

int update_resume(Update *u, uint64_t now_usec)
{
        if (!u->suspended)
                return -EALREADY;
        u->suspended = false;
        set_waiting(u, "");
        reconcile(u, now_usec);
        return 0;
}

int update_cancel(Update *u, const char *why, uint64_t now_usec)
{
        Failure failure;

        if (!job_key_is_set(&u->key))
                return -ENOENT;
        if (u->device.state == UPDATE_STATE_COMMITTED)
                return -EPERM;
        if (failure_is_set(&u->failure))
                return -EALREADY;
        (void)fail(&failure, FAILURE_CANCELLED_LOCALLY, ECANCELED, "%s", why);
        end_with(u, &failure, now_usec);
        return 0;
}

/* -- time --------------------------------------------------------------------------------------------------- */

static bool reports_progress(const Update *u)
{
        return u->connected && !u->concluded && !u->gone && u->state != UPDATE_STATE_IDLE &&
               u->state != UPDATE_STATE_SUSPENDED && job_key_is_set(&u->key);
}

static uint64_t heartbeat_usec(const Update *u)
{
        return MAX2(u->params.heartbeat_usec, u->params.progress_usec);
}

void update_on_progress(Update *u, uint64_t now_usec)
{
        uint64_t since = usec_sub(now_usec, u->reported_usec);
        UpdateStatus status;

        if (u->retry_usec == 0) {
                reconcile(u, now_usec);
                return;
        }
        if (!reports_progress(u) || since < u->params.progress_usec)
                return;
        update_status(u, &status);
        if (since >= heartbeat_usec(u) || update_percent(&status) >= u->reported_percent + u->params.progress_percent)
                report(u, now_usec);
}

void update_on_timer(Update *u, uint64_t now_usec)
{
        if (u->download)
                download_on_timer(u->download, now_usec);
        if (u->retry_usec != USEC_INFINITY && now_usec >= u->retry_usec)
                reconcile(u, now_usec);
        update_on_progress(u, now_usec);
}

uint64_t update_next_deadline(const Update *u)
{
        uint64_t deadline = u->call == INSTALL_CALL_NONE && u->device_known ? u->retry_usec : USEC_INFINITY;

        if (u->download)
                deadline = MIN2(deadline, download_next_deadline(u->download));
        if (reports_progress(u))
                deadline = MIN2(deadline, usec_add(u->reported_usec, heartbeat_usec(u)));
        return deadline;
}

void update_status(const Update *u, UpdateStatus *ret)
{
        *ret = (UpdateStatus){
                .state = u->state,
                .key = &u->key,
                .device = u->device_known ? &u->device : NULL,
                .download = u->download ? download_stats(u->download) : NULL,
                .document = u->document,
                .failure = &u->failure,
                .waiting = u->waiting,
                .retry_usec = u->retry_usec,
                .suspended_by_operator = u->suspended,
        };
}
