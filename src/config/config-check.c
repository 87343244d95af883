#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "base/time-util.h"
#include "config-read.h"

/* The socket's name in paths.runtime, as long as it may be. */
#define SOCKET_NAME "/installer.sock"

/* A text that two targets, or two slots of one, must not share. */
typedef struct Claim {
        const char *text; /* NULL: the target has none */
        char path[CONFIG_PATH_MAX];
} Claim;

static int check_not_less(ConfigReader *reader, const char *path, uint64_t usec, const char *than, uint64_t than_usec)
{
        if (usec >= than_usec)
                return 0;
        return config_complain(reader, path, "is shorter than %s; allowed: at least as long", than);
}

/* Whoever may write in a folder may put something else in place of what lies below it. */
static bool is_same_or_inside(const char *path, const char *folder)
{
        size_t n = strlen(folder);

        return strncmp(path, folder, n) == 0 && (path[n] == 0 || path[n] == '/');
}

static int check_paths(ConfigReader *reader, const Config *config)
{
        const struct {
                const char *path;
                const char *folder;
        } folders[] = {
                {"paths.state", config->paths.state},
                {"paths.installer-state", config->paths.installer_state},
                {"paths.runtime", config->paths.runtime},
        };
        size_t most = sizeof(((struct sockaddr_un *)NULL)->sun_path) - sizeof(SOCKET_NAME);

        for (size_t i = 0; i < ELEMENTSOF(folders); i++)
                for (size_t k = 0; k < ELEMENTSOF(folders); k++)
                        if (i != k && is_same_or_inside(folders[i].folder, folders[k].folder))
                                return config_complain(reader, folders[i].path,
                                                       "is the same as %s or inside it; allowed: a folder apart",
                                                       folders[k].path);
        if (strlen(config->paths.runtime) > most)
                return config_complain(reader, "paths.runtime",
                                       "is too long for the name of a socket in it; allowed: at most %zu bytes",
                                       most);
        return 0;
}

static int check_claims(ConfigReader *reader, const Claim *claims, size_t n_claims)
{
        for (size_t i = 1; i < n_claims; i++)
                for (size_t k = 0; k < i; k++)
                        if (claims[i].text && claims[k].text && strcmp(claims[i].text, claims[k].text) == 0)
                                return config_complain(reader, claims[i].path,
                                                       "\"%s\" is that of %s already; allowed: another",
                                                       claims[i].text, claims[k].path);
        return 0;
}

static int check_slot_names(ConfigReader *reader, const ConfigTarget *target, size_t index)
{
        Claim claims[CONFIG_SLOTS] = {};

        for (size_t i = 0; i < target->n_slots; i++) {
                claims[i].text = target->slots[i].name;
                config_path_format(claims[i].path, "targets[%zu].slots[%zu].name", index, i);
        }
        return check_claims(reader, claims, target->n_slots);
}

static void claim(Claim *claim, const char *text, size_t index, const char *key)
{
        claim->text = text;
        config_path_format(claim->path, "targets[%zu].%s", index, key);
}

static int check_distinct_targets(ConfigReader *reader, const Config *config)
{
        Claim names[CONFIG_TARGETS_MAX] = {}, matches[CONFIG_TARGETS_MAX] = {};
        /* Two targets that write in one place would undo each other. */
        Claim places[CONFIG_TARGETS_MAX * (CONFIG_SLOTS + 1)] = {};
        size_t n_places = 0;
        int r;

        for (size_t i = 0; i < config->n_targets; i++) {
                const ConfigTarget *target = &config->targets[i];

                claim(&names[i], target->name, i, "name");
                claim(&matches[i], target->match, i, "match");
                claim(&places[n_places++], target->path, i, "path");
                for (size_t k = 0; k < target->n_slots; k++)
                        claim(&places[n_places++], target->slots[k].device, i,
                              k == 0 ? "slots[0].device" : "slots[1].device");
        }
        r = check_claims(reader, names, config->n_targets);
        if (r == 0)
                r = check_claims(reader, matches, config->n_targets);
        return r < 0 ? r : check_claims(reader, places, n_places);
}

static int check_target(ConfigReader *reader, const Config *config, size_t index)
{
        const ConfigTarget *target = &config->targets[index];
        char path[CONFIG_PATH_MAX];

        config_path_format(path, "targets[%zu].version.%s", index, target->version_file ? "key" : "file");
        if (!target->version_file != !target->version_key)
                return config_complain(reader, path, "missing; allowed: both version.file and version.key, or none");
        if (target->type == CONFIG_TARGET_AB && !config->hook.script[0])
                return config_complain(reader, "hook.script",
                                       "is empty, but target \"%s\" of type \"ab\" needs its reboot stage; "
                                       "allowed: an absolute path",
                                       target->name);
        return check_slot_names(reader, target, index);
}

/* A device's version is that of its A/B system; see version_file in config/config.h. */
static int inherit_version(const Config *config, ConfigTarget *target)
{
        if (target->type != CONFIG_TARGET_AB || target->version_file)
                return 0;
        target->version_file = strdup(config->version.file);
        target->version_key = strdup(config->version.key);
        return target->version_file && target->version_key ? 0 : -ENOMEM;
}

/* What the bound makes of a download must not look like one that has stalled. */
static int check_bound(ConfigReader *reader, const Config *config)
{
        uint64_t bound = config->policy.max_bytes_per_sec, most = 2 * config->download.low_speed_bytes;
        uint64_t stall_sec = config->download.stall_usec / USEC_PER_SEC;

        most = MAX2(most, UINT64_C(2) * config->download.block_bytes / stall_sec + 1);
        if (bound == 0 || bound >= most)
                return 0;
        return config_complain(
                reader, "policy.max-bytes-per-sec",
                "is too little for download.low-speed-bytes, or for one of download.block-bytes in half "
                "of download.stall-sec; allowed: 0, or at least %" PRIu64,
                most);
}

int config_check(ConfigReader *reader, Config *config)
{
        int r;

        r = check_not_less(reader, "broker.backoff-cap-sec", config->broker.backoff_cap_usec,
                           "broker.backoff-base-msec", config->broker.backoff_base_usec);
        if (r == 0 && config->hook.give_up_usec > 0)
                r = check_not_less(reader, "hook.give-up-sec", config->hook.give_up_usec, "hook.retry-sec",
                                   config->hook.retry_usec);
        if (r == 0 && config->proxy.credentials_file[0] && strcmp(config->proxy.url, "none") == 0)
                r = config_complain(reader, "proxy.credentials-file",
                                    "is set, but proxy.url is none; allowed: both, or neither");
        if (r == 0)
                r = check_bound(reader, config);
        if (r == 0)
                r = check_paths(reader, config);
        if (r == 0 && config->package.report && !config->package.name[0])
                r = config_complain(
                        reader, "package.name",
                        "is empty, but package.report is true; allowed: 1 to 128 letters, digits, '.', '_' and "
                        "'-'");
        for (size_t i = 0; r == 0 && i < config->n_targets; i++)
                r = check_target(reader, config, i);
        if (r == 0)
                r = check_distinct_targets(reader, config);
        for (size_t i = 0; r == 0 && i < config->n_targets; i++)
                r = inherit_version(config, &config->targets[i]);
        return r;
}
