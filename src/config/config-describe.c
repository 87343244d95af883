#include <errno.h>

#include "config-table.h"

static void describe_default(FILE *file, const ConfigKey *key)
{
        if (key->required)
                fprintf(file, "required");
        else if (!key->fallback)
                fprintf(file, "none");
        else if (!key->fallback[0])
                fprintf(file, "empty");
        else
                fprintf(file, "`%s`", key->fallback);
}

static void describe_table(FILE *file, const ConfigTable *table)
{
        char allowed[CONFIG_ALLOWED_MAX];

        fprintf(file, "| key | kind | allowed | default | meaning |\n|---|---|---|---|---|\n");
        for (size_t i = 0; i < table->n_keys; i++) {
                const ConfigKey *key = &table->keys[i];

                fprintf(file, "| `%s` | %s | %s", key->path, config_kind_to_string(key->kind),
                        config_key_allowed(key, allowed));
                if (key->only_for)
                        fprintf(file, "; only with type \"%s\"", key->only_for);
                fprintf(file, " | ");
                describe_default(file, key);
                fprintf(file, " | %s |\n", key->doc);
        }
        for (size_t i = 0; i < table->n_keys; i++) {
                const ConfigTable *element = table->keys[i].table;

                if (!element)
                        continue;
                fprintf(file, "\n### `%s`\n\n", element->path);
                describe_table(file, element);
        }
}

int config_describe(FILE *file)
{
        describe_table(file, &config_table);
        return fflush(file) != 0 || ferror(file) ? -EIO : 0;
}
