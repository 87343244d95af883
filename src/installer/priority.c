#include "priority.h"

#include <errno.h>
#include <linux/ioprio.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"

enum { LOWEST_LEVEL = 7 }; /* of the class that shares: 0 to 7 */

static void set_io_priority(int class, int level, const char *word)
{
        if (syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_PRIO_VALUE(class, level)) < 0)
                (void)log_warning_errno(-errno, "Cannot set policy.io-priority to %s, going on without: %m", word);
}

void priority_apply(const Config *config)
{
        switch (config->policy.io_priority) {
        case CONFIG_IO_PRIORITY_NORMAL:
                break;
        case CONFIG_IO_PRIORITY_LOW:
                set_io_priority(IOPRIO_CLASS_BE, LOWEST_LEVEL, "low");
                break;
        case CONFIG_IO_PRIORITY_IDLE:
                set_io_priority(IOPRIO_CLASS_IDLE, 0, "idle");
                break;
        }
        if (config->policy.nice > 0 && setpriority(PRIO_PROCESS, 0, (int)config->policy.nice) < 0)
                (void)log_warning_errno(-errno, "Cannot set policy.nice to %u, going on without: %m",
                                        config->policy.nice);
}
