#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

#include "base/text.h"

static const char *program_name = "otad";
static int max_level = LOG_INFO;
static bool to_journal;

/* systemd tells in $JOURNAL_STREAM which descriptor it connected to the journal: systemd.exec(5). */
static bool stderr_is_journal(void)
{
        const char *stream = getenv("JOURNAL_STREAM");
        unsigned long long device, inode;
        struct stat st;

        return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
               st.st_dev == device && st.st_ino == inode;
}

/* Else the next file that is opened, perhaps a slot, would get our lines. */
static void fill_standard_descriptors(void)
{
        int fd;

        do
                fd = open("/dev/null", O_RDWR);
        while (fd >= 0 && fd <= STDERR_FILENO);
        close_fd(fd);
}

void log_open(const char *name)
{
        fill_standard_descriptors();
        program_name = name;
        to_journal = stderr_is_journal();
}

void log_set_max_level(int level)
{
        max_level = level;
}

int log_level_from_string(const char *word)
{
        static const struct {
                const char *word;
                int level;
        } levels[] = {
                {"error", LOG_ERR}, {"warning", LOG_WARNING}, {"notice", LOG_NOTICE},
                {"info", LOG_INFO}, {"debug", LOG_DEBUG},
        };

        for (size_t i = 0; i < ELEMENTSOF(levels); i++)
                if (strcmp(levels[i].word, word) == 0)
                        return levels[i].level;
        return -EINVAL;
}

int log_full_errno(int level, int error, const char *format, ...)
{
        static const char *const level_words[] = {"", "", "", "error: ", "warning: ", "", "", "debug: "};
        char raw[2048], line[2048 + 256];
        int saved_errno = errno;
        va_list args;

        if (level > max_level)
                return error;
        if (error != 0)
                errno = abs(error);
        va_start(args, format);
        (void)vsnprintf(raw, sizeof(raw), format, args);
        va_end(args);
        text_escape(line, sizeof(line), raw, sizeof(raw), false);

        if (to_journal)
                (void)sd_journal_send("PRIORITY=%i", level, "SYSLOG_IDENTIFIER=%s", program_name, "MESSAGE=%s", line,
                                      NULL);
        else
                fprintf(stderr, "%s: %s%s\n", program_name, level_words[level & 7], line);
        errno = saved_errno;
        return error;
}
