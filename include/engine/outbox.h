/*
 * outbox: what the cloud must still hear.
 *
 * Holds the latest progress of the job at hand (lost with the process: it is repeated anyway) and every final status
 * until the cloud has accepted it or has said that it never will (on disk: it survives a power cut, and is sent again
 * until then). One update is under way at a time, so that versions stay in step.
 *
 * Told the time. Sources: AWS IoT Developer Guide, "Jobs device MQTT API" (UpdateJobExecution) and its error codes.
 */
#pragma once

#include "base/cleanup.h"
#include "codec/job-message.h"
#include "codec/job-report.h"
#include "engine/job-key.h"

typedef struct Outbox Outbox;

typedef struct OutboxParams {
        int dir_fd; /* where the record "outbox" lives; borrowed */
        uint64_t answer_timeout_usec;
        int step_timeout_minutes; /* sent with each progress, so that work going on extends the timer */
} OutboxParams;

/* `key` is borrowed for the call. None may free the outbox. */
typedef struct OutboxOps {
        void (*publish)(const JobKey *key, const char *json, void *userdata);
        void (*accepted)(const JobKey *key, JobStatus status, void *userdata);
        /* The execution is over or was never there. `status`: where the cloud thinks it stands, UNKNOWN where not told. */
        void (*gone)(const JobKey *key, JobStatus status, const char *why, void *userdata);
} OutboxOps;

/* Loads what an earlier run could not deliver; a damaged record is put aside and logged. */
_must_use_ int outbox_new(const OutboxParams *params, const OutboxOps *ops, void *userdata, Outbox **ret);
Outbox *outbox_free(Outbox *outbox); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(Outbox *, outbox_free);

/* Both take what `report` owns. A later progress replaces an earlier one that was not sent yet. */
void outbox_progress(Outbox *outbox, const JobKey *key, JobReport *report, uint64_t now_usec);
/*
 * A final status; replaces the job's progress. Negative: it could not be written to disk (it is sent all the same, but
 * whoever relies on it must call again); a second call for the same key only tries the disk again.
 */
_must_use_ int outbox_finish(Outbox *outbox, const JobKey *key, JobReport *report, uint64_t now_usec);
bool outbox_holds_final(const Outbox *outbox, const JobKey *key);
size_t outbox_n_finals(const Outbox *outbox);
/* Nothing is waiting for the cloud, neither to be sent nor to be answered. */
bool outbox_is_idle(const Outbox *outbox);
/* Forgets the progress of a job that is not ours any more. */
void outbox_drop_progress(Outbox *outbox);
/* The version a describe has told. */
void outbox_note_version(Outbox *outbox, const JobKey *key, int64_t version_number);

void outbox_on_connected(Outbox *outbox, uint64_t now_usec);
void outbox_on_disconnected(Outbox *outbox);
void outbox_on_update(Outbox *outbox, const JobUpdate *update, uint64_t now_usec);
void outbox_on_rejection(Outbox *outbox, const JobRejection *rejection, uint64_t now_usec);
void outbox_on_timer(Outbox *outbox, uint64_t now_usec);
uint64_t outbox_next_deadline(const Outbox *outbox); /* USEC_INFINITY: none */
