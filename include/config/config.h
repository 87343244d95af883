/*
 * config: the settings of all three programs, out of one file.
 *
 * Every key stands once in a table (src/config/config-table.c): path, kind, range, default, field and one
 * line for a person. Reading, checking, the reference in docs/configuration.md and the allowed values in
 * error messages all come from it. What nobody asked for is an error: an unknown key, a key of another target
 * type, a list with a word twice. Only the programs know a Config; other rooms take small structs of
 * parameters. Source of the format: libconfig manual, "Configuration Files".
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "base/schedule.h"

#define CONFIG_DEFAULT_FILE "/etc/otad/otad.conf"

enum {
        CONFIG_FILE_MAX_BYTES = 256 * 1024,
        CONFIG_WORDS_MAX = 4,
        CONFIG_TARGETS_MAX = 16,
        CONFIG_SLOTS = 2,
        /* A job's filepath beyond this matches nothing, so that matching hostile text stays cheap. */
        CONFIG_FILEPATH_MAX_BYTES = 512,
};

typedef enum ConfigTargetType {
        CONFIG_TARGET_AB,   /* two slots and a boot script; a reboot activates */
        CONFIG_TARGET_FILE, /* one file, replaced by rename */
} ConfigTargetType;

typedef enum ConfigProtocol {
        CONFIG_PROTOCOL_HTTPS,
        CONFIG_PROTOCOL_MQTT,
} ConfigProtocol;

typedef enum ConfigMqttVersion {
        CONFIG_MQTT_5,
        CONFIG_MQTT_3_1_1,
} ConfigMqttVersion;

typedef enum ConfigSigningDates {
        CONFIG_SIGNING_DATES_AUTO, /* a certificate's dates count only when the clock is known to be right */
        CONFIG_SIGNING_DATES_ALWAYS,
} ConfigSigningDates;

typedef enum ConfigMetered {
        CONFIG_METERED_AUTO, /* NetworkManager tells, where it is there */
        CONFIG_METERED_YES,
        CONFIG_METERED_NO,
} ConfigMetered;

typedef enum ConfigIoPriority {
        CONFIG_IO_PRIORITY_NORMAL,
        CONFIG_IO_PRIORITY_LOW,  /* the last of those that share */
        CONFIG_IO_PRIORITY_IDLE, /* only what nobody else wants */
} ConfigIoPriority;

/* 1 to CONFIG_WORDS_MAX different values of one enum, in the file's order. */
typedef struct ConfigWords {
        size_t n;
        int values[CONFIG_WORDS_MAX];
} ConfigWords;

typedef struct ConfigSlot {
        char *name;   /* what the boot script calls it */
        char *device; /* a block device; a regular file in tests */
} ConfigSlot;

typedef struct ConfigTarget {
        char *name;
        ConfigTargetType type;
        char *match; /* see config_match_target() */
        /*
         * Where the version of what is installed here can be read; both NULL: the version rule is not for
         * this target. A target's own `version` if it has one; else the file and key of the device's
         * `version` for type ab, and none for type file, whose new content does not change the version of the
         * device.
         */
        char *version_file;
        char *version_key;
        /* type ab only; else NULL and 0 */
        ConfigSlot *slots;
        size_t n_slots; /* CONFIG_SLOTS */
        char *boot;
        /* type file only; else NULL and 0 */
        char *path;
        mode_t mode;
        char *owner; /* "" means: as the process that writes it */
        char *group;
} ConfigTarget;

/*
 * All strings are owned by the Config, valid UTF-8 without control characters, and never NULL where nothing
 * else is said. Paths are absolute and without "." and ".." parts. Times are in microseconds, whatever the
 * unit in the file.
 */
typedef struct Config {
        char *thing_name; /* also the MQTT client id */
        struct {
                char *endpoint; /* a host name or an IP address, no port */
                uint16_t port;
                char *root_ca;
                char *cert; /* this and the next: a path, or a URI without a PIN in it */
                char *key;
                char *pin_file; /* "": none */
                uint64_t keep_alive_usec;
                uint64_t connect_timeout_usec;
                uint64_t answer_timeout_usec; /* for one answer of the Jobs or the stream service */
                uint64_t backoff_base_usec;
                uint64_t backoff_cap_usec;
                uint64_t stable_usec; /* a connection that lasted so long resets the backoff */
                uint64_t away_usec;
                ConfigMqttVersion mqtt_version;
        } broker;
        struct {
                char *url;              /* as in base/proxy-url.h; may hold a password */
                char *credentials_file; /* "": none */
        } proxy;
        struct {
                bool reject_foreign; /* REJECT jobs that are not OTA jobs; else leave them alone */
                uint64_t refresh_usec;
                unsigned step_timeout_min; /* the unit of stepTimeoutInMinutes */
                uint64_t progress_usec;
                unsigned progress_percent;
        } jobs;
        struct {
                ConfigWords protocols; /* ConfigProtocol, the preferred one first */
                char *https_ca;
                uint32_t block_bytes;
                uint64_t window_bytes;
                bool aws_limits;
                uint64_t stall_usec;
                uint64_t low_speed_bytes; /* per second, over stall_usec */
                unsigned attempts;
                uint64_t give_up_usec;
                uint64_t checkpoint_bytes;
                uint64_t checkpoint_usec;
                bool skip_equal;
        } download;
        struct {
                Schedule download_windows;
                Schedule activate_windows;
                ConfigMetered metered;
                uint64_t metered_max_bytes; /* 0: no bound */
                uint64_t max_bytes_per_sec; /* 0: no bound */
                uint64_t min_free_bytes;    /* the larger of these two counts */
                unsigned min_free_percent;
                ConfigIoPriority io_priority;
                unsigned nice;
        } policy;
        struct {
                bool required;
                char *trust_store;
                ConfigWords algorithms; /* SignatureAlgorithm of base/signature-algorithm.h */
                ConfigSigningDates dates;
        } signing;
        struct {
                char *file;
                char *key;
                bool allow_downgrade;
        } version;
        ConfigTarget *targets; /* 1 to CONFIG_TARGETS_MAX */
        size_t n_targets;
        struct {
                char *script; /* "": no hooks at all, refused where a target is of type ab */
                uint64_t timeout_usec;
                uint64_t retry_usec;
                uint64_t give_up_usec;
        } hook;
        struct {
                uint64_t timeout_usec;
        } boot;
        struct {
                uint64_t timeout_usec;
                unsigned max_boots;
        } selftest;
        struct {
                uint64_t timeout_usec;
        } reboot;
        struct {
                char *peer_user;
                uint64_t idle_exit_usec; /* 0: never */
        } installer;
        struct {
                char *state;
                char *installer_state;
                char *runtime; /* short enough that "installer.sock" in it fits a socket address */
                char *boot_id;
        } paths;
        struct {
                char *bus; /* "system", "user", "none" or a D-Bus address */
        } control;
        struct {
                unsigned warn_days; /* 0: never */
        } certificates;
        struct {
                char *file; /* "": none */
                uint64_t interval_usec;
        } metrics;
        struct {
                bool report;
                char *name; /* not empty where `report` */
        } package;
} Config;

/*
 * Reads a regular file of at most CONFIG_FILE_MAX_BYTES. @include is refused: what counts stands in one file.
 *
 * -EINVAL: the content; the message is "FILE:LINE: key: what is wrong; allowed: values" and tells the first
 * fault only. Another negative errno (-EBADF: not a regular file): it cannot be read; "FILE: why". *ret is the
 * caller's on success, *reterr_message on failure: one line for a person, NULL where even that found no memory.
 */
_must_use_ int config_load(const char *path, Config **ret, char **reterr_message);
/* The same for text in memory, for tests and fuzzers. `name` stands for the file's name in messages. */
_must_use_ int config_parse(const char *text, size_t n_text, const char *name, Config **ret, char **reterr_message);
Config *config_free(Config *config); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(Config *, config_free);

/*
 * The first target, in the file's order, whose `match` fits the job's whole filepath or its last component (what
 * follows the last slash); NULL where none does. Borrowed from the Config.
 *
 * fnmatch() with FNM_PATHNAME: `*`, `?` and brackets never stand for a slash, a backslash takes the next
 * character literally, a leading dot is nothing special. The filepath is hostile text: it is compared and
 * never used as a path.
 */
const ConfigTarget *config_match_target(const Config *config, const char *filepath);

/* Prints every key with kind, allowed values, default and meaning, as Markdown. -EIO where `file` cannot be
 * written. */
_must_use_ int config_describe(FILE *file);
