#include "certificate-watch.h"

#include <inttypes.h>

#include "base/log-event.h"
#include "base/time-util.h"

#define READ_USEC  (60 * USEC_PER_SEC)
#define TELL_USEC  USEC_PER_DAY
#define CLOCK_USEC (3600 * USEC_PER_SEC) /* until it is asked again whether the clock is right by now */

void certificate_watch_read(CertificateWatch *w, const ClockSigns *signs, uint64_t now)
{
        w->dates_count = w->dates_always || clock_is_known(signs, CLOCK_REFERENCE_USEC);
        w->wall_clock_usec = signs->wall_clock_usec;
        if (w->read_usec != 0 && usec_sub(now, w->read_usec) < READ_USEC)
                return;
        w->read_usec = now;
        expiry_read(&w->files, &w->list);
}

int64_t certificate_watch_seconds_left(const CertificateWatch *w, const ExpiryEntry *entry)
{
        return entry->not_after_sec - (int64_t)(w->wall_clock_usec / USEC_PER_SEC);
}

bool certificate_watch_is_near(const CertificateWatch *w, const ExpiryEntry *entry)
{
        return w->dates_count && w->warn_usec > 0 &&
               certificate_watch_seconds_left(w, entry) < (int64_t)(w->warn_usec / USEC_PER_SEC);
}

static void warn(const CertificateWatch *w, const ExpiryEntry *entry)
{
        const LogFields fields = {.certificate = entry->file};
        const char *kind = expiry_kind_to_string(entry->kind);
        int64_t left = certificate_watch_seconds_left(w, entry);

        if (left < 0)
                log_event(LOG_EVENT_CERTIFICATE_ENDS, &fields, "The %s certificate %s has ended %" PRId64 " days ago",
                          kind, entry->file, -left / SEC_PER_DAY);
        else
                log_event(LOG_EVENT_CERTIFICATE_ENDS, &fields, "The %s certificate %s ends in %" PRId64 " days", kind,
                          entry->file, left / SEC_PER_DAY);
}

uint64_t certificate_watch_tell(CertificateWatch *w, const ClockSigns *signs, uint64_t now)
{
        if (w->warn_usec == 0)
                return USEC_INFINITY;
        if (w->told_usec != 0 && usec_sub(now, w->told_usec) < TELL_USEC)
                return usec_add(w->told_usec, TELL_USEC);
        certificate_watch_read(w, signs, now);
        if (!w->dates_count)
                return usec_add(now, CLOCK_USEC);
        w->told_usec = now;
        for (size_t i = 0; i < w->list.n_entries; i++)
                if (certificate_watch_is_near(w, &w->list.entries[i]))
                        warn(w, &w->list.entries[i]);
        return usec_add(now, TELL_USEC);
}
