#include "config-table.h"

#include "base/proxy-url.h"
#include "base/signature-algorithm.h"
#include "config-text.h"

static const ConfigWord protocol_words[] = {
        {"https", CONFIG_PROTOCOL_HTTPS},
        {"mqtt", CONFIG_PROTOCOL_MQTT},
        {},
};
static const ConfigWord mqtt_version_words[] = {
        {"5", CONFIG_MQTT_5},
        {"3.1.1", CONFIG_MQTT_3_1_1},
        {},
};
static const ConfigWord algorithm_words[] = {
        {"sha256-ecdsa", SIGNATURE_ALGORITHM_SHA256_ECDSA},
        {"sha256-rsa", SIGNATURE_ALGORITHM_SHA256_RSA},
        {"sha1-ecdsa", SIGNATURE_ALGORITHM_SHA1_ECDSA},
        {"sha1-rsa", SIGNATURE_ALGORITHM_SHA1_RSA},
        {},
};
static const ConfigWord metered_words[] = {
        {"auto", CONFIG_METERED_AUTO},
        {"yes", CONFIG_METERED_YES},
        {"no", CONFIG_METERED_NO},
        {},
};
static const ConfigWord io_priority_words[] = {
        {"normal", CONFIG_IO_PRIORITY_NORMAL},
        {"low", CONFIG_IO_PRIORITY_LOW},
        {"idle", CONFIG_IO_PRIORITY_IDLE},
        {},
};
static const ConfigWord dates_words[] = {
        {"auto", CONFIG_SIGNING_DATES_AUTO},
        {"always", CONFIG_SIGNING_DATES_ALWAYS},
        {},
};
static const ConfigWord target_type_words[] = {
        {"ab", CONFIG_TARGET_AB},
        {"file", CONFIG_TARGET_FILE},
        {},
};

/* Texts several keys share. */
#define ALLOWED_NAME     "1 to 64 letters, digits, '.', '_' and '-', the first a letter or a digit"
#define ALLOWED_VARIABLE "1 to 64 letters, digits and '_', the first no digit"
#define ALLOWED_IDENTITY \
        "an absolute path, or a URI of lower-case scheme such as \"pkcs11:token=T;object=O\", without pin-value"
#define ALLOWED_USER "1 to 32 letters, digits, '.', '_' and '-', the first no '.' or '-'"

/* One row: where it goes and, after the macro, what is particular to it. */
#define FIELD(type, member)       .offset = offsetof(type, member), .size = sizeof(((type *)NULL)->member)
#define BOOL(name, member, value) .path = name, .kind = CONFIG_KIND_BOOL, FIELD(Config, member), .fallback = value
#define NUMBER(name, unit, member, least, greatest, value)                                              \
        .path = name, .kind = CONFIG_KIND_##unit, FIELD(Config, member), .min = least, .max = greatest, \
        .fallback = value
#define TEXT(name, type, member, greatest, check, words)                                                   \
        .path = name, .kind = CONFIG_KIND_TEXT, FIELD(type, member), .max = greatest, .is_allowed = check, \
        .allowed = words
#define PATH(name, type, member)       .path = name, .kind = CONFIG_KIND_PATH, FIELD(type, member), .max = 1023
#define WORD(name, type, member, list) .path = name, .kind = CONFIG_KIND_WORD, FIELD(type, member), .words = list
#define WORDS(name, member, list)      .path = name, .kind = CONFIG_KIND_WORDS, FIELD(Config, member), .words = list
#define WINDOWS(name, member)          .path = name, .kind = CONFIG_KIND_WINDOWS, FIELD(Config, member), .fallback = ""
#define LIST(name, type, member, n_member, least, greatest, elements)             \
        .path = name, .kind = CONFIG_KIND_LIST, .offset = offsetof(type, member), \
        .n_offset = offsetof(type, n_member), .min = least, .max = greatest, .table = elements

/* Rows keep the layout that shows them as rows. */
/* clang-format off */
static const ConfigKey slot_keys[] = {
        {TEXT("name", ConfigSlot, name, 64, config_text_is_name, ALLOWED_NAME), .required = true,
         .doc = "What the boot script calls the slot."},
        {PATH("device", ConfigSlot, device), .required = true,
         .doc = "The slot's block device; a link is followed. A regular file of the slot's size serves tests."},
};
static const ConfigTable slot_table = {"targets[].slots[]", slot_keys, ELEMENTSOF(slot_keys), sizeof(ConfigSlot)};

static const ConfigKey target_keys[] = {
        {TEXT("name", ConfigTarget, name, 64, config_text_is_name, ALLOWED_NAME), .required = true,
         .doc = "What commands, the journal and the installer call the target. Different for each."},
        {WORD("type", ConfigTarget, type, target_type_words), .required = true,
         .doc = "`ab`: two slots, the one not running is written, a reboot activates. `file`: one file, replaced "
                "by rename."},
        {TEXT("match", ConfigTarget, match, 128, config_text_is_pattern,
              "a shell pattern of 1 to 128 bytes with at most three '*'"),
         .required = true,
         .doc = "The job's files for this target: a pattern against the filepath in the job or its last part. "
                "The first target that matches gets the file. `*` and `?` do not match a slash."},
        {LIST("slots", ConfigTarget, slots, n_slots, CONFIG_SLOTS, CONFIG_SLOTS, &slot_table), .required = true,
         .only_for = "ab", .doc = "The two slots, with different names and devices."},
        {PATH("boot", ConfigTarget, boot), .required = true, .only_for = "ab",
         .doc = "The script that reads and sets the boot loader's choice of slot."},
        {PATH("path", ConfigTarget, path), .required = true, .only_for = "file",
         .doc = "The file that is replaced."},
        {.path = "mode", .kind = CONFIG_KIND_MODE, FIELD(ConfigTarget, mode), .required = true,
         .only_for = "file", .doc = "The new file's permission bits. Set-user-ID needs RestrictSUIDSGID=no in a drop-in of "
                "otad-installer.service."},
        {TEXT("owner", ConfigTarget, owner, 32, config_text_is_user_or_empty, ALLOWED_USER ", or empty"),
         .fallback = "", .only_for = "file",
         .doc = "The new file's owner, by name. Empty: the user the installer runs as."},
        {TEXT("group", ConfigTarget, group, 32, config_text_is_user_or_empty, ALLOWED_USER ", or empty"),
         .fallback = "", .only_for = "file",
         .doc = "The new file's group, by name. Empty: the group the installer runs as."},
        {PATH("version.file", ConfigTarget, version_file),
         .doc = "Where this target's own version stands, as in `version.file` of the device. Without it, type `ab` "
                "uses the device's, and for type `file` no version is compared."},
        {TEXT("version.key", ConfigTarget, version_key, 64, config_text_is_variable, ALLOWED_VARIABLE),
         .doc = "The variable in that file. Goes with `version.file`."},
};
static const ConfigTable target_table = {"targets[]", target_keys, ELEMENTSOF(target_keys), sizeof(ConfigTarget)};

static const ConfigKey root_keys[] = {
        {TEXT("thing-name", Config, thing_name, 128, config_text_is_thing_name,
              "1 to 128 letters, digits, ':', '_' and '-'"),
         .required = true, .doc = "The thing's name in AWS IoT; also the MQTT client id."},

        {TEXT("broker.endpoint", Config, broker.endpoint, 253, config_text_is_host,
              "a host name or an IP address, without port"),
         .required = true, .doc = "The account's data endpoint (`iot:Data-ATS`)."},
        {NUMBER("broker.port", NUMBER, broker.port, 1, 65535, "8883"),
         .doc = "8883, or 443, which implies the ALPN protocol `x-amzn-mqtt-ca`."},
        {PATH("broker.root-ca", Config, broker.root_ca), .fallback = "/etc/otad/tls/root-ca.pem",
         .doc = "The certificates the broker's own may be issued by."},
        {TEXT("broker.cert", Config, broker.cert, 1023, config_text_is_identity, ALLOWED_IDENTITY),
         .fallback = "/etc/otad/tls/device.pem.crt", .may_hold_secret = true, .doc = "The device's certificate."},
        {TEXT("broker.key", Config, broker.key, 1023, config_text_is_identity, ALLOWED_IDENTITY),
         .fallback = "/etc/otad/tls/device.pem.key", .may_hold_secret = true,
         .doc = "The private key to it: a file that only root and group otad may read, or a key on a token or TPM."},
        {PATH("broker.pin-file", Config, broker.pin_file), .fallback = "", .may_be_empty = true,
         .doc = "The token's PIN, or the key file's passphrase, in one line; as unreadable as the key. Empty: none."},
        {NUMBER("broker.keep-alive-sec", SECONDS, broker.keep_alive_usec, 5, 1200, "60"),
         .doc = "MQTT keep-alive. AWS IoT Core takes less than 30 as 30; a VPC endpoint allows 230 at most."},
        {NUMBER("broker.connect-timeout-sec", SECONDS, broker.connect_timeout_usec, 1, 300, "30"),
         .doc = "For one try to connect, from the name look-up to the broker's answer."},
        {NUMBER("broker.answer-timeout-sec", SECONDS, broker.answer_timeout_usec, 1, 300, "15"),
         .doc = "For one answer of the broker's services; then the question is asked again."},
        {NUMBER("broker.backoff-base-msec", MILLISECONDS, broker.backoff_base_usec, 10, 60000, "500"),
         .doc = "The ceiling of the random wait after the first failed try; it doubles with each."},
        {NUMBER("broker.backoff-cap-sec", SECONDS, broker.backoff_cap_usec, 1, 86400, "300"),
         .doc = "The ceiling of that ceiling."},
        {NUMBER("broker.stable-sec", SECONDS, broker.stable_usec, 1, 86400, "60"),
         .doc = "A connection that lasted so long makes the failures before it forgotten."},
        {NUMBER("broker.away-sec", SECONDS, broker.away_usec, 1, 2592000, "900"),
         .doc = "Without the broker for so long, the journal is told so as an error, once."},
        {WORD("broker.mqtt-version", Config, broker.mqtt_version, mqtt_version_words), .fallback = "5",
         .doc = "The MQTT version spoken. 5 tells why a broker closes a connection."},

        {TEXT("proxy.url", Config, proxy.url, 1023, config_text_is_proxy, PROXY_URL_ALLOWED), .fallback = "none",
         .may_hold_secret = true,
         .doc = "The proxy that broker and image store are reached by, both, and nothing goes past it. `none`: directly; the "
                "environment is not asked."},
        {PATH("proxy.credentials-file", Config, proxy.credentials_file), .fallback = "", .may_be_empty = true,
         .doc = "A file with USER:PASSWORD for it in one line, as unreadable as `broker.key`. Empty: those of the URL, or "
                "none."},

        {BOOL("jobs.reject-foreign", jobs.reject_foreign, "false"),
         .doc = "Reject jobs that are not OTA updates. Else they are left for another agent."},
        {NUMBER("jobs.refresh-sec", SECONDS, jobs.refresh_usec, 10, 86400, "3600"),
         .doc = "How often to ask for the next job though no notification came."},
        {NUMBER("jobs.step-timeout-min", NUMBER, jobs.step_timeout_min, 1, 10080, "60"),
         .doc = "The step timer sent with each status, in minutes: without a further one for so long the cloud "
                "takes the job for timed out."},
        {NUMBER("jobs.progress-sec", SECONDS, jobs.progress_usec, 1, 86400, "30"),
         .doc = "At least so much time between two reports of progress."},
        {NUMBER("jobs.progress-percent", NUMBER, jobs.progress_percent, 1, 100, "10"),
         .doc = "At least so much progress between two reports of it."},

        {WORDS("download.protocols", download.protocols, protocol_words), .fallback = "https mqtt",
         .doc = "What to fetch images with, the preferred one first, among what a job offers."},
        {PATH("download.https-ca", Config, download.https_ca), .fallback = "/etc/ssl/certs/ca-certificates.crt",
         .doc = "The certificates an image server's own may be issued by."},
        {NUMBER("download.block-bytes", BYTES, download.block_bytes, 256, 65536, "32768"),
         .doc = "The block size asked for in MQTT streams."},
        {NUMBER("download.window-bytes", BYTES, download.window_bytes, 131072, 67108864, "2097152"),
         .doc = "How much of an MQTT stream may be kept in memory; half of it is asked for at a time."},
        {BOOL("download.aws-limits", download.aws_limits, "true"),
         .doc = "Keep MQTT streams within the quotas of AWS IoT Core. Other brokers may go faster without."},
        {NUMBER("download.stall-sec", SECONDS, download.stall_usec, 1, 3600, "60"),
         .doc = "A download slower than `download.low-speed-bytes` for so long is broken off and tried again."},
        {NUMBER("download.low-speed-bytes", BYTES, download.low_speed_bytes, 1, 1048576, "100"),
         .doc = "Bytes per second below which a download counts as stalled."},
        {NUMBER("download.attempts", NUMBER, download.attempts, 1, 1000, "5"),
         .doc = "Tries in a row without a new byte before the other protocol is tried and, once none is left, before "
                "`download.give-up-sec` decides."},
        {NUMBER("download.give-up-sec", SECONDS, download.give_up_usec, 0, 2592000, "3600"),
         .doc = "When no protocol is left and no new byte has come for so long, the download has failed; until then it is "
                "tried again, a minute apart at most. What trying again cannot mend ends it at once. 0: the tries alone "
                "decide."},
        {NUMBER("download.checkpoint-bytes", BYTES, download.checkpoint_bytes, 1048576, 1073741824, "16777216"),
         .doc = "What was written is made durable after so much of it; so much is fetched again after a power cut."},
        {NUMBER("download.checkpoint-msec", MILLISECONDS, download.checkpoint_usec, 0, 60000, "0"),
         .doc = "But not more often than this: a link that brings more in this time goes on faster, and fetches more again "
                "after a power cut."},
        {BOOL("download.skip-equal", download.skip_equal, "false"),
         .doc = "Read what lies on a target first, and do not write again what is right already: spares flash where images "
                "are much alike, and costs reading it."},

        {WINDOWS("policy.download-windows", policy.download_windows),
         .doc = "When images may be fetched, by local time. Empty: at any time."},
        {WINDOWS("policy.activate-windows", policy.activate_windows),
         .doc = "When new software may be activated and the machine rebooted for it. Empty: at any time."},
        {NUMBER("policy.metered-max-bytes", BYTES, policy.metered_max_bytes, 0, 1099511627776, "0"),
         .doc = "A job of more bytes waits while the connection is metered. 0: no bound."},
        {WORD("policy.metered", Config, policy.metered, metered_words), .fallback = "auto",
         .doc = "Whether it is. `auto`: as NetworkManager tells on the bus of `control.bus`; no, where it is not there."},
        {NUMBER("policy.max-bytes-per-sec", BYTES, policy.max_bytes_per_sec, 0, 1099511627776, "0"),
         .doc = "The most that is fetched in a second, by HTTPS or MQTT stream. 0: no bound."},
        {NUMBER("policy.min-free-bytes", BYTES, policy.min_free_bytes, 0, 1099511627776, "0"),
         .doc = "An update must leave so much of the file systems of its `file` targets and of `paths.installer-state`."},
        {NUMBER("policy.min-free-percent", NUMBER, policy.min_free_percent, 0, 90, "0"),
         .doc = "The same in percent of the file system; the larger of the two counts."},
        {WORD("policy.io-priority", Config, policy.io_priority, io_priority_words), .fallback = "normal",
         .doc = "How the installer and its hooks share storage with the rest. `low`: after all others. `idle`: only when "
                "nobody else wants it, which may be never."},
        {NUMBER("policy.nice", NUMBER, policy.nice, 0, 19, "0"),
         .doc = "The nice value of the installer and its hooks: the higher, the more processor time others get."},

        {BOOL("signing.required", signing.required, "true"),
         .doc = "Refuse images without a signature. A signature that is there is always checked."},
        {PATH("signing.trust-store", Config, signing.trust_store), .fallback = "/etc/otad/trust",
         .doc = "The folder with the certificates that may sign code, and those that may issue such."},
        {WORDS("signing.algorithms", signing.algorithms, algorithm_words), .fallback = "sha256-ecdsa sha256-rsa",
         .doc = "The signature algorithms accepted."},
        {WORD("signing.dates", Config, signing.dates, dates_words), .fallback = "auto",
         .doc = "When a certificate's dates are checked. `auto`: only while the clock is known to be right."},

        {PATH("version.file", Config, version.file), .fallback = "/etc/os-release",
         .doc = "The os-release style file that tells the version of the device's software."},
        {TEXT("version.key", Config, version.key, 64, config_text_is_variable, ALLOWED_VARIABLE),
         .fallback = "IMAGE_VERSION", .doc = "The variable in that file."},
        {BOOL("version.allow-downgrade", version.allow_downgrade, "false"),
         .doc = "Commit an update whose version is the same or older."},

        {LIST("targets", Config, targets, n_targets, 1, CONFIG_TARGETS_MAX, &target_table), .required = true,
         .doc = "What can be updated."},

        {PATH("hook.script", Config, hook.script), .fallback = "/etc/otad/hook", .may_be_empty = true,
         .doc = "The script run at each stage of an update. Empty: none; a target of type `ab` needs one, for "
                "the reboot."},
        {NUMBER("hook.timeout-sec", SECONDS, hook.timeout_usec, 1, 86400, "300"),
         .doc = "For one stage; then its process group is killed."},
        {NUMBER("hook.retry-sec", SECONDS, hook.retry_usec, 1, 86400, "60"),
         .doc = "How long to wait after a stage said \"not now\"."},
        {NUMBER("hook.give-up-sec", SECONDS, hook.give_up_usec, 0, 2592000, "86400"),
         .doc = "How long a stage may go on saying so before the update has failed. 0: as long as the job lasts."},

        {NUMBER("boot.timeout-sec", SECONDS, boot.timeout_usec, 1, 600, "30"),
         .doc = "For one run of a boot script."},

        {NUMBER("selftest.timeout-sec", SECONDS, selftest.timeout_usec, 1, 86400, "600"),
         .doc = "From the start in the new software to the commit, broker connection included; then it is rolled "
                "back."},
        {NUMBER("selftest.max-boots", NUMBER, selftest.max_boots, 1, 100, "3"),
         .doc = "Starts in the new software without a commit before it is rolled back."},

        {NUMBER("reboot.timeout-sec", SECONDS, reboot.timeout_usec, 1, 86400, "600"),
         .doc = "From a reboot stage that ended well to going down; then the update is rolled back."},

        {TEXT("installer.peer-user", Config, installer.peer_user, 32, config_text_is_user, ALLOWED_USER),
         .fallback = "otad", .doc = "The user that may call the installer, besides root."},
        {NUMBER("installer.idle-exit-sec", SECONDS, installer.idle_exit_usec, 0, 86400, "30"),
         .doc = "Where systemd holds its socket, the installer ends after so long without a call or an update. 0: never."},

        {PATH("paths.state", Config, paths.state), .fallback = "/var/lib/otad",
         .doc = "Where otad keeps what must survive a restart."},
        {PATH("paths.installer-state", Config, paths.installer_state), .fallback = "/var/lib/otad-installer",
         .doc = "The same for the installer; nobody else may write there. Under systemd keep this and the other two as they "
                "are, and bind-mount the folder: the units have them fixed."},
        {PATH("paths.runtime", Config, paths.runtime), .fallback = "/run/otad",
         .doc = "Where the socket between the two lies."},
        {PATH("paths.boot-id", Config, paths.boot_id), .fallback = "/proc/sys/kernel/random/boot_id",
         .doc = "What tells one start of the machine from the next. A regular file serves tests."},

        {TEXT("control.bus", Config, control.bus, 256, config_text_is_bus,
              "\"system\", \"user\", \"none\" or a D-Bus address such as \"unix:path=/run/bus\""),
         .fallback = "system", .doc = "The bus on which otad offers `org.otad1`."},

        {NUMBER("certificates.warn-days", NUMBER, certificates.warn_days, 0, 3650, "30"),
         .doc = "Warn so long before a certificate of the device, the broker's root or a signer ends. 0: never."},

        {PATH("metrics.file", Config, metrics.file), .fallback = "", .may_be_empty = true,
         .doc = "A text file for Prometheus' node_exporter, its name ending in `.prom`. Empty: none."},
        {NUMBER("metrics.interval-sec", SECONDS, metrics.interval_usec, 5, 86400, "60"),
         .doc = "How often it is written where nothing has changed."},

        {BOOL("package.report", package.report, "false"),
         .doc = "Tell the cloud the installed version as that of a package, in the shadow named `$package`."},
        {TEXT("package.name", Config, package.name, 128, config_text_is_package_or_empty,
              "1 to 128 letters, digits, '.', '_' and '-', or empty"),
         .fallback = "", .doc = "The package's name in the Software Package Catalog. Needed with `package.report`."},
};
const ConfigTable config_table = {"", root_keys, ELEMENTSOF(root_keys), sizeof(Config)};
/* clang-format on */

_Static_assert(ELEMENTSOF(root_keys) <= CONFIG_KEYS_MAX, "CONFIG_KEYS_MAX is too small");
_Static_assert(ELEMENTSOF(algorithm_words) - 1 <= CONFIG_WORDS_MAX, "CONFIG_WORDS_MAX is too small");
