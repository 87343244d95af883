/*
 * log-event: what an operator acts on, told as structured entries of the journal.
 *
 * Each event has a MESSAGE_ID, a priority and a word. systemd/otad.catalog says for each id what it means and what to do;
 * tests/package holds the two to each other. The ids stay: people's alerts match them. Source: journalctl(1) --catalog,
 * "Journal Message Catalogs" (systemd).
 */
#pragma once

#include "base/cleanup.h"

typedef enum LogEvent {
        LOG_EVENT_NONE, /* of tables only: never logged */
        /* an update's life */
        LOG_EVENT_UPDATE_ACCEPTED,
        LOG_EVENT_UPDATE_INSTALLED,
        LOG_EVENT_UPDATE_ACTIVATED,
        LOG_EVENT_SELFTEST_PASSED,
        LOG_EVENT_SELFTEST_FAILED,
        LOG_EVENT_UPDATE_COMMITTED,
        LOG_EVENT_UPDATE_ROLLED_BACK,
        LOG_EVENT_UPDATE_FAILED,
        LOG_EVENT_ROLLBACK_FAILED, /* only a person can help */
        /* the cloud */
        LOG_EVENT_BROKER_CONNECTED,
        LOG_EVENT_BROKER_AWAY, /* for long */
        LOG_EVENT_STATUS_REFUSED,
        /* the device */
        LOG_EVENT_CERTIFICATE_ENDS,
        LOG_EVENT_UNSIGNED_ALLOWED,
        LOG_EVENT_RECORD_DAMAGED,
        LOG_EVENT_INSTALLER_AWAY,
        LOG_EVENT_CONFIG_REFUSED,
        _LOG_EVENT_MAX,
} LogEvent;

/* Fields of an entry, as OTAD_JOB_ID and so on; NULL and "" are left out. Borrowed for the call. */
typedef struct LogFields {
        const char *job_id;
        const char *attempt;
        const char *state; /* word of base/update-state.h */
        const char *error; /* word of base/failure.h */
        const char *target;
        const char *version;
        const char *certificate; /* its file */
        const char *endpoint;
        const char *file; /* a record, or the configuration */
} LogFields;

/*
 * One entry: to the journal with MESSAGE_ID, OTAD_EVENT and the fields, else one line on stderr as from log_notice() and
 * its like. The priority is the event's.
 */
_printf_(3, 4) void log_event(LogEvent event, const LogFields *fields, const char *format, ...);
