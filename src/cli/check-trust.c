/*
 * The clock, and whose signature counts.
 */
#include <inttypes.h>

#include "base/time-util.h"
#include "check.h"
#include "trust/clock.h"
#include "trust/trust-store.h"

#define SEC_PER_DAY INT64_C(86400)

static void check_clock(Check *check, const ClockSigns *signs)
{
        char text[TIMESTAMP_TEXT_MAX];

        (void)timestamp_format(text, signs->wall_clock_usec);
        if (signs->wall_clock_usec < CLOCK_REFERENCE_USEC)
                check_say(check, CHECK_FAIL, "clock", "set it; a broker's certificate cannot be judged by it",
                          "%s cannot be", text);
        else if (!clock_is_known(signs, CLOCK_REFERENCE_USEC))
                check_say(check, CHECK_WARN, "clock", "start a time service, such as systemd-timesyncd",
                          "%s, but nothing keeps it right", text);
        else
                check_say(check, CHECK_OK, "clock", NULL, "%s, kept right", text);
}

static void check_entry(Check *check, const TrustEntry *entry, const ClockSigns *signs)
{
        const char *subject = entry->is_anchor ? "trust anchor" : "trusted signer";
        int64_t left_sec = entry->not_after_sec - (int64_t)(signs->wall_clock_usec / USEC_PER_SEC);
        int64_t warn_sec = check->config->certificates.warn_days * SEC_PER_DAY; /* 0: not before the end */

        if (!entry->usable)
                check_say(check, CHECK_WARN, subject, "mend the file or take it away", "%s: %s", entry->file,
                          entry->why_not.detail);
        else if (signs->wall_clock_usec >= CLOCK_REFERENCE_USEC && left_sec < warn_sec)
                check_say(check, CHECK_WARN, subject, "put the next certificate beside it in time",
                          left_sec < 0 ? "%s, %s, is past its end" : "%s, %s, ends within days", entry->file,
                          entry->subject);
        else
                check_say(check, CHECK_OK, subject, NULL, "%s, %s, %s", entry->file, entry->subject, entry->key_type);
}

void check_trust(Check *check)
{
        const Config *config = check->config;
        CheckVerdict no_signer = config->signing.required ? CHECK_FAIL : CHECK_WARN;
        _cleanup_free_ TrustEntry *entries = NULL;
        size_t n_entries = 0, n_signers = 0;
        Failure failure = {0};
        ClockSigns signs;
        TrustStoreParams params = {.path = config->signing.trust_store};

        clock_read_signs(&signs);
        check_clock(check, &signs);
        params.check_dates =
                config->signing.dates == CONFIG_SIGNING_DATES_ALWAYS || clock_is_known(&signs, CLOCK_REFERENCE_USEC);
        params.wall_clock_usec = signs.wall_clock_usec;
        if (trust_store_list(&params, &entries, &n_entries, &failure) < 0) {
                check_say(check, no_signer, "trust store", "make the folder, of root and writable for root only",
                          "%s", failure.detail);
                return;
        }
        for (size_t i = 0; i < n_entries; i++) {
                check_entry(check, &entries[i], &signs);
                n_signers += entries[i].usable && !entries[i].is_anchor;
        }
        if (n_signers == 0)
                check_say(check, no_signer, "trust store", "put the certificate that signs your images there",
                          "%s holds no signer that can be used", params.path);
        if (!config->signing.required)
                check_say(check, CHECK_WARN, "signing", "set signing.required to true",
                          "images without a signature are installed");
}
