/*
 * otad: the process that talks to AWS IoT. See docs/architecture.md.
 */
#include <errno.h>
#include <getopt.h>
#include <openssl/crypto.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>

#include "agent/agent.h"
#include "base/log-event.h"
#include "base/log.h"
#include "config/config.h"
#include "transport/identity-probe.h"

typedef struct Options {
        const char *config_path;
        bool check_config;
        bool describe_config;
} Options;

static const char help[] = "Usage: otad [OPTION...]\n"
                           "Updates this device over the air, by jobs of AWS IoT Core.\n"
                           "\n"
                           "  --config FILE       settings; default " CONFIG_DEFAULT_FILE "\n"
                           "  --check-config      read the settings, say what is wrong with them, and exit\n"
                           "  --describe-config   print every setting as a table in Markdown, and exit\n"
                           "  --log-level LEVEL   error, warning, notice, info (default) or debug\n"
                           "  --version           print the version, and exit\n"
                           "  --help              print this, and exit\n";

/* 1: go on. 0: done. -EINVAL: a wrong option, already told. */
static int parse_options(int argc, char *argv[], Options *options)
{
        static const struct option long_options[] = {
                {"config", required_argument, NULL, 'c'},
                {"check-config", no_argument, NULL, 'k'},
                {"describe-config", no_argument, NULL, 'd'},
                {"log-level", required_argument, NULL, 'l'},
                {"version", no_argument, NULL, 'V'},
                {"help", no_argument, NULL, 'h'},
                {0},
        };
        int option, level;

        while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1)
                switch (option) {
                case 'c':
                        options->config_path = optarg;
                        break;
                case 'k':
                        options->check_config = true;
                        break;
                case 'd':
                        options->describe_config = true;
                        break;
                case 'l':
                        level = log_level_from_string(optarg);
                        if (level < 0) {
                                fprintf(stderr,
                                        "otad: --log-level %s: not one of error, warning, notice, info, debug\n",
                                        optarg);
                                return -EINVAL;
                        }
                        log_set_max_level(level);
                        break;
                case 'V':
                        puts("otad " OTAD_VERSION);
                        return 0;
                case 'h':
                        fputs(help, stdout);
                        return 0;
                default:
                        return -EINVAL;
                }
        if (optind < argc) {
                fprintf(stderr, "otad: unknown argument '%s', see --help\n", argv[optind]);
                return -EINVAL;
        }
        return 1;
}

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
        Agent **agent = userdata;

        log_info("Stopping on signal %s", sigabbrev_np((int)info->ssi_signo));
        agent_stop(*agent);
        return 0;
}

static int run(const Config *config)
{
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        _cleanup_(agent_freep) Agent *agent = NULL;
        sigset_t signals;
        int r;

        /* SIGXFSZ: a file that may not grow is an error like others. */
        if (signal(SIGPIPE, SIG_IGN) == SIG_ERR || signal(SIGXFSZ, SIG_IGN) == SIG_ERR || sigemptyset(&signals) < 0 ||
            sigaddset(&signals, SIGTERM) < 0 || sigaddset(&signals, SIGINT) < 0 ||
            sigprocmask(SIG_BLOCK, &signals, NULL) < 0)
                return log_error_errno(-errno, "Cannot prepare for signals: %m");
        r = sd_event_default(&event);
        if (r >= 0)
                r = sd_event_set_watchdog(event, true);
        if (r >= 0)
                r = sd_event_add_signal(event, NULL, SIGTERM, on_signal, &agent);
        if (r >= 0)
                r = sd_event_add_signal(event, NULL, SIGINT, on_signal, &agent);
        if (r < 0)
                return log_error_errno(r, "Cannot make an event loop: %m");
        r = agent_new(event, config, &agent);
        if (r < 0)
                return r;
        (void)sd_notify(false, "READY=1");
        r = sd_event_loop(event);
        return r < 0 ? log_error_errno(r, "The event loop failed: %m") : r;
}

int main(int argc, char *argv[])
{
        Options options = {.config_path = CONFIG_DEFAULT_FILE};
        _cleanup_(config_freep) Config *config = NULL;
        _cleanup_free_ char *message = NULL;
        int r;

        r = identity_probe_main(argc, argv);
        if (r >= 0)
                return r;
        (void)OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CRYPTO_STRINGS, NULL); /* see transport/openssl-reason.h */
        log_open("otad");
        umask(0027);
        r = parse_options(argc, argv, &options);
        if (r <= 0)
                return r < 0 ? 3 : 0;
        if (options.describe_config)
                return config_describe(stdout) < 0;
        r = config_load(options.config_path, &config, &message);
        if (r < 0) {
                log_event(LOG_EVENT_CONFIG_REFUSED, &(LogFields){.file = options.config_path}, "%s",
                          message ? message : strerror(-r));
                return 3;
        }
        if (options.check_config) {
                printf("%s: fine\n", options.config_path);
                return 0;
        }
        return run(config) < 0;
}
