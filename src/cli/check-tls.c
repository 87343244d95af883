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
#include <unistd.h>

#include "base/file-util.h"
#include "base/proxy-url.h"
#include "base/time-util.h"
#include "check.h"
#include "transport/identity-probe.h"
#include "trust/clock.h"
#include "trust/trust-store.h"

enum { PEM_MAX_BYTES = 4 * 1024 * 1024 };

static void bio_freep(BIO **bio)
{
        BIO_free(*bio);
}

/* A file of the device's own, that otad's user must be able to read; a secret nobody else. False: it said why not. */
static bool check_own_file(Check *check, const char *subject, const char *path, bool is_secret)
{
        struct stat st;

        if (stat(path, &st) < 0) {
                check_say(check, check_verdict_for(-errno), subject,
                          "put the file there, or name another in the configuration", "%s: %s", path,
                          strerror(errno));
                return false;
        }
        if (is_secret && check->user.known && !file_is_secret(&st, check->user.gid)) {
                check_say(check, CHECK_FAIL, subject, "chgrp it to the group of otad, chmod 0640",
                          "%s (mode %04o, group %u) can be read or changed by others, so otad does not use it", path,
                          (unsigned)st.st_mode & 07777, (unsigned)st.st_gid);
                return false;
        }
        if (!check_user_may(&check->user, &st, 4))
                check_say(check, CHECK_WARN, subject,
                          "give it to that user or its group, unless an ACL does so already",
                          "%s is not readable for the user '%s' by its mode", path, check->user.name);
        return true;
}

/* The whole of a file that otad's user must be able to read. False: it said why not. */
static bool read_pem(Check *check, const char *subject, const char *path, BIO **ret)
{
        _cleanup_free_ char *text = NULL;
        size_t n_text = 0;
        BIO *bio;
        int r;

        if (!check_own_file(check, subject, path, false))
                return false;
        r = file_read(AT_FDCWD, path, PEM_MAX_BYTES, &text, &n_text);
        if (r < 0) {
                check_say(check, check_verdict_for(r), subject, NULL, "%s: %s", path, strerror(-r));
                return false;
        }
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
        unsigned n = 0;

        if (!read_pem(check, subject, path, &bio))
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
        int warn_days = (int)check->config->certificates.warn_days; /* 0: never before it has ended */
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
        else if (days < warn_days)
                check_say(check, CHECK_WARN, "certificate", renew, "%s ends in %d days", path, days);
        else
                check_say(check, CHECK_OK, "certificate", NULL, "%s, valid for %d more days", path, days);
        if (ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notBefore(certificate)) && (days > 0 || seconds > 0))
                check_say(check, CHECK_FAIL, "certificate", "set the clock, or wait", "%s begins only in %d days",
                          path, days);
}

typedef struct Probed {
        bool done;
        int error;
        char problem[IDENTITY_TEXT_MAX];
} Probed;

static void on_probed(int error, const char *problem, void *userdata)
{
        Probed *probed = userdata;

        probed->done = true;
        probed->error = error;
        (void)snprintf(probed->problem, sizeof(probed->problem), "%s", problem ?: "");
}

/* A token may hang, or have a module with faults; nothing of that ends otactl. False: it said what is wrong. */
static bool check_token(Check *check, const IdentityParams *params)
{
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        _cleanup_(identity_probe_freep) IdentityProbe *probe = NULL;
        Probed probed = {0};
        int r = sd_event_new(&event);

        if (r >= 0)
                r = identity_probe_new(event, &probe);
        if (r >= 0)
                r = identity_probe_start(probe, params, check->config->broker.connect_timeout_usec, on_probed,
                                         &probed);
        while (r >= 0 && !probed.done)
                r = sd_event_run(event, UINT64_MAX);
        if (r < 0)
                check_say(check, CHECK_FAIL, "key", NULL, "cannot be looked at: %s", strerror(-r));
        else if (probed.error < 0)
                check_say(check, CHECK_FAIL, "key", NULL, "%s", probed.problem);
        return r >= 0 && probed.error == 0;
}

IdentityParams check_identity_params(const Check *check)
{
        const Config *config = check->config;

        return (IdentityParams){
                .cert = config->broker.cert,
                .key = config->broker.key,
                .pin_file = config->broker.pin_file,
                .group = check->user.known ? check->user.gid : getegid(),
        };
}

static void check_identity(Check *check)
{
        const IdentityParams params = check_identity_params(check);
        _cleanup_(identity_certificates_freep) STACK_OF(X509) *certificates = NULL;
        _cleanup_(identity_key_freep) EVP_PKEY *key = NULL;
        char pin_path[IDENTITY_SOURCE_MAX + 1], problem[IDENTITY_TEXT_MAX];
        X509 *certificate = NULL;

        identity_pin_path(&params, pin_path);
        if (pin_path[0] && !check_own_file(check, "PIN file", pin_path, true))
                return;
        if (identity_probe_is_needed(&params) && !check_token(check, &params))
                return;
        if (identity_is_uri(params.cert) || check_own_file(check, "certificate", params.cert, false)) {
                if (identity_load_certificates(&params, &certificates, problem) < 0)
                        check_say(check, CHECK_FAIL, "certificate", NULL, "%s", problem);
                else
                        certificate = sk_X509_value(certificates, 0);
        }
        if (certificate)
                check_dates(check, params.cert, certificate);
        if (!identity_is_uri(params.key) && !check_own_file(check, "key", params.key, true))
                return;
        if (identity_load_key(&params, certificate, &key, problem) < 0)
                check_say(check, CHECK_FAIL, "key", NULL, "%s", problem);
        else
                check_say(check, CHECK_OK, "key", NULL, certificate ? "%.*s, of that certificate" : "%.*s",
                          (int)strcspn(params.key, "?"), params.key);
}

static void check_proxy(Check *check)
{
        const char *file = check->config->proxy.credentials_file;
        struct stat st;
        ProxyUrl url;
        int r = proxy_url_parse(check->config->proxy.url, &url);

        explicit_bzero(url.password, sizeof(url.password));
        if (r < 0 || url.kind == PROXY_NONE || (file[0] && !check_own_file(check, "proxy", file, true)))
                return;
        if (url.has_credentials && stat(check->options->config_path, &st) == 0 &&
            !file_is_secret(&st, check->user.known ? check->user.gid : getegid()))
                check_say(check, CHECK_WARN, "proxy", "put USER:PASSWORD in a file for proxy.credentials-file",
                          "its password stands in %s, which others can read", check->options->config_path);
        else
                check_say(check, CHECK_OK, "proxy", NULL, "%s port %u", url.host, url.port);
}

void check_tls(Check *check)
{
        const Config *config = check->config;

        check_ca(check, "root CA", config->broker.root_ca);
        check_identity(check);
        check_proxy(check);
        for (size_t i = 0; i < config->download.protocols.n; i++)
                if (config->download.protocols.values[i] == CONFIG_PROTOCOL_HTTPS)
                        check_ca(check, "HTTPS CA", config->download.https_ca);
}
