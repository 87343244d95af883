/*
 * otactl check on a device made up in a temporary folder: first all is well, then one thing after the other is not.
 */
#include <fcntl.h>
#include <ftw.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "unit.h"

enum { DAY = 86400, PATH_TEXT_MAX = 160, OUTPUT_MAX = 16384 };

static const char *otactl, *units;

typedef struct Fixture {
        char dir[64];
        char output[OUTPUT_MAX];
        int code;
} Fixture;

static const char *path_of(const Fixture *f, const char *name)
{
        static char path[PATH_TEXT_MAX];

        snprintf(path, sizeof(path), "%s/%s", f->dir, name);
        return path;
}

static void write_text(const Fixture *f, const char *name, mode_t mode, const char *text)
{
        FILE *file = fopen(path_of(f, name), "we");

        assert_non_null(file);
        assert_true(fputs(text, file) >= 0);
        assert_int_equal(fclose(file), 0);
        assert_int_equal(chmod(path_of(f, name), mode), 0);
}

static void add_extension(X509 *certificate, int nid, const char *value)
{
        X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

        assert_non_null(extension);
        assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
        X509_EXTENSION_free(extension);
}

/*
 * A self-signed certificate for code signing, and its key where `key_name` is given. It ends half a day later, so that
 * whole days do not depend on the second.
 */
static void write_pair(const Fixture *f, const char *name, const char *key_name, long begin_sec, long end_sec)
{
        EVP_PKEY *key = EVP_EC_gen("P-256");
        X509 *certificate = X509_new();
        X509_NAME *subject;
        FILE *file;

        assert_non_null(key);
        assert_non_null(certificate);
        assert_int_equal(X509_set_version(certificate, X509_VERSION_3), 1);
        assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1), 1);
        assert_non_null(X509_gmtime_adj(X509_getm_notBefore(certificate), begin_sec));
        assert_non_null(X509_gmtime_adj(X509_getm_notAfter(certificate), end_sec + DAY / 2));
        subject = X509_get_subject_name(certificate);
        assert_int_equal(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const uint8_t *)"test", -1, -1, 0),
                         1);
        assert_int_equal(X509_set_issuer_name(certificate, subject), 1);
        assert_int_equal(X509_set_pubkey(certificate, key), 1);
        add_extension(certificate, NID_key_usage, "critical,digitalSignature");
        add_extension(certificate, NID_ext_key_usage, "codeSigning");
        assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);

        file = fopen(path_of(f, name), "we");
        assert_non_null(file);
        assert_int_equal(PEM_write_X509(file, certificate), 1);
        assert_int_equal(fclose(file), 0);
        assert_int_equal(chmod(path_of(f, name), 0644), 0);
        if (key_name) {
                file = fopen(path_of(f, key_name), "we");
                assert_non_null(file);
                assert_int_equal(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
                assert_int_equal(fclose(file), 0);
                assert_int_equal(chmod(path_of(f, key_name), 0600), 0);
        }
        X509_free(certificate);
        EVP_PKEY_free(key);
}

static void write_config(const Fixture *f, const char *more)
{
        const struct passwd *user = getpwuid(geteuid());
        char text[4096];

        assert_non_null(user);
        snprintf(text, sizeof(text),
                 "thing-name = \"gw\";\n"
                 "broker: { endpoint = \"localhost\"; root-ca = \"%1$s/ca.pem\"; cert = \"%1$s/cert.pem\";"
                 " key = \"%1$s/key.pem\"; };\n"
                 "download: { https-ca = \"%1$s/ca.pem\"; };\n"
                 "signing: { trust-store = \"%1$s/trust\"; };\n"
                 "targets = (\n"
                 " { name = \"rootfs\"; type = \"ab\"; match = \"rootfs.img\"; boot = \"%1$s/boot\";\n"
                 "   slots = ( { name = \"A\"; device = \"%1$s/slot-a\"; }, { name = \"B\"; device = "
                 "\"%1$s/slot-b\"; } ); },\n"
                 " { name = \"app\"; type = \"file\"; match = \"app\"; path = \"%1$s/opt/app\"; mode = \"0755\"; } "
                 ");\n"
                 "hook: { script = \"%1$s/hook\"; };\n"
                 "paths: { state = \"%1$s/state\"; installer-state = \"%1$s/installer-state\"; runtime = "
                 "\"%1$s/run\"; };\n"
                 "installer: { peer-user = \"%2$s\"; };\n"
                 "control: { bus = \"none\"; };\n%3$s",
                 f->dir, user->pw_name, more);
        write_text(f, "otad.conf", 0644, text);
}

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
        return remove(path);
}

static int setup(void **state)
{
        static const char *const folders[] = {"trust", "opt", "state", "installer-state", "run"};
        Fixture *f = calloc(1, sizeof(*f));

        if (!f)
                return -1;
        strcpy(f->dir, "/tmp/otactl-check-XXXXXX");
        if (!mkdtemp(f->dir))
                return -1;
        for (size_t i = 0; i < ELEMENTSOF(folders); i++)
                if (mkdir(path_of(f, folders[i]), 0755) < 0)
                        return -1;
        write_pair(f, "ca.pem", NULL, -DAY, 400 * DAY);
        write_pair(f, "cert.pem", "key.pem", -DAY, 400 * DAY);
        write_pair(f, "trust/signer.pem", NULL, -DAY, 400 * DAY);
        write_text(f, "slot-a", 0600, "a");
        write_text(f, "slot-b", 0600, "b");
        write_text(f, "hook", 0755, "#!/bin/sh\nexit 0\n");
        write_text(f, "boot", 0755, "#!/bin/sh\ncase $1 in get-*) echo A;; esac\n");
        write_config(f, "");
        *state = f;
        return 0;
}

static int teardown(void **state)
{
        Fixture *f = *state;

        nftw(f->dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
        free(f);
        return 0;
}

static void check(Fixture *f)
{
        char command[512];
        size_t n;
        FILE *pipe;

        snprintf(command, sizeof(command),
                 "SYSTEMD_UNIT_PATH='%2$s/units' '%1$s' --config '%2$s/otad.conf' check 2>&1", otactl, f->dir);
        pipe = popen(command, "re");
        assert_non_null(pipe);
        n = fread(f->output, 1, sizeof(f->output) - 1, pipe);
        f->output[n] = 0;
        f->code = WEXITSTATUS(pclose(pipe));
}

/* A line that begins with the verdict and subject and holds `part`. */
static void assert_line(const Fixture *f, const char *start, const char *part)
{
        const char *line = f->output;

        while (line && *line) {
                const char *end = strchrnul(line, '\n');
                const char *found = strstr(line, part);

                if (strncmp(line, start, strlen(start)) == 0 && found && found < end)
                        return;
                line = *end ? end + 1 : NULL;
        }
        fail_msg("no line '%s... %s...' in:\n%s", start, part, f->output);
}

static void test_well(void **state)
{
        Fixture *f = *state;

        check(f);
        assert_line(f, "ok    configuration:", "otad.conf");
        assert_line(f, "ok    root CA:", "ca.pem, 1 certificate");
        assert_line(f, "ok    certificate:", "valid for 400 more days");
        assert_line(f, "ok    key:", "key.pem, of that certificate");
        assert_line(f, "ok    trusted signer:", "signer.pem");
        assert_line(f, "ok    target rootfs: slots A", "slot-b");
        assert_line(f, "ok    target rootfs: runs from slot A", "which the next start takes, too");
        assert_line(f, "ok    target app:", "can be replaced");
        assert_line(f, "ok    hook:", "/hook");
        assert_line(f, "ok    state of otad:", "/state");
        assert_line(f, "ok    state of otad-installer:", "/installer-state");
        /* There is neither daemon. */
        assert_line(f, "FAIL  otad:", "is not running");
        assert_line(f, "FAIL  otad-installer:", "installer.sock");
        assert_int_equal(f->code, 1);
}

static void test_keys_and_certificates(void **state)
{
        Fixture *f = *state;

        assert_int_equal(chmod(path_of(f, "key.pem"), 0644), 0);
        check(f);
        assert_line(f, "FAIL  key:",
                    "can be read or changed by others, so otad does not use it; chgrp it to the group of otad, chmod "
                    "0640");

        assert_int_equal(chmod(path_of(f, "key.pem"), 0600), 0);
        write_pair(f, "cert.pem", NULL, -DAY, 10 * DAY);
        check(f);
        assert_line(f, "FAIL  key:", "it is not the one of the certificate");
        assert_line(f, "warn  certificate:", "ends in 10 days");
        write_config(f, "certificates: { warn-days = 5; };\n");
        check(f);
        assert_line(f, "ok    certificate:", "valid for 10 more days");
        write_config(f, "certificates: { warn-days = 0; };\n");
        check(f);
        assert_line(f, "ok    certificate:", "valid for 10 more days");

        /* Never warned of: what has ended is told all the same. */
        write_pair(f, "cert.pem", "key.pem", -3 * DAY, -2 * DAY);
        check(f);
        assert_line(f, "FAIL  certificate:", "ended 1 days ago");
        write_pair(f, "cert.pem", "key.pem", 2 * DAY, 300 * DAY);
        check(f);
        assert_line(f, "FAIL  certificate:", "begins only in");

        write_text(f, "cert.pem", 0644, "not a certificate");
        write_text(f, "key.pem", 0600, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
        write_text(f, "ca.pem", 0644, "");
        check(f);
        assert_line(f, "FAIL  certificate:", "cannot use the certificate");
        assert_line(f, "FAIL  key:", "cannot use the key");
        assert_line(f, "FAIL  root CA:", "holds no certificate");

        assert_int_equal(unlink(path_of(f, "key.pem")), 0);
        check(f);
        assert_line(f, "FAIL  key:", "No such file");
}

static void test_trust(void **state)
{
        Fixture *f = *state;

        write_pair(f, "trust/signer.pem", NULL, -DAY, 10 * DAY);
        check(f);
        assert_line(f, "warn  trusted signer:", "ends within days");
        write_config(f, "certificates: { warn-days = 5; };\n");
        check(f);
        assert_line(f, "ok    trusted signer:", "signer.pem");
        /* It ended half a day ago, which is told in other words where the clock is known to be right. */
        write_config(f, "certificates: { warn-days = 0; };\n");
        write_pair(f, "trust/signer.pem", NULL, -2 * DAY, -DAY);
        check(f);
        assert_line(f, "warn  trusted signer:", "signer.pem");

        assert_int_equal(chmod(path_of(f, "trust/signer.pem"), 0666), 0);
        check(f);
        assert_line(f, "warn  trusted signer:", "signer.pem");
        assert_line(f, "FAIL  trust store:", "holds no signer");
        assert_int_equal(unlink(path_of(f, "trust/signer.pem")), 0);
        assert_int_equal(rmdir(path_of(f, "trust")), 0);
        check(f);
        assert_line(f, "FAIL  trust store:", "no such folder");
}

static void test_targets(void **state)
{
        Fixture *f = *state;

        write_text(f, "boot", 0755, "#!/bin/sh\ncase $1 in get-current) echo A;; get-primary) echo B;; esac\n");
        check(f);
        assert_line(f, "warn  target rootfs:", "runs from slot A, and the next start takes slot B");
        write_text(f, "boot", 0755, "#!/bin/sh\necho 'no boot loader here' >&2; exit 1\n");
        check(f);
        assert_line(f, geteuid() == 0 ? "FAIL  target rootfs:" : "warn  target rootfs:", "no boot loader here");
        write_text(f, "boot", 0775, "#!/bin/sh\ncase $1 in get-*) echo A;; esac\n");
        write_text(f, "hook", 0644, "#!/bin/sh\n");
        check(f);
        assert_line(f, "FAIL  target rootfs:", "others than root may change it");
        assert_line(f, "FAIL  hook:", "is no executable file");

        assert_int_equal(unlink(path_of(f, "slot-b")), 0);
        assert_int_equal(symlink("slot-a", path_of(f, "slot-b")), 0);
        assert_int_equal(rmdir(path_of(f, "opt")), 0);
        check(f);
        assert_line(f, "FAIL  target rootfs:", "slot");
        assert_line(f, "FAIL  target app:", "opt");
}

static void test_folders(void **state)
{
        Fixture *f = *state;

        assert_int_equal(rmdir(path_of(f, "state")), 0);
        assert_int_equal(chmod(path_of(f, "installer-state"), 0777), 0);
        write_text(f, "run/installer.sock", 0644, "");
        check(f);
        assert_line(f, "warn  state of otad:", "start otad, which makes it");
        assert_line(f, "FAIL  state of otad-installer:", "has mode 0777");
        assert_line(f, "FAIL  otad-installer:", "is no socket");
}

/* Those that are shipped, changed by a script for sed with $d for the folder of this device. */
static void install_units(const Fixture *f, const char *script)
{
        char command[1024];

        snprintf(command, sizeof(command),
                 "d='%s' && mkdir -p $d/units && for u in otad-selftest.service otad-installer.socket; do "
                 "sed \"%s\" '%s'/$u >$d/units/$u || exit; done",
                 f->dir, script, units);
        assert_int_equal(system(command), 0);
}

static void test_units(void **state)
{
        Fixture *f = *state;

        /* None is there; they are, but start with another configuration than this one; with this one. */
        check(f);
        assert_null(strstr(f->output, "otad-selftest.service"));
        install_units(f, "");
        check(f);
        assert_null(strstr(f->output, "otad-selftest.service"));
        install_units(f, "s,/etc/otad/otad.conf,$d/otad.conf,");
        check(f);
        assert_line(
                f, "warn  otad-selftest.service: does not have paths.installer-state, /tmp/",
                "/installer-state, so nothing watches over an update on trial; take that key away and bind-mount");
        assert_line(f, "warn  otad-installer.socket: does not have paths.runtime, /tmp/",
                    "/run, so otad does not find otad-installer");
        install_units(f, "s,/etc/otad/otad.conf,$d/otad.conf,; s,/var/lib/otad-installer/,$d/installer-state/,; "
                         "s,/run/otad/,$d/run/,");
        check(f);
        assert_line(f, "ok    otad-selftest.service:", "/installer-state");
        assert_line(f, "ok    otad-installer.socket:", "/run");
}

static void test_config(void **state)
{
        Fixture *f = *state;

        write_config(f, "nonsense = 1;\n");
        check(f);
        assert_line(f, "FAIL  configuration:", "nonsense");
        assert_int_equal(f->code, 3);
        assert_int_equal(unlink(path_of(f, "otad.conf")), 0);
        check(f);
        assert_line(f, "FAIL  configuration:", "otad.conf");
        assert_int_equal(f->code, 3);
}

int main(int argc, char *argv[])
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_well, setup, teardown),
                cmocka_unit_test_setup_teardown(test_keys_and_certificates, setup, teardown),
                cmocka_unit_test_setup_teardown(test_trust, setup, teardown),
                cmocka_unit_test_setup_teardown(test_targets, setup, teardown),
                cmocka_unit_test_setup_teardown(test_folders, setup, teardown),
                cmocka_unit_test_setup_teardown(test_units, setup, teardown),
                cmocka_unit_test_setup_teardown(test_config, setup, teardown),
        };

        if (argc != 3)
                return 1;
        otactl = argv[1];
        units = argv[2];
        return cmocka_run_group_tests(tests, NULL, NULL);
}
