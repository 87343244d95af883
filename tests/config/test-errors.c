#include <stdio.h>
#include <stdlib.h>

#include "config-cases.h"
#include "config-table.h"

/* One line each: what a good file starts with. A line number in a message counts these. */
#define T "thing-name = \"t\";\n"
#define B "broker: { endpoint = \"e\"; };\n"
#define A "targets = ( { name = \"app\"; type = \"file\"; match = \"app\"; path = \"/o/app\"; mode = \"0755\"; } );\n"

/* What is allowed where, as messages say it. */
#define AN_ABSOLUTE_PATH "an absolute path without empty, \".\" or \"..\" parts"
#define A_THING          "1 to 128 letters, digits, ':', '_' and '-'"
#define A_HOST           "a host name or an IP address, without port"
#define A_USER           "1 to 32 letters, digits, '.', '_' and '-', the first no '.' or '-'"
#define AN_IDENTITY \
        "an absolute path, or a URI of lower-case scheme such as \"pkcs11:token=T;object=O\", without pin-value"
#define A_PROXY                                                                                                      \
        "\"none\", or http://[USER:PASSWORD@]HOST:PORT, or the same with socks5:// or socks5h://; %XX for what has " \
        "another meaning"
#define NOT_SHOWN  "this text, not shown because it may hold a secret, is not allowed; allowed: "
#define A_PORT     "a number from 1 to 65535"
#define SYNTAX     "settings as in NAME = VALUE;"
#define A_BUS      "\"system\", \"user\", \"none\" or a D-Bus address such as \"unix:path=/run/bus\""
#define A_VARIABLE "1 to 64 letters, digits and '_', the first no digit"
#define TARGETS    "( { ... }, ... ) with 1 to 16 groups"
#define ALGORITHMS "one or more, each once, of \"sha256-ecdsa\", \"sha256-rsa\", \"sha1-ecdsa\", \"sha1-rsa\""
#define WINDOWS    "( ... ) with up to 16 of \"[DAYS ]HH:MM-HH:MM\", such as \"Mon-Fri 22:00-04:30\""
#define PROTOCOLS  "one or more, each once, of \"https\", \"mqtt\""

static const ConfigCase cases[] = {
        {"", "x:1: thing-name: missing; allowed: " A_THING},
        {"thing-name = ;\n", "x:1: syntax error; allowed: " SYNTAX},
        {T B A "broker: { endpoint = \"e\"; };\n", "x:4: duplicate setting name; allowed: " SYNTAX},
        {T B "jobs: {\n\n  refresh-sec = 60\n  refresh-sec = 61;\n};\n" A,
         "x:6: duplicate setting name; allowed: " SYNTAX},
        {T B A "@include \"more.conf\"\n", "x:4: @include is not supported; allowed: all settings in one file"},
        {T B A "/* one\n two */ @include \"/etc\"\n",
         "x:5: @include is not supported; allowed: all settings in one file"},
        {T B A "jobs: { refresh-sec = 10000000000000000000000; };\n",
         "x:4: a number of too many digits; allowed: at most 18"},
        {T B A "hook: { script = \"/etc/otad/hook\n};\n", "x:4: a string without an end; allowed: \"...\""},
        {T B A "\n/* a comment\n", "x:5: a comment without an end; allowed: /* ... */"},
        {T B A "boot: { timeout-sec = \"\\\"", "x:4: a string without an end; allowed: \"...\""},
        {T B A "jobs: [ 1, \"a\" ];\n", "x:4: mismatched element type in array; allowed: " SYNTAX},
        {"thing = \"t\";\n",
         "x:1: thing: unknown key; allowed: thing-name, broker, proxy, jobs, download, policy, signing, "
         "version, targets, hook, boot, selftest, reboot, installer, paths, control, certificates, metrics, "
         "package"},
        {T "broker: {\n  endpoint = \"e\";\n  prot = 1;\n};\n" A,
         "x:4: broker.prot: unknown key; allowed: endpoint, port, root-ca, cert, key, pin-file, keep-alive-sec, "
         "connect-timeout-sec, answer-timeout-sec, backoff-base-msec, backoff-cap-sec, stable-sec, away-sec, "
         "mqtt-version"},
        {T B "version: { path = \"/x\"; };\n" A,
         "x:3: version.path: unknown key; allowed: file, key, allow-downgrade"},
        {T B A "selftest: { timeout-sec: { }; };\n",
         "x:4: selftest.timeout-sec: is a group; allowed: seconds from 1 to 86400"},
        {B A, "x:1: thing-name: missing; allowed: " A_THING},
        {T A, "x:1: broker.endpoint: missing; allowed: " A_HOST},
        {T "broker: { port = 1; };\n" A, "x:2: broker.endpoint: missing; allowed: " A_HOST},
        {T B, "x:1: targets: missing; allowed: " TARGETS},
        {"thing-name = \"\";\n" B A, "x:1: thing-name: \"\" is not allowed; allowed: " A_THING},
        {"thing-name = \"a b\";\n" B A, "x:1: thing-name: \"a b\" is not allowed; allowed: " A_THING},
        {"thing-name = \"gate/way\";\n" B A, "x:1: thing-name: \"gate/way\" is not allowed; allowed: " A_THING},
        {"thing-name = \"$aws\";\n" B A, "x:1: thing-name: \"$aws\" is not allowed; allowed: " A_THING},
        {"thing-name = "
         "\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
         "xxxxxxxxxxxxxxxxxxxxxxxx\";\n" B A,
         "x:1: thing-name: \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"... is not allowed; "
         "allowed: " A_THING},
        {"thing-name = 42;\n" B A, "x:1: thing-name: is a whole number; allowed: " A_THING},
        {"thing-name = \"a\\x07\\xff\";\n" B A, "x:1: thing-name: \"a\\x07\\xff\" is not allowed; allowed: " A_THING},
        {T "broker: { endpoint = \"e\"; port = 0; };\n" A, "x:2: broker.port: 0 is out of range; allowed: " A_PORT},
        {T "broker: { endpoint = \"e\"; port = 65536; };\n" A,
         "x:2: broker.port: 65536 is out of range; allowed: " A_PORT},
        {T "broker: { endpoint = \"e\"; port = -1; };\n" A, "x:2: broker.port: -1 is out of range; allowed: " A_PORT},
        {T "broker: { endpoint = \"e\"; port = 4294976179keep-alive-sec = 60; };\n" A,
         "x:2: broker.port: 4294976179 is out of range; allowed: " A_PORT},
        {T "broker: { endpoint = \"e\"; port = 4294976179e = 60; };\n" A,
         "x:2: broker.port: 4294976179 is out of range; allowed: " A_PORT},
        {T "broker: { endpoint = \"e\"; port = 1e3; };\n" A,
         "x:2: broker.port: is a number with a fraction; allowed: " A_PORT},
        {T "broker: { endpoint = \"e\"; port = 4294976179; };\n" A,
         "x:2: broker.port: 4294976179 is out of range; allowed: " A_PORT},
        {T "broker: { endpoint = \"e\"; port = 0x10000000000000022; };\n" A,
         "x:2: a number of too many digits; allowed: at most 18"},
        {T "broker: { endpoint = \"e\"; port = \"8883\"; };\n" A, "x:2: broker.port: is a string; allowed: " A_PORT},
        {T "broker: { endpoint = \"e\"; port = 8883.5; };\n" A,
         "x:2: broker.port: is a number with a fraction; allowed: " A_PORT},
        {T "broker: { endpoint = \"e\"; port = true; };\n" A, "x:2: broker.port: is true or false; allowed: " A_PORT},
        {T "broker: { endpoint = \"e\"; port = [ 8883 ]; };\n" A,
         "x:2: broker.port: is an array [ ]; allowed: " A_PORT},
        {T "broker: { endpoint = \"e\"; key = \"key.pem\"; };\n" A, "x:2: broker.key: " NOT_SHOWN AN_IDENTITY},
        {T "broker: { endpoint = \"e\"; key = \"file:/key.pem\"; };\n" A, "x:2: broker.key: " NOT_SHOWN AN_IDENTITY},
        {T "broker: { endpoint = \"e\"; key = \"pkcs11:object=x?pin-value=1\"; };\n" A,
         "x:2: broker.key: " NOT_SHOWN AN_IDENTITY},
        {T "broker: { endpoint = \"e\"; cert = \"PKCS11:x\"; };\n" A, "x:2: broker.cert: " NOT_SHOWN AN_IDENTITY},
        {T "broker: { endpoint = \"e\"; pin-file = \"pin\"; };\n" A,
         "x:2: broker.pin-file: \"pin\" is not allowed; allowed: " AN_ABSOLUTE_PATH ", or \"\" for none"},
        {T B A "proxy: { url = \"me:secret@proxy:1\"; };\n", "x:4: proxy.url: " NOT_SHOWN A_PROXY},
        {T B A "proxy: { url = \"https://proxy:1\"; };\n", "x:4: proxy.url: " NOT_SHOWN A_PROXY},
        {T B A "proxy: { credentials-file = \"/x\"; };\n",
         "x:4: proxy.credentials-file: is set, but proxy.url is none; allowed: both, or neither"},
        {T "broker: { endpoint = \"\"; };\n" A, "x:2: broker.endpoint: \"\" is not allowed; allowed: " A_HOST},
        {T "broker: { endpoint = \"example.com:8883\"; };\n" A,
         "x:2: broker.endpoint: \"example.com:8883\" is not allowed; allowed: " A_HOST},
        {T "broker: { endpoint = \"mqtts://example.com\"; };\n" A,
         "x:2: broker.endpoint: \"mqtts://example.com\" is not allowed; allowed: " A_HOST},
        {T "broker: { endpoint = \"a_b\"; };\n" A, "x:2: broker.endpoint: \"a_b\" is not allowed; allowed: " A_HOST},
        {T "broker: { endpoint = \"-a\"; };\n" A, "x:2: broker.endpoint: \"-a\" is not allowed; allowed: " A_HOST},
        {T "broker: { endpoint = \"::g\"; };\n" A, "x:2: broker.endpoint: \"::g\" is not allowed; allowed: " A_HOST},
        {T "broker: { endpoint = \"e\"; keep-alive-sec = 4; };\n" A,
         "x:2: broker.keep-alive-sec: 4 is out of range; allowed: seconds from 5 to 1200"},
        {T "broker: { endpoint = \"e\"; keep-alive-sec = 1201; };\n" A,
         "x:2: broker.keep-alive-sec: 1201 is out of range; allowed: seconds from 5 to 1200"},
        {T "broker: { endpoint = \"e\"; connect-timeout-sec = 0; };\n" A,
         "x:2: broker.connect-timeout-sec: 0 is out of range; allowed: seconds from 1 to 300"},
        {T "broker: { endpoint = \"e\"; answer-timeout-sec = 301; };\n" A,
         "x:2: broker.answer-timeout-sec: 301 is out of range; allowed: seconds from 1 to 300"},
        {T "broker: { endpoint = \"e\"; backoff-base-msec = 9; };\n" A,
         "x:2: broker.backoff-base-msec: 9 is out of range; allowed: milliseconds from 10 to 60000"},
        {T "broker: { endpoint = \"e\"; backoff-cap-sec = 86401; };\n" A,
         "x:2: broker.backoff-cap-sec: 86401 is out of range; allowed: seconds from 1 to 86400"},
        {T "broker: { endpoint = \"e\"; stable-sec = 0; };\n" A,
         "x:2: broker.stable-sec: 0 is out of range; allowed: seconds from 1 to 86400"},
        {T "broker: { endpoint = \"e\"; mqtt-version = \"3.1\"; };\n" A,
         "x:2: broker.mqtt-version: \"3.1\" is not allowed; allowed: one of \"5\", \"3.1.1\""},
        {T "broker: { endpoint = \"e\"; mqtt-version = 5; };\n" A,
         "x:2: broker.mqtt-version: is a whole number; allowed: one of \"5\", \"3.1.1\""},
        {T "broker: { endpoint = \"e\"; root-ca = \"tls/ca.pem\"; };\n" A,
         "x:2: broker.root-ca: \"tls/ca.pem\" is not allowed; allowed: " AN_ABSOLUTE_PATH},
        {T "broker: { endpoint = \"e\"; cert = \"\"; };\n" A, "x:2: broker.cert: " NOT_SHOWN AN_IDENTITY},
        {T "broker: { endpoint = \"e\"; root-ca = \"/etc/../key\"; };\n" A,
         "x:2: broker.root-ca: \"/etc/../key\" is not allowed; allowed: " AN_ABSOLUTE_PATH},
        {T "broker: { endpoint = \"e\"; root-ca = \"/etc//key\"; };\n" A,
         "x:2: broker.root-ca: \"/etc//key\" is not allowed; allowed: " AN_ABSOLUTE_PATH},
        {T "broker: { endpoint = \"e\"; root-ca = \"/etc/key/\"; };\n" A,
         "x:2: broker.root-ca: \"/etc/key/\" is not allowed; allowed: " AN_ABSOLUTE_PATH},
        {T "broker: { endpoint = \"e\"; root-ca = \"/./key\"; };\n" A,
         "x:2: broker.root-ca: \"/./key\" is not allowed; allowed: " AN_ABSOLUTE_PATH},
        {T "broker: { endpoint = \"e\"; cert = false; };\n" A,
         "x:2: broker.cert: is true or false; allowed: " AN_IDENTITY},
        {T "broker: { endpoint = \"e\"; backoff-base-msec = 5000; backoff-cap-sec = 4; };\n" A,
         "x:2: broker.backoff-cap-sec: is shorter than broker.backoff-base-msec; allowed: at least as long"},
        {T "broker = \"e\";\n" A, "x:2: broker: is a string; allowed: a group { ... }"},
        {T B A "jobs: {\n  reject-foreign = 1;\n};\n",
         "x:5: jobs.reject-foreign: is a whole number; allowed: true or false"},
        {T B A "jobs: {\n  refresh-sec = 9;\n};\n",
         "x:5: jobs.refresh-sec: 9 is out of range; allowed: seconds from 10 to 86400"},
        {T B A "jobs: {\n  step-timeout-min = 0;\n};\n",
         "x:5: jobs.step-timeout-min: 0 is out of range; allowed: a number from 1 to 10080"},
        {T B A "jobs: {\n  step-timeout-min = 10081;\n};\n",
         "x:5: jobs.step-timeout-min: 10081 is out of range; allowed: a number from 1 to 10080"},
        {T B A "jobs: {\n  progress-sec = 0;\n};\n",
         "x:5: jobs.progress-sec: 0 is out of range; allowed: seconds from 1 to 86400"},
        {T B A "jobs: {\n  progress-percent = 101;\n};\n",
         "x:5: jobs.progress-percent: 101 is out of range; allowed: a number from 1 to 100"},
        {T B A "download: {\n  protocols = [ ];\n};\n", "x:5: download.protocols: is empty; allowed: " PROTOCOLS},
        {T B A "download: {\n  protocols = [ \"https\", \"ftp\" ];\n};\n",
         "x:5: download.protocols[1]: \"ftp\" is not allowed; allowed: " PROTOCOLS},
        {T B A "download: {\n  protocols = [ \"mqtt\", \"mqtt\" ];\n};\n",
         "x:5: download.protocols[1]: \"mqtt\" is there twice; allowed: " PROTOCOLS},
        {T B A "download: {\n  protocols = \"https\";\n};\n",
         "x:5: download.protocols: is a string; allowed: " PROTOCOLS},
        {T B A "download: {\n  protocols = [ 1 ];\n};\n",
         "x:5: download.protocols[0]: is a whole number; allowed: " PROTOCOLS},
        {T B A "download: {\n  protocols = ( \"https\",\n    true );\n};\n",
         "x:6: download.protocols[1]: is true or false; allowed: " PROTOCOLS},
        {T B A "download: {\n  block-bytes = 255;\n};\n",
         "x:5: download.block-bytes: 255 is out of range; allowed: bytes from 256 to 65536"},
        {T B A "download: {\n  block-bytes = 65537;\n};\n",
         "x:5: download.block-bytes: 65537 is out of range; allowed: bytes from 256 to 65536"},
        {T B A "download: {\n  window-bytes = 131071;\n};\n",
         "x:5: download.window-bytes: 131071 is out of range; allowed: bytes from 131072 to 67108864"},
        {T B A "download: {\n  window-bytes = 67108865;\n};\n",
         "x:5: download.window-bytes: 67108865 is out of range; allowed: bytes from 131072 to 67108864"},
        {T B A "download: {\n  aws-limits = \"yes\";\n};\n",
         "x:5: download.aws-limits: is a string; allowed: true or false"},
        {T B A "download: {\n  stall-sec = 3601;\n};\n",
         "x:5: download.stall-sec: 3601 is out of range; allowed: seconds from 1 to 3600"},
        {T B A "download: {\n  low-speed-bytes = 0;\n};\n",
         "x:5: download.low-speed-bytes: 0 is out of range; allowed: bytes from 1 to 1048576"},
        {T B A "download: {\n  attempts = 0;\n};\n",
         "x:5: download.attempts: 0 is out of range; allowed: a number from 1 to 1000"},
        {T B A "download: {\n  give-up-sec = 2592001;\n};\n",
         "x:5: download.give-up-sec: 2592001 is out of range; allowed: seconds from 0 to 2592000"},
        {T B A "download: {\n  checkpoint-bytes = 1048575;\n};\n",
         "x:5: download.checkpoint-bytes: 1048575 is out of range; allowed: bytes from 1048576 to 1073741824"},
        {T B A "download: {\n  https-ca = \"ca.pem\";\n};\n",
         "x:5: download.https-ca: \"ca.pem\" is not allowed; allowed: " AN_ABSOLUTE_PATH},
        {T B A "signing: {\n  required = \"true\";\n};\n",
         "x:5: signing.required: is a string; allowed: true or false"},
        {T B A "signing: {\n  trust-store = \"trust\";\n};\n",
         "x:5: signing.trust-store: \"trust\" is not allowed; allowed: " AN_ABSOLUTE_PATH},
        {T B A "signing: {\n  algorithms = [ \"md5-rsa\" ];\n};\n",
         "x:5: signing.algorithms[0]: \"md5-rsa\" is not allowed; allowed: " ALGORITHMS},
        {T B A "signing: {\n  algorithms = ( );\n};\n", "x:5: signing.algorithms: is empty; allowed: " ALGORITHMS},
        {T B A "signing: {\n  algorithms = [ \"sha1-rsa\", \"sha256-rsa\", \"sha1-rsa\" ];\n};\n",
         "x:5: signing.algorithms[2]: \"sha1-rsa\" is there twice; allowed: " ALGORITHMS},
        {T B A "signing: {\n  dates = \"never\";\n};\n",
         "x:5: signing.dates: \"never\" is not allowed; allowed: one of \"auto\", \"always\""},
        {T B A "version: {\n  file = \"os-release\";\n};\n",
         "x:5: version.file: \"os-release\" is not allowed; allowed: " AN_ABSOLUTE_PATH},
        {T B A "version: {\n  key = \"IMAGE-VERSION\";\n};\n",
         "x:5: version.key: \"IMAGE-VERSION\" is not allowed; allowed: " A_VARIABLE},
        {T B A "version: {\n  key = \"1X\";\n};\n", "x:5: version.key: \"1X\" is not allowed; allowed: " A_VARIABLE},
        {T B A "version: {\n  allow-downgrade = 0;\n};\n",
         "x:5: version.allow-downgrade: is a whole number; allowed: true or false"},
        {T B A "hook: {\n  script = \"hook\";\n};\n",
         "x:5: hook.script: \"hook\" is not allowed; allowed: " AN_ABSOLUTE_PATH ", or \"\" for none"},
        {T B A "hook: {\n  timeout-sec = 0;\n};\n",
         "x:5: hook.timeout-sec: 0 is out of range; allowed: seconds from 1 to 86400"},
        {T B A "hook: {\n  retry-sec = 61; give-up-sec = 60;\n};\n",
         "x:5: hook.give-up-sec: is shorter than hook.retry-sec; allowed: at least as long"},
        {T B A "hook: {\n  retry-sec = 86400;\n  give-up-sec = 1;\n};\n",
         "x:6: hook.give-up-sec: is shorter than hook.retry-sec; allowed: at least as long"},
        {T B A "hook: {\n  give-up-sec = 2592001;\n};\n",
         "x:5: hook.give-up-sec: 2592001 is out of range; allowed: seconds from 0 to 2592000"},
        {T B A "boot: {\n  timeout-sec = 601;\n};\n",
         "x:5: boot.timeout-sec: 601 is out of range; allowed: seconds from 1 to 600"},
        {T B A "policy: {\n  download-windows = \"01:00-02:00\";\n};\n",
         "x:5: policy.download-windows: is a string; allowed: " WINDOWS},
        {T B A "policy: {\n  download-windows = (\n    \"01:00-02:00\",\n    7 );\n};\n",
         "x:7: policy.download-windows[1]: is a whole number; allowed: " WINDOWS},
        {T B A "policy: {\n  activate-windows = ( \"Mon-Fri 01:00-04:30\",\n    \"Mun 01:00-02:00\" );\n};\n",
         "x:6: policy.activate-windows[1]: \"Mun 01:00-02:00\" is no window, the days are none; allowed: " WINDOWS},
        {T B A "policy: {\n  activate-windows = [ \"Mon 01:00-25:00\" ];\n};\n",
         "x:5: policy.activate-windows[0]: \"Mon 01:00-25:00\" is no window, the times are none; allowed: " WINDOWS},
        {T B A "policy: {\n  activate-windows = [ \"03:00-03:00\" ];\n};\n",
         "x:5: policy.activate-windows[0]: \"03:00-03:00\" is no window, it ends when it begins; 00:00-24:00 is the "
         "whole day; allowed: " WINDOWS},
        {T B A "policy: { activate-windows = ( \"01:00-02:00\", \"01:00-02:00\", \"01:00-02:00\", \"01:00-02:00\", "
               "\"01:00-02:00\", \"01:00-02:00\", \"01:00-02:00\", \"01:00-02:00\", \"01:00-02:00\", "
               "\"01:00-02:00\", \"01:00-02:00\", \"01:00-02:00\", \"01:00-02:00\", \"01:00-02:00\", "
               "\"01:00-02:00\", \"01:00-02:00\", \"01:00-02:00\" ); };\n",
         "x:4: policy.activate-windows: has 17; allowed: " WINDOWS},
        {T B A "policy: {\n  max-bytes-per-sec = 1000;\n};\n",
         "x:5: policy.max-bytes-per-sec: is too little for download.low-speed-bytes, or for one of "
         "download.block-bytes "
         "in half of download.stall-sec; allowed: 0, or at least 1093"},
        {T B A "download: { low-speed-bytes = 5000; };\npolicy: {\n  max-bytes-per-sec = 9999;\n};\n",
         "x:6: policy.max-bytes-per-sec: is too little for download.low-speed-bytes, or for one of "
         "download.block-bytes "
         "in half of download.stall-sec; allowed: 0, or at least 10000"},
        {T B A "policy: {\n  min-free-percent = 91;\n};\n",
         "x:5: policy.min-free-percent: 91 is out of range; allowed: a number from 0 to 90"},
        {T B A "policy: {\n  io-priority = \"none\";\n};\n",
         "x:5: policy.io-priority: \"none\" is not allowed; allowed: one of \"normal\", \"low\", \"idle\""},
        {T B A "policy: {\n  nice = -1;\n};\n",
         "x:5: policy.nice: -1 is out of range; allowed: a number from 0 to 19"},
        {T B A "selftest: {\n  timeout-sec = 0;\n};\n",
         "x:5: selftest.timeout-sec: 0 is out of range; allowed: seconds from 1 to 86400"},
        {T B A "selftest: {\n  max-boots = 101;\n};\n",
         "x:5: selftest.max-boots: 101 is out of range; allowed: a number from 1 to 100"},
        {T B A "reboot: {\n  timeout-sec = 86401;\n};\n",
         "x:5: reboot.timeout-sec: 86401 is out of range; allowed: seconds from 1 to 86400"},
        {T B A "installer: {\n  peer-user = \"\";\n};\n",
         "x:5: installer.peer-user: \"\" is not allowed; allowed: " A_USER},
        {T B A "installer: {\n  peer-user = \"-x\";\n};\n",
         "x:5: installer.peer-user: \"-x\" is not allowed; allowed: " A_USER},
        {T B A "installer: {\n  idle-exit-sec = -1;\n};\n",
         "x:5: installer.idle-exit-sec: -1 is out of range; allowed: seconds from 0 to 86400"},
        {T B A "paths: {\n  state = \"state\";\n};\n",
         "x:5: paths.state: \"state\" is not allowed; allowed: " AN_ABSOLUTE_PATH},
        {T B A "paths: {\n  boot-id = \"\";\n};\n",
         "x:5: paths.boot-id: \"\" is not allowed; allowed: " AN_ABSOLUTE_PATH},
        {T B A "paths: {\n  runtime = "
               "\"/run/"
               "rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr"
               "\";\n};\n",
         "x:5: paths.runtime: is too long for the name of a socket in it; allowed: at most 92 bytes"},
        {T B A "paths: {\n  state = \"/var/lib/otad-installer\";\n};\n",
         "x:5: paths.state: is the same as paths.installer-state or inside it; allowed: a folder apart"},
        {T B A "paths: {\n  installer-state = \"/run/otad/installer\";\n};\n",
         "x:5: paths.installer-state: is the same as paths.runtime or inside it; allowed: a folder apart"},
        {T B A "paths: {\n  state = \"/var\";\n};\n",
         "x:4: paths.installer-state: is the same as paths.state or inside it; allowed: a folder apart"},
        {T B A "control: {\n  bus = \"session\";\n};\n",
         "x:5: control.bus: \"session\" is not allowed; allowed: " A_BUS},
        {T B A "control: {\n  bus = \"unix:\";\n};\n", "x:5: control.bus: \"unix:\" is not allowed; allowed: " A_BUS},
        {T B A "control: {\n  bus = \":a=b\";\n};\n", "x:5: control.bus: \":a=b\" is not allowed; allowed: " A_BUS},
        {T B A "control: {\n  bus = \"\";\n};\n", "x:5: control.bus: \"\" is not allowed; allowed: " A_BUS},
};

static void test_each_key(void **state)
{
        check_config_cases(cases, ELEMENTSOF(cases));
}

static void expect_failure(const char *text, size_t n_text, const char *message)
{
        ConfigCase one = {.text = text, .message = message};

        check_config_case(&one, n_text);
}

static void test_nul(void **state)
{
        static const char text[] = T "\n\0" B A;

        expect_failure(text, sizeof(text) - 1, "x:3: a NUL character; allowed: text");
}

/* Neither the parser's stack nor ours grows with what the file nests. */
static void test_deep_nesting(void **state)
{
        enum { DEPTH = 100000 };
        _cleanup_free_ char *text = malloc(DEPTH + 16);

        assert_non_null(text);
        memcpy(text, "targets = ", 10);
        memset(text + 10, '(', DEPTH);
        expect_failure(text, DEPTH + 10, "x:1: memory exhausted; allowed: settings as in NAME = VALUE;");
}

static void test_long_key(void **state)
{
        _cleanup_free_ char *text = NULL, *message = NULL;
        char name[1001] = {}, shown[CONFIG_PATH_MAX] = {};

        memset(name, 'n', sizeof(name) - 1);
        memset(shown, 'n', sizeof(shown) - 1);
        assert_true(asprintf(&text, T B A "boot: {\n%s = 1;\n};\n", name) > 0);
        memcpy(shown, "boot.", 5);
        assert_true(asprintf(&message, "x:5: %s: unknown key; allowed: timeout-sec", shown) > 0);
        expect_failure(text, strlen(text), message);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_each_key),
                cmocka_unit_test(test_nul),
                cmocka_unit_test(test_deep_nesting),
                cmocka_unit_test(test_long_key),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
