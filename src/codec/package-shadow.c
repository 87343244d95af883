#include "codec/package-shadow.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "json.h"
#include "message.h"

bool package_name_is_valid(const char *name)
{
        return text_is_token(name, PACKAGE_NAME_MAX, "._-");
}

bool package_version_is_valid(const char *version)
{
        return text_is_token(version, PACKAGE_VERSION_MAX, "._-");
}

int package_report_format(const char *name, const char *version, const char *token, char **ret)
{
        /* Nothing in any of the three needs an escape. */
        if (!package_name_is_valid(name) || !package_version_is_valid(version) ||
            !text_is_token(token, CLIENT_TOKEN_MAX, ":_-"))
                return -EINVAL;
        if (asprintf(ret, "{\"state\":{\"reported\":{\"%s\":{\"version\":\"%s\"}}},\"clientToken\":\"%s\"}", name,
                     version, token) < 0)
                return -ENOMEM;
        return 0;
}

int package_accepted_parse(const char *payload, size_t n_payload, PackageAnswer *ret, const char **reterr)
{
        _cleanup_(cJSON_Deletep) cJSON *root = NULL;
        PackageAnswer answer = {0};
        uint64_t time;
        int r;

        r = message_open(payload, n_payload, &root, answer.client_token, &time, reterr);
        if (r < 0)
                return r;
        *ret = answer;
        return 0;
}

int package_rejection_parse(const char *payload, size_t n_payload, PackageAnswer *ret, const char **reterr)
{
        _cleanup_(cJSON_Deletep) cJSON *root = NULL;
        PackageAnswer answer = {0};
        uint64_t code, time;
        const char *text;
        int r;

        r = message_open(payload, n_payload, &root, answer.client_token, &time, reterr);
        if (r < 0)
                return r;
        if (!json_is_integer(cJSON_GetObjectItemCaseSensitive(root, "code"), &code) || code < 1 || code > 999)
                return message_refuse(reterr, "code is not a whole number from 1 to 999");
        text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(root, "message"));
        answer.code = (int)code;
        text_escape(answer.problem, sizeof(answer.problem), text ? text : "", text ? strlen(text) : 0, false);
        *ret = answer;
        return 0;
}
