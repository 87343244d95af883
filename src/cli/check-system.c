/*
 * The folders both daemons live in, the hook script, and whether the daemons are there.
 */
#include <errno.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "check.h"
#include "cli/format.h"
#include "cli/status-view.h"
#include "manager.h"

/* Sessions, history and outbox, and the copies that are renamed over them. */
enum { STATE_BYTES_MIN = 1024 * 1024 };

bool check_program(Check *check, const char *subject, const char *path)
{
        struct stat st;

        if (stat(path, &st) < 0) {
                check_say(check, check_verdict_for(-errno), subject, "put the script there", "%s: %s", path,
                          strerror(errno));
                return false;
        }
        if (!S_ISREG(st.st_mode) || !(st.st_mode & 0111)) {
                check_say(check, CHECK_FAIL, subject, "chmod +x", "%s is no executable file", path);
                return false;
        }
        if ((st.st_uid != 0 && st.st_uid != geteuid()) || (st.st_mode & (S_IWGRP | S_IWOTH))) {
                check_say(check, CHECK_FAIL, subject, "chown root, chmod go-w",
                          "%s is run by root, but others than root may change it", path);
                return false;
        }
        return true;
}

/* Records are small, but an update without room for them fails. */
static void check_state_space(Check *check, const char *subject, const char *path)
{
        char text[FORMAT_TEXT_MAX];
        struct statvfs fs;

        if (statvfs(path, &fs) < 0)
                check_say(check, check_verdict_for(-errno), subject, NULL, "%s: %s", path, strerror(errno));
        else if (fs.f_flag & ST_RDONLY)
                check_say(check, CHECK_FAIL, subject, "mount it writable, or set another folder",
                          "%s is on a read-only file system", path);
        else if ((uint64_t)fs.f_bavail * fs.f_frsize < STATE_BYTES_MIN)
                check_say(check, CHECK_FAIL, subject, "make room", "%s has only %s left", path,
                          bytes_format(text, (uint64_t)fs.f_bavail * fs.f_frsize));
        else if (fs.f_files > 0 && fs.f_favail == 0)
                check_say(check, CHECK_FAIL, subject, "make room", "%s takes no more files", path);
}

/* The folder must be the owner's, or (for otad-installer) also our own; nobody else may write there. */
static void check_state_folder(Check *check, const char *subject, const char *path, uid_t owner, const char *maker)
{
        char remedy[96];
        struct stat st;

        if (stat(path, &st) < 0) {
                snprintf(remedy, sizeof(remedy), "start %s, which makes it", maker);
                check_say(check, CHECK_WARN, subject, remedy, "%s: %s", path, strerror(errno));
        } else if (!S_ISDIR(st.st_mode)) {
                check_say(check, CHECK_FAIL, subject, "take it away", "%s is no folder", path);
        } else if ((st.st_uid != owner && (owner != 0 || st.st_uid != geteuid())) ||
                   (st.st_mode & (S_IWGRP | S_IWOTH))) {
                snprintf(remedy, sizeof(remedy), "chown it to user %u, chmod go-w", (unsigned)owner);
                check_say(check, CHECK_FAIL, subject, remedy, "%s belongs to user %u and has mode %04o", path,
                          (unsigned)st.st_uid, (unsigned)st.st_mode & 07777);
        } else {
                check_say(check, CHECK_OK, subject, NULL, "%s", path);
                check_state_space(check, subject, path);
        }
}

void check_system(Check *check)
{
        const Config *config = check->config;

        if (check->user.known)
                check_state_folder(check, "state of otad", config->paths.state, check->user.uid, "otad");
        /* It runs as root, unless somebody tries it out as a user. */
        check_state_folder(check, "state of otad-installer", config->paths.installer_state, geteuid(),
                           "otad-installer");
        if (access(config->paths.boot_id, R_OK) < 0)
                check_say(check, CHECK_FAIL, "boot id", "set paths.boot-id", "%s: %s", config->paths.boot_id,
                          strerror(errno));
        if (!config->hook.script[0])
                check_say(check, CHECK_OK, "hook", NULL, "none is configured");
        else if (check_program(check, "hook", config->hook.script))
                check_say(check, CHECK_OK, "hook", NULL, "%s", config->hook.script);
}

static void check_otad(Check *check, sd_event *event)
{
        static const char start[] = "systemctl start otad; journalctl -u otad tells why it does not run";
        _cleanup_(manager_done) Manager manager = {0};
        _cleanup_free_ char *text = NULL;
        char why[MANAGER_WHY_MAX] = "";
        StatusView view;
        int r;

        r = manager_open(event, check->options, &manager, &text, why);
        if (r >= 0)
                r = status_view_parse(text, &view);
        if (r == -EBADMSG)
                check_say(check, CHECK_FAIL, "otad", "install otad and otactl of one version, restart otad",
                          "it answers in words that this otactl does not know");
        else if (r == -ENOENT || r == -ECONNREFUSED)
                check_say(check, CHECK_FAIL, "otad", start, "is not running (%s)", why);
        else if (r < 0)
                check_say(check, check_verdict_for(r), "otad", start, "cannot be asked (%s)", why);
        else if (!view.connected)
                check_say(check, CHECK_WARN, "otad", "journalctl -u otad tells why",
                          "%s runs, but is not connected to the broker", view.otad);
        else
                check_say(check, CHECK_OK, "otad", NULL, "%s runs and is connected, %s", view.otad, view.state);
        check->connected = r >= 0 && view.connected;
}

static void check_installer(Check *check, sd_event *event)
{
        static const char start[] = "systemctl start otad-installer.socket";
        _cleanup_free_ char *path = NULL;
        struct stat st;
        LinkState state;
        int r;

        if (asprintf(&path, "%s/installer.sock", check->config->paths.runtime) < 0) {
                check_say(check, CHECK_FAIL, "otad-installer", NULL, "no memory to look for it");
                return;
        }
        if (lstat(path, &st) < 0) {
                check_say(check, check_verdict_for(-errno), "otad-installer", start, "%s: %s", path, strerror(errno));
                return;
        }
        if (!S_ISSOCK(st.st_mode)) {
                check_say(check, CHECK_FAIL, "otad-installer", "take it away", "%s is no socket", path);
                return;
        }
        if (geteuid() != 0 && !(check->user.known && geteuid() == check->user.uid)) {
                check_say(check, CHECK_OK, "otad-installer", NULL, "%s is there", path);
                return;
        }
        r = installer_get_state(event, check->options, &state);
        if (r < 0)
                check_say(check, CHECK_FAIL, "otad-installer",
                          "journalctl -u otad-installer tells why it does not run", "does not answer at %s: %s", path,
                          strerror(-r));
        else
                check_say(check, CHECK_OK, "otad-installer", NULL, "answers: %s",
                          update_state_to_string(state.state));
}

void check_running(Check *check)
{
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        int r = sd_event_new(&event);

        if (r < 0) {
                check_say(check, CHECK_FAIL, "otad", NULL, "cannot be looked for: %s", strerror(-r));
                return;
        }
        check_otad(check, event);
        check_installer(check, event);
}
