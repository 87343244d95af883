#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#define SD_JOURNAL_SUPPRESS_LOCATION /* it would be that of the line below, for every entry */
#include <systemd/sd-journal.h>
#include <unistd.h>

#include "base/text.h"
#include "log-private.h"

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

bool log_is_wanted(int level)
{
        return level <= max_level;
}

static struct iovec make_iovec(char *text)
{
        return (struct iovec){.iov_base = text, .iov_len = strlen(text)};
}

static void send_to_journal(int level, const char *line, char *const *fields, size_t n_fields)
{
        enum { OWN = 3, FIELDS_MAX = 16 };
        char priority[32], identifier[64], message[LOG_LINE_MAX + 16];
        struct iovec parts[OWN + FIELDS_MAX];

        assert(n_fields <= FIELDS_MAX);
        (void)snprintf(priority, sizeof(priority), "PRIORITY=%i", level);
        (void)snprintf(identifier, sizeof(identifier), "SYSLOG_IDENTIFIER=%s", program_name);
        (void)snprintf(message, sizeof(message), "MESSAGE=%s", line);
        parts[0] = make_iovec(priority);
        parts[1] = make_iovec(identifier);
        parts[2] = make_iovec(message);
        for (size_t i = 0; i < n_fields; i++)
                parts[OWN + i] = make_iovec(fields[i]);
        (void)sd_journal_sendv(parts, (int)(OWN + n_fields));
}

void log_line_send(int level, const char *line, char *const *fields, size_t n_fields)
{
        static const char *const level_words[] = {"", "", "critical: ", "error: ", "warning: ", "", "", "debug: "};

        if (to_journal)
                send_to_journal(level, line, fields, n_fields);
        else
                fprintf(stderr, "%s: %s%s\n", program_name, level_words[level & 7], line);
}

int log_full_errno(int level, int error, const char *format, ...)
{
        char raw[LOG_RAW_MAX], line[LOG_LINE_MAX];
        int saved_errno = errno;
        va_list args;

        if (!log_is_wanted(level))
                return error;
        if (error != 0)
                errno = abs(error);
        va_start(args, format);
        (void)vsnprintf(raw, sizeof(raw), format, args);
        va_end(args);
        text_escape(line, sizeof(line), raw, sizeof(raw), false);
        log_line_send(level, line, NULL, 0);
        errno = saved_errno;
        return error;
}
