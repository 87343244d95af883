#include "config/config.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdarg.h>
#include <string.h>

#include "base/file-util.h"
#include "config-read.h"
#include "config-text.h"

/* The deepest setting there is on the way to `path`: the key itself, or the group it is missed in. */
static unsigned line_of(const config_setting_t *setting, const char *path)
{
        char name[CONFIG_PATH_MAX] = {};
        unsigned line = 1;

        while (setting && *path) {
                size_t n = strcspn(path, ".[]");

                if (n == 0) {
                        path++;
                        continue;
                }
                memcpy(name, path, MIN2(n, sizeof(name) - 1));
                name[MIN2(n, sizeof(name) - 1)] = 0;
                if (path[n] == ']')
                        setting = config_setting_get_elem(setting, (unsigned)strtoul(name, NULL, 10));
                else
                        setting = config_setting_get_member(setting, name);
                if (setting)
                        line = config_setting_source_line(setting);
                path += n;
        }
        return line;
}

static _printf_(4, 0) int complain_va(ConfigReader *reader, unsigned line, const char *path, const char *format,
                                      va_list args)
{
        _cleanup_free_ char *what = NULL;

        if (vasprintf(&what, format, args) < 0) {
                what = NULL;
                return -ENOMEM;
        }
        if (asprintf(&reader->message, "%s:%u: %s%s%s", reader->name, line, path, path[0] ? ": " : "", what) < 0) {
                reader->message = NULL;
                return -ENOMEM;
        }
        return -EINVAL;
}

int config_complain_at(ConfigReader *reader, unsigned line, const char *path, const char *format, ...)
{
        va_list args;
        int r;

        va_start(args, format);
        r = complain_va(reader, line, path, format, args);
        va_end(args);
        return r;
}

int config_complain(ConfigReader *reader, const char *path, const char *format, ...)
{
        va_list args;
        int r;

        va_start(args, format);
        r = complain_va(reader, line_of(reader->root, path), path, format, args);
        va_end(args);
        return r;
}

void config_path_format(char path[static CONFIG_PATH_MAX], const char *format, ...)
{
        va_list args;

        va_start(args, format);
        vsnprintf(path, CONFIG_PATH_MAX, format, args);
        va_end(args);
}

static int parse_tree(ConfigReader *reader, const char *text, size_t n_text, config_t *tree)
{
        _cleanup_free_ char *prepared = NULL;
        const char *why = NULL;
        unsigned line = 0;
        int r;

        r = config_text_prepare(text, n_text, &prepared, &line, &why);
        if (r == -EINVAL)
                return config_complain_at(reader, line, "", "%s", why);
        if (r < 0)
                return r;
        if (config_read_string(tree, prepared) != CONFIG_TRUE)
                return config_complain_at(reader, (unsigned)config_error_line(tree), "",
                                          "%s; allowed: settings as in NAME = VALUE;", config_error_text(tree));
        reader->root = config_root_setting(tree);
        return 0;
}

int config_parse(const char *text, size_t n_text, const char *name, Config **ret, char **reterr_message)
{
        _cleanup_(config_freep) Config *config = calloc(1, sizeof(*config));
        _cleanup_(config_destroy) config_t tree = {};
        ConfigReader reader = {.name = name};
        int r;

        *reterr_message = NULL;
        config_init(&tree);
        if (!config)
                return -ENOMEM;
        r = parse_tree(&reader, text, n_text, &tree);
        if (r == 0)
                r = config_read_tree(&reader, config);
        if (r == 0)
                r = config_check(&reader, config);
        if (r < 0) {
                *reterr_message = reader.message;
                return r;
        }
        *ret = TAKE_PTR(config);
        return 0;
}

int config_load(const char *path, Config **ret, char **reterr_message)
{
        _cleanup_free_ char *text = NULL;
        size_t n_text = 0;
        int r;

        r = file_read(AT_FDCWD, path, CONFIG_FILE_MAX_BYTES, &text, &n_text);
        if (r == 0)
                return config_parse(text, n_text, path, ret, reterr_message);

        if (asprintf(reterr_message, "%s: the configuration cannot be read: %s", path,
                     r == -EINVAL ? "not a regular file" : strerror(-r)) < 0)
                *reterr_message = NULL;
        /* -EINVAL is kept for what is wrong inside the file. */
        return r == -EINVAL ? -EBADF : r;
}

Config *config_free(Config *config)
{
        if (!config)
                return NULL;
        config_fields_done(&config_table, config);
        free(config);
        return NULL;
}

const ConfigTarget *config_match_target(const Config *config, const char *filepath)
{
        const char *slash = strrchr(filepath, '/');
        const char *last = slash ? slash + 1 : filepath;

        if (!last[0] || strnlen(filepath, CONFIG_FILEPATH_MAX_BYTES + 1) > CONFIG_FILEPATH_MAX_BYTES)
                return NULL;
        for (size_t i = 0; i < config->n_targets; i++) {
                const char *match = config->targets[i].match;

                if (fnmatch(match, filepath, FNM_PATHNAME) == 0 || fnmatch(match, last, FNM_PATHNAME) == 0)
                        return &config->targets[i];
        }
        return NULL;
}
