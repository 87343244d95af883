/*
 * certificate-watch: which certificates end soon, and that the journal hears of it once a day.
 *
 * A plain value, told both times. Where the clock is not known to be right nothing is said: a gateway without a battery
 * starts in 1970 (trust/clock.h; signing.dates = "always" overrules it, as it does for signatures).
 */
#pragma once

#include "trust/clock.h"
#include "trust/expiry.h"

typedef struct CertificateWatch {
        ExpiryParams files; /* borrowed for the watch's life */
        uint64_t warn_usec; /* 0: never */
        bool dates_always;

        ExpiryList list;
        uint64_t read_usec; /* when; 0: not yet */
        bool dates_count;   /* at that time */
        uint64_t wall_clock_usec;
        uint64_t told_usec; /* 0: not yet */
} CertificateWatch;

/* Reads the files, unless that was within the last minute: whoever may ask for the status may not have us read all day. */
void certificate_watch_read(CertificateWatch *watch, const ClockSigns *signs, uint64_t now_usec);
/* Reads, and warns of what ends soon unless that was done within the last day. Returns when to call again. */
uint64_t certificate_watch_tell(CertificateWatch *watch, const ClockSigns *signs, uint64_t now_usec);

/* Negative where it has ended. Of meaning only while watch->dates_count. */
int64_t certificate_watch_seconds_left(const CertificateWatch *watch, const ExpiryEntry *entry);
bool certificate_watch_is_near(const CertificateWatch *watch, const ExpiryEntry *entry);
