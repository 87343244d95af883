/*
 * link-message: what otad and otad-installer say to each other, both directions of each message side by side.
 *
 * sd-bus, peer to peer (link/peer-bus.h). Either side may be hostile to the other: each _read checks every
 * length, count, word and name before it is used, and refuses the whole message otherwise (-EBADMSG). Strings
 * are valid UTF-8 without control characters; names are tokens. D-Bus signatures (D-Bus Specification, "Type
 * System"):
 *
 *   GetState()                 -> STATE
 *   Begin(s session, s job_id, t attempt, a(stsays) files: target, size, algorithm, signature, certificate)
 *                              -> at resume offset of each file, in the order of `files`
 *   Write(u file, t offset)    -> h for data_pipe_open() (base/data-pipe.h)
 *   Verify() SelfTest() Commit() Reboot() Release()
 *   Activate()                 -> b reboot needed
 *   RollBack(s word, s detail)
 *   Revert(s session, as targets)  to what was committed before; for root only, by the kernel's word
 *   GetHistory()               -> a(sstsssssssttt) oldest first, in the order of LinkHistoryEntry
 *   signal Progress(u file, t written, t durable, t verified)
 *   signal StateChanged(STATE)
 *   STATE = s session, s job_id, t attempt, s state, s word, s detail, b reboot_needed, b without_signature,
 *           s previous_version, s version, t selftest_left_usec, a(sstttt) files: target, slot, size,
 * written, durable, verified
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-bus.h>

#include "base/failure.h"
#include "base/signature-algorithm.h"
#include "base/update-state.h"

#define LINK_PATH      "/org/otad1/installer"
#define LINK_INTERFACE "org.otad1.Installer"

#define LINK_ERROR_NAME_FAILED      "org.otad1.Error.Failed"    /* message: "WORD detail" */
#define LINK_ERROR_NAME_NOT_NOW     "org.otad1.Error.NotNow"    /* message: the hook's reason */
#define LINK_ERROR_NAME_BUSY        "org.otad1.Error.Busy"      /* another session, or a step is still at work */
#define LINK_ERROR_NAME_OUT_OF_TURN "org.otad1.Error.OutOfTurn" /* not in this state */
#define LINK_ERROR_NAME_NOTHING     "org.otad1.Error.Nothing"   /* Revert(): there is nothing to go back to */

enum {
        LINK_FILES_MAX = 10,   /* AWS IoT service quotas: files in one stream */
        LINK_JOB_ID_MAX = 64,  /* AWS IoT jobs API: jobId */
        LINK_SESSION_MAX = 88, /* "JOBID#EXECUTION" */
        LINK_TARGET_MAX = 64,  /* config: name of a target, and of a slot */
        LINK_CERT_MAX = 255,   /* the job's certfile: a selector in the trust store, never a path */
        LINK_VERSION_MAX = 128,
        LINK_HISTORY_MAX = 100,
        LINK_WORD_MAX = 64,
        LINK_TARGETS_MAX = 255,
        LINK_HISTORY_DETAIL_MAX = 199,
};

typedef struct LinkFile {
        char target[LINK_TARGET_MAX + 1];
        uint64_t size_bytes;
        SignatureAlgorithm algorithm;           /* NONE exactly where n_signature is 0 */
        uint8_t signature[SIGNATURE_MAX_BYTES]; /* decoded from base64 */
        size_t n_signature;
        char cert[LINK_CERT_MAX + 1]; /* may be empty: the trust store decides */
} LinkFile;

typedef struct LinkBegin {
        char session[LINK_SESSION_MAX + 1];
        char job_id[LINK_JOB_ID_MAX + 1];
        uint64_t attempt; /* the job's execution number; counts from 1 */
        size_t n_files;   /* 1..LINK_FILES_MAX */
        LinkFile files[LINK_FILES_MAX];
} LinkBegin;

typedef struct LinkOffsets {
        size_t n_files;
        uint64_t resume_bytes[LINK_FILES_MAX]; /* durable on the target; the next Write() starts here */
} LinkOffsets;

typedef struct LinkFileState {
        char target[LINK_TARGET_MAX + 1];
        char slot[LINK_TARGET_MAX + 1]; /* the slot being written; empty for a file */
        uint64_t size_bytes;
        uint64_t written_bytes;  /* handed to the kernel */
        uint64_t durable_bytes;  /* there after a power cut */
        uint64_t verified_bytes; /* read back and hashed since the installer started */
} LinkFileState;

typedef struct LinkState {
        char session[LINK_SESSION_MAX + 1]; /* empty: no session; then the state is idle */
        char job_id[LINK_JOB_ID_MAX + 1];
        uint64_t attempt;
        UpdateState state;
        Failure failure;        /* set from the moment something went wrong that ends the session */
        bool reboot_needed;     /* the next step is Reboot() */
        bool without_signature; /* at least one file has none (and policy allows that) */
        char previous_version[LINK_VERSION_MAX + 1]; /* the running version at Begin */
        char version[LINK_VERSION_MAX + 1];          /* the running version now */
        uint64_t selftest_left_usec; /* until the installer rolls back; USEC_INFINITY outside of testing */
        size_t n_files;
        LinkFileState files[LINK_FILES_MAX];
} LinkState;

typedef struct LinkProgress {
        unsigned file;
        uint64_t written_bytes;
        uint64_t durable_bytes;
        uint64_t verified_bytes;
} LinkProgress;

/* What a rollback after the commit is asked for. */
typedef struct LinkRevert {
        char session[LINK_SESSION_MAX + 1]; /* a local one: base/local-session.h */
        size_t n_targets;                   /* 1..LINK_FILES_MAX */
        char targets[LINK_FILES_MAX][LINK_TARGET_MAX + 1];
} LinkRevert;

/* A finished session. */
typedef struct LinkHistoryEntry {
        char session[LINK_SESSION_MAX + 1];
        char job_id[LINK_JOB_ID_MAX + 1];
        uint64_t attempt;
        char operation[LINK_WORD_MAX + 1];  /* "update", "rollback" */
        char targets[LINK_TARGETS_MAX + 1]; /* names with a comma between */
        char result[LINK_WORD_MAX + 1];     /* "committed", "rolled-back" */
        char reason[LINK_WORD_MAX + 1];     /* failure word; "" after a commit */
        char detail[LINK_HISTORY_DETAIL_MAX + 1];
        char previous_version[LINK_VERSION_MAX + 1];
        char version[LINK_VERSION_MAX + 1]; /* "" where the new software never ran */
        uint64_t size_bytes;                /* of all images; 0 for a rollback */
        uint64_t began_wall_usec;           /* since 1970 */
        uint64_t ended_wall_usec;
} LinkHistoryEntry;

#define LINK_HISTORY_SIGNATURE "(sstsssssssttt)"

/* How a call ended otherwise than well. */
typedef enum LinkErrorKind {
        LINK_ERROR_FAILED,  /* failure says why; the session's state says what becomes of it */
        LINK_ERROR_NOT_NOW, /* a hook asked for later; nothing is lost, call again */
        LINK_ERROR_BUSY,
        LINK_ERROR_OUT_OF_TURN,
        LINK_ERROR_NOTHING, /* nothing to go back to */
        LINK_ERROR_LOST,    /* never on the wire: connection lost or no sign of life; outcome unknown */
        _LINK_ERROR_MAX,
} LinkErrorKind;

typedef struct LinkError {
        LinkErrorKind kind;
        Failure failure; /* NOT_NOW: FAILURE_HOOK_NOT_NOW; BUSY, OUT_OF_TURN, NOTHING, LOST: FAILURE_INSTALLER */
} LinkError;

/*
 * _append: 0 or negative errno of sd-bus; the value comes from our own code and is asserted to be in bounds.
 * _read: 0, or -EBADMSG where a bound or a type is broken (*ret is then undefined).
 */
_must_use_ int link_begin_append(sd_bus_message *m, const LinkBegin *begin);
_must_use_ int link_begin_read(sd_bus_message *m, LinkBegin *ret);
_must_use_ int link_offsets_append(sd_bus_message *m, const LinkOffsets *offsets);
_must_use_ int link_offsets_read(sd_bus_message *m, LinkOffsets *ret);
_must_use_ int link_write_append(sd_bus_message *m, unsigned file, uint64_t offset);
_must_use_ int link_write_read(sd_bus_message *m, unsigned *ret_file, uint64_t *ret_offset);
_must_use_ int link_roll_back_append(sd_bus_message *m, const Failure *why);
_must_use_ int link_roll_back_read(sd_bus_message *m, Failure *ret);
_must_use_ int link_revert_append(sd_bus_message *m, const LinkRevert *revert);
_must_use_ int link_revert_read(sd_bus_message *m, LinkRevert *ret);
_must_use_ int link_history_append(sd_bus_message *m, const LinkHistoryEntry *entries, size_t n_entries);
/* *ret is the caller's to free(); NULL where there is none. Also -ENOMEM. */
_must_use_ int link_history_read(sd_bus_message *m, LinkHistoryEntry **ret, size_t *ret_n);
_must_use_ int link_progress_append(sd_bus_message *m, const LinkProgress *progress);
_must_use_ int link_progress_read(sd_bus_message *m, LinkProgress *ret);
_must_use_ int link_state_append(sd_bus_message *m, const LinkState *state);
_must_use_ int link_state_read(sd_bus_message *m, LinkState *ret);

/* The error of an answer. Reading never fails: what is not understood becomes LINK_ERROR_FAILED,
 * FAILURE_INSTALLER. */
void link_error_format(const LinkError *error, sd_bus_error *ret);
void link_error_parse(const sd_bus_error *wire, LinkError *ret);
void link_error_set(LinkError *error, LinkErrorKind kind, FailureReason reason, const char *detail);

/* The rules for names, shared by both ends and by who builds a LinkBegin. */
bool link_session_is_valid(const char *session);
bool link_job_id_is_valid(const char *job_id);
bool link_target_is_valid(const char *target);
bool link_cert_is_valid(const char *cert); /* may be empty; printable UTF-8 */
