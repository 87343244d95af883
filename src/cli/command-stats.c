/*
 * otactl stats: what the running otad has fetched since it started.
 */
#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/log.h"
#include "base/time-util.h"
#include "cli/format.h"
#include "command.h"
#include "manager.h"

DEFINE_CLEANUP(cJSON *, cJSON_Delete);

static uint64_t number(const cJSON *object, const char *name)
{
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

        return cJSON_IsNumber(item) && item->valuedouble > 0 && item->valuedouble < 0x1p63
                       ? (uint64_t)item->valuedouble
                       : 0;
}

static int print(const char *text)
{
        _cleanup_(cJSON_Deletep) cJSON *json = cJSON_Parse(text);
        const cJSON *packets = cJSON_GetObjectItemCaseSensitive(json, "packets");
        char since[DURATION_TEXT_MAX], spent[DURATION_TEXT_MAX], size[FORMAT_TEXT_MAX], speed[FORMAT_TEXT_MAX];

        if (!cJSON_IsObject(packets)) {
                log_error("otad answers in words that this otactl does not know: are they of one version?");
                return EXIT_FAILED;
        }
        printf("Since     %s\n", duration_format(since, number(json, "seconds") * USEC_PER_SEC));
        printf("Packets   %" PRIu64 " received, %" PRIu64 " queued, %" PRIu64 " processed, %" PRIu64 " dropped\n",
               number(packets, "received"), number(packets, "queued"), number(packets, "processed"),
               number(packets, "dropped"));
        printf("Requests  %" PRIu64 ", %" PRIu64 " blocks asked for again\n", number(json, "requests"),
               number(json, "lost"));
        printf("Fetched   %s in %s, %s\n", bytes_format(size, number(json, "bytes")),
               duration_format(spent, number(json, "download_seconds") * USEC_PER_SEC),
               speed_format(speed, number(json, "bytes_per_second")));
        printf("Retries   %" PRIu64 "\n", number(json, "retries"));
        return EXIT_FINE;
}

int command_stats(const Options *options)
{
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_(manager_done) Manager manager = {0};
        _cleanup_free_ char *status = NULL;
        char why[MANAGER_WHY_MAX] = "";
        const char *text;
        int r;

        r = sd_event_new(&event);
        if (r >= 0)
                r = manager_open(event, options, &manager, &status, why);
        if (r >= 0)
                r = manager_call(&manager, "GetStats", &reply, why);
        if (r >= 0)
                r = sd_bus_message_read(reply, "s", &text);
        if (r < 0) {
                manager_explain(r, why);
                return EXIT_FAILED;
        }
        if (!options->json)
                return print(text);
        puts(text);
        return EXIT_FINE;
}
