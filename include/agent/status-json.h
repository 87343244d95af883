/*
 * status-json: all that a person may want to know about otad, as one JSON object.
 *
 * It is what GetStatus() of org.otad1.Manager answers and `otactl status --json` prints, so it is read by people's
 * scripts: members are added, never renamed or given another meaning; "schema" counts up should that ever be needed.
 * Every member is always there; what is not known, or does not apply, is null (or an empty list).
 *
 *   schema            1
 *   otad              version of otad
 *   thing             the thing's name
 *   state             word of base/update-state.h
 *   connected         true: the broker is reached
 *   suspended         true: by `otactl suspend`; the state can be another, where nothing can be put off
 *   job               {id, attempt}
 *   local             name of the update's session, where otactl brought it and no job; job is null then
 *   targets           [{target, slot, size, written, durable, verified}]: bytes; slot null for a file; empty until
 *                     otad-installer has begun
 *   download          {protocol, percent, held, total, bytes_per_second, retries, stream}: held and total are bytes of
 *                     all files, bytes_per_second is a moving average; stream {requests, blocks, lost, ignored,
 *                     round_trip_usec} is null until there was one; the whole is null where this run of otad
 *                     downloads nothing
 *   reboot_needed     true: the next step is a reboot
 *   failure           {error, detail}: error is a word of base/failure.h
 *   waiting           {reason, retry_seconds}: retry_seconds null: waits for an event, not for a time
 *   versions          {running, previous}: previous is what ran when the update began
 *   selftest_seconds_left  whole seconds until otad-installer rolls back
 *   unsent_final_statuses  how many finished updates the cloud has not heard of
 *   certificates      [{kind, file, ends, days_left, ends_soon}]: what this device depends on; kind is a word of
 *                     trust/expiry.h, ends is RFC 3339; days_left is null and ends_soon false where the clock is not known
 *                     to be right
 *   last              {job, attempt, status, error, detail, when}: the last update that ended since otad started; status
 *                     is a word of agent/status-json.h, error and detail are null where it succeeded, when is RFC 3339
 *   next              one sentence: what happens next
 *
 * Sizes are exact whole numbers up to 2^64 - 1. Texts that came from elsewhere have control characters escaped.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "engine/engine.h"

enum { STATUS_SCHEMA = 1, STATUS_NEXT_MAX = 1024 };

typedef enum StatusOutcome {
        STATUS_OUTCOME_SUCCEEDED,
        STATUS_OUTCOME_FAILED,
        STATUS_OUTCOME_REJECTED,  /* the same document can never succeed on this device */
        STATUS_OUTCOME_CANCELLED, /* by the cloud, which is told nothing more */
        _STATUS_OUTCOME_MAX,
} StatusOutcome;

const char *status_outcome_to_string(StatusOutcome outcome); /* "succeeded" */

/* How an update ended. A plain value. */
typedef struct StatusResult {
        JobKey key; /* not set: none has ended yet */
        StatusOutcome outcome;
        Failure failure;          /* not set where it succeeded */
        uint64_t wall_clock_usec; /* when, as the device's clock says */
} StatusResult;

/* What the engine does not know itself. Borrowed for the call. */
typedef struct StatusFacts {
        const char *thing_name;
        uint64_t bytes_per_second;
        const StatusResult *last;                    /* NULL: none */
        const struct CertificateWatch *certificates; /* as read just now */
} StatusFacts;

/* *ret is the caller's; ends in NUL, not in a line end. -ENOMEM. */
_must_use_ int status_json_format(const EngineStatus *status, const StatusFacts *facts, uint64_t now_usec,
                                  char **ret);

/* "Downloads the rest (64 % is here), then verifies the signature." Returns `text`. */
const char *status_next_format(char text[static STATUS_NEXT_MAX], const EngineStatus *status, uint64_t now_usec);

/* How much of all files is here, 0 to 100: of the download, else of what otad-installer tells. */
unsigned status_percent(const EngineStatus *status);

/*
 * What was fetched since otad started, as one JSON object with whole numbers, which GetStats() answers:
 *   {schema: 1, otad: version, seconds: since the start, packets: {received, queued, processed, dropped}, requests, lost,
 *   bytes, retries, download_seconds, bytes_per_second: on average while something was downloaded}
 */
_must_use_ int stats_json_format(const UpdateTotals *totals, uint64_t uptime_usec, char **ret);
