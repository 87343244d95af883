/*
 * What otad shows to the broker and judges it by: CA certificates, the device's certificate and key.
 */
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file-util.h"
#include "base/time-util.h"
#include "check.h"
#include "trust/clock.h"
#include "trust/trust-store.h"

enum { PEM_MAX_BYTES = 4 * 1024 * 1024, EXPIRY_WARN_DAYS = 30 };

static void bio_freep(BIO **bio)
{
        BIO_free(*bio);
}

static void key_freep(EVP_PKEY **key)
{
        EVP_PKEY_free(*key);
}

/* The whole of a file that otad's user must be able to read. False: it said why not. */
static bool read_pem(Check *check, const char *subject, const char *path, struct stat *ret_stat, BIO **ret)
{
        _cleanup_free_ char *text = NULL;
        size_t n_text = 0;
        BIO *bio;
        int r;

        r = stat(path, ret_stat) < 0 ? -errno : file_read(AT_FDCWD, path, PEM_MAX_BYTES, &text, &n_text);
        if (r < 0) {
                check_say(check, check_verdict_for(r), subject,
                          "put the file there, or name another in the configuration", "%s: %s", path, strerror(-r));
                return false;
        }
        if (!check_user_may(&check->user, ret_stat, 4))
                check_say(check, CHECK_WARN, subject,
                          "give it to that user or its group, unless an ACL does so already",
                          "%s is not readable for the user '%s' by its mode", path, check->user.name);
        bio = BIO_new(BIO_s_mem());
        if (!bio || BIO_write(bio, text, (int)n_text) != (int)n_text) {
                BIO_free(bio);
                check_say(check, CHECK_FAIL, subject, NULL, "%s: no memory to read it", path);
                return false;
        }
        *ret = bio;
        return true;
}

static void check_ca(Check *check, const char *subject, const char *path)
{
        _cleanup_(bio_freep) BIO *bio = NULL;
        struct stat st;
        unsigned n = 0;

        if (!read_pem(check, subject, path, &st, &bio))
                return;
        for (;; n++) {
                _cleanup_(certificate_freep) X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);

                if (!certificate)
                        break;
        }
        ERR_clear_error();
        if (n == 0)
                check_say(check, CHECK_FAIL, subject, "put the CA's certificates there, in PEM",
                          "%s holds no certificate", path);
        else
                check_say(check, CHECK_OK, subject, NULL, "%s, %u certificate%s", path, n, n == 1 ? "" : "s");
}

static void check_dates(Check *check, const char *path, X509 *certificate)
{
        static const char renew[] = "renew it in AWS IoT before it ends, and put the new one there";
        int days = 0, seconds = 0;
        ClockSigns signs;

        clock_read_signs(&signs);
        if (signs.wall_clock_usec < CLOCK_REFERENCE_USEC) {
                check_say(check, CHECK_WARN, "certificate", "set the clock", "its dates mean nothing by this clock");
                return;
        }
        if (!ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(certificate))) {
                check_say(check, CHECK_FAIL, "certificate", renew, "%s has no readable end", path);
                return;
        }
        if (days < 0 || seconds < 0)
                check_say(check, CHECK_FAIL, "certificate", renew, "%s ended %d days ago", path, -days);
        else if (days < EXPIRY_WARN_DAYS)
                check_say(check, CHECK_WARN, "certificate", renew, "%s ends in %d days", path, days);
        else
                check_say(check, CHECK_OK, "certificate", NULL, "%s, valid for %d more days", path, days);
        if (ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notBefore(certificate)) && (days > 0 || seconds > 0))
                check_say(check, CHECK_FAIL, "certificate", "set the clock, or wait", "%s begins only in %d days",
                          path, days);
}

static X509 *check_certificate(Check *check)
{
        const char *path = check->config->broker.cert;
        _cleanup_(bio_freep) BIO *bio = NULL;
        struct stat st;
        X509 *certificate;

        if (!read_pem(check, "certificate", path, &st, &bio))
                return NULL;
        certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
        ERR_clear_error();
        if (!certificate)
                check_say(check, CHECK_FAIL, "certificate", "put the device certificate there, in PEM",
                          "%s holds no certificate", path);
        else
                check_dates(check, path, certificate);
        return certificate;
}

/* A daemon has nobody to ask. */
static int no_passphrase(char *buffer, int size, int writing, void *userdata)
{
        return -1;
}

static void check_key(Check *check, X509 *certificate)
{
        const char *path = check->config->broker.key;
        _cleanup_(bio_freep) BIO *bio = NULL;
        _cleanup_(key_freep) EVP_PKEY *key = NULL;
        struct stat st;

        if (!read_pem(check, "key", path, &st, &bio))
                return;
        if (st.st_mode & S_IROTH)
                check_say(check, CHECK_FAIL, "key", "chmod o-rwx", "%s can be read by everyone on this machine",
                          path);
        key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
        ERR_clear_error();
        if (!key) {
                check_say(check, CHECK_FAIL, "key", "put the key there, in PEM and without a passphrase",
                          "%s holds no key that can be used", path);
                return;
        }
        if (certificate && X509_check_private_key(certificate, key) != 1) {
                ERR_clear_error();
                check_say(check, CHECK_FAIL, "key", "put the pair that AWS IoT gave out there",
                          "%s does not belong to %s", path, check->config->broker.cert);
                return;
        }
        check_say(check, CHECK_OK, "key", NULL, certificate ? "%s, of that certificate" : "%s", path);
}

void check_tls(Check *check)
{
        const Config *config = check->config;
        _cleanup_(certificate_freep) X509 *certificate = NULL;

        check_ca(check, "root CA", config->broker.root_ca);
        certificate = check_certificate(check);
        check_key(check, certificate);
        for (size_t i = 0; i < config->download.protocols.n; i++)
                if (config->download.protocols.values[i] == CONFIG_PROTOCOL_HTTPS)
                        check_ca(check, "HTTPS CA", config->download.https_ca);
}
