/*
 * session-private: the inside of one InstallSession, shared by the files of this room.
 *
 *   calls.c      the calls: in turn or not, joined, started
 *   session.c    the one door into every state, status, answers, life
 *   ending.c     failure, what is tried again, deadlines
 *   plan.c       runs the steps of a call one after another
 *   steps.c, steps-program.c  what a step does: file, record; boot script, hook
 *   plans.c      which steps make up which call
 *   intake.c     bytes from the pipe to the target
 *   hashing.c    the cursor that reads them back
 *   startup.c    what the record means after a start
 *   local.c      what a local session does by itself
 *   policy.c     whose signature and which version counts
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "base/cleanup.h"
#include "base/data-pipe.h"
#include "base/log-event.h"
#include "install/policy.h"
#include "install/session.h"
#include "target/boot.h"
#include "target/hook.h"
#include "trust/digest.h"

enum {
        RUNS_MAX = 16, /* files of a session, or all configured targets after a damaged record */
        PLAN_STEPS_MAX = 192,
        INTAKE_END_SEC = 10,
        UNDO_TRIES_MAX = 5,
        UNDO_BOOTS_MAX = 10, /* more than any boot script gives starts to a slot on trial */
        STARTUP_TRIES_MAX = 3,
};

typedef enum Verb {
        VERB_BEGIN,
        VERB_REVERT,
        VERB_VERIFY,
        VERB_ACTIVATE,
        VERB_REBOOT,
        VERB_SELF_TEST,
        VERB_COMMIT,
        VERB_RELEASE,
        /* nobody calls these: the session itself does */
        VERB_ROLL_BACK,
        VERB_STARTUP,
        VERB_RECOVER,
        _VERB_MAX,
} Verb;

typedef struct Step Step;
enum { STEP_DONE = 0, STEP_PENDING = 1 };
/*
 * STEP_DONE; STEP_PENDING: plan_step_done() comes later; -ESTALE: not in this state, the session stays as it is; other
 * negative: failed. `reterr` is filled on every negative return.
 */
typedef int (*StepFn)(InstallSession *s, const Step *step, Failure *reterr);

struct Step {
        StepFn run;
        unsigned file;
        int argument;  /* a hook stage, a slot to set */
        bool tolerant; /* a failure is logged and the plan goes on */
};

typedef struct Plan {
        Verb verb;
        Step steps[PLAN_STEPS_MAX];
        size_t n_steps, at;
        bool running;
        bool paused; /* "not now": the same call goes on at this step */
        bool pending;
        sd_event_source *next;
} Plan;

typedef struct Waiter Waiter;
struct Waiter {
        Waiter *next;
        Verb verb;
        InstallDoneFn done;
        void *userdata;
};

/* One file of the session in this process. */
typedef struct FileRun {
        const InstallTarget *target;
        int slot; /* being written; TARGET_NO_SLOT for a file */
        int booted_slot;
        TargetWriter *writer;
        Digest *digest;
        uint64_t hashed_bytes;
        uint64_t told_bytes; /* written + hashed at the last progress */
        bool verified;
} FileRun;

typedef struct Intake {
        DataPipe *pipe; /* NULL: closed */
        unsigned file;
        uint64_t checkpoint_usec; /* when the last one was */
        sd_event_source *bell;
        sd_event_source *reading;  /* on while there may be bytes in the pipe */
        sd_event_source *patience; /* somebody waits for the end of the pipe */
        /* a Write() that waits for the pipe before it */
        InstallWriteFn next_done;
        void *next_userdata;
        unsigned next_file;
        uint64_t next_offset;
} Intake;

struct InstallSession {
        sd_event *event;
        const InstallParams *params;
        const InstallOps *ops;
        void *userdata;

        char boot_id[INSTALL_BOOT_ID_MAX + 1];
        bool ready;
        bool has_session; /* `record` means something */
        InstallRecord record;
        Failure damage; /* a record that was damaged */
        Failure found;  /* at start, and it ends the session */
        char version[INSTALL_VERSION_MAX + 1];

        FileRun runs[RUNS_MAX];
        size_t n_runs;
        bool opened; /* all targets were opened by this process */
        bool sealed; /* all files were verified by this process */

        Plan plan;
        Waiter *waiters;
        Hook *hook;
        BootCall *boot;
        int (*on_boot_answer)(InstallSession *s, const Step *step, int answer, Failure *reterr);

        Intake intake;
        sd_event_source *hashing;

        sd_event_source *timer;
        uint64_t retry_usec; /* a plan of our own is tried again; USEC_INFINITY: none waits */
        unsigned n_tries;
        bool switched_back;   /* rolling back: all is undone but for the reboot */
        Failure undo_failure; /* after the last try to undo it all */
        bool owned;           /* local: who began it is still there */
        sd_event_source *alone;
        sd_event_source *tick;
        unsigned n_ticks;
};

static inline bool run_is_ab(const FileRun *run)
{
        return target_type(run->target->target) == TARGET_TYPE_AB;
}

static inline InstallFile *session_file(InstallSession *s, unsigned file)
{
        return &s->record.request.files[file];
}

static inline const Step *step_at_work(const InstallSession *s)
{
        return &s->plan.steps[s->plan.at];
}

static inline int other_slot(int slot)
{
        return slot == 0 ? 1 : 0;
}

/* session.c */
UpdateState session_state(const InstallSession *s); /* IDLE without a session */
bool session_is_over(const InstallSession *s);      /* committed or rolled back, and not yet released */
uint64_t selftest_deadline_usec(const InstallSession *s);
bool session_has_ab(const InstallSession *s);
uint64_t run_written_bytes(InstallSession *s, unsigned file);
/* Of a session that has ended; one that is there already is replaced. */
void session_write_history(InstallSession *s);
/* The only writers of record.state. A state that cannot be saved is not entered; _anyway is for giving up. */
_must_use_ int session_enter(InstallSession *s, UpdateState next, Failure *reterr);
void session_enter_anyway(InstallSession *s, UpdateState next);
_must_use_ int session_save(InstallSession *s, Failure *reterr);
/* The one exit: cancels what is at work, answers who waits, and rolls back as far as that is needed. */
void session_fail(InstallSession *s, const Failure *failure);
void session_answer(InstallSession *s, Verb verb, InstallOutcome outcome, const Failure *failure);
void session_forget(InstallSession *s);
void session_arm(InstallSession *s);
int session_on_timer(sd_event_source *source, uint64_t usec, void *userdata);
void session_read_version(InstallSession *s);
void session_wait_and_retry(InstallSession *s, const Failure *failure);
void session_tick(InstallSession *s);
void session_tell_state(InstallSession *s);
/* An event of this session, with what its record knows. */
void session_log_event(const InstallSession *s, LogEvent event, const char *what);
/* Called by plan.c when a plan has ended. */
void session_on_plan_end(InstallSession *s, Verb verb, InstallOutcome outcome, const Failure *failure);
void session_give_up_rollback(InstallSession *s, const Failure *failure);
/* Points the runs at the targets of the record's files. -ENOENT: a target is not configured. */
_must_use_ int session_bind_targets(InstallSession *s, Failure *reterr);

/* plan.c */
_must_use_ int plan_init(InstallSession *s);
void plan_begin(InstallSession *s, Verb verb);
void plan_add(InstallSession *s, StepFn run, unsigned file, int argument);
void plan_add_tolerant(InstallSession *s, StepFn run, unsigned file, int argument);
void plan_start(InstallSession *s);
void plan_cancel(InstallSession *s);
/* The step at work is the last. */
void plan_skip_rest(InstallSession *s);
/* For a pending step: its end. `r` as a StepFn returns it; NOT_NOW is -EAGAIN. */
void plan_step_done(InstallSession *s, int r, const Failure *failure);

/* plans.c */
void plans_begin(InstallSession *s);
void plans_revert(InstallSession *s);
void plans_verify(InstallSession *s);
void plans_activate(InstallSession *s);
void plans_reboot(InstallSession *s);
void plans_self_test(InstallSession *s);
void plans_commit(InstallSession *s);
void plans_release(InstallSession *s);
void plans_roll_back(InstallSession *s);
/* The last resort of a rollback that failed: what cannot be switched back from here the boot loader may, at a restart. */
void plans_reboot_to_undo(InstallSession *s);
void plans_recover(InstallSession *s);

/* steps.c: each a StepFn */
int step_get_current(InstallSession *s, const Step *step, Failure *reterr);
int step_choose_slot(InstallSession *s, const Step *step, Failure *reterr);
int step_open(InstallSession *s, const Step *step, Failure *reterr);
/* The file is to be written again from `offset` on, which is below what was written. */
int run_step_back(InstallSession *s, unsigned index, uint64_t offset, Failure *reterr);
void runs_close(InstallSession *s);
int step_enter(InstallSession *s, const Step *step, Failure *reterr); /* argument: the state */
int step_hook(InstallSession *s, const Step *step, Failure *reterr);  /* argument: the stage */
int step_confirm_current(InstallSession *s, const Step *step, Failure *reterr);
int step_free_primary(InstallSession *s, const Step *step, Failure *reterr);
int step_set_primary(InstallSession *s, const Step *step, Failure *reterr); /* argument: SLOT_NEW, SLOT_OLD */
int step_set_state(InstallSession *s, const Step *step, Failure *reterr);   /* argument: 1 good, 0 bad */
int step_begun(InstallSession *s, const Step *step, Failure *reterr);
int step_find_previous(InstallSession *s, const Step *step, Failure *reterr);
int step_opened(InstallSession *s, const Step *step, Failure *reterr);
int step_intake_ended(InstallSession *s, const Step *step, Failure *reterr);
int step_complete(InstallSession *s, const Step *step, Failure *reterr);
int step_flush(InstallSession *s, const Step *step, Failure *reterr);
int step_hashed(InstallSession *s, const Step *step, Failure *reterr);
int step_signature(InstallSession *s, const Step *step, Failure *reterr);
int step_post_installed(InstallSession *s, const Step *step, Failure *reterr);
int step_sealed(InstallSession *s, const Step *step, Failure *reterr);
int step_target_activate(InstallSession *s, const Step *step, Failure *reterr);
int step_target_commit(InstallSession *s, const Step *step, Failure *reterr);
int step_target_roll_back(InstallSession *s, const Step *step, Failure *reterr);
int step_target_discard(InstallSession *s, const Step *step, Failure *reterr);
int step_primary_asked(InstallSession *s, const Step *step, Failure *reterr);
int step_activated(InstallSession *s, const Step *step, Failure *reterr);
int step_reboot_asked(InstallSession *s, const Step *step, Failure *reterr);
int step_version(InstallSession *s, const Step *step, Failure *reterr);
int step_tested(InstallSession *s, const Step *step, Failure *reterr);
int step_undone(InstallSession *s, const Step *step, Failure *reterr);
int step_rolled_back(InstallSession *s, const Step *step, Failure *reterr);
int step_reboot_may_undo(InstallSession *s, const Step *step, Failure *reterr);
int step_wait_down(InstallSession *s, const Step *step, Failure *reterr);
int step_forget(InstallSession *s, const Step *step, Failure *reterr);
int step_primary_is_current(InstallSession *s, const Step *step, Failure *reterr);

enum { SLOT_NEW = 1, SLOT_OLD = 0 };

/* intake.c */
bool intake_is_open(const InstallSession *s);
void intake_start(InstallSession *s, unsigned file, uint64_t offset, InstallWriteFn done, void *userdata);
/* Keeps what was received. */
void intake_close(InstallSession *s);
void intake_refuse_next(InstallSession *s, InstallOutcome outcome, const Failure *failure);
void intake_be_patient(InstallSession *s);
/* Makes what was received durable, and the record say so. */
_must_use_ int intake_checkpoint(InstallSession *s, unsigned file, Failure *reterr);
/* Takes what has come while bytes were hashed: else network and storage would wait for that, too. */
_must_use_ int intake_meanwhile(InstallSession *s, Failure *reterr);

/* hashing.c */
_must_use_ int hashing_start(InstallSession *s, Failure *reterr);
bool hashing_is_busy(const InstallSession *s);
/* It can go on without waiting for the storage. */
bool hashing_has_bytes(const InstallSession *s);

/* startup.c */
_must_use_ int startup_load(InstallSession *s);
void startup_run(InstallSession *s);
/* What was found is decided: takes calls from now on, and goes on by itself where that is due. */
void startup_end(InstallSession *s);
_must_use_ int session_enter_testing(InstallSession *s, Failure *reterr);

/* local.c */
_must_use_ int local_init(InstallSession *s);
/* From the loop: the next thing a local session does without being asked, if there is one. */
void local_go_on(InstallSession *s);
/* After a start: what has no owner any more and is not activated ends. */
void local_judge_start(InstallSession *s);

/* policy.c, beside install/policy.h */
_must_use_ int policy_check_space(const InstallParams *params, Failure *reterr);
/* `previous` may be "": then any version that can be read will do. */
_must_use_ int policy_check_version(const InstallParams *params, const InstallTarget *target, const char *previous,
                                    Failure *reterr);
/* "" where it cannot be read. */
void policy_read_version(const char *file, const char *key, char ret[static INSTALL_VERSION_MAX + 1]);
