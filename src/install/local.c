#include <errno.h>

#include "base/local-session.h"
#include "base/log.h"
#include "base/time-util.h"
#include "session-private.h"

static bool is_local(const InstallSession *s)
{
        return s->has_session && session_is_local(s->record.request.session);
}

static bool is_before_activation(const InstallSession *s)
{
        UpdateState state = session_state(s);

        return state == UPDATE_STATE_DOWNLOADING || state == UPDATE_STATE_VERIFYING ||
               state == UPDATE_STATE_INSTALLED;
}

/* A failure before the end has its own consequences; at the end only the wish to be gone is left, which is repeated. */
static void on_done(InstallOutcome outcome, const Failure *failure, void *userdata)
{
        InstallSession *s = userdata;
        UpdateState state = session_state(s);

        if (outcome == INSTALL_OUTCOME_DONE)
                s->n_tries = 0;
        else if (outcome == INSTALL_OUTCOME_NOT_NOW || state == UPDATE_STATE_COMMITTED ||
                 state == UPDATE_STATE_ROLLED_BACK)
                session_wait_and_retry(s, failure);
        local_go_on(s);
}

static int on_alone(sd_event_source *source, void *userdata)
{
        InstallSession *s = userdata;

        if (!is_local(s) || !s->ready || s->plan.running || s->retry_usec != USEC_INFINITY)
                return 0;
        switch (session_state(s)) {
        case UPDATE_STATE_ACTIVATING:
                /* Else it waits for the reboot. */
                if (!s->record.activated && !s->owned)
                        install_session_activate(s, on_done, s);
                break;
        case UPDATE_STATE_TESTING:
                if (s->record.tested)
                        install_session_commit(s, on_done, s);
                else
                        install_session_self_test(s, on_done, s);
                break;
        case UPDATE_STATE_COMMITTED:
        case UPDATE_STATE_ROLLED_BACK:
                install_session_release(s, on_done, s);
                break;
        case UPDATE_STATE_IDLE:
        case UPDATE_STATE_DOWNLOADING:
        case UPDATE_STATE_VERIFYING:
        case UPDATE_STATE_INSTALLED:
        case UPDATE_STATE_ROLLING_BACK:
        case UPDATE_STATE_ACCEPTED:
        case UPDATE_STATE_SUSPENDED:
        case _UPDATE_STATE_MAX:
                break;
        }
        return 0;
}

int local_init(InstallSession *s)
{
        int r;

        r = sd_event_add_defer(s->event, &s->alone, on_alone, s);
        if (r < 0)
                return r;
        (void)sd_event_source_set_description(s->alone, "install-local");
        return sd_event_source_set_enabled(s->alone, SD_EVENT_OFF);
}

void local_go_on(InstallSession *s)
{
        if (is_local(s))
                (void)sd_event_source_set_enabled(s->alone, SD_EVENT_ONESHOT);
}

void local_judge_start(InstallSession *s)
{
        if (is_local(s) && is_before_activation(s) && !failure_is_set(&s->found))
                (void)fail(&s->found, FAILURE_CANCELLED_LOCALLY, ECANCELED,
                           "otad-installer was started anew before the local update was activated");
}

void install_session_owner_gone(InstallSession *s)
{
        Failure why;

        s->owned = false;
        if (is_local(s) && is_before_activation(s)) {
                (void)fail(&why, FAILURE_CANCELLED_LOCALLY, ECANCELED,
                           "who began the local update has gone before it was activated");
                session_fail(s, &why);
        }
        local_go_on(s);
}
