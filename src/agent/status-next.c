/*
 * The one sentence that tells what happens next: the step that follows, and before it what it waits for.
 */
#include <assert.h>
#include <ctype.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "agent/status-json.h"
#include "base/time-util.h"

enum { STEP_MAX = 320 };

/* The slot that is written to; NULL: none of the targets has slots. */
static const char *new_slot(const LinkState *device)
{
        for (size_t i = 0; device && i < device->n_files; i++)
                if (device->files[i].slot[0])
                        return device->files[i].slot;
        return NULL;
}

static const char *verify_step(const LinkState *device)
{
        return device && device->without_signature ? "checks the image, which has no signature"
                                                   : "verifies the signature";
}

static void idle_step(char step[static STEP_MAX], const EngineStatus *status)
{
        char unsent[96] = "";

        if (status->n_unsent_finals > 0)
                snprintf(unsent, sizeof(unsent), "tells the cloud how %zu update%s ended", status->n_unsent_finals,
                         status->n_unsent_finals == 1 ? "" : "s");
        if (!status->connected)
                snprintf(step, STEP_MAX, "connects to the broker, then %s",
                         unsent[0] ? unsent : "waits for jobs from the cloud");
        else if (unsent[0])
                snprintf(step, STEP_MAX, "%s", unsent);
        else if (!status->update.device)
                snprintf(step, STEP_MAX, "waits for otad-installer, then for jobs from the cloud");
        else
                snprintf(step, STEP_MAX, "waits for jobs from the cloud%s",
                         status->update.suspended_by_operator ? "; does one only after 'otactl resume'" : "");
}

static void activate_step(char step[static STEP_MAX], const LinkState *device, bool waits)
{
        const char *slot = new_slot(device);

        /* While something is waited for, it may be the reboot itself. */
        if (device && device->reboot_needed && slot)
                snprintf(step, STEP_MAX,
                         waits ? "starts slot %s and tests the new software"
                               : "reboots into slot %s, then tests the new software",
                         slot);
        else
                snprintf(step, STEP_MAX, "switches to the new software, then tests it");
}

static void test_step(char step[static STEP_MAX], const EngineStatus *status)
{
        const LinkState *device = status->update.device;
        char left[DURATION_TEXT_MAX];
        const char *condition =
                status->connected ? "the self-test passes" : "the broker is reached and the self-test passes";

        if (device && device->selftest_left_usec != USEC_INFINITY)
                snprintf(step, STEP_MAX, "rolls back unless %s within %s", condition,
                         duration_format(left, device->selftest_left_usec));
        else
                snprintf(step, STEP_MAX, "rolls back unless %s", condition);
}

static void update_step(char step[static STEP_MAX], const EngineStatus *status, bool waits)
{
        const UpdateStatus *u = &status->update;

        switch (u->state) {
        case UPDATE_STATE_IDLE:
                idle_step(step, status);
                return;
        case UPDATE_STATE_ACCEPTED:
                snprintf(step, STEP_MAX, "prepares the targets, then downloads");
                return;
        case UPDATE_STATE_DOWNLOADING:
        case UPDATE_STATE_SUSPENDED:
                snprintf(step, STEP_MAX, "downloads the rest (%u %% is here), then %s", status_percent(status),
                         verify_step(u->device));
                return;
        case UPDATE_STATE_VERIFYING:
                snprintf(step, STEP_MAX, "%s, then activates the new software", verify_step(u->device));
                return;
        case UPDATE_STATE_INSTALLED:
                snprintf(step, STEP_MAX, "activates the new software, then tests it");
                return;
        case UPDATE_STATE_ACTIVATING:
                activate_step(step, u->device, waits);
                return;
        case UPDATE_STATE_TESTING:
                test_step(step, status);
                return;
        case UPDATE_STATE_COMMITTED:
                snprintf(step, STEP_MAX, "tells the cloud that the update succeeded");
                return;
        case UPDATE_STATE_ROLLING_BACK:
                if (u->device && u->device->reboot_needed && !waits)
                        snprintf(step, STEP_MAX,
                                 "reboots into the old software, then tells the cloud why the update failed");
                else if (u->device && u->device->reboot_needed)
                        snprintf(step, STEP_MAX, "tells the cloud why the update failed");
                else
                        snprintf(step, STEP_MAX, "goes back to the old software, then tells the cloud why");
                return;
        case UPDATE_STATE_ROLLED_BACK:
                snprintf(step, STEP_MAX, "tells the cloud why the update failed");
                return;
        case _UPDATE_STATE_MAX:
                break;
        }
        assert(false);
}

/* What stands between now and the step, as the beginning of a sentence; false: nothing. */
static bool format_wait(char wait[static FAILURE_DETAIL_MAX + 64], const UpdateStatus *u, uint64_t now)
{
        char duration[DURATION_TEXT_MAX];

        /* Once the new software is active there is no putting off; what is going on then does go on. */
        if (u->suspended_by_operator && u->state < UPDATE_STATE_TESTING)
                snprintf(wait, FAILURE_DETAIL_MAX + 64, "Waits for 'otactl resume'");
        else if (!u->waiting || !u->waiting[0])
                return false;
        else if (u->retry_usec == USEC_INFINITY)
                snprintf(wait, FAILURE_DETAIL_MAX + 64, "Waits (%s)", u->waiting);
        else
                snprintf(wait, FAILURE_DETAIL_MAX + 64, "Waits (%s), tries again in %s", u->waiting,
                         duration_format(duration, usec_sub(u->retry_usec, now)));
        return true;
}

/* An update that otactl brought: what otad-installer does by itself. */
static void local_step(char step[static STEP_MAX], const EngineStatus *status)
{
        const LinkState *device = status->update.device;
        char left[DURATION_TEXT_MAX] = "";

        switch (status->update.state) {
        case UPDATE_STATE_DOWNLOADING:
        case UPDATE_STATE_VERIFYING:
        case UPDATE_STATE_INSTALLED:
                snprintf(step, STEP_MAX, "installs what otactl brings; jobs of the cloud wait");
                return;
        case UPDATE_STATE_ACTIVATING:
                if (device && device->reboot_needed)
                        snprintf(step, STEP_MAX,
                                 "tests the new software after a reboot, which nobody asks for but you");
                else
                        snprintf(step, STEP_MAX, "switches to the new software, then tests it");
                return;
        case UPDATE_STATE_TESTING:
                if (device && device->selftest_left_usec != USEC_INFINITY)
                        snprintf(step, STEP_MAX, "rolls back unless the self-test passes within %s",
                                 duration_format(left, device->selftest_left_usec));
                else
                        snprintf(step, STEP_MAX, "rolls back unless the self-test passes");
                return;
        case UPDATE_STATE_ROLLING_BACK:
                snprintf(step, STEP_MAX, "goes back to the old software");
                return;
        case UPDATE_STATE_IDLE:
        case UPDATE_STATE_ACCEPTED:
        case UPDATE_STATE_SUSPENDED:
        case UPDATE_STATE_COMMITTED:
        case UPDATE_STATE_ROLLED_BACK:
        case _UPDATE_STATE_MAX:
                break;
        }
        snprintf(step, STEP_MAX, "ends the local update, then waits for jobs from the cloud");
}

const char *status_next_format(char text[static STATUS_NEXT_MAX], const EngineStatus *status, uint64_t now)
{
        char step[STEP_MAX], wait[FAILURE_DETAIL_MAX + 64];
        bool is_local = status->update.local_session && status->update.local_session[0];
        bool waits =
                !is_local && status->update.state != UPDATE_STATE_IDLE && format_wait(wait, &status->update, now);

        if (is_local)
                local_step(step, status);
        else
                update_step(step, status, waits);
        if (waits) {
                snprintf(text, STATUS_NEXT_MAX, "%s, then %s.", wait, step);
        } else {
                step[0] = (char)toupper((unsigned char)step[0]);
                snprintf(text, STATUS_NEXT_MAX, "%s.", step);
        }
        return text;
}
