#include <errno.h>
#include <string.h>

#include "json.h"

int json_parse(const char *text, size_t n_text, cJSON **ret, const char **reterr)
{
        cJSON *root;
        int r;

        r = json_check(text, n_text, reterr);
        if (r < 0)
                return r;
        root = cJSON_ParseWithLength(text, n_text);
        if (!root)
                return -ENOMEM;
        *ret = root;
        return 0;
}

static int compare_names(const void *a, const void *b)
{
        return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int check_members(const cJSON *object, const char **ret_name)
{
        _cleanup_free_ const char **names = NULL;
        size_t n = 0;

        if (!object->child || !object->child->next)
                return 0;
        for (const cJSON *member = object->child; member; member = member->next)
                n++;
        names = calloc(n, sizeof(*names));
        if (!names)
                return -ENOMEM;
        n = 0;
        for (const cJSON *member = object->child; member; member = member->next)
                names[n++] = member->string;

        /* Sorted, since a hostile object may well have tens of thousands of members. */
        qsort(names, n, sizeof(*names), compare_names);
        for (size_t i = 1; i < n; i++) {
                if (strcmp(names[i - 1], names[i]) != 0)
                        continue;
                if (ret_name)
                        *ret_name = names[i];
                return -EBADMSG;
        }
        return 0;
}

int json_check_unique(const cJSON *item, const char *exempt, const char **ret_name)
{
        int r;

        if (cJSON_IsObject(item)) {
                r = check_members(item, ret_name);
                if (r < 0)
                        return r;
        } else if (!cJSON_IsArray(item))
                return 0;

        /* No deeper than JSON_DEPTH_MAX. */
        for (const cJSON *child = item->child; child; child = child->next) {
                if (exempt && child->string && strcmp(child->string, exempt) == 0)
                        continue;
                r = json_check_unique(child, exempt, ret_name);
                if (r < 0)
                        return r;
        }
        return 0;
}

bool json_is_integer(const cJSON *item, uint64_t *ret)
{
        double value;

        if (!cJSON_IsNumber(item))
                return false;
        value = item->valuedouble;
        /* Written so that not-a-number fails too. */
        if (!(value >= 0 && value <= (double)JSON_INTEGER_MAX) || value != (double)(uint64_t)value)
                return false;
        *ret = (uint64_t)value;
        return true;
}

const char *json_type_to_string(const cJSON *item)
{
        if (!item)
                return "missing";
        if (cJSON_IsString(item))
                return "a string";
        if (cJSON_IsNumber(item))
                return "a number";
        if (cJSON_IsObject(item))
                return "an object";
        if (cJSON_IsArray(item))
                return "an array";
        return cJSON_IsNull(item) ? "null" : "a boolean";
}
