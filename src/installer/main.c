/*
 * otad-installer: the process that writes targets, checks signatures, runs hooks and switches slots. No network.
 */
#include <errno.h>
#include <getopt.h>
#include <openssl/crypto.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>

#include "base/cleanup.h"
#include "base/log-event.h"
#include "base/log.h"
#include "config/config.h"
#include "installer.h"
#include "priority.h"

enum { EXIT_FINE = 0, EXIT_FAILED = 1, EXIT_USAGE = 3 };

typedef struct Options {
        const char *config;
        bool check_config;
} Options;

static void print_help(void)
{
        (void)printf("otad-installer [OPTIONS]\n\n"
                     "Writes, verifies, activates and rolls back updates for otad.\n\n"
                     "      --config FILE      configuration (default %s)\n"
                     "      --check-config     check the configuration and the targets, then exit\n"
                     "      --log-level LEVEL  error, warning, notice, info or debug\n"
                     "      --version          print the version\n"
                     "  -h, --help             print this\n\n"
                     "Exit status: 0 fine, 1 failed, 3 usage or configuration.\n",
                     CONFIG_DEFAULT_FILE);
}

/* -1: go on; else the exit status. */
static int parse_options(int argc, char **argv, Options *ret)
{
        enum { OPT_CONFIG = 256, OPT_CHECK_CONFIG, OPT_VERSION, OPT_LOG_LEVEL };
        static const struct option longs[] = {
                {"config", required_argument, NULL, OPT_CONFIG},
                {"check-config", no_argument, NULL, OPT_CHECK_CONFIG},
                {"version", no_argument, NULL, OPT_VERSION},
                {"log-level", required_argument, NULL, OPT_LOG_LEVEL},
                {"help", no_argument, NULL, 'h'},
                {NULL, 0, NULL, 0},
        };
        int c, level;

        *ret = (Options){.config = CONFIG_DEFAULT_FILE};
        while ((c = getopt_long(argc, argv, "h", longs, NULL)) >= 0)
                switch (c) {
                case OPT_CONFIG:
                        ret->config = optarg;
                        break;
                case OPT_CHECK_CONFIG:
                        ret->check_config = true;
                        break;
                case OPT_VERSION:
                        (void)printf("otad-installer %s\n", OTAD_VERSION);
                        return EXIT_FINE;
                case OPT_LOG_LEVEL:
                        level = log_level_from_string(optarg);
                        if (level < 0) {
                                (void)fprintf(stderr,
                                              "--log-level: %s is none of error, warning, notice, info, debug\n",
                                              optarg);
                                return EXIT_USAGE;
                        }
                        log_set_max_level(level);
                        break;
                case 'h':
                        print_help();
                        return EXIT_FINE;
                default:
                        return EXIT_USAGE;
                }
        if (optind < argc) {
                (void)fprintf(stderr, "otad-installer takes no argument, but got %s\n", argv[optind]);
                return EXIT_USAGE;
        }
        return -1;
}

/* SIGTERM and SIGINT end the loop; what is on its way is kept for the next start. */
static int make_event(sd_event **ret)
{
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        sigset_t stop;
        int r;

        (void)sigemptyset(&stop);
        (void)sigaddset(&stop, SIGTERM);
        (void)sigaddset(&stop, SIGINT);
        if (sigprocmask(SIG_BLOCK, &stop, NULL) < 0)
                return -errno;
        (void)signal(SIGPIPE, SIG_IGN);
        (void)signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is an error like others */
        if ((r = sd_event_default(&event)) < 0 || (r = sd_event_add_signal(event, NULL, SIGTERM, NULL, NULL)) < 0 ||
            (r = sd_event_add_signal(event, NULL, SIGINT, NULL, NULL)) < 0 ||
            (r = sd_event_set_watchdog(event, true)) < 0)
                return r;
        *ret = TAKE_PTR(event);
        return 0;
}

/* -1 where systemd gave us none. */
static int take_socket(int *ret)
{
        int n = sd_listen_fds(true);

        if (n < 0)
                return log_error_errno(n, "Cannot take the socket from systemd: %m");
        if (n > 1)
                return log_error_errno(-EINVAL, "systemd gave %d sockets, one is wanted: %m", n);
        *ret = n == 1 ? SD_LISTEN_FDS_START : -1;
        return 0;
}

static int run(const Config *config)
{
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        _cleanup_(installer_freep) Installer *installer = NULL;
        int fd = -1, r;

        r = take_socket(&fd);
        if (r < 0)
                return r;
        r = make_event(&event);
        if (r < 0) {
                close_fd(fd);
                return log_error_errno(r, "Cannot make the event loop: %m");
        }
        r = installer_new(event, config, fd, &installer);
        if (r < 0)
                return log_error_errno(r, "Cannot start: %m");
        r = sd_event_loop(event);
        (void)sd_notify(false, "STOPPING=1");
        if (r < 0)
                return log_error_errno(r, "The event loop ended: %m");
        return 0;
}

int main(int argc, char **argv)
{
        _cleanup_(config_freep) Config *config = NULL;
        _cleanup_free_ char *message = NULL;
        Options options;
        int r;

        /* The words for its errors take memory, and nobody asks for them here. */
        (void)OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CRYPTO_STRINGS, NULL);
        log_open("otad-installer");
        r = parse_options(argc, argv, &options);
        if (r >= 0)
                return r;
        (void)umask(0022);
        r = config_load(options.config, &config, &message);
        if (r < 0) {
                log_event(LOG_EVENT_CONFIG_REFUSED, &(LogFields){.file = options.config}, "%s",
                          message ?: strerror(-r));
                return EXIT_USAGE;
        }
        if (options.check_config)
                return installer_check_targets(config) < 0 ? EXIT_USAGE : EXIT_FINE;
        priority_apply(config);
        return run(config) < 0 ? EXIT_FAILED : EXIT_FINE;
}
