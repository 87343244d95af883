#include <string.h>

#include "base/time-util.h"
#include "certificate-watch.h"
#include "unit.h"

#define DAY (24 * 3600 * USEC_PER_SEC)

static CertificateWatch make(uint64_t left_usec)
{
        CertificateWatch w = {
                .files = {"/nonexistent/cert", "/nonexistent/ca", "/nonexistent/trust"},
                .warn_usec = 30 * DAY,
                .list = {.n_entries = 1},
                .read_usec = 1, /* just read: the files of this test are not looked at */
        };

        w.list.entries[0] = (ExpiryEntry){EXPIRY_DEVICE, "d.pem", (CLOCK_REFERENCE_USEC + left_usec) / USEC_PER_SEC};
        return w;
}

static ClockSigns clock_at(uint64_t wall_clock_usec, bool synchronized)
{
        return (ClockSigns){.wall_clock_usec = wall_clock_usec, .timesyncd_synchronized = synchronized};
}

static void test_near(void **state)
{
        const ClockSigns right = clock_at(CLOCK_REFERENCE_USEC, true);
        CertificateWatch far = make(30 * DAY), near = make(29 * DAY);

        certificate_watch_read(&far, &right, 2);
        certificate_watch_read(&near, &right, 2);
        assert_false(certificate_watch_is_near(&far, &far.list.entries[0]));
        assert_true(certificate_watch_is_near(&near, &near.list.entries[0]));
        assert_int_equal(certificate_watch_seconds_left(&near, &near.list.entries[0]), 29 * 24 * 3600);
        near.warn_usec = 0;
        assert_false(certificate_watch_is_near(&near, &near.list.entries[0]));
}

/* Not kept by anything, or before this source was written: dates mean nothing, unless told that they always do. */
static void test_clock_not_known(void **state)
{
        const ClockSigns unkept = clock_at(CLOCK_REFERENCE_USEC, false), past = clock_at(0, true);
        CertificateWatch w = make(DAY);

        certificate_watch_read(&w, &unkept, 2);
        assert_false(certificate_watch_is_near(&w, &w.list.entries[0]));
        certificate_watch_read(&w, &past, 2);
        assert_false(certificate_watch_is_near(&w, &w.list.entries[0]));
        w.dates_always = true;
        certificate_watch_read(&w, &unkept, 2);
        assert_true(certificate_watch_is_near(&w, &w.list.entries[0]));
}

static void test_once_a_day(void **state)
{
        const ClockSigns unkept = clock_at(CLOCK_REFERENCE_USEC, false), right = clock_at(CLOCK_REFERENCE_USEC, true);
        uint64_t hour = 3600 * USEC_PER_SEC;
        CertificateWatch w = make(DAY);

        /* Asked again soon, until the clock is right; then once a day. */
        assert_int_equal(certificate_watch_tell(&w, &unkept, 2), 2 + hour);
        assert_int_equal(w.told_usec, 0);
        assert_int_equal(certificate_watch_tell(&w, &right, 2 + hour), 2 + hour + DAY);
        assert_int_equal(w.told_usec, 2 + hour);
        assert_int_equal(certificate_watch_tell(&w, &right, 2 + 2 * hour), 2 + hour + DAY);
        assert_int_equal(w.told_usec, 2 + hour);
        assert_int_equal(certificate_watch_tell(&w, &right, 2 + hour + DAY), 2 + hour + 2 * DAY);
        w.warn_usec = 0;
        assert_int_equal(certificate_watch_tell(&w, &right, 2 + hour + 2 * DAY), USEC_INFINITY);
}

/* Whoever asks may not have the disk read at will. */
static void test_read_once_a_minute(void **state)
{
        const ClockSigns right = clock_at(CLOCK_REFERENCE_USEC, true);
        CertificateWatch w = make(DAY);

        certificate_watch_read(&w, &right, 59 * USEC_PER_SEC);
        assert_int_equal(w.list.n_entries, 1);
        certificate_watch_read(&w, &right, 61 * USEC_PER_SEC);
        assert_int_equal(w.list.n_entries, 0); /* there are no such files */
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_near),
                cmocka_unit_test(test_clock_not_known),
                cmocka_unit_test(test_once_a_day),
                cmocka_unit_test(test_read_once_a_minute),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
