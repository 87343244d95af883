#include "target/hook.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/failure.h"
#include "base/text.h"
#include "target/process.h"

enum {
        /* EX_TEMPFAIL of sysexits.h, and the "skipped" of test harnesses: docs/hooks.md. */
        STATUS_NOT_NOW = 75,
        STATUS_SKIPPED = 77,
        N_VARIABLES = 14,
};

static const char *const stage_words[] = {
        [HOOK_STAGE_PRE_INSTALL] = "pre-install", [HOOK_STAGE_POST_INSTALL] = "post-install",
        [HOOK_STAGE_ACTIVATE] = "activate",       [HOOK_STAGE_REBOOT] = "reboot",
        [HOOK_STAGE_SELFTEST] = "selftest",       [HOOK_STAGE_COMMIT] = "commit",
        [HOOK_STAGE_ROLLBACK] = "rollback",       [HOOK_STAGE_CLEANUP] = "cleanup",
};
_Static_assert(ELEMENTSOF(stage_words) == _HOOK_STAGE_MAX, "one word for each stage");

struct Hook {
        char *script;
        HookStage stage;
        Process *process;
        sd_event_source *defer; /* nothing is configured */
        HookDoneFn on_done;
        void *userdata;
};

/* "NAME=value" texts, all of them on the heap; the last is NULL. */
typedef struct Environment {
        char *variables[N_VARIABLES + 1];
        size_t n;
} Environment;

const char *hook_stage_to_string(HookStage stage)
{
        return stage_words[stage];
}

static void environment_done(Environment *environment)
{
        for (size_t i = 0; i < environment->n; i++)
                free(environment->variables[i]);
}

static int environment_add(Environment *environment, const char *name, const char *value)
{
        size_t n_value = value ? strlen(value) : 0, n_name = strlen(name), size;
        char *variable;

        /* Escaped, a byte takes up to four. */
        size = n_name + 1 + 4 * n_value + 1;
        variable = malloc(size);
        if (!variable)
                return -ENOMEM;
        memcpy(variable, name, n_name);
        variable[n_name] = '=';
        text_escape(variable + n_name + 1, size - n_name - 1, value ? value : "", n_value, false);
        environment->variables[environment->n++] = variable;
        return 0;
}

static int environment_fill(Environment *environment, HookStage stage, const HookContext *context)
{
        char size[32] = "", attempt[16] = "";
        const struct {
                const char *name, *value;
        } all[] = {
                {"OTAD_STAGE", hook_stage_to_string(stage)},
                {"OTAD_JOB_ID", context->job_id},
                {"OTAD_TARGET", context->target},
                {"OTAD_TYPE", context->type},
                {"OTAD_SLOT", context->slot},
                {"OTAD_DEVICE", context->device},
                {"OTAD_PATH", context->path},
                {"OTAD_VERSION", context->version},
                {"OTAD_PREVIOUS_VERSION", context->previous_version},
                {"OTAD_SIZE", size},
                {"OTAD_SHA256", context->sha256},
                {"OTAD_ATTEMPT", attempt},
                {"OTAD_RESULT", context->result},
                {"OTAD_REASON", context->reason},
        };
        _Static_assert(ELEMENTSOF(all) == N_VARIABLES, "room for every variable");

        if (context->size_bytes > 0)
                (void)snprintf(size, sizeof(size), "%" PRIu64, context->size_bytes);
        if (context->attempt > 0)
                (void)snprintf(attempt, sizeof(attempt), "%u", context->attempt);
        for (size_t i = 0; i < ELEMENTSOF(all); i++) {
                int r = environment_add(environment, all[i].name, all[i].value);

                if (r < 0)
                        return r;
        }
        return 0;
}

static HookOutcome outcome_of(const ProcessResult *result)
{
        switch (result->end) {
        case PROCESS_EXITED:
                switch (result->code) {
                case 0:
                        return HOOK_OUTCOME_DONE;
                case STATUS_NOT_NOW:
                        return HOOK_OUTCOME_NOT_NOW;
                case STATUS_SKIPPED:
                        return HOOK_OUTCOME_SKIPPED;
                default:
                        return HOOK_OUTCOME_FAILED;
                }
        case PROCESS_SIGNALED:
        case PROCESS_NOT_STARTED:
                return HOOK_OUTCOME_FAILED;
        case PROCESS_TIMED_OUT:
                return HOOK_OUTCOME_TIMED_OUT;
        }
        return HOOK_OUTCOME_FAILED;
}

static void on_process_done(Process *process _unused_, const ProcessResult *result, void *userdata)
{
        Hook *hook = userdata;
        char what[PROCESS_END_TEXT_MAX], raw[4096 + 1024], detail[FAILURE_DETAIL_MAX];
        const char *line = result->last_line;
        HookResult hook_result = {.outcome = outcome_of(result), .detail = detail};
        bool is_good = hook_result.outcome == HOOK_OUTCOME_DONE || hook_result.outcome == HOOK_OUTCOME_SKIPPED;

        process_end_format(what, result);
        (void)snprintf(raw, sizeof(raw), "hook %s %s %s%s%s", hook->script, hook_stage_to_string(hook->stage), what,
                       line[0] ? ": " : "", line);
        text_escape(detail, sizeof(detail), raw, sizeof(raw), false);
        hook_result.reason = line[0] || is_good ? line : what;
        hook->on_done(hook, &hook_result, hook->userdata);
}

static int on_nothing_configured(sd_event_source *source _unused_, void *userdata)
{
        Hook *hook = userdata;
        HookResult result = {.outcome = HOOK_OUTCOME_SKIPPED, .reason = "", .detail = "no hook is configured"};

        hook->on_done(hook, &result, hook->userdata);
        return 0;
}

int hook_run(sd_event *event, const char *script, HookStage stage, const HookContext *context, uint64_t timeout_usec,
             HookDoneFn on_done, void *userdata, Hook **ret)
{
        _cleanup_(environment_done) Environment environment = {};
        _cleanup_(hook_freep) Hook *hook = calloc(1, sizeof(*hook));
        char name[64];
        int r;

        if (!hook)
                return -ENOMEM;
        hook->stage = stage;
        hook->on_done = on_done;
        hook->userdata = userdata;
        hook->script = strdup(script ? script : "");
        if (!hook->script)
                return -ENOMEM;
        if (hook->script[0] == 0) {
                r = sd_event_add_defer(event, &hook->defer, on_nothing_configured, hook);
        } else {
                r = environment_fill(&environment, stage, context);
                if (r < 0)
                        return r;
                (void)snprintf(name, sizeof(name), "hook %s", hook_stage_to_string(stage));
                r = process_start(event,
                                  &(ProcessParams){
                                          .name = name,
                                          .argv = (const char *[]){script, hook_stage_to_string(stage), NULL},
                                          .environment = (const char *const *)environment.variables,
                                          .timeout_usec = timeout_usec,
                                  },
                                  on_process_done, hook, &hook->process);
        }
        if (r < 0)
                return r;
        *ret = TAKE_PTR(hook);
        return 0;
}

Hook *hook_free(Hook *hook)
{
        if (!hook)
                return NULL;
        sd_event_source_disable_unref(hook->defer);
        process_free(hook->process);
        free(hook->script);
        free(hook);
        return NULL;
}
