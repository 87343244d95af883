/*
 * otactl: what a person types to see and steer otad.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "agent/control.h"
#include "base/log.h"
#include "command.h"
#include "transport/identity-probe.h"

/* What a command takes beside the options of all. */
enum {
        TAKES_JSON = 1 << 0,
        TAKES_UNTIL_DONE = 1 << 1,
        TAKES_REASON = 1 << 2,
        NEEDS_CONFIG = 1 << 3,
        NEEDS_FILE = 1 << 4,
        TAKES_TARGET = 1 << 5,
        NEEDS_TARGET = 1 << 6 | TAKES_TARGET,
        TAKES_SIGNATURE = 1 << 7, /* and the certificate's name */
        TAKES_REBOOT = 1 << 8,
};

typedef struct Command {
        const char *name;
        int (*run)(const Options *options);
        unsigned takes;
        const char *help;
} Command;

static const Command commands[] = {
        {"status", command_status, TAKES_JSON, "status [--json]         what otad does, and what it does next"},
        {"watch", command_watch, TAKES_UNTIL_DONE,
         "watch [--until-done]    the same, live, until ^C or the end of an update"},
        {"check", command_check, NEEDS_CONFIG,
         "check                   looks for what would keep an update from working"},
        {"install", command_install, NEEDS_CONFIG | NEEDS_FILE | NEEDS_TARGET | TAKES_SIGNATURE | TAKES_REBOOT,
         "install FILE --target NAME --signature FILE --cert NAME [--reboot]\n"
         "                          installs a file of this machine, without any cloud"},
        {"verify", command_verify, NEEDS_CONFIG | NEEDS_FILE | TAKES_SIGNATURE,
         "verify FILE --signature FILE --cert NAME\n"
         "                          would it be installed, as far as its signature goes?"},
        {"suspend", command_suspend, 0, "suspend                 puts updates off"},
        {"resume", command_resume, 0, "resume                  lets them go on"},
        {"cancel", command_cancel, TAKES_REASON,
         "cancel [REASON]         ends the update at hand: abandoned, or rolled back"},
        {"rollback", command_rollback, NEEDS_CONFIG | TAKES_TARGET | TAKES_REBOOT,
         "rollback [--target NAME] [--reboot]\n"
         "                          goes back to the software before, on trial or committed"},
        {"history", command_history, TAKES_JSON, "history [--json]        how earlier updates ended"},
        {"stats", command_stats, TAKES_JSON, "stats [--json]          what otad has fetched since it started"},
};

static void print_help(FILE *file)
{
        fputs("otactl [OPTIONS] COMMAND\n\nCommands:\n", file);
        for (size_t i = 0; i < ELEMENTSOF(commands); i++)
                fprintf(file, "  %s\n", commands[i].help);
        fputs("\nOptions:\n"
              "  --config FILE           " CONFIG_DEFAULT_FILE " is the default\n"
              "  --socket PATH           otad's socket; " DEFAULT_RUNTIME_DIR "/" CONTROL_SOCKET_NAME
              " where the configuration says nothing else\n"
              "  --target NAME           which of the targets in the configuration\n"
              "  --signature FILE        of the file: DER, or base64 of it; none only if signing.required is false\n"
              "  --cert NAME             who signed it: a name in the trust store\n"
              "  --reboot                let the reboot hook restart the machine where that is due\n"
              "  --json, --until-done    see the commands\n"
              "  --help, --version\n"
              "\nExit status: 0 fine, 1 failed, 2 nothing to do, 3 usage or configuration, 4 reboot needed\n",
              file);
}

static int usage(const char *what, const char *word)
{
        fprintf(stderr, "otactl: %s%s%s; otactl --help lists what there is\n", what, word[0] ? ": " : "", word);
        return EXIT_USAGE;
}

static const Command *find_command(const char *name)
{
        for (size_t i = 0; i < ELEMENTSOF(commands); i++)
                if (strcmp(commands[i].name, name) == 0)
                        return &commands[i];
        return NULL;
}

/* Who only asks otad needs no configuration; and may not be allowed to read it. */
static int load_config(const Command *command, bool named, Options *options)
{
        _cleanup_free_ char *message = NULL;
        int r = config_load(options->config_path, &options->config, &message);

        if (r >= 0)
                return 0;
        if (command->takes & NEEDS_CONFIG) {
                if (command->run == command_check)
                        printf("FAIL  configuration: %s\n", message ?: strerror(-r));
                else
                        log_error("%s", message ?: strerror(-r));
                return EXIT_USAGE;
        }
        if (named) {
                log_error("%s", message ?: strerror(-r));
                return EXIT_USAGE;
        }
        if (r != -ENOENT && r != -EACCES)
                log_warning("%s; going on without", message ?: strerror(-r));
        return 0;
}

static int check_taken(const Command *command, const Options *options)
{
        const struct {
                const char *name;
                bool given;
                unsigned takes;
        } all[] = {
                {"--json is not for", options->json, TAKES_JSON},
                {"--until-done is not for", options->until_done, TAKES_UNTIL_DONE},
                {"--target is not for", options->target != NULL, TAKES_TARGET},
                {"--signature is not for", options->signature != NULL, TAKES_SIGNATURE},
                {"--cert is not for", options->cert != NULL, TAKES_SIGNATURE},
                {"--reboot is not for", options->reboot, TAKES_REBOOT},
        };

        for (size_t i = 0; i < ELEMENTSOF(all); i++)
                if (all[i].given && !(command->takes & all[i].takes))
                        return usage(all[i].name, command->name);
        return 0;
}

static int check_arguments(const Command *command, const Options *options, int n_rest)
{
        int r = check_taken(command, options);

        if (r != 0)
                return r;
        if ((command->takes & NEEDS_FILE) && n_rest == 0)
                return usage("a file is needed for", command->name);
        if (n_rest > (command->takes & (TAKES_REASON | NEEDS_FILE) ? 1 : 0))
                return usage("too many arguments for", command->name);
        if ((command->takes & TAKES_REASON) && strlen(options->argument) > CONTROL_WHY_MAX)
                return usage("the reason is too long", "");
        if ((command->takes & NEEDS_TARGET) == NEEDS_TARGET && !options->target)
                return usage("--target is needed for", command->name);
        if (options->signature && !options->cert)
                return usage("--signature wants a --cert beside it", "");
        if (options->cert && !options->signature)
                return usage("--cert wants a --signature beside it", "");
        return 0;
}

static int run(Options *options, char **words, int n_words, bool config_named)
{
        const Command *command;
        int r;

        if (n_words == 0) {
                print_help(stderr);
                return EXIT_USAGE;
        }
        command = find_command(words[0]);
        if (!command)
                return usage("no such command", words[0]);
        options->argument = n_words > 1 ? words[1] : "";
        r = check_arguments(command, options, n_words - 1);
        if (r == 0)
                r = load_config(command, config_named, options);
        if (r == 0)
                r = command->run(options);
        config_free(options->config);
        return r;
}

int main(int argc, char *argv[])
{
        enum {
                OPTION_CONFIG = 256,
                OPTION_SOCKET,
                OPTION_JSON,
                OPTION_UNTIL_DONE,
                OPTION_TARGET,
                OPTION_SIGNATURE,
                OPTION_CERT,
                OPTION_REBOOT,
                OPTION_HELP,
                OPTION_VERSION,
        };
        static const struct option long_options[] = {
                {"config", required_argument, NULL, OPTION_CONFIG},
                {"socket", required_argument, NULL, OPTION_SOCKET},
                {"json", no_argument, NULL, OPTION_JSON},
                {"until-done", no_argument, NULL, OPTION_UNTIL_DONE},
                {"target", required_argument, NULL, OPTION_TARGET},
                {"signature", required_argument, NULL, OPTION_SIGNATURE},
                {"cert", required_argument, NULL, OPTION_CERT},
                {"reboot", no_argument, NULL, OPTION_REBOOT},
                {"help", no_argument, NULL, OPTION_HELP},
                {"version", no_argument, NULL, OPTION_VERSION},
                {NULL, 0, NULL, 0},
        };
        Options options = {.config_path = CONFIG_DEFAULT_FILE};
        bool config_named = false;
        int c = identity_probe_main(argc, argv);

        if (c >= 0)
                return c;
        log_open("otactl");
        log_set_max_level(LOG_NOTICE);
        while ((c = getopt_long(argc, argv, "h", long_options, NULL)) >= 0) {
                switch (c) {
                case OPTION_CONFIG:
                        options.config_path = optarg;
                        config_named = true;
                        break;
                case OPTION_SOCKET:
                        options.socket_path = optarg;
                        break;
                case OPTION_JSON:
                        options.json = true;
                        break;
                case OPTION_UNTIL_DONE:
                        options.until_done = true;
                        break;
                case OPTION_TARGET:
                        options.target = optarg;
                        break;
                case OPTION_SIGNATURE:
                        options.signature = optarg;
                        break;
                case OPTION_CERT:
                        options.cert = optarg;
                        break;
                case OPTION_REBOOT:
                        options.reboot = true;
                        break;
                case OPTION_HELP:
                case 'h':
                        print_help(stdout);
                        return EXIT_FINE;
                case OPTION_VERSION:
                        puts("otactl " OTAD_VERSION);
                        return EXIT_FINE;
                default: /* getopt has said what */
                        return EXIT_USAGE;
                }
        }
        return run(&options, argv + optind, argc - optind, config_named);
}
