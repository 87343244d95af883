#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "session-private.h"

static void plan_end(InstallSession *s, InstallOutcome outcome, const Failure *failure)
{
        Plan *p = &s->plan;

        p->running = false;
        p->pending = false;
        p->paused = outcome == INSTALL_OUTCOME_NOT_NOW;
        session_on_plan_end(s, p->verb, outcome, failure);
}

/* The one place where the end of a step is judged; steps themselves never end a plan. */
static void plan_on_step(InstallSession *s, int r, const Failure *failure)
{
        Plan *p = &s->plan;
        const Step *step = &p->steps[p->at];

        if (r < 0 && step->tolerant) {
                log_warning("%s: %s, going on", s->record.request.session, failure->detail);
                r = STEP_DONE;
        }
        if (r == STEP_PENDING) {
                p->pending = true;
                return;
        }
        p->pending = false;
        if (r == STEP_DONE && p->at + 1 == p->n_steps) {
                /* At once: who hears of the state that the last step entered may call for the next. */
                plan_end(s, INSTALL_OUTCOME_DONE, NULL);
        } else if (r == STEP_DONE) {
                p->at++;
                (void)sd_event_source_set_enabled(p->next, SD_EVENT_ONESHOT);
        } else if (r == -EAGAIN) {
                plan_end(s, INSTALL_OUTCOME_NOT_NOW, failure);
        } else if (r == -ESTALE) {
                plan_end(s, INSTALL_OUTCOME_OUT_OF_TURN, failure);
        } else if (r == -ENODATA && p->verb == VERB_REVERT) {
                plan_end(s, INSTALL_OUTCOME_NOTHING, failure);
        } else {
                plan_end(s, INSTALL_OUTCOME_FAILED, failure);
        }
}

/* One step a turn of the loop, so that calls and data are served between them. */
static int plan_on_next(sd_event_source *source, void *userdata)
{
        InstallSession *s = userdata;
        Plan *p = &s->plan;
        Failure failure = {.reason = FAILURE_NONE};
        int r;

        if (!p->running || p->pending)
                return 0;
        if (p->n_steps == 0) {
                plan_end(s, INSTALL_OUTCOME_DONE, NULL);
                return 0;
        }
        r = p->steps[p->at].run(s, &p->steps[p->at], &failure);
        if (r < 0 && !failure_is_set(&failure))
                (void)fail(&failure, FAILURE_RESOURCES, -r, "a step cannot be started: %s", strerror(-r));
        plan_on_step(s, r, &failure);
        return 0;
}

int plan_init(InstallSession *s)
{
        int r;

        r = sd_event_add_defer(s->event, &s->plan.next, plan_on_next, s);
        if (r < 0)
                return r;
        (void)sd_event_source_set_description(s->plan.next, "install-plan");
        return sd_event_source_set_enabled(s->plan.next, SD_EVENT_OFF);
}

void plan_begin(InstallSession *s, Verb verb)
{
        Plan *p = &s->plan;

        assert(!p->running);
        p->verb = verb;
        p->n_steps = p->at = 0;
        p->paused = false;
}

void plan_add(InstallSession *s, StepFn run, unsigned file, int argument)
{
        Plan *p = &s->plan;

        assert(p->n_steps < PLAN_STEPS_MAX);
        p->steps[p->n_steps++] = (Step){.run = run, .file = file, .argument = argument};
}

void plan_add_tolerant(InstallSession *s, StepFn run, unsigned file, int argument)
{
        plan_add(s, run, file, argument);
        s->plan.steps[s->plan.n_steps - 1].tolerant = true;
}

void plan_skip_rest(InstallSession *s)
{
        s->plan.n_steps = s->plan.at + 1;
}

void plan_start(InstallSession *s)
{
        Plan *p = &s->plan;

        p->running = true;
        p->paused = false;
        p->pending = false;
        (void)sd_event_source_set_enabled(p->next, SD_EVENT_ONESHOT);
        session_tick(s);
}

void plan_cancel(InstallSession *s)
{
        Plan *p = &s->plan;

        s->hook = hook_free(s->hook);
        s->boot = boot_call_free(s->boot);
        p->running = p->paused = p->pending = false;
        (void)sd_event_source_set_enabled(p->next, SD_EVENT_OFF);
}

void plan_step_done(InstallSession *s, int r, const Failure *failure)
{
        assert(s->plan.running && s->plan.pending);
        plan_on_step(s, r, failure);
}
