#include "transport/identity.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/store.h>
#include <openssl/ui.h>
#include <stdio.h>
#include <string.h>

#include "base/file-util.h"
#include "identity-private.h"
#include "openssl-reason.h"

enum { FILE_BYTES_MAX = 1024 * 1024 };

/* PKCS #11's own numbers, which libp11 puts into OpenSSL's error queue. */
enum { CKR_PIN_INCORRECT = 0xa0, CKR_PIN_LEN_RANGE = 0xa2, CKR_PIN_EXPIRED = 0xa3, CKR_PIN_LOCKED = 0xa4 };

static void bio_freep(BIO **bio)
{
        BIO_free(*bio);
}

static void ui_method_freep(UI_METHOD **method)
{
        UI_destroy_method(*method);
}

static void store_closep(OSSL_STORE_CTX **store)
{
        OSSL_STORE_close(*store);
}

static void source_wipe(IdentitySource *source)
{
        explicit_bzero(source->pin, sizeof(source->pin));
}

static _printf_(3, 4) int complain(char problem[static IDENTITY_TEXT_MAX], int error, const char *format, ...)
{
        va_list args;

        va_start(args, format);
        (void)vsnprintf(problem, IDENTITY_TEXT_MAX, format, args);
        va_end(args);
        return -error;
}

bool identity_is_uri(const char *source)
{
        return source[0] != '/' && source[strspn(source, "abcdefghijklmnopqrstuvwxyz0123456789+.-")] == ':';
}

/* --- what a URI says beside the object's name --- */

static int uri_decode(const char *text, size_t n_text, char ret[static IDENTITY_SOURCE_MAX + 1])
{
        size_t n = 0;

        for (size_t i = 0; i < n_text; i++, n++) {
                char hex[3] = {0};

                ret[n] = text[i];
                if (text[i] != '%')
                        continue;
                if (i + 2 >= n_text || !isxdigit((unsigned char)text[i + 1]) || !isxdigit((unsigned char)text[i + 2]))
                        return -EINVAL;
                memcpy(hex, text + i + 1, 2);
                ret[n] = (char)strtoul(hex, NULL, 16);
                i += 2;
        }
        ret[n] = '\0';
        return 0;
}

/* One NAME=VALUE of the query. What is not ours stays in the URI. */
static int source_take_attribute(IdentitySource *source, const char *text, size_t n_text)
{
        static const char module[] = "module-path=", pin[] = "pin-source=", file[] = "file:";
        size_t n = strlen(source->uri);

        if (n_text > strlen(module) && strncmp(text, module, strlen(module)) == 0)
                return uri_decode(text + strlen(module), n_text - strlen(module), source->module);
        if (n_text > strlen(pin) && strncmp(text, pin, strlen(pin)) == 0) {
                text += strlen(pin);
                n_text -= strlen(pin);
                if (n_text > strlen(file) && strncmp(text, file, strlen(file)) == 0) {
                        text += strlen(file);
                        n_text -= strlen(file);
                }
                return uri_decode(text, n_text, source->pin_path) < 0 || source->pin_path[0] != '/' ? -EINVAL : 0;
        }
        if (strncmp(text, "pin-value=", 10) == 0)
                return -EINVAL;
        (void)snprintf(source->uri + n, sizeof(source->uri) - n, "%c%.*s", strchr(source->uri, '?') ? '&' : '?',
                       (int)n_text, text);
        return 0;
}

/* Source: RFC 7512, section 2.3; other schemes have no attributes that are ours. */
static int source_parse(const char *text, const char *pin_file, IdentitySource *source)
{
        size_t n_path = strcspn(text, "?");
        int r = 0;

        if (strlen(text) > IDENTITY_SOURCE_MAX)
                return -EINVAL;
        (void)snprintf(source->pin_path, sizeof(source->pin_path), "%s", pin_file ?: "");
        (void)snprintf(source->uri, sizeof(source->uri), "%s", text);
        if (!identity_is_uri(text)) {
                (void)snprintf(source->shown, sizeof(source->shown), "%s", text);
                return 0;
        }
        (void)snprintf(source->shown, sizeof(source->shown), "%.*s", (int)n_path, text);
        if (strncmp(text, "file:", 5) == 0)
                return -EINVAL; /* its mode would not be looked at */
        if (strncmp(text, "pkcs11:", 7) != 0)
                return 0;
        source->uri[n_path] = '\0';
        for (const char *p = text + n_path; r == 0 && *p; p += strcspn(p, "&")) {
                p++;
                r = source_take_attribute(source, p, strcspn(p, "&"));
        }
        return r;
}

void identity_pin_path(const IdentityParams *params, char ret[static IDENTITY_SOURCE_MAX + 1])
{
        IdentitySource source = {0};

        (void)source_parse(params->key, params->pin_file, &source);
        memcpy(ret, source.pin_path, sizeof(source.pin_path));
}

/* --- secrets --- */

int identity_answer_pin(char *buffer, int size, int writing _unused_, void *userdata)
{
        IdentitySource *source = userdata;
        size_t n = strlen(source->pin);

        source->pin_asked = true;
        if (!source->has_pin || size < 0 || n > (size_t)size)
                return -1;
        memcpy(buffer, source->pin, n);
        return (int)n;
}

static int complain_file(const char *what, const char *path, int error, char problem[static IDENTITY_TEXT_MAX])
{
        if (error == -EKEYREJECTED)
                return complain(problem, EKEYREJECTED,
                                "cannot use the %s %s: others than its owner and group may read or change it; "
                                "chmod 0640, and chgrp it to the group of otad",
                                what, path);
        return complain(problem, -error, "cannot use the %s %s: %s", what, path,
                        error == -EINVAL ? "not a regular file" : strerror(-error));
}

/* Up to the first line end. */
static int source_read_pin(IdentitySource *source, gid_t group, char problem[static IDENTITY_TEXT_MAX])
{
        char *text = NULL;
        size_t n_text = 0, n;
        int r;

        if (!source->pin_path[0])
                return 0;
        r = file_read_secret(source->pin_path, IDENTITY_PIN_MAX, group, &text, &n_text);
        if (r < 0)
                return complain_file("PIN file", source->pin_path, r, problem);
        n = strcspn(text, "\r\n");
        memcpy(source->pin, text, n);
        source->has_pin = n > 0;
        explicit_bzero(text, n_text);
        free(text);
        return n > 0 ? 0 : complain(problem, EBADMSG, "cannot use the PIN file %s: it is empty", source->pin_path);
}

/* --- why OpenSSL could not --- */

static int explain(const IdentitySource *source, char problem[static IDENTITY_TEXT_MAX])
{
        unsigned long error = ERR_peek_error();
        const char *library = ERR_lib_error_string(error), *words;
        char reason[OPENSSL_REASON_MAX];
        int r = openssl_reason(reason);

        if (source->pin_asked && !source->has_pin)
                return complain(
                        problem, EBADMSG,
                        "cannot use the %s %s: it asks for a PIN or passphrase; put that into a file and name "
                        "the file in broker.pin-file",
                        source->what, source->shown);
        if (library && strcmp(library, "PKCS#11 module") == 0 && ERR_GET_REASON(error) >= CKR_PIN_INCORRECT &&
            ERR_GET_REASON(error) <= CKR_PIN_LOCKED)
                return complain(problem, EPERM,
                                "cannot use the %s %s: the token refused the PIN of %s (%s); correct that file%s",
                                source->what, source->shown, source->pin_path, reason,
                                ERR_GET_REASON(error) == CKR_PIN_LOCKED
                                        ? ", and unlock the token with the tool of its maker"
                                        : "");
        if (source->module[0] && strstr(reason, "PKCS#11 module"))
                return complain(problem, EBADMSG, "cannot use the %s %s: the PKCS #11 module %s cannot be loaded",
                                source->what, source->shown, source->module);
        if (strcmp(reason, "object not found") == 0)
                words = "no such token, or no such object on it; is it plugged in, and are the names in the URI "
                        "right?";
        else
                words = reason[0] ? reason : "there is none in it";
        return complain(problem, -r, "cannot use the %s %s: %s", source->what, source->shown, words);
}

/* --- a store: a file's content, or what a provider has --- */

static OSSL_STORE_CTX *store_open(IdentitySource *source, BIO *content, UI_METHOD *ui)
{
        if (content)
                return OSSL_STORE_attach(content, "file", NULL, NULL, ui, source, NULL, NULL, NULL);
        return OSSL_STORE_open_ex(source->uri, NULL, NULL, ui, source, NULL, NULL, NULL);
}

static int store_load(IdentitySource *source, BIO *content, int type, EVP_PKEY **ret_key,
                      STACK_OF(X509) * certificates)
{
        _cleanup_(ui_method_freep) UI_METHOD *ui = UI_UTIL_wrap_read_pem_callback(identity_answer_pin, 0);
        _cleanup_(store_closep) OSSL_STORE_CTX *store = ui ? store_open(source, content, ui) : NULL;
        bool found = false;

        if (!store)
                return -EBADMSG;
        /* A hint: what does not fit is passed over. */
        (void)OSSL_STORE_expect(store, type);
        while (!OSSL_STORE_eof(store) && !(found && ret_key)) {
                OSSL_STORE_INFO *info = OSSL_STORE_load(store);

                if (!info && OSSL_STORE_error(store))
                        break;
                if (!info || OSSL_STORE_INFO_get_type(info) != type) {
                        OSSL_STORE_INFO_free(info);
                        continue;
                }
                if (ret_key)
                        *ret_key = OSSL_STORE_INFO_get1_PKEY(info);
                else if (sk_X509_push(certificates, OSSL_STORE_INFO_get0_CERT(info)) > 0)
                        (void)X509_up_ref(OSSL_STORE_INFO_get0_CERT(info));
                found = true;
                OSSL_STORE_INFO_free(info);
        }
        if (found)
                ERR_clear_error();
        return found ? 0 : -EBADMSG;
}

/*
 * Providers are those that openssl.cnf activates. None is activated from here: with the provider for TPMs, for one, all
 * digests of this process might be made by the TPM.
 */
static bool store_knows(const char *uri)
{
        OSSL_STORE_LOADER *loader;
        char scheme[32];

        (void)snprintf(scheme, sizeof(scheme), "%.*s", (int)strcspn(uri, ":"), uri);
        loader = OSSL_STORE_LOADER_fetch(NULL, scheme, NULL);
        OSSL_STORE_LOADER_free(loader);
        ERR_clear_error();
        return loader;
}

/* --- both kinds of source --- */

static int source_load_uri(IdentitySource *source, int type, EVP_PKEY **ret_key, STACK_OF(X509) * certificates,
                           char problem[static IDENTITY_TEXT_MAX])
{
        X509 *certificate = NULL;
        int r;

        if (store_knows(source->uri))
                return store_load(source, NULL, type, ret_key, certificates) < 0 ? explain(source, problem) : 0;
        if (strncmp(source->uri, "pkcs11:", 7) != 0)
                return complain(
                        problem, ENOPKG,
                        "cannot use the %s %s: no provider of OpenSSL knows this kind of URI; activate the one that "
                        "does in openssl.cnf, or take pkcs11:",
                        source->what, source->shown);
        r = ret_key ? identity_engine_load_key(source, ret_key)
                    : identity_engine_load_certificate(source, &certificate);
        if (r < 0)
                return complain(problem, ENOPKG,
                                "cannot use the %s %s: OpenSSL has no engine pkcs11 that works; install "
                                "libengine-pkcs11-openssl",
                                source->what, source->shown);
        if (ret_key ? !*ret_key : !certificate)
                return explain(source, problem);
        if (certificate && sk_X509_push(certificates, certificate) <= 0) {
                X509_free(certificate);
                return complain(problem, ENOMEM, "out of memory");
        }
        return 0;
}

static int source_load_file(IdentitySource *source, gid_t group, int type, EVP_PKEY **ret_key,
                            STACK_OF(X509) * certificates, char problem[static IDENTITY_TEXT_MAX])
{
        _cleanup_(bio_freep) BIO *content = NULL;
        char *text = NULL;
        size_t n_text = 0;
        int r;

        r = ret_key ? file_read_secret(source->uri, FILE_BYTES_MAX, group, &text, &n_text)
                    : file_read(AT_FDCWD, source->uri, FILE_BYTES_MAX, &text, &n_text);
        if (r < 0)
                return complain_file(source->what, source->uri, r, problem);
        content = BIO_new_mem_buf(text, (int)n_text);
        r = content ? store_load(source, content, type, ret_key, certificates) : -ENOMEM;
        explicit_bzero(text, n_text);
        free(text);
        return r < 0 ? explain(source, problem) : 0;
}

static int source_load(const IdentityParams *params, const char *text, IdentitySource *source, EVP_PKEY **ret_key,
                       STACK_OF(X509) * certificates, char problem[static IDENTITY_TEXT_MAX])
{
        int type = ret_key ? OSSL_STORE_INFO_PKEY : OSSL_STORE_INFO_CERT;
        int r;

        ERR_clear_error();
        if (source_parse(text, params->pin_file, source) < 0)
                return complain(problem, EINVAL,
                                "cannot use the %s %s: not an absolute path, nor a URI as RFC 7512 has it, without a "
                                "pin-value",
                                source->what, source->shown);
        r = ret_key || identity_is_uri(text) ? source_read_pin(source, params->group, problem) : 0;
        if (r < 0)
                return r;
        r = identity_is_uri(text) ? source_load_uri(source, type, ret_key, certificates, problem)
                                  : source_load_file(source, params->group, type, ret_key, certificates, problem);
        ERR_clear_error();
        return r;
}

int identity_load_certificates(const IdentityParams *params, STACK_OF(X509) * *ret,
                               char problem[static IDENTITY_TEXT_MAX])
{
        _cleanup_(identity_certificates_freep) STACK_OF(X509) *certificates = sk_X509_new_null();
        _cleanup_(source_wipe) IdentitySource source = {.what = "certificate"};
        int r;

        if (!certificates)
                return complain(problem, ENOMEM, "out of memory");
        r = source_load(params, params->cert, &source, NULL, certificates, problem);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(certificates);
        return 0;
}

int identity_load_key(const IdentityParams *params, X509 *certificate, EVP_PKEY **ret,
                      char problem[static IDENTITY_TEXT_MAX])
{
        _cleanup_(source_wipe) IdentitySource source = {.what = "key"};
        _cleanup_(identity_key_freep) EVP_PKEY *key = NULL;
        int r;

        r = source_load(params, params->key, &source, &key, NULL, problem);
        if (r < 0)
                return r;
        if (certificate && X509_check_private_key(certificate, key) != 1) {
                ERR_clear_error();
                return complain(problem, EBADMSG,
                                "cannot use the key %s: it is not the one of the certificate %.*s; put the pair that "
                                "belongs together there",
                                source.shown, (int)strcspn(params->cert, "?"), params->cert);
        }
        *ret = TAKE_PTR(key);
        return 0;
}
