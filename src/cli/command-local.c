/*
 * otactl install, rollback: what must be true before otad-installer is asked.
 */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "local-update.h"

static bool is_target(const Config *config, const char *name)
{
        for (size_t i = 0; i < config->n_targets; i++)
                if (strcmp(config->targets[i].name, name) == 0)
                        return true;
        return false;
}

static bool check_target(const Options *options)
{
        const Config *config = options->config;

        if (is_target(config, options->target))
                return true;
        fprintf(stderr, "otactl: no target is called %s; there", options->target);
        for (size_t i = 0; i < config->n_targets; i++)
                fprintf(stderr, "%s %s", i == 0 ? config->n_targets == 1 ? " is" : " are" : ",",
                        config->targets[i].name);
        fputc('\n', stderr);
        return false;
}

int command_install(const Options *options)
{
        Image image = IMAGE_NONE;
        int r;

        if (!check_target(options))
                return EXIT_USAGE;
        r = image_open(options, &image);
        if (r == EXIT_FINE)
                r = local_update_install(options, &image);
        image_done(&image);
        return r;
}

int command_rollback(const Options *options)
{
        if (options->target && !check_target(options))
                return EXIT_USAGE;
        return local_update_roll_back(options);
}
