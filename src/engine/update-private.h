/*
 * update-private: the inside of one Update, shared by the files that make it up.
 *
 *   update.c            life, the one door into every state, what is shown and reported, the operator, time
 *   update-reconcile.c  the one next thing, by the device's state and the job's
 *   update-policy.c     what the operator lets happen, and when
 *   update-job.c        what the cloud says of the job
 *   update-device.c     what otad-installer says of the device
 */
#pragma once

#include "base/backoff.h"
#include "engine/update.h"

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
        bool aside;     /* a local session is at hand, which is the installer's and otactl's alone */
        bool metered;   /* the connection */

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
        bool device_rests; /* not reached for want of need; `device` is as it was, idle */
        LinkState device;
        InstallCall call; /* under way */
        bool begun;       /* Begin() answered on this connection to the installer */
        LinkOffsets offsets;
        uint64_t resumed_bytes; /* of all files, at the last Begin() */
        unsigned n_pipes_lost;
        Download *download;
        UpdateTotals totals; /* of the downloads before */
        uint64_t downloading_since_usec;
        bool downloaded;
        bool self_tested;
        bool rebooting;
        Goodbye goodbye;
        uint64_t goodbye_deadline_usec;

        /* waiting */
        char waiting[FAILURE_DETAIL_MAX];
        uint64_t opens_usec;  /* when that is expected to end, where it is a closed window */
        uint64_t retry_usec;  /* nothing is done before; USEC_INFINITY: no wait */
        uint64_t policy_usec; /* when to look again whether the operator lets go on what is going on, or waits */
        InstallCall not_now_call;
        uint64_t not_now_since_usec;
        unsigned n_out_of_turn;
        Backoff busy; /* between calls that another one at work keeps off */

        uint64_t reported_usec;
        unsigned reported_percent;
        char reported_waiting[FAILURE_DETAIL_MAX];
};

/* The only writer of `state`; reports it. */
void update_enter(Update *u, UpdateState next, uint64_t now_usec);
/* False where the installer says what our table does not allow. */
bool update_may_follow(UpdateState ours, UpdateState device);
void update_set_waiting(Update *u, const char *why);
void update_report(Update *u, uint64_t now_usec);
/* Connects again after a goodbye that led to no reboot. */
void update_come_back(Update *u);
/* The only place that ends a download: what it did is counted. */
void update_end_download(Update *u);
/* Lets go of the job; forgetting it also has the queue look for the next one. */
void update_drop_job(Update *u, uint64_t now_usec);
void update_forget(Update *u, uint64_t now_usec);

/* False: not now, and what is waited for is told. */
bool update_may_download(Update *u, uint64_t now_usec);
bool update_may_activate(Update *u, uint64_t now_usec);

/* Does the one next thing, if nothing is under way and no wait is set. */
void update_reconcile(Update *u, uint64_t now_usec);
void update_call(Update *u, InstallCall which);
/* The data pipe broke, was refused or left full: it is opened again a little later, or the update ends after too many. */
void update_give_up_pipe(Update *u);
/* Ends the update: what the cloud or the operator asked for does not wait for a retry. */
void update_end_with(Update *u, const Failure *failure, uint64_t now_usec);
