/*
 * device-use: does anything use this block device or file right now?
 *
 * Mounted, mounted by way of a loop device it backs, swap (that way too), or held by a device built upon it (dm, md).
 * What other mount namespaces do is not seen here; the exclusive claim (O_EXCL) on a block device finds that.
 * Sources: proc(5) /proc/PID/mountinfo and /proc/swaps; Linux Documentation/ABI/stable/sysfs-block (holders) and
 * drivers/block/loop.c (loop/backing_file).
 */
#pragma once

#include <stddef.h>
#include <sys/stat.h>

enum { DEVICE_USE_TEXT_MAX = 256 };

/*
 * `st` is that of the block device or regular file. `root` is what /proc and /sys are looked for in: "" but for tests.
 * 1: in use, and `text` says by what ("is mounted on /"). 0: free. Negative errno: cannot be told.
 */
int device_use_find(const char *root, const struct stat *st, char text[static DEVICE_USE_TEXT_MAX]);
