#include "engine/package-report.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/backoff.h"
#include "base/log-event.h"
#include "base/log.h"
#include "base/record.h"
#include "base/time-util.h"

#define RETRY_BASE_USEC (10 * USEC_PER_SEC)
#define RETRY_CAP_USEC  (3600 * USEC_PER_SEC)
#define LOST_WAIT_USEC  USEC_PER_DAY

enum { VERSION_TEXT_MAX = 128, LOST_MAX = 3 }; /* connections in a row that ended instead of an answer */

static const char record_name[] = "package";

struct PackageReport {
        PackageReportParams params;
        const PackageReportOps *ops;
        void *userdata;
        char name[PACKAGE_NAME_MAX + 1];
        char accepted[PACKAGE_VERSION_MAX + 1]; /* what the cloud took last */
        char version[VERSION_TEXT_MAX + 1];     /* what runs, as last seen; "" not seen yet */
        bool idle;                              /* no update is at work */
        bool connected;
        bool subscribed;
        bool wanted; /* on this connection: not just brought by a job */

        char asked[PACKAGE_VERSION_MAX + 1]; /* under way; "" none */
        char token[CLIENT_TOKEN_MAX + 1];
        unsigned last_token;
        uint64_t answer_deadline_usec;
        uint64_t not_before_usec;
        Backoff backoff;
        unsigned n_lost;
};

PackageReport *package_report_free(PackageReport *p)
{
        free(p);
        return NULL;
}

static void load(PackageReport *p)
{
        _cleanup_(record_freep) Record *record = NULL;
        const char *name, *version;
        int r;

        r = record_load(p->params.dir_fd, record_name, &record);
        if (r == -EBADMSG)
                log_event(LOG_EVENT_RECORD_DAMAGED, &(LogFields){.file = record_name},
                          "The record of the package version told last is damaged: put aside as '%s.damaged', the "
                          "version is told again",
                          record_name);
        if (r == -EUCLEAN)
                log_event(
                        LOG_EVENT_RECORD_DAMAGED, &(LogFields){.file = record_name},
                        "The record of the package version told last can be neither read nor put aside, the version "
                        "is told again");
        if (r < 0)
                return;
        name = record_get(record, "name");
        version = record_get(record, "version");
        if (name && version && strcmp(name, p->name) == 0 && package_version_is_valid(version))
                strcpy(p->accepted, version);
}

static int save(PackageReport *p)
{
        _cleanup_(record_freep) Record *record = record_new();
        int r;

        if (!record)
                return -ENOMEM;
        r = record_set(record, "name", p->name);
        if (r >= 0)
                r = record_set(record, "version", p->accepted);
        return r < 0 ? r : record_save(record, p->params.dir_fd, record_name);
}

int package_report_new(const PackageReportParams *params, const PackageReportOps *ops, void *userdata,
                       PackageReport **ret)
{
        _cleanup_(package_report_freep) PackageReport *p = calloc(1, sizeof(*p));

        if (!p)
                return -ENOMEM;
        *p = (PackageReport){
                .params = *params,
                .ops = ops,
                .userdata = userdata,
                .backoff = {.base_usec = RETRY_BASE_USEC, .cap_usec = RETRY_CAP_USEC},
        };
        if (params->name[0]) {
                if (!package_name_is_valid(params->name))
                        return -EINVAL;
                strcpy(p->name, params->name);
                load(p);
        }
        *ret = TAKE_PTR(p);
        return 0;
}

static bool has_news(const PackageReport *p)
{
        return p->name[0] && p->connected && p->idle && p->wanted && !p->asked[0] && p->version[0] &&
               package_version_is_valid(p->version) && strcmp(p->version, p->accepted) != 0;
}

static void try_again_later(PackageReport *p, const char *why, uint64_t wait, uint64_t now_usec)
{
        char text[DURATION_TEXT_MAX];

        log_warning("The cloud has not taken version %s of package %s (%s), trying again in %s", p->asked, p->name,
                    why, duration_format(text, wait));
        p->asked[0] = 0;
        p->not_before_usec = usec_add(now_usec, wait);
}

static void pump(PackageReport *p, uint64_t now_usec)
{
        _cleanup_free_ char *json = NULL;
        int r;

        if (!has_news(p) || now_usec < p->not_before_usec)
                return;
        strcpy(p->asked, p->version); /* package_version_is_valid(): it fits */
        snprintf(p->token, sizeof(p->token), "p-%u", ++p->last_token);
        r = package_report_format(p->name, p->asked, p->token, &json);
        if (r < 0) {
                try_again_later(p, strerror(-r), backoff_next_usec(&p->backoff), now_usec);
                return;
        }
        p->answer_deadline_usec = usec_add(now_usec, p->params.answer_timeout_usec);
        if (!p->subscribed)
                p->ops->subscribe(p->userdata);
        p->subscribed = true;
        p->ops->publish(json, p->userdata);
}

void package_report_on_connected(PackageReport *p, uint64_t now_usec)
{
        p->connected = p->wanted = true;
        p->subscribed = false;
        pump(p, now_usec);
}

void package_report_on_disconnected(PackageReport *p, uint64_t now_usec)
{
        p->connected = false;
        if (!p->asked[0])
                return;
        if (++p->n_lost < LOST_MAX)
                try_again_later(p, "the connection ended", backoff_next_usec(&p->backoff), now_usec);
        else
                try_again_later(p,
                                "again the connection ended instead of an answer, as it does where the policy does "
                                "not allow it",
                                LOST_WAIT_USEC, now_usec);
}

void package_report_on_version(PackageReport *p, const char *version, bool by_job, uint64_t now_usec)
{
        p->idle = version != NULL;
        if (!version || !p->name[0])
                return;
        if (strcmp(p->version, version) != 0) {
                snprintf(p->version, sizeof(p->version), "%s", version);
                p->wanted = !by_job;
                if (version[0] && !package_version_is_valid(version))
                        log_warning("Version '%s' is not told as that of package %s: the Software Package Catalog "
                                    "has only "
                                    "versions of 1 to %d letters, digits, '.', '_' and '-'",
                                    version, p->name, PACKAGE_VERSION_MAX);
        }
        pump(p, now_usec);
}

/* What another try in a minute would not mend: the document, the rights, the thing. */
static bool is_lasting(int code)
{
        return code == 400 || code == 401 || code == 403 || code == 404 || code == 413 || code == 415 || code == 422;
}

void package_report_on_answer(PackageReport *p, const PackageAnswer *answer, uint64_t now_usec)
{
        char why[PACKAGE_PROBLEM_MAX + 16];
        int r;

        if (!p->asked[0] || (answer->client_token[0] && strcmp(answer->client_token, p->token) != 0))
                return;
        p->n_lost = 0;
        if (answer->code != 0) {
                snprintf(why, sizeof(why), "%d: %s", answer->code, answer->problem);
                try_again_later(p, why, is_lasting(answer->code) ? RETRY_CAP_USEC : backoff_next_usec(&p->backoff),
                                now_usec);
                return;
        }
        log_info("The cloud knows that version %s of package %s runs", p->asked, p->name);
        strcpy(p->accepted, p->asked);
        p->asked[0] = 0;
        backoff_reset(&p->backoff);
        r = save(p);
        if (r < 0)
                (void)log_warning_errno(
                        r, "Cannot write down that the package version was told, a restart tells it again: %m");
        pump(p, now_usec);
}

void package_report_on_timer(PackageReport *p, uint64_t now_usec)
{
        if (p->asked[0] && now_usec >= p->answer_deadline_usec)
                try_again_later(p, "no answer", backoff_next_usec(&p->backoff), now_usec);
        pump(p, now_usec);
}

uint64_t package_report_next_deadline(const PackageReport *p)
{
        if (p->asked[0])
                return p->answer_deadline_usec;
        return has_news(p) ? p->not_before_usec : USEC_INFINITY;
}
