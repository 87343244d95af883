/*
 * The targets as configured, and what the boot scripts say.
 */
#include <errno.h>
#include <string.h>
#include <sys/statvfs.h>

#include "check.h"
#include "cli/format.h"
#include "target/target.h"

typedef struct BootAnswer {
        sd_event *event;
        int slot; /* -1: it failed */
        Failure failure;
} BootAnswer;

static void on_boot_done(BootCall *call, int answer, const Failure *failure, void *userdata)
{
        BootAnswer *a = userdata;

        a->slot = failure ? -1 : answer;
        if (failure)
                a->failure = *failure;
        (void)sd_event_exit(a->event, 0);
}

typedef int (*BootCallFn)(sd_event *event, const BootScript *script, BootDoneFn on_done, void *userdata,
                          BootCall **ret);

/* Runs to its end, which the script's time limit bounds. False: it said why not. */
static bool ask_boot(Check *check, const char *subject, const BootScript *script, BootCallFn fn, int *ret)
{
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        _cleanup_(boot_call_freep) BootCall *call = NULL;
        BootAnswer answer = {.slot = -1};
        int r;

        r = sd_event_new(&event);
        answer.event = event;
        if (r >= 0)
                r = fn(event, script, on_boot_done, &answer, &call);
        if (r >= 0)
                r = sd_event_loop(event);
        if (r < 0) {
                check_say(check, CHECK_FAIL, subject, NULL, "%s cannot be run: %s", script->path, strerror(-r));
                return false;
        }
        if (answer.slot < 0) {
                check_say(check, geteuid() == 0 ? CHECK_FAIL : CHECK_WARN, subject, "run it by hand", "%s",
                          answer.failure.detail);
                return false;
        }
        *ret = answer.slot;
        return true;
}

static void check_boot(Check *check, const char *subject, const Target *target)
{
        const BootScript *script = target_boot_script(target);
        int current, primary;

        if (!check_program(check, subject, script->path) ||
            !ask_boot(check, subject, script, boot_get_current, &current) ||
            !ask_boot(check, subject, script, boot_get_primary, &primary))
                return;
        if (current == primary)
                check_say(check, CHECK_OK, subject, NULL, "runs from slot %s, which the next start takes, too",
                          script->slots[current]);
        else
                check_say(check, CHECK_WARN, subject, "see otactl status: an update may be on trial",
                          "runs from slot %s, and the next start takes slot %s", script->slots[current],
                          script->slots[primary]);
}

/* The next version lies beside the present one until it is activated. */
static void check_space(Check *check, const char *subject, const char *path, uint64_t available)
{
        char needed[FORMAT_TEXT_MAX], left[FORMAT_TEXT_MAX];
        struct stat st = {.st_size = 0};

        if (stat(path, &st) >= 0 && available < (uint64_t)st.st_size)
                check_say(check, CHECK_FAIL, subject, "make room beside it",
                          "%s has %s, and only %s are left for the next version", path,
                          bytes_format(needed, (uint64_t)st.st_size), bytes_format(left, available));
        else
                check_say(check, CHECK_OK, subject, NULL, "%s can be replaced, %s are left for it", path,
                          bytes_format(left, available));
}

/* target_check() says that the folder is there; here, whether anything can be written in it. */
static void check_folder(Check *check, const char *subject, const char *path)
{
        char *slash, folder[4096];
        struct statvfs fs;

        if (snprintf(folder, sizeof(folder), "%s", path) >= (int)sizeof(folder))
                return;
        slash = strrchr(folder, '/');
        if (!slash)
                return;
        slash[slash == folder ? 1 : 0] = 0;
        if (statvfs(folder, &fs) < 0)
                check_say(check, check_verdict_for(-errno), subject, NULL, "%s: %s", folder, strerror(errno));
        else if (fs.f_flag & ST_RDONLY)
                check_say(check, CHECK_FAIL, subject, "mount it writable, or choose another path",
                          "%s is on a read-only file system", folder);
        else if (geteuid() == 0 && access(folder, W_OK | X_OK) < 0)
                check_say(check, CHECK_FAIL, subject, "choose another path", "%s cannot be written: %s", folder,
                          strerror(errno));
        else
                check_space(check, subject, path, (uint64_t)fs.f_bavail * fs.f_frsize);
}

static void check_target(Check *check, const ConfigTarget *config)
{
        TargetParams params = {
                .name = config->name,
                .type = config->type == CONFIG_TARGET_AB ? TARGET_TYPE_AB : TARGET_TYPE_FILE,
                .boot_script = config->boot,
                .boot_timeout_usec = check->config->boot.timeout_usec,
                .path = config->path,
                .mode = config->mode,
                .owner = config->owner,
                .group = config->group,
        };
        _cleanup_(target_freep) Target *target = NULL;
        char subject[128];
        Failure failure = {0};
        int r;

        snprintf(subject, sizeof(subject), "target %s", config->name);
        for (size_t i = 0; i < config->n_slots && i < TARGET_N_SLOTS; i++)
                params.slots[i] =
                        (TargetSlotParams){.name = config->slots[i].name, .device = config->slots[i].device};
        r = target_new(&params, &target);
        if (r >= 0)
                r = target_check(target, &failure);
        if (r < 0) {
                check_say(check, check_verdict_for(r), subject, "mend it, or the target in the configuration", "%s",
                          failure_is_set(&failure) ? failure.detail : strerror(-r));
                return;
        }
        if (params.type == TARGET_TYPE_AB) {
                check_say(check, CHECK_OK, subject, NULL, "slots %s (%s) and %s (%s)", target_slot_name(target, 0),
                          target_slot_device(target, 0), target_slot_name(target, 1), target_slot_device(target, 1));
                check_boot(check, subject, target);
        } else {
                check_folder(check, subject, config->path);
        }
}

void check_targets(Check *check)
{
        for (size_t i = 0; i < check->config->n_targets; i++)
                check_target(check, &check->config->targets[i]);
}
