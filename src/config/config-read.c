#include "config-read.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* One struct being filled: where its keys are in the file, and which were there. */
typedef struct Fields {
        const ConfigTable *table;
        void *values;
        const char *path;                /* of the struct, for messages: "targets[0]", or "" */
        unsigned lines[CONFIG_KEYS_MAX]; /* of each key; 0: not there */
} Fields;

static int read_fields(ConfigReader *reader, const config_setting_t *group, Fields *fields);

static int read_list(ConfigReader *reader, const config_setting_t *setting, const ConfigKey *key, const char *path,
                     void *values)
{
        size_t *n_elements = (size_t *)(void *)((char *)values + key->n_offset);
        char element_path[CONFIG_PATH_MAX], allowed[CONFIG_ALLOWED_MAX];
        char *elements;
        int r, n;

        if (!config_setting_is_list(setting))
                return config_complain_type(reader, setting, key, path);
        n = config_setting_length(setting);
        if ((uint64_t)n < key->min || (uint64_t)n > key->max)
                return config_complain_at(reader, config_setting_source_line(setting), path, "has %d; allowed: %s", n,
                                          config_key_allowed(key, allowed));
        elements = calloc((size_t)n, key->table->element_bytes);
        if (!elements)
                return -ENOMEM;
        /* Stored before they are filled, so that whoever frees the Config frees the half of them, too. */
        *(void **)config_key_field(key, values) = elements;
        *n_elements = (size_t)n;

        for (int i = 0; i < n; i++) {
                const config_setting_t *element = config_setting_get_elem(setting, (unsigned)i);
                Fields fields = {
                        .table = key->table,
                        .values = elements + (size_t)i * key->table->element_bytes,
                        .path = element_path,
                };

                config_path_format(element_path, "%s[%d]", path, i);
                if (!config_setting_is_group(element))
                        return config_complain_at(reader, config_setting_source_line(element), element_path,
                                                  "is %s; allowed: a group { ... }", config_type_name(element));
                r = read_fields(reader, element, &fields);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Names what stands directly below `prefix` ("broker.") in the table, each once. */
static int complain_unknown(ConfigReader *reader, const config_setting_t *setting, const Fields *fields,
                            const char *prefix, const char *path)
{
        char names[1024];
        const char *previous = "";
        size_t n_prefix = strlen(prefix), n_previous = 0, n = 0;

        for (size_t i = 0; i < fields->table->n_keys; i++) {
                const char *name = fields->table->keys[i].path;
                size_t n_name;

                if (strncmp(name, prefix, n_prefix) != 0)
                        continue;
                name += n_prefix;
                n_name = strcspn(name, ".");
                /* The keys of a group stand together. */
                if (n_name == n_previous && strncmp(name, previous, n_name) == 0)
                        continue;
                n += (size_t)snprintf(names + n, sizeof(names) - n, "%s%.*s", n > 0 ? ", " : "", (int)n_name, name);
                assert(n < sizeof(names));
                previous = name;
                n_previous = n_name;
        }
        return config_complain_at(reader, config_setting_source_line(setting), path, "unknown key; allowed: %s",
                                  names);
}

/* `prefix` is the group's place in the table: "" or "broker." */
static int read_group(ConfigReader *reader, const config_setting_t *group, Fields *fields, const char *prefix)
{
        char name[CONFIG_PATH_MAX], path[CONFIG_PATH_MAX];
        size_t n_name;
        int r = 0;

        for (int i = 0; r == 0 && i < config_setting_length(group); i++) {
                const config_setting_t *setting = config_setting_get_elem(group, (unsigned)i);
                const ConfigKey *key = NULL;
                bool is_group = false;

                config_path_format(path, "%s%s%s%s", fields->path, fields->path[0] ? "." : "", prefix,
                                   config_setting_name(setting));
                /* Cut off, it is longer than any key and thus unknown all the same. */
                config_path_format(name, "%s%s", prefix, config_setting_name(setting));
                n_name = strlen(name);
                for (size_t k = 0; k < fields->table->n_keys; k++) {
                        const char *known = fields->table->keys[k].path;

                        if (strcmp(known, name) == 0) {
                                key = &fields->table->keys[k];
                                fields->lines[k] = config_setting_source_line(setting);
                        } else if (strncmp(known, name, n_name) == 0 && known[n_name] == '.')
                                is_group = true;
                }
                if (key)
                        r = key->kind == CONFIG_KIND_LIST
                                    ? read_list(reader, setting, key, path, fields->values)
                                    : config_value_read(reader, setting, key, path, fields->values);
                else if (!is_group)
                        r = complain_unknown(reader, setting, fields, prefix, path);
                else if (!config_setting_is_group(setting))
                        r = config_complain_at(reader, config_setting_source_line(setting), path,
                                               "is %s; allowed: a group { ... }", config_type_name(setting));
                else {
                        snprintf(name + n_name, sizeof(name) - n_name, ".");
                        r = read_group(reader, setting, fields, name);
                }
        }
        return r;
}

/* The word of the struct's `type`; NULL where its table has none. */
static const char *type_of(const Fields *fields)
{
        for (size_t i = 0; i < fields->table->n_keys; i++) {
                const ConfigKey *key = &fields->table->keys[i];

                if (strcmp(key->path, "type") != 0)
                        continue;
                for (const ConfigWord *w = key->words; w->word; w++)
                        if (w->value == *(const int *)config_key_field(key, fields->values))
                                return w->word;
        }
        return NULL;
}

static int finish_key(ConfigReader *reader, Fields *fields, size_t index)
{
        const ConfigKey *key = &fields->table->keys[index];
        const char *type = key->only_for ? type_of(fields) : NULL;
        bool belongs = !key->only_for || strcmp(key->only_for, type) == 0;
        char path[CONFIG_PATH_MAX], allowed[CONFIG_ALLOWED_MAX];

        config_path_format(path, "%s%s%s", fields->path, fields->path[0] ? "." : "", key->path);
        if (fields->lines[index] > 0 && !belongs)
                return config_complain_at(reader, fields->lines[index], path,
                                          "is not for type \"%s\"; allowed: only with type \"%s\"", type,
                                          key->only_for);
        if (fields->lines[index] > 0 || !belongs)
                return 0;
        if (key->required)
                return config_complain(reader, path, "missing; allowed: %s", config_key_allowed(key, allowed));
        return key->fallback ? config_value_default(key, fields->values) : 0;
}

static int read_fields(ConfigReader *reader, const config_setting_t *group, Fields *fields)
{
        int r = read_group(reader, group, fields, "");

        for (size_t i = 0; r == 0 && i < fields->table->n_keys; i++)
                r = finish_key(reader, fields, i);
        return r;
}

int config_read_tree(ConfigReader *reader, Config *config)
{
        Fields fields = {.table = &config_table, .values = config, .path = ""};

        return read_fields(reader, reader->root, &fields);
}

void config_fields_done(const ConfigTable *table, void *values)
{
        for (size_t i = 0; i < table->n_keys; i++) {
                const ConfigKey *key = &table->keys[i];
                char **field = config_key_field(key, values);

                if (key->kind == CONFIG_KIND_LIST) {
                        size_t n = *(size_t *)(void *)((char *)values + key->n_offset);

                        for (size_t k = 0; k < n; k++)
                                config_fields_done(key->table, *field + k * key->table->element_bytes);
                }
                if (key->kind == CONFIG_KIND_LIST || key->kind == CONFIG_KIND_TEXT || key->kind == CONFIG_KIND_PATH)
                        free(*field);
        }
}
