/*
 * local-update: a local session of otad-installer, from here to where it goes on by itself.
 *
 * Both `otactl install` and `otactl rollback` are one: they differ in how it begins. The installer is asked what otad
 * would ask it, and trusts it no more. If this process ends before the activation, the installer abandons the update.
 */
#pragma once

#include "command.h"
#include "image.h"

/* Each runs to its end and returns the exit code, after it has said what came of it. */
int local_update_install(const Options *options, const Image *image);
int local_update_roll_back(const Options *options);
