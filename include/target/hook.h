/*
 * hook: one stage of the operator's hook script, `HOOK STAGE` (docs/hooks.md).
 *
 * The script finds its facts in the environment: OTAD_STAGE OTAD_JOB_ID OTAD_TARGET OTAD_TYPE OTAD_SLOT
 * OTAD_DEVICE OTAD_PATH OTAD_VERSION OTAD_PREVIOUS_VERSION OTAD_SIZE OTAD_SHA256 OTAD_ATTEMPT OTAD_RESULT
 * OTAD_REASON, all of them always set, empty where unknown, and PATH; nothing else. Exit 0: go on; 75
 * (EX_TEMPFAIL): not now; 77: not mine; else failure. The last line on stderr is the reason.
 */
#pragma once

#include <stdint.h>
#include <systemd/sd-event.h>

#include "base/cleanup.h"

typedef enum HookStage {
        HOOK_STAGE_PRE_INSTALL,
        HOOK_STAGE_POST_INSTALL,
        HOOK_STAGE_ACTIVATE,
        HOOK_STAGE_REBOOT,
        HOOK_STAGE_SELFTEST,
        HOOK_STAGE_COMMIT,
        HOOK_STAGE_ROLLBACK,
        HOOK_STAGE_CLEANUP,
        _HOOK_STAGE_MAX,
} HookStage;

const char *hook_stage_to_string(HookStage stage); /* "pre-install" */

/*
 * All texts may be NULL: unknown. Borrowed for the call. Control characters and invalid UTF-8 are escaped
 * before they reach the environment, so a script that prints a variable prints one line.
 */
typedef struct HookContext {
        const char *job_id;
        const char *target; /* a configured name */
        const char *type;   /* "ab", "file" */
        const char *slot;   /* ab: the slot written to */
        const char *device; /* ab: its device */
        const char *path;   /* file: the destination */
        const char *version;
        const char *previous_version;
        uint64_t size_bytes; /* 0: unknown */
        const char *sha256;  /* hex */
        unsigned attempt;    /* 0: unknown */
        const char *result;  /* "committed", "rolled-back" or empty */
        const char *reason;  /* a failure word */
} HookContext;

typedef enum HookOutcome {
        HOOK_OUTCOME_DONE,    /* status 0 */
        HOOK_OUTCOME_NOT_NOW, /* status 75 */
        HOOK_OUTCOME_SKIPPED, /* status 77, or no script is configured */
        HOOK_OUTCOME_FAILED,  /* any other status, a signal, or a script that cannot be executed */
        HOOK_OUTCOME_TIMED_OUT,
} HookOutcome;

/* Borrowed for the callback. Both texts are one escaped line. */
typedef struct HookResult {
        HookOutcome outcome;
        const char *reason; /* last line on stderr; where it is blank and the outcome is no success, what
                               happened */
        const char *detail; /* "hook /etc/otad/hook selftest exited with status 3: no broker", fit for a
                               Failure */
} HookResult;

typedef struct Hook Hook;
/* Called exactly once, from the loop. May free the hook. */
typedef void (*HookDoneFn)(Hook *hook, const HookResult *result, void *userdata);

/*
 * Runs `script` with one stage; "" or NULL: nothing is configured, which is HOOK_OUTCOME_SKIPPED. The
 * callback comes later, never from inside this call. On success *ret is the caller's; freeing it before the
 * callback kills the stage. -EINVAL: no time limit. -ENOMEM and the like.
 */
_must_use_ int hook_run(sd_event *event, const char *script, HookStage stage, const HookContext *context,
                        uint64_t timeout_usec, HookDoneFn on_done, void *userdata, Hook **ret);
Hook *hook_free(Hook *hook); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(Hook *, hook_free);
