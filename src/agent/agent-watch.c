#include "agent-private.h"

#include "base/log.h"
#include "base/time-util.h"

const CertificateWatch *agent_certificates(void *userdata)
{
        Agent *a = userdata;
        ClockSigns signs;

        clock_read_signs(&signs);
        certificate_watch_read(&a->certificates, &signs, now_usec());
        return &a->certificates;
}

static uint64_t tell_certificates(Agent *a)
{
        ClockSigns signs;

        clock_read_signs(&signs);
        return certificate_watch_tell(&a->certificates, &signs, now_usec());
}

static int on_certificates_due(sd_event_source *source, uint64_t usec, void *userdata)
{
        int r = sd_event_source_set_time(source, tell_certificates(userdata));

        if (r >= 0)
                r = sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
        if (r < 0)
                (void)log_error_errno(r, "Cannot set the timer for certificates, their end is not told any more: %m");
        return 0;
}

int agent_start_watch(Agent *a)
{
        const Config *c = a->config;

        a->certificates = (CertificateWatch){
                .files =
                        {
                                .cert_file = c->broker.cert,
                                .root_ca_file = c->broker.root_ca,
                                .trust_store = c->signing.trust_store,
                        },
                .warn_usec = (uint64_t)c->certificates.warn_days * USEC_PER_DAY,
                .dates_always = c->signing.dates == CONFIG_SIGNING_DATES_ALWAYS,
        };
        /* A minute more or less is of no matter: it goes along with another wake-up. */
        return sd_event_add_time(a->event, &a->certificates_timer, CLOCK_BOOTTIME, tell_certificates(a),
                                 60 * USEC_PER_SEC, on_certificates_due, a);
}
