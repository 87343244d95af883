/*
 * config-read: from libconfig's tree to a Config, by the tables.
 */
#pragma once

#include <libconfig.h>

#include "base/cleanup.h"
#include "config-table.h"

typedef struct ConfigReader {
        const char *name; /* of the file, for messages */
        const config_setting_t *root;
        char *message; /* of the first fault; owned */
} ConfigReader;

/* Fills *config (zeroed before) with what stands in the file and the defaults of what does not. -EINVAL, -ENOMEM. */
_must_use_ int config_read_tree(ConfigReader *reader, Config *config);
/* Frees what the fields of one struct of the table own, not the struct. */
void config_fields_done(const ConfigTable *table, void *fields);

/* One value: a list's elements are read by the reader of groups, all else here. `values` is the struct of the table. */
_must_use_ int config_value_read(ConfigReader *reader, const config_setting_t *setting, const ConfigKey *key,
                                 const char *path, void *values);
_must_use_ int config_value_default(const ConfigKey *key, void *values);
void *config_key_field(const ConfigKey *key, void *values);

/* The relations between keys, and what follows from several of them. */
_must_use_ int config_check(ConfigReader *reader, Config *config);

/*
 * Notes a fault, for the key at `path` ("targets[0].slots[1].device") and in the line where it stands, or the group it
 * is missed in. Returns -EINVAL.
 */
_printf_(3, 4) int config_complain(ConfigReader *reader, const char *path, const char *format, ...);
_printf_(4, 5) int config_complain_at(ConfigReader *reader, unsigned line, const char *path, const char *format, ...);
/* Cuts at CONFIG_PATH_MAX, which no known key's path reaches. */
_printf_(2, 3) void config_path_format(char path[static CONFIG_PATH_MAX], const char *format, ...);
int config_complain_type(ConfigReader *reader, const config_setting_t *setting, const ConfigKey *key,
                         const char *path);
const char *config_type_name(const config_setting_t *setting); /* "a string" */
