#include "config-table.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const kind_words[_CONFIG_KIND_MAX] = {
        [CONFIG_KIND_BOOL] = "bool",
        [CONFIG_KIND_NUMBER] = "number",
        [CONFIG_KIND_SECONDS] = "seconds",
        [CONFIG_KIND_MILLISECONDS] = "milliseconds",
        [CONFIG_KIND_BYTES] = "bytes",
        [CONFIG_KIND_TEXT] = "text",
        [CONFIG_KIND_PATH] = "path",
        [CONFIG_KIND_MODE] = "octal mode",
        [CONFIG_KIND_WORD] = "word",
        [CONFIG_KIND_WORDS] = "words",
        [CONFIG_KIND_WINDOWS] = "list of windows",
        [CONFIG_KIND_LIST] = "list of groups",
};

const char *config_kind_to_string(ConfigKind kind)
{
        return kind_words[kind];
}

static const char *allowed_words(const ConfigKey *key, char text[static CONFIG_ALLOWED_MAX])
{
        size_t n = (size_t)snprintf(text, CONFIG_ALLOWED_MAX, "%s",
                                    key->kind == CONFIG_KIND_WORDS ? "one or more, each once, of" : "one of");

        for (const ConfigWord *w = key->words; w->word; w++)
                n += (size_t)snprintf(text + n, CONFIG_ALLOWED_MAX - n, "%s \"%s\"", w == key->words ? "" : ",",
                                      w->word);
        return text;
}

static const char *allowed_elements(const ConfigKey *key, char text[static CONFIG_ALLOWED_MAX])
{
        if (key->min == key->max)
                snprintf(text, CONFIG_ALLOWED_MAX, "( { ... }, ... ) with %" PRIu64 " groups", key->min);
        else
                snprintf(text, CONFIG_ALLOWED_MAX, "( { ... }, ... ) with %" PRIu64 " to %" PRIu64 " groups",
                         key->min, key->max);
        return text;
}

const char *config_key_allowed(const ConfigKey *key, char text[static CONFIG_ALLOWED_MAX])
{
        switch (key->kind) {
        case CONFIG_KIND_BOOL:
                return "true or false";
        case CONFIG_KIND_NUMBER:
        case CONFIG_KIND_SECONDS:
        case CONFIG_KIND_MILLISECONDS:
        case CONFIG_KIND_BYTES:
                snprintf(text, CONFIG_ALLOWED_MAX, "%s from %" PRIu64 " to %" PRIu64,
                         key->kind == CONFIG_KIND_NUMBER ? "a number" : kind_words[key->kind], key->min, key->max);
                return text;
        case CONFIG_KIND_TEXT:
                return key->allowed;
        case CONFIG_KIND_PATH:
                return key->may_be_empty ? "an absolute path without empty, \".\" or \"..\" parts, or \"\" for none"
                                         : "an absolute path without empty, \".\" or \"..\" parts";
        case CONFIG_KIND_MODE:
                return "3 or 4 octal digits in quotes, such as \"0755\"";
        case CONFIG_KIND_WORD:
        case CONFIG_KIND_WORDS:
                return allowed_words(key, text);
        case CONFIG_KIND_WINDOWS:
                snprintf(text, CONFIG_ALLOWED_MAX,
                         "( ... ) with up to %d of \"[DAYS ]HH:MM-HH:MM\", such as \"Mon-Fri 22:00-04:30\"",
                         SCHEDULE_WINDOWS_MAX);
                return text;
        case CONFIG_KIND_LIST:
                return allowed_elements(key, text);
        case _CONFIG_KIND_MAX:
                break;
        }
        return "nothing";
}

const ConfigWord *config_word_find(const ConfigWord *words, const char *word, size_t n_word)
{
        for (const ConfigWord *w = words; w->word; w++)
                if (strlen(w->word) == n_word && memcmp(w->word, word, n_word) == 0)
                        return w;
        return NULL;
}
