#include "trust/clock.h"

#include <string.h>
#include <sys/timex.h>
#include <unistd.h>

#include "base/time-util.h"

#define TIMESYNCD_FLAG "/run/systemd/timesync/synchronized"

void clock_read_signs(ClockSigns *ret)
{
        struct timex timex;
        int state;

        memset(&timex, 0, sizeof(timex)); /* modes 0: asks, sets nothing */
        state = adjtimex(&timex);
        ret->kernel_synchronized = state >= 0 && state != TIME_ERROR && (timex.status & STA_UNSYNC) == 0;
        ret->timesyncd_synchronized = access(TIMESYNCD_FLAG, F_OK) == 0;
        ret->wall_clock_usec = wall_clock_usec();
}

bool clock_is_known(const ClockSigns *signs, uint64_t reference_usec)
{
        return (signs->kernel_synchronized || signs->timesyncd_synchronized) &&
               signs->wall_clock_usec >= reference_usec;
}
