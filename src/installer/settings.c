#include "settings.h"

#include <errno.h>

#include "base/log.h"

static FreeSpaceRule keep_free(const Config *config)
{
        return (FreeSpaceRule){.bytes = config->policy.min_free_bytes, .percent = config->policy.min_free_percent};
}

static int target_from_config(const Config *config, const ConfigTarget *from, Target **ret)
{
        TargetParams params = {.name = from->name};
        int r;

        switch (from->type) {
        case CONFIG_TARGET_AB:
                params.type = TARGET_TYPE_AB;
                params.boot_script = from->boot;
                params.boot_timeout_usec = config->boot.timeout_usec;
                for (size_t i = 0; i < from->n_slots && i < TARGET_N_SLOTS; i++)
                        params.slots[i] = (TargetSlotParams){
                                .name = from->slots[i].name,
                                .device = from->slots[i].device,
                        };
                break;
        case CONFIG_TARGET_FILE:
                params.type = TARGET_TYPE_FILE;
                params.path = from->path;
                params.mode = from->mode;
                params.owner = from->owner;
                params.group = from->group;
                params.keep_free = keep_free(config);
                break;
        }
        r = target_new(&params, ret);
        if (r < 0)
                return log_error_errno(r, "Target %s cannot be used: %m", from->name);
        return 0;
}

int settings_init(Settings *settings, const Config *config)
{
        InstallParams *p = &settings->params;
        int r;

        for (size_t i = 0; i < config->n_targets; i++) {
                r = target_from_config(config, &config->targets[i], &settings->owned[i]);
                if (r < 0)
                        return r;
                settings->targets[i] = (InstallTarget){
                        .target = settings->owned[i],
                        .version_file = config->targets[i].version_file,
                        .version_key = config->targets[i].version_key,
                };
        }
        *p = (InstallParams){
                .state_dir_fd = -1,
                .boot_id_path = config->paths.boot_id,
                .targets = settings->targets,
                .n_targets = config->n_targets,
                .signing_required = config->signing.required,
                .trust_store = config->signing.trust_store,
                .dates_always = config->signing.dates == CONFIG_SIGNING_DATES_ALWAYS,
                .version_file = config->version.file,
                .version_key = config->version.key,
                .allow_downgrade = config->version.allow_downgrade,
                .hook_script = config->hook.script,
                .hook_timeout_usec = config->hook.timeout_usec,
                .retry_usec = config->hook.retry_usec,
                .selftest_timeout_usec = config->selftest.timeout_usec,
                .selftest_max_boots = config->selftest.max_boots,
                .reboot_timeout_usec = config->reboot.timeout_usec,
                .keep_free = keep_free(config),
                .checkpoint_bytes = config->download.checkpoint_bytes,
                .checkpoint_usec = config->download.checkpoint_usec,
                .skip_equal = config->download.skip_equal,
        };
        for (size_t i = 0; i < config->signing.algorithms.n && i < ELEMENTSOF(p->algorithms); i++)
                p->algorithms[p->n_algorithms++] = (SignatureAlgorithm)config->signing.algorithms.values[i];
        return 0;
}

void settings_done(Settings *settings)
{
        for (size_t i = 0; i < ELEMENTSOF(settings->owned); i++)
                settings->owned[i] = target_free(settings->owned[i]);
}
