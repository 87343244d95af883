/*
 * systemd's units of otad: the folders they name are fixed, those of the configuration are not. Where the two differ, a unit
 * waits in the wrong place, and does not say so.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-path.h>

#include "base/file-util.h"
#include "check.h"

enum { UNIT_MAX_BYTES = 64 * 1024 };

/* One folder that a unit has fixed. */
typedef struct UnitFolder {
        const char *unit;
        const char *setting; /* of the unit, which names a file in that folder */
        const char *file;
        const char *key;
        const char *folder;
        const char *what_follows;
} UnitFolder;

static void strings_freep(char ***strings)
{
        for (char **s = *strings; s && *s; s++)
                free(*s);
        free((void *)*strings);
}

/* As systemd looks for it; drop-ins are not looked at. NULL: not installed. */
static char *read_unit(const char *name)
{
        _cleanup_(strings_freep) char **paths = NULL;
        char *text = NULL;
        size_t n_text;

        if (sd_path_lookup_strv(SD_PATH_SYSTEMD_SEARCH_SYSTEM_UNIT, name, &paths) < 0)
                return NULL;
        for (char **path = paths; *path; path++)
                if (file_read(AT_FDCWD, *path, UNIT_MAX_BYTES, &text, &n_text) >= 0)
                        return text;
        return NULL;
}

/* Whether "SETTING=FOLDER/FILE", or "SETTING=FOLDER" without a file, is a line of it. */
static bool has_line(const char *text, const char *setting, const char *folder, const char *file)
{
        _cleanup_free_ char *wanted = NULL;
        int n = asprintf(&wanted, "%s=%s%s%s", setting, folder, file ? "/" : "", file ?: "");

        if (n < 0) {
                wanted = NULL;
                return true; /* no memory is no fault of the unit */
        }
        for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n')
                if (strcspn(line, "\n") == (size_t)n && strncmp(line, wanted, (size_t)n) == 0)
                        return true;
        return false;
}

static void check_unit(Check *check, const UnitFolder *f)
{
        _cleanup_free_ char *text = read_unit(f->unit);

        /* Somebody tries it out, with a configuration of another place: the unit is not of that. */
        if (!text || !has_line(text, "ConditionPathExists", check->options->config_path, NULL))
                return;
        if (has_line(text, f->setting, f->folder, f->file))
                check_say(check, CHECK_OK, f->unit, NULL, "has %s, too", f->folder);
        else
                check_say(check, CHECK_WARN, f->unit,
                          "take that key away and bind-mount the folder, unless a drop-in of the unit has it already",
                          "does not have %s, %s, so %s", f->key, f->folder, f->what_follows);
}

void check_units(Check *check)
{
        const Config *config = check->config;
        const UnitFolder folders[] = {
                {"otad-selftest.service", "ConditionPathExists", "session", "paths.installer-state",
                 config->paths.installer_state, "nothing watches over an update on trial"},
                {"otad-installer.socket", "ListenStream", "installer.sock", "paths.runtime", config->paths.runtime,
                 "otad does not find otad-installer"},
        };

        for (size_t i = 0; i < ELEMENTSOF(folders); i++)
                check_unit(check, &folders[i]);
}
