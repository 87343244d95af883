#include "base/log-event.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <syslog.h>

#include "base/text.h"
#include "log-private.h"

typedef struct Event {
        const char *word;
        const char *id;
        int level;
} Event;

static const Event events[_LOG_EVENT_MAX] = {
        [LOG_EVENT_UPDATE_ACCEPTED] = {"update-accepted", "8a3fb532d6224857949140e331a043ce", LOG_NOTICE},
        [LOG_EVENT_UPDATE_INSTALLED] = {"update-installed", "a71ffe0b63764a0ba742321bf9b5ef18", LOG_NOTICE},
        [LOG_EVENT_UPDATE_ACTIVATED] = {"update-activated", "9d803db678fd44e19a4758fa3cf8d708", LOG_NOTICE},
        [LOG_EVENT_SELFTEST_PASSED] = {"selftest-passed", "6ad4df4b721841c89f8f5a2f10db843e", LOG_NOTICE},
        [LOG_EVENT_SELFTEST_FAILED] = {"selftest-failed", "d8cdba04553d42b9a85f68503bf6b3f5", LOG_ERR},
        [LOG_EVENT_UPDATE_COMMITTED] = {"update-committed", "5124f2192aaf4b3ab7261716083fc9c7", LOG_NOTICE},
        [LOG_EVENT_UPDATE_ROLLED_BACK] = {"update-rolled-back", "9c1afaf136424f3f9d49bb433166808a", LOG_WARNING},
        [LOG_EVENT_UPDATE_FAILED] = {"update-failed", "1e5b95746c8a417ebb5206c8edbe21ac", LOG_ERR},
        [LOG_EVENT_ROLLBACK_FAILED] = {"rollback-failed", "41b8e354ff6b493da207b67fe761e39c", LOG_CRIT},
        [LOG_EVENT_BROKER_CONNECTED] = {"broker-connected", "019803dc1c3a46d9a4c090d4acb4c32a", LOG_INFO},
        [LOG_EVENT_BROKER_AWAY] = {"broker-away", "1f0ba12b4d6a401b823601d7f24a1f3a", LOG_ERR},
        [LOG_EVENT_STATUS_REFUSED] = {"status-refused", "ac36c55b178641adaf2d7af664925daa", LOG_ERR},
        [LOG_EVENT_CERTIFICATE_ENDS] = {"certificate-ends", "91a4c13c42064c468d1cd265aa88aa53", LOG_WARNING},
        [LOG_EVENT_UNSIGNED_ALLOWED] = {"unsigned-allowed", "f3364a91a7cc415a876c64b099db4416", LOG_WARNING},
        [LOG_EVENT_RECORD_DAMAGED] = {"record-damaged", "b836c479d3dc46b28ffcd125ce35b12d", LOG_ERR},
        [LOG_EVENT_INSTALLER_AWAY] = {"installer-away", "99537f61e6ee466bad00535d6a9dc5da", LOG_WARNING},
        [LOG_EVENT_CONFIG_REFUSED] = {"config-refused", "55e3c3a9ec784bf392c5a7f8514a59b5", LOG_ERR},
};

void log_event(LogEvent event, const LogFields *fields, const char *format, ...)
{
        const Event *e = &events[event];
        const struct {
                const char *name;
                const char *value;
        } given[] = {
                {"MESSAGE_ID", e->id},
                {"OTAD_EVENT", e->word},
                {"OTAD_JOB_ID", fields->job_id},
                {"OTAD_ATTEMPT", fields->attempt},
                {"OTAD_STATE", fields->state},
                {"OTAD_ERROR", fields->error},
                {"OTAD_TARGET", fields->target},
                {"OTAD_VERSION", fields->version},
                {"OTAD_CERTIFICATE", fields->certificate},
                {"OTAD_ENDPOINT", fields->endpoint},
                {"OTAD_FILE", fields->file},
        };
        char raw[LOG_RAW_MAX], line[LOG_LINE_MAX], *texts[ELEMENTSOF(given)];
        int saved_errno = errno;
        size_t n = 0;
        va_list args;

        assert(event > LOG_EVENT_NONE && event < _LOG_EVENT_MAX);
        if (!log_is_wanted(e->level))
                return;
        va_start(args, format);
        (void)vsnprintf(raw, sizeof(raw), format, args);
        va_end(args);
        text_escape(line, sizeof(line), raw, sizeof(raw), false);
        /* Without memory the line goes out with fewer fields. */
        for (size_t i = 0; i < ELEMENTSOF(given); i++)
                if (given[i].value && given[i].value[0] &&
                    asprintf(&texts[n], "%s=%s", given[i].name, given[i].value) >= 0)
                        n++;
        log_line_send(e->level, line, texts, n);
        while (n > 0)
                free(texts[--n]);
        errno = saved_errno;
}
