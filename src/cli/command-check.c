/*
 * otactl check: the tally of check-*.c.
 */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "check.h"

enum { LINE_MAX_BYTES = 2048 };

void check_say(Check *check, CheckVerdict verdict, const char *subject, const char *remedy, const char *format, ...)
{
        static const char *const words[] = {[CHECK_OK] = "ok", [CHECK_WARN] = "warn", [CHECK_FAIL] = "FAIL"};
        char raw[LINE_MAX_BYTES], line[LINE_MAX_BYTES];
        va_list args;

        va_start(args, format);
        (void)vsnprintf(raw, sizeof(raw), format, args);
        va_end(args);
        check->n_failed += verdict == CHECK_FAIL;
        check->n_warned += verdict == CHECK_WARN;
        fprintf(check->file, "%-4s  %s: %s%s%s\n", words[verdict], subject,
                text_escape(line, sizeof(line), raw, sizeof(raw), false), remedy ? "; " : "", remedy ?: "");
}

bool check_user_may(const CheckUser *user, const struct stat *st, unsigned wanted)
{
        unsigned shift = 0;

        if (!user->known || user->uid == 0)
                return true;
        if (st->st_uid == user->uid) {
                shift = 6;
        } else {
                for (int i = 0; i < user->n_groups; i++)
                        if (user->groups[i] == st->st_gid)
                                shift = 3;
        }
        return (st->st_mode >> shift & wanted) == wanted;
}

CheckVerdict check_verdict_for(int error)
{
        return (error == -EACCES || error == -EPERM) && geteuid() != 0 ? CHECK_WARN : CHECK_FAIL;
}

static void find_user(Check *check)
{
        const char *name = check->config->installer.peer_user;
        const struct passwd *passwd;

        check->user = (CheckUser){.name = name, .n_groups = CHECK_GROUPS_MAX};
        errno = 0;
        passwd = getpwnam(name);
        if (!passwd) {
                check_say(check, CHECK_FAIL, "user", "create it, or set installer.peer-user",
                          "the user '%s' that otad runs as does not exist", name);
                return;
        }
        check->user.known = true;
        check->user.uid = passwd->pw_uid;
        check->user.gid = passwd->pw_gid;
        if (getgrouplist(name, passwd->pw_gid, check->user.groups, &check->user.n_groups) < 0)
                check->user.n_groups = CHECK_GROUPS_MAX; /* there are more; the first ones do */
        check_say(check, CHECK_OK, "user", NULL, "otad runs as '%s'", name);
}

int command_check(const Options *options)
{
        Check check = {.options = options, .config = options->config, .file = stdout};

        check_say(&check, CHECK_OK, "configuration", NULL, "%s", options->config_path);
        if (geteuid() != 0)
                check_say(&check, CHECK_WARN, "rights", "run it as root",
                          "not everything can be looked at as this user");
        find_user(&check);
        check_tls(&check);
        check_trust(&check);
        check_targets(&check);
        check_system(&check);
        check_units(&check);
        check_running(&check);
        if (!check.connected)
                check_broker(&check);
        if (check.n_failed == 0 && check.n_warned == 0)
                puts("Nothing to complain about.");
        else
                printf("%u to mend, %u to look at.\n", check.n_failed, check.n_warned);
        return check.n_failed > 0 ? EXIT_FAILED : EXIT_FINE;
}
