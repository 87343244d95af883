/*
 * command: what otactl's commands share: the options, the exit codes, and themselves.
 */
#pragma once

#include <stdbool.h>

#include "config/config.h"

/* docs: the exit codes of otactl. */
enum {
        EXIT_FINE = 0,
        EXIT_FAILED = 1,
        EXIT_NOTHING_TO_DO = 2,
        EXIT_USAGE = 3, /* also a configuration that cannot be read */
        EXIT_REBOOT_NEEDED = 4,
};

/* Borrowed from main(). */
typedef struct Options {
        const char *config_path; /* as given, or the default */
        const char *socket_path; /* otad's; NULL: by the config */
        Config *config;          /* NULL: could not be read, which is fine for who only asks otad */
        bool json;
        bool until_done;
        bool reboot;
        const char *target;    /* NULL: none is named, as for the next two */
        const char *signature; /* a file */
        const char *cert;
        const char *argument; /* the file, or why; "": none */
} Options;

int command_status(const Options *options);
int command_watch(const Options *options);
int command_check(const Options *options);
int command_suspend(const Options *options);
int command_resume(const Options *options);
int command_cancel(const Options *options);
int command_install(const Options *options);
int command_verify(const Options *options);
int command_rollback(const Options *options);
int command_history(const Options *options);
int command_stats(const Options *options);

#define DEFAULT_RUNTIME_DIR "/run/otad"

static inline const char *options_runtime_dir(const Options *options)
{
        return options->config ? options->config->paths.runtime : DEFAULT_RUNTIME_DIR;
}
