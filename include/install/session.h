/*
 * session: one update's life on the device, from the first byte to commit or rollback, across power cuts.
 *
 *   idle -> downloading -> verifying -> installed -> activating -> testing -> committed -> idle
 *               |              |            |            |            |
 *               +--------------+------------+--> rolled-back <-- rolling-back        -> idle
 *
 * One session at a time. Each call below runs a sequence of steps (boot script, hook, file), every one of which may be
 * repeated; after a crash the call is made again, or the session goes on by itself where nobody may be there to call:
 * the self-test's deadline, the deadline for a reboot, and a rollback are kept here alone. The record is on disk before
 * anything that cannot be taken back.
 *
 * Nothing is activated that was not read back from the target, hashed, and whose signature was not checked by this
 * process since it started; a session found `installed` at start is read again before it is activated. One found
 * `activating` was read by the process before: from there on no call writes, and what was begun is carried on.
 *
 * Any failure ends the session: before activation it is rolled-back at once (slots stay bad, temporary files are
 * removed), after it goes through rolling-back, which may need a reboot. `not now` (a hook's 75 in pre-install,
 * post-install, activate, reboot, selftest) ends nothing: the same call is made again later.
 *
 * Several files are all or nothing: files are switched first, A/B slots are made primary last.
 *
 * A record that is damaged says nothing about the targets. The safe thing is done: for A/B targets the slot that runs is
 * made primary, so that nothing unverified boots; a file that was switched and not committed is put back; what was being
 * written is removed. Slot states are left as they are: an unconfirmed slot stays the boot loader's to judge.
 *
 * A local session (base/local-session.h) has no job and needs no otad: its owner, who began it, brings it up to
 * install_session_activate(); until then it lasts as long as its owner does. From there it goes on by itself: tests,
 * commits and releases as soon as the new software runs.
 *
 * A session that reverts goes back to what was committed before, as far as it is still there. Nothing is written, and
 * nothing is read either: the slot was in use since, so that its bytes are not those that were signed.
 *
 * Needs an event loop, links no bus. Boot ids and clocks: random(4) boot_id, CLOCK_BOOTTIME.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "base/cleanup.h"
#include "base/failure.h"
#include "base/file-util.h"
#include "base/signature-algorithm.h"
#include "base/update-state.h"
#include "install/record.h"
#include "target/target.h"

typedef struct InstallSession InstallSession;

typedef struct InstallTarget {
        const Target *target;
        const char *version_file; /* NULL: the version rule is not for this target */
        const char *version_key;
} InstallTarget;

/* Borrowed for the session object's life. */
typedef struct InstallParams {
        int state_dir_fd;
        const char *boot_id_path; /* /proc/sys/kernel/random/boot_id */
        const InstallTarget *targets;
        size_t n_targets;
        bool signing_required;
        SignatureAlgorithm algorithms[_SIGNATURE_ALGORITHM_MAX];
        size_t n_algorithms;
        const char *trust_store;
        bool dates_always; /* else a certificate's dates count only when the clock is known to be right */
        bool allow_downgrade;
        const char *version_file; /* of the device, for people; used where no target tells one. NULL: none */
        const char *version_key;
        const char *hook_script; /* "" or NULL: none */
        uint64_t hook_timeout_usec;
        uint64_t retry_usec; /* first wait before a step of a rollback is tried again; grows to an hour */
        uint64_t selftest_timeout_usec;
        unsigned selftest_max_boots;
        uint64_t reboot_timeout_usec;
        FreeSpaceRule keep_free;   /* of the file system of state_dir_fd, or nothing is begun */
        uint64_t checkpoint_bytes; /* what was written is made durable after so much of it, */
        uint64_t checkpoint_usec;  /* but not more often than this */
        bool skip_equal;           /* see TargetWriterParams */
} InstallParams;

typedef struct InstallFileStatus {
        uint64_t written_bytes;
        uint64_t durable_bytes;
        uint64_t verified_bytes;
} InstallFileStatus;

/* Borrowed until the next call into the session. */
typedef struct InstallStatus {
        const InstallRecord *record; /* NULL: no session */
        UpdateState state;           /* IDLE without a session */
        const Failure *failure;      /* of the session, or of a record that was damaged; never NULL */
        bool reboot_needed;
        bool without_signature;
        const char *previous_version; /* "" where unknown, as the next */
        const char *version;          /* that runs now */
        uint64_t selftest_left_usec;  /* USEC_INFINITY outside of testing */
        InstallFileStatus files[INSTALL_FILES_MAX];
} InstallStatus;

typedef struct InstallOps {
        /* Once: what was found at start is decided; only from now on calls are taken. */
        void (*on_ready)(void *userdata);
        /* After every change of state or of the failure. */
        void (*on_state)(void *userdata);
        /* Some bytes further, or a sign of life: at least every 4 s while a call is at work, at most once a second. */
        void (*on_progress)(unsigned file, void *userdata);
} InstallOps;

typedef enum InstallOutcome {
        INSTALL_OUTCOME_DONE,
        INSTALL_OUTCOME_FAILED,      /* failure says why; see the state for what became of the session */
        INSTALL_OUTCOME_NOT_NOW,     /* a hook's reason in failure.detail */
        INSTALL_OUTCOME_BUSY,        /* another session is here, or another call is at work */
        INSTALL_OUTCOME_OUT_OF_TURN, /* not in this state, or not what this session was begun with */
        INSTALL_OUTCOME_NOTHING,     /* nothing to go back to; failure.detail says why */
} InstallOutcome;

/*
 * Called exactly once a call, perhaps before it returns; also from install_session_free(), with BUSY. `failure` is NULL
 * on DONE. A call that is made again while it is at work joins it.
 */
typedef void (*InstallDoneFn)(InstallOutcome outcome, const Failure *failure, void *userdata);
/* `fd`: the write end of the data pipe, borrowed for the callback; -1 unless DONE. */
typedef void (*InstallWriteFn)(InstallOutcome outcome, const Failure *failure, int fd, void *userdata);

/*
 * Loads the record; what it means is found out on the loop (the boot script is asked), then on_ready() comes. `ops` must
 * outlive the session. -errno: the record or the boot id cannot be read.
 */
_must_use_ int install_session_new(sd_event *event, const InstallParams *params, const InstallOps *ops,
                                   void *userdata, InstallSession **ret);
/* What was received is made durable and the record kept: the next start goes on from here. */
InstallSession *install_session_free(InstallSession *session);
DEFINE_CLEANUP(InstallSession *, install_session_free);

void install_session_get_status(InstallSession *session, InstallStatus *ret);
/* A call or a rollback is at work, or data flows. */
bool install_session_is_working(const InstallSession *session);

/* New session, or the same one again. Once DONE, status.files[].written_bytes is where each file goes on. */
void install_session_begin(InstallSession *session, const InstallRequest *request, InstallDoneFn done,
                           void *userdata);
/*
 * A new local session that goes back to what the targets of `request` held before: of its files only the targets' names
 * count. DONE: `installed`, and install_session_activate() is next. Who may ask for it is the caller's to judge.
 */
void install_session_revert(InstallSession *session, const InstallRequest *request, InstallDoneFn done,
                            void *userdata);
/* Who began the local session has gone: what is not activated is abandoned. */
void install_session_owner_gone(InstallSession *session);
/*
 * The bytes of file `file` from `offset` on, which must not be beyond what was written; below it, the file is
 * written again from there (the object in the store was replaced).
 * One pipe at a time: while the one before still holds bytes the answer waits for its end (10 s at most, then BUSY).
 */
void install_session_write(InstallSession *session, unsigned file, uint64_t offset, InstallWriteFn done,
                           void *userdata);
void install_session_verify(InstallSession *session, InstallDoneFn done, void *userdata);
/* DONE: status.reboot_needed says whether install_session_reboot() is next, or the self-test. */
void install_session_activate(InstallSession *session, InstallDoneFn done, void *userdata);
void install_session_reboot(InstallSession *session, InstallDoneFn done, void *userdata);
void install_session_self_test(InstallSession *session, InstallDoneFn done, void *userdata);
/* Order: slots good, commit hooks; then the point of no return; then old versions of files are removed. */
void install_session_commit(InstallSession *session, InstallDoneFn done, void *userdata);
/* DONE once it is decided and on disk; the end is told by the state. DONE also where there is nothing to roll back. */
void install_session_roll_back(InstallSession *session, const Failure *why, InstallDoneFn done, void *userdata);
/* DONE also where there is no session. */
void install_session_release(InstallSession *session, InstallDoneFn done, void *userdata);
