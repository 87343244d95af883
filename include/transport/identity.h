/*
 * identity: the device's certificate and private key, from files, from a token or a TPM.
 *
 * A source is an absolute path or a URI. A path names a PEM or DER file. A URI goes to the provider of OpenSSL that
 * knows its scheme; "pkcs11:" (RFC 7512), which in Debian 12 none knows, goes to the engine "pkcs11" else. Its PKCS #11 module is the URI's module-path, or the
 * engine's own choice (PKCS11_MODULE_PATH, p11-kit).
 *
 * Secrets: a file with a key or PIN that others may read is refused, so is a PIN inside of a URI. The PIN, or a
 * key file's passphrase, comes from pin_file or from the URI's pin-source, read anew for each call, and is
 * never logged.
 *
 * Everything here blocks for as long as the token does: see transport/identity-probe.h.
 */
#pragma once

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/cleanup.h"

enum {
        IDENTITY_TEXT_MAX = 512,
        IDENTITY_SOURCE_MAX = 1023,
};

/* Borrowed. */
typedef struct IdentityParams {
        const char *cert;
        const char *key;
        const char *pin_file; /* NULL or "": none */
        gid_t group;          /* whose members may read key and PIN, too: that of the process that uses them */
} IdentityParams;

static inline void identity_certificates_freep(STACK_OF(X509) * *certificates)
{
        sk_X509_pop_free(*certificates, X509_free);
}

static inline void identity_key_freep(EVP_PKEY **key)
{
        EVP_PKEY_free(*key);
}

bool identity_is_uri(const char *source);

/*
 * `problem` says in words what could not be used, why, and what to do. -ENOENT, -EACCES and the like: a file that
 * cannot be read; -EKEYREJECTED: one that others may read; -EPERM: the token has refused the PIN, and counts that;
 * -EBADMSG: what is there is no use, or not there; -ENOMEM.
 */
/* At least one; the device's own first, then those that issued it, as they stand in the file. */
_must_use_ int identity_load_certificates(const IdentityParams *params, STACK_OF(X509) * *ret,
                                          char problem[static IDENTITY_TEXT_MAX]);
/* `certificate` (may be NULL) must be made out to this key. */
_must_use_ int identity_load_key(const IdentityParams *params, X509 *certificate, EVP_PKEY **ret,
                                 char problem[static IDENTITY_TEXT_MAX]);

/* The file the PIN comes from; "" where there is none. */
void identity_pin_path(const IdentityParams *params, char ret[static IDENTITY_SOURCE_MAX + 1]);
