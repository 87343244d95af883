/*
 * settings: what the session wants to know, out of the configuration.
 */
#pragma once

#include "base/cleanup.h"
#include "config/config.h"
#include "install/session.h"

typedef struct Settings {
        InstallParams params; /* points into this struct and into the Config */
        InstallTarget targets[CONFIG_TARGETS_MAX];
        Target *owned[CONFIG_TARGETS_MAX];
} Settings;

/* Fills a zeroed struct, but for params.state_dir_fd. `config` must outlive it, and it must not move. -EINVAL, -ENOMEM. */
_must_use_ int settings_init(Settings *settings, const Config *config);
void settings_done(Settings *settings);
