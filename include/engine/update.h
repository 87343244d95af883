/*
 * update: one job's life, from the document to the last word the cloud hears of it.
 *
 * What lies on the device is known by otad-installer alone: its state says where the update stands, after a crash of
 * either process or a reboot no less than before. This module compares that state with the job in the cloud, and does
 * the one next thing (src/engine/update-reconcile.c). So there is one way on, whether an update was never interrupted or was
 * found half done at the start.
 *
 * Point of no return: Commit(). Until then a job that is cancelled, timed out, deleted or removed, or that has begun a
 * new attempt, is abandoned or rolled back; afterwards it is finished, and the cloud may refuse the final status.
 */
#pragma once

#include "base/schedule.h"
#include "codec/job-message.h"
#include "engine/download.h"
#include "engine/job-queue.h"
#include "engine/outbox.h"
#include "engine/world.h"

typedef struct Update Update;

typedef struct UpdateParams {
        DownloadParams download;
        bool signing_required;
        bool algorithms[_SIGNATURE_ALGORITHM_MAX]; /* that the config allows */
        bool reject_foreign;
        uint64_t progress_usec;     /* no two progress reports closer than this ... */
        unsigned progress_percent;  /* ... unless this much was added */
        uint64_t heartbeat_usec;    /* at least one report in this time, to extend the step timer */
        uint64_t hook_retry_usec;   /* after "not now" */
        uint64_t hook_give_up_usec; /* "not now" for this long ends the update; USEC_INFINITY: never */
        Schedule download_windows;  /* bytes are fetched only within */
        uint64_t metered_max_bytes; /* what more than this is waits while the connection is metered; 0: no bound */
        Schedule activate_windows;  /* the new software is activated, and the machine rebooted, only within */
} UpdateParams;

/* What otactl and D-Bus show. Texts are borrowed until the next event. */
typedef struct UpdateStatus {
        UpdateState state;
        const JobKey *key;             /* not set: none */
        const char *local_session;     /* of an update without a job, whose state this is then; "": none */
        const LinkState *device;       /* NULL: the installer has not answered yet */
        const DownloadStats *download; /* NULL: none in this run */
        const JobDocument *document;   /* NULL: not known in this run */
        const Failure *failure;        /* of this update; reason NONE: none */
        const char *waiting;           /* why nothing goes on now; "": it does */
        uint64_t retry_usec;           /* when it goes on by itself; USEC_INFINITY: on an event */
        bool suspended_by_operator;
} UpdateStatus;

/*
 * What was fetched since otad started, all downloads together. The four counts of packets are those of the FreeRTOS OTA
 * agent (OtaAgentStatistics_t); a packet is a block of a stream, or a piece of an HTTPS body.
 */
typedef struct UpdateTotals {
        uint64_t n_received;
        uint64_t n_queued;    /* taken, to be handed on in order */
        uint64_t n_processed; /* handed to otad-installer */
        uint64_t n_dropped;   /* repeated, foreign, not understood */
        uint64_t n_requests;  /* for blocks of streams */
        uint64_t n_lost;      /* blocks asked for again */
        uint64_t n_retries;   /* of downloads */
        uint64_t n_bytes;
        uint64_t download_usec; /* how long something was downloaded */
} UpdateTotals;

/* `outbox` and `queue` are borrowed; their accepted, gone and job events are to be passed on. */
_must_use_ int update_new(const UpdateParams *params, const WorldOps *world, void *world_userdata, Outbox *outbox,
                          JobQueue *queue, Update **ret);
Update *update_free(Update *update); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(Update *, update_free);

void update_on_connected(Update *update, uint64_t now_usec);
void update_on_disconnected(Update *update, uint64_t now_usec);
void update_on_goodbye(Update *update, uint64_t now_usec);
JobVerdict update_on_job(Update *update, const JobExecution *execution, uint64_t now_usec);
void update_on_accepted(Update *update, const JobKey *key, JobStatus status, uint64_t now_usec);
void update_on_gone(Update *update, const JobKey *key, const char *why, uint64_t now_usec);
void update_on_device_up(Update *update, const LinkState *state, uint64_t now_usec);
void update_on_device_rest(Update *update);
bool update_needs_device(const Update *update);
void update_on_device_down(Update *update, const Failure *failure, uint64_t now_usec);
void update_on_device_state(Update *update, const LinkState *state, uint64_t now_usec);
void update_on_device_progress(Update *update, const LinkProgress *progress);
/* `error` NULL: it went well; `offsets` with BEGIN, `state` with GET_STATE. */
void update_on_call_done(Update *update, InstallCall call, const LinkError *error, const LinkOffsets *offsets,
                         const LinkState *state, uint64_t now_usec);
void update_on_metered(Update *update, bool is_metered, uint64_t now_usec);
/* What an operator asks for. -EALREADY, -ENOENT: nothing to do. -EPERM: past the point of no return. */
_must_use_ int update_suspend(Update *update, uint64_t now_usec);
_must_use_ int update_resume(Update *update, uint64_t now_usec);
_must_use_ int update_cancel(Update *update, const char *why, uint64_t now_usec);

/* NULL while nothing is downloaded; for the data events. Follow each of them by update_on_progress(). */
Download *update_download(Update *update);
void update_on_progress(Update *update, uint64_t now_usec);
void update_on_timer(Update *update, uint64_t now_usec);
uint64_t update_next_deadline(const Update *update);
void update_status(const Update *update, UpdateStatus *ret);
void update_totals(const Update *update, uint64_t now_usec, UpdateTotals *ret);
/* A packet that could not even be read. */
void update_note_unreadable(Update *update);
