#include "cli/status-view.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <string.h>

#include "base/text.h"

DEFINE_CLEANUP(cJSON *, cJSON_Delete);

enum { SCHEMA = 1 };

static const cJSON *member(const cJSON *object, const char *name)
{
        return cJSON_GetObjectItemCaseSensitive(object, name);
}

static void read_text(const cJSON *object, const char *name, char *ret, size_t ret_size)
{
        const char *text = cJSON_GetStringValue(member(object, name));

        text_escape(ret, ret_size, text ?: "", text ? strlen(text) : 0, false);
}

static uint64_t read_number(const cJSON *object, const char *name)
{
        const cJSON *item = member(object, name);

        if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0))
                return 0;
        return item->valuedouble >= 0x1p64 ? UINT64_MAX : (uint64_t)item->valuedouble;
}

static bool read_bool(const cJSON *object, const char *name)
{
        return cJSON_IsTrue(member(object, name));
}

#define READ_TEXT(object, name, field) read_text(object, name, field, sizeof(field))

static void read_targets(const cJSON *list, StatusView *view)
{
        const cJSON *item;

        cJSON_ArrayForEach(item, list)
        {
                StatusViewTarget *target = &view->targets[view->n_targets];

                if (view->n_targets == STATUS_VIEW_TARGETS_MAX)
                        return;
                READ_TEXT(item, "target", target->target);
                READ_TEXT(item, "slot", target->slot);
                target->size = read_number(item, "size");
                target->written = read_number(item, "written");
                target->durable = read_number(item, "durable");
                target->verified = read_number(item, "verified");
                view->n_targets++;
        }
}

static void read_download(const cJSON *download, StatusView *view)
{
        READ_TEXT(download, "protocol", view->download.protocol);
        view->download.percent = read_number(download, "percent");
        view->download.held = read_number(download, "held");
        view->download.total = read_number(download, "total");
        view->download.bytes_per_second = read_number(download, "bytes_per_second");
        view->download.retries = read_number(download, "retries");
}

static void read_certificates(const cJSON *list, StatusView *view)
{
        const cJSON *item;

        cJSON_ArrayForEach(item, list)
        {
                StatusViewCertificate *certificate = &view->certificates[view->n_certificates];
                double days = cJSON_GetNumberValue(member(item, "days_left"));

                if (view->n_certificates == STATUS_VIEW_CERTIFICATES_MAX)
                        return;
                if (!read_bool(item, "ends_soon"))
                        continue;
                READ_TEXT(item, "kind", certificate->kind);
                READ_TEXT(item, "file", certificate->file);
                READ_TEXT(item, "ends", certificate->ends);
                certificate->days_left = days > -1e6 && days < 1e6 ? (int64_t)days : 0;
                view->n_certificates++;
        }
}

static void read_waiting(const cJSON *waiting, StatusView *view)
{
        READ_TEXT(waiting, "reason", view->waiting.reason);
        view->waiting.retries = cJSON_IsNumber(member(waiting, "retry_seconds"));
        view->waiting.retry_seconds = read_number(waiting, "retry_seconds");
}

static void read_last(const cJSON *last, StatusView *view)
{
        READ_TEXT(last, "job", view->last.job);
        view->last.attempt = read_number(last, "attempt");
        READ_TEXT(last, "status", view->last.status);
        READ_TEXT(last, "error", view->last.error);
        READ_TEXT(last, "detail", view->last.detail);
        READ_TEXT(last, "when", view->last.when);
}

int status_view_parse(const char *text, StatusView *ret)
{
        size_t n = strnlen(text, STATUS_VIEW_JSON_MAX + 1);
        _cleanup_(cJSON_Deletep) cJSON *json = NULL;

        if (n > STATUS_VIEW_JSON_MAX)
                return -EBADMSG;
        json = cJSON_ParseWithLength(text, n);
        if (!cJSON_IsObject(json) || read_number(json, "schema") != SCHEMA || !cJSON_IsString(member(json, "state")))
                return -EBADMSG;
        memset(ret, 0, sizeof(*ret));
        READ_TEXT(json, "otad", ret->otad);
        READ_TEXT(json, "thing", ret->thing);
        READ_TEXT(json, "state", ret->state);
        ret->connected = read_bool(json, "connected");
        ret->suspended = read_bool(json, "suspended");
        ret->reboot_needed = read_bool(json, "reboot_needed");
        READ_TEXT(member(json, "job"), "id", ret->job);
        ret->attempt = read_number(member(json, "job"), "attempt");
        READ_TEXT(json, "local", ret->local);
        read_targets(member(json, "targets"), ret);
        read_download(member(json, "download"), ret);
        READ_TEXT(member(json, "failure"), "error", ret->failure.error);
        READ_TEXT(member(json, "failure"), "detail", ret->failure.detail);
        read_waiting(member(json, "waiting"), ret);
        READ_TEXT(member(json, "versions"), "running", ret->running);
        READ_TEXT(member(json, "versions"), "previous", ret->previous);
        ret->testing = cJSON_IsNumber(member(json, "selftest_seconds_left"));
        ret->selftest_seconds_left = read_number(json, "selftest_seconds_left");
        ret->unsent_final_statuses = read_number(json, "unsent_final_statuses");
        read_certificates(member(json, "certificates"), ret);
        read_last(member(json, "last"), ret);
        READ_TEXT(json, "next", ret->next);
        return 0;
}

bool status_view_has_ended(const StatusView *before, const StatusView *now)
{
        return now->last.job[0] &&
               (strcmp(before->last.job, now->last.job) != 0 || before->last.attempt != now->last.attempt ||
                strcmp(before->last.when, now->last.when) != 0);
}
