#include "device-use.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/cleanup.h"

static void closedirp(DIR **dir)
{
        if (*dir)
                closedir(*dir);
}

/* The kernel writes blanks in paths as \040 and the like: proc(5). */
static void unescape(char *text)
{
        char *to = text;

        for (const char *from = text; *from;) {
                unsigned value;

                if (from[0] == '\\' && strspn(from + 1, "01234567") >= 3 && sscanf(from + 1, "%3o", &value) == 1) {
                        *to++ = (char)value;
                        from += 4;
                } else {
                        *to++ = *from++;
                }
        }
        *to = 0;
}

static bool is_same(const struct stat *a, const struct stat *b)
{
        if (S_ISBLK(a->st_mode) && S_ISBLK(b->st_mode))
                return a->st_rdev == b->st_rdev;
        return S_ISREG(a->st_mode) && S_ISREG(b->st_mode) && a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

static bool path_is_same(const char *path, const struct stat *st)
{
        struct stat other;

        return path[0] == '/' && stat(path, &other) == 0 && is_same(&other, st);
}

/* Whether `device` is a loop device, or a partition of one, that has `st` behind it. */
static bool is_loop_upon(const char *root, dev_t device, const struct stat *st)
{
        static const char *const places[] = {"loop/backing_file", "../loop/backing_file"};

        for (size_t i = 0; i < ELEMENTSOF(places); i++) {
                _cleanup_fclose_ FILE *file = NULL;
                char path[PATH_MAX], backing[PATH_MAX];

                (void)snprintf(path, sizeof(path), "%s/sys/dev/block/%u:%u/%s", root, major(device), minor(device),
                               places[i]);
                file = fopen(path, "re");
                if (!file || !fgets(backing, sizeof(backing), file))
                        continue;
                backing[strcspn(backing, "\n")] = 0;
                if (path_is_same(backing, st))
                        return true;
        }
        return false;
}

static bool is_mount_of(const char *root, unsigned major_number, unsigned minor_number, const char *source,
                        const struct stat *st)
{
        dev_t device = makedev(major_number, minor_number);

        if (S_ISBLK(st->st_mode) && device == st->st_rdev)
                return true;
        /* Some file systems (btrfs) show a device number of their own; their source is the block device. */
        return is_loop_upon(root, device, st) || path_is_same(source, st);
}

static int find_mount(const char *root, const struct stat *st, char text[static DEVICE_USE_TEXT_MAX])
{
        _cleanup_fclose_ FILE *file = NULL;
        _cleanup_free_ char *line = NULL;
        char path[PATH_MAX];
        size_t n_line = 0;

        (void)snprintf(path, sizeof(path), "%s/proc/self/mountinfo", root);
        file = fopen(path, "re");
        if (!file)
                return -errno;
        while (getline(&line, &n_line, file) >= 0) {
                _cleanup_free_ char *mount_point = NULL, *source = NULL;
                unsigned major_number, minor_number;
                const char *rest = strstr(line, " - ");

                /* "36 35 98:0 /root /mount-point options optional... - type source options" */
                if (sscanf(line, "%*u %*u %u:%u %*s %ms", &major_number, &minor_number, &mount_point) != 3 || !rest ||
                    sscanf(rest, " - %*s %ms", &source) != 1)
                        continue;
                unescape(source);
                unescape(mount_point);
                if (!is_mount_of(root, major_number, minor_number, source, st))
                        continue;
                (void)snprintf(text, DEVICE_USE_TEXT_MAX, "is mounted on %.200s", mount_point);
                return 1;
        }
        return ferror(file) ? -EIO : 0;
}

static int find_swap(const char *root, const struct stat *st, char text[static DEVICE_USE_TEXT_MAX])
{
        _cleanup_fclose_ FILE *file = NULL;
        _cleanup_free_ char *line = NULL;
        char path[PATH_MAX];
        size_t n_line = 0;

        (void)snprintf(path, sizeof(path), "%s/proc/swaps", root);
        file = fopen(path, "re");
        if (!file)
                return errno == ENOENT ? 0 : -errno; /* a kernel without swap */
        while (getline(&line, &n_line, file) >= 0) {
                struct stat swap;

                line[strcspn(line, " \t\n")] = 0;
                unescape(line);
                if (line[0] != '/' || stat(line, &swap) < 0)
                        continue;
                if (!is_same(&swap, st) && !(S_ISBLK(swap.st_mode) && is_loop_upon(root, swap.st_rdev, st)))
                        continue;
                (void)snprintf(text, DEVICE_USE_TEXT_MAX, "is swap space");
                return 1;
        }
        return ferror(file) ? -EIO : 0;
}

static int find_holder(const char *root, const struct stat *st, char text[static DEVICE_USE_TEXT_MAX])
{
        _cleanup_(closedirp) DIR *dir = NULL;
        char path[PATH_MAX];

        if (!S_ISBLK(st->st_mode))
                return 0;
        (void)snprintf(path, sizeof(path), "%s/sys/dev/block/%u:%u/holders", root, major(st->st_rdev),
                       minor(st->st_rdev));
        dir = opendir(path);
        if (!dir)
                return errno == ENOENT ? 0 : -errno;
        for (struct dirent *entry; (entry = readdir(dir));) {
                if (entry->d_name[0] == '.')
                        continue;
                (void)snprintf(text, DEVICE_USE_TEXT_MAX, "is part of %.200s", entry->d_name);
                return 1;
        }
        return 0;
}

int device_use_find(const char *root, const struct stat *st, char text[static DEVICE_USE_TEXT_MAX])
{
        int r;

        r = find_mount(root, st, text);
        if (r != 0)
                return r;
        r = find_swap(root, st, text);
        if (r != 0)
                return r;
        return find_holder(root, st, text);
}
