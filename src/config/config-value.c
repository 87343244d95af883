#include "config-read.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/text.h"
#include "base/time-util.h"
#include "config-text.h"

/* As much of a wrong text as a message shows. */
enum { SHOWN_MAX = 64 };

void *config_key_field(const ConfigKey *key, void *values)
{
        return (char *)values + key->offset;
}

static void store_number(const ConfigKey *key, void *values, uint64_t number)
{
        void *field = config_key_field(key, values);

        switch (key->size) {
        case sizeof(uint8_t):
                *(uint8_t *)field = (uint8_t)number;
                break;
        case sizeof(uint16_t):
                *(uint16_t *)field = (uint16_t)number;
                break;
        case sizeof(uint32_t):
                *(uint32_t *)field = (uint32_t)number;
                break;
        default:
                assert(key->size == sizeof(uint64_t));
                *(uint64_t *)field = number;
        }
}

static uint64_t usec_per_unit(ConfigKind kind)
{
        return kind == CONFIG_KIND_SECONDS ? USEC_PER_SEC : kind == CONFIG_KIND_MILLISECONDS ? USEC_PER_MSEC : 1;
}

static int store_text(const ConfigKey *key, void *values, const char *text)
{
        char *copy = strdup(text);

        if (!copy)
                return -ENOMEM;
        *(char **)config_key_field(key, values) = copy;
        return 0;
}

static bool words_have(const ConfigWords *words, int value)
{
        for (size_t i = 0; i < words->n; i++)
                if (words->values[i] == value)
                        return true;
        return false;
}

/* The table is ours: a default it cannot hold is our bug, and a test loads them all. */
int config_value_default(const ConfigKey *key, void *values)
{
        const char *text = key->fallback;
        const ConfigWord *word;

        switch (key->kind) {
        case CONFIG_KIND_BOOL:
                store_number(key, values, strcmp(text, "true") == 0);
                return 0;
        case CONFIG_KIND_NUMBER:
        case CONFIG_KIND_SECONDS:
        case CONFIG_KIND_MILLISECONDS:
        case CONFIG_KIND_BYTES:
                store_number(key, values, strtoull(text, NULL, 10) * usec_per_unit(key->kind));
                return 0;
        case CONFIG_KIND_TEXT:
        case CONFIG_KIND_PATH:
                return store_text(key, values, text);
        case CONFIG_KIND_WORD:
                word = config_word_find(key->words, text, strlen(text));
                assert(word);
                store_number(key, values, (uint64_t)word->value);
                return 0;
        case CONFIG_KIND_WORDS:
                for (ConfigWords *words = config_key_field(key, values); *text; text += strspn(text, " ")) {
                        size_t n = strcspn(text, " ");

                        word = config_word_find(key->words, text, n);
                        assert(word && words->n < CONFIG_WORDS_MAX);
                        words->values[words->n++] = word->value;
                        text += n;
                }
                return 0;
        case CONFIG_KIND_WINDOWS:
                return 0; /* none, as in the zeroed struct */
        case CONFIG_KIND_MODE:
        case CONFIG_KIND_LIST:
        case _CONFIG_KIND_MAX:
                break;
        }
        assert(false);
        return -EINVAL;
}

const char *config_type_name(const config_setting_t *setting)
{
        switch (config_setting_type(setting)) {
        case CONFIG_TYPE_GROUP:
                return "a group";
        case CONFIG_TYPE_INT:
        case CONFIG_TYPE_INT64:
                return "a whole number";
        case CONFIG_TYPE_FLOAT:
                return "a number with a fraction";
        case CONFIG_TYPE_STRING:
                return "a string";
        case CONFIG_TYPE_BOOL:
                return "true or false";
        case CONFIG_TYPE_ARRAY:
                return "an array [ ]";
        case CONFIG_TYPE_LIST:
                return "a list ( )";
        default:
                return "of an unknown type";
        }
}

int config_complain_type(ConfigReader *reader, const config_setting_t *setting, const ConfigKey *key,
                         const char *path)
{
        char allowed[CONFIG_ALLOWED_MAX];

        return config_complain_at(reader, config_setting_source_line(setting), path, "is %s; allowed: %s",
                                  config_type_name(setting), config_key_allowed(key, allowed));
}

static int complain_text(ConfigReader *reader, const config_setting_t *setting, const ConfigKey *key,
                         const char *path)
{
        const char *text = config_setting_get_string(setting);
        char allowed[CONFIG_ALLOWED_MAX], shown[SHOWN_MAX];

        if (key->may_hold_secret)
                return config_complain_at(reader, config_setting_source_line(setting), path,
                                          "this text, not shown because it may hold a secret, is not allowed; "
                                          "allowed: %s",
                                          config_key_allowed(key, allowed));
        text_escape(shown, sizeof(shown), text, strlen(text), false);
        return config_complain_at(reader, config_setting_source_line(setting), path,
                                  "\"%s\"%s is not allowed; allowed: %s", shown,
                                  strlen(text) >= sizeof(shown) ? "..." : "", config_key_allowed(key, allowed));
}

static int read_number(ConfigReader *reader, const config_setting_t *setting, const ConfigKey *key, const char *path,
                       void *values)
{
        char allowed[CONFIG_ALLOWED_MAX];
        long long number;

        if (config_setting_type(setting) != CONFIG_TYPE_INT && config_setting_type(setting) != CONFIG_TYPE_INT64)
                return config_complain_type(reader, setting, key, path);
        number = config_setting_get_int64(setting);
        if (number < 0 || (uint64_t)number < key->min || (uint64_t)number > key->max)
                return config_complain_at(reader, config_setting_source_line(setting), path,
                                          "%lld is out of range; allowed: %s", number,
                                          config_key_allowed(key, allowed));
        store_number(key, values, (uint64_t)number * usec_per_unit(key->kind));
        return 0;
}

static int read_text(ConfigReader *reader, const config_setting_t *setting, const ConfigKey *key, const char *path,
                     void *values)
{
        const char *text = config_setting_get_string(setting);
        bool is_good;

        if (!text)
                return config_complain_type(reader, setting, key, path);
        is_good = strlen(text) <= key->max && config_text_is_clean(text);
        if (key->kind == CONFIG_KIND_PATH)
                is_good = is_good && (config_text_is_path(text) || (key->may_be_empty && !text[0]));
        else
                is_good = is_good && key->is_allowed(text);
        if (!is_good)
                return complain_text(reader, setting, key, path);
        return store_text(key, values, text);
}

static int read_mode(ConfigReader *reader, const config_setting_t *setting, const ConfigKey *key, const char *path,
                     void *values)
{
        const char *text = config_setting_get_string(setting);
        size_t n;

        if (!text)
                return config_complain_type(reader, setting, key, path);
        n = strlen(text);
        if (n < 3 || n > 4 || strspn(text, "01234567") != n)
                return complain_text(reader, setting, key, path);
        store_number(key, values, strtoull(text, NULL, 8));
        return 0;
}

static int read_word(ConfigReader *reader, const config_setting_t *setting, const ConfigKey *key, const char *path,
                     int *ret)
{
        const char *text = config_setting_get_string(setting);
        const ConfigWord *word;

        if (!text)
                return config_complain_type(reader, setting, key, path);
        word = config_word_find(key->words, text, strlen(text));
        if (!word)
                return complain_text(reader, setting, key, path);
        *ret = word->value;
        return 0;
}

static int read_words(ConfigReader *reader, const config_setting_t *setting, const ConfigKey *key, const char *path,
                      void *values)
{
        ConfigWords *words = config_key_field(key, values);
        char element_path[CONFIG_PATH_MAX], allowed[CONFIG_ALLOWED_MAX];
        int r, n, value = 0;

        if (!config_setting_is_array(setting) && !config_setting_is_list(setting))
                return config_complain_type(reader, setting, key, path);
        n = config_setting_length(setting);
        if (n == 0)
                return config_complain_at(reader, config_setting_source_line(setting), path, "is empty; allowed: %s",
                                          config_key_allowed(key, allowed));
        for (int i = 0; i < n; i++) {
                const config_setting_t *element = config_setting_get_elem(setting, (unsigned)i);

                config_path_format(element_path, "%s[%d]", path, i);
                r = read_word(reader, element, key, element_path, &value);
                if (r < 0)
                        return r;
                /* Each word once bounds their number, too. */
                if (words_have(words, value))
                        return config_complain_at(reader, config_setting_source_line(element), element_path,
                                                  "\"%s\" is there twice; allowed: %s",
                                                  config_setting_get_string(element),
                                                  config_key_allowed(key, allowed));
                assert(words->n < CONFIG_WORDS_MAX);
                words->values[words->n++] = value;
        }
        return 0;
}

static int read_windows(ConfigReader *reader, const config_setting_t *setting, const ConfigKey *key, const char *path,
                        void *values)
{
        Schedule *schedule = config_key_field(key, values);
        char element_path[CONFIG_PATH_MAX], allowed[CONFIG_ALLOWED_MAX], shown[SHOWN_MAX];
        int n;

        if (!config_setting_is_array(setting) && !config_setting_is_list(setting))
                return config_complain_type(reader, setting, key, path);
        n = config_setting_length(setting);
        if (n > SCHEDULE_WINDOWS_MAX)
                return config_complain_at(reader, config_setting_source_line(setting), path, "has %d; allowed: %s", n,
                                          config_key_allowed(key, allowed));
        for (int i = 0; i < n; i++) {
                const config_setting_t *element = config_setting_get_elem(setting, (unsigned)i);
                const char *text = config_setting_get_string(element), *why = NULL;

                config_path_format(element_path, "%s[%d]", path, i);
                if (!text)
                        return config_complain_type(reader, element, key, element_path);
                if (schedule_window_parse(text, &schedule->windows[schedule->n++], &why) >= 0)
                        continue;
                text_escape(shown, sizeof(shown), text, strlen(text), false);
                return config_complain_at(reader, config_setting_source_line(element), element_path,
                                          "\"%s\" is no window, %s; allowed: %s", shown, why,
                                          config_key_allowed(key, allowed));
        }
        return 0;
}

int config_value_read(ConfigReader *reader, const config_setting_t *setting, const ConfigKey *key, const char *path,
                      void *values)
{
        int r, value = 0;

        switch (key->kind) {
        case CONFIG_KIND_BOOL:
                if (config_setting_type(setting) != CONFIG_TYPE_BOOL)
                        return config_complain_type(reader, setting, key, path);
                store_number(key, values, config_setting_get_bool(setting) == CONFIG_TRUE);
                return 0;
        case CONFIG_KIND_NUMBER:
        case CONFIG_KIND_SECONDS:
        case CONFIG_KIND_MILLISECONDS:
        case CONFIG_KIND_BYTES:
                return read_number(reader, setting, key, path, values);
        case CONFIG_KIND_TEXT:
        case CONFIG_KIND_PATH:
                return read_text(reader, setting, key, path, values);
        case CONFIG_KIND_MODE:
                return read_mode(reader, setting, key, path, values);
        case CONFIG_KIND_WORD:
                r = read_word(reader, setting, key, path, &value);
                if (r == 0)
                        store_number(key, values, (uint64_t)value);
                return r;
        case CONFIG_KIND_WINDOWS:
                return read_windows(reader, setting, key, path, values);
        case CONFIG_KIND_WORDS:
                return read_words(reader, setting, key, path, values);
        case CONFIG_KIND_LIST:
        case _CONFIG_KIND_MAX:
                break;
        }
        assert(false);
        return -EINVAL;
}
