/*
 * trust-store: a folder of certificates that decides whose signature counts.
 *
 *   STORE/NAME.pem        a pinned signer: one end-entity certificate, trusted by being here, self-signed or not
 *   STORE/chain/NAME.pem  a signer, then its intermediates (8 certificates at most); trusted where the chain
 *                         ends in an anchor
 *   STORE/ca/FILE.pem     anchors: self-signed CA certificates (CA:TRUE), one or more a file, never signers
 *
 * PEM only; `.crt` does as well as `.pem`, other files are not looked at. A signer needs keyUsage
 * digitalSignature and extendedKeyUsage codeSigning, however it came to be trusted. In a chain, CA:TRUE,
 * keyCertSign, path lengths, name and signature of every certificate are checked by OpenSSL, RSA below 2048
 * bits and SHA-1 are refused, and a CA that states an extendedKeyUsage must state codeSigning. Dates are the
 * only thing that can be switched off. There is no revocation: take the file away.
 *
 * A file counts only where it is a regular file (no symbolic link) of root or of this process's user, not
 * writable by group or others, of at most 256 KiB; the folders are held to the same owner and mode. Everything
 * is read anew for each call, so a change needs no restart.
 *
 * Source: AWS IoT Core Developer Guide and FreeRTOS User Guide, "Create a code-signing certificate" (usages;
 * self-signed is normal); RFC 5280 sections 4.2.1.3, 4.2.1.9, 4.2.1.12 and 6.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/failure.h"

typedef struct x509_st X509; /* OpenSSL's */

/* Wraps X509_free(), so that others need not include OpenSSL. NULL is fine; returns NULL. */
X509 *certificate_free(X509 *certificate);
DEFINE_CLEANUP(X509 *, certificate_free);

/* A plain value; borrowed for the call. */
typedef struct TrustStoreParams {
        const char *path;         /* the folder */
        bool check_dates;         /* notBefore and notAfter count: of the signer, and of its chain */
        uint64_t wall_clock_usec; /* the moment they are checked for; ignored without check_dates */
} TrustStoreParams;

enum { TRUST_NAME_MAX = 128 };

/*
 * Finds the signer that a job's `certfile` names and says whether it may be trusted. The name is hostile and
 * only ever chooses among what is in the folder: what follows its last '/' (1 to 128 of [A-Za-z0-9._-], not
 * starting with '.') is looked up as NAME where that ends in .pem or .crt, NAME.pem, NAME.crt, in STORE and then
 * in STORE/chain; the first that exists is taken, good or bad. NULL or "": the only signer there is.
 *
 * On success *ret is the caller's. Failures, whose detail names the file and the reason:
 * FAILURE_CERTIFICATE_UNKNOWN (-ENOENT): no such entry, not a usable name, or no name and not exactly one
 * signer. FAILURE_CERTIFICATE_UNTRUSTED (-EKEYREJECTED): cannot be read or parsed, owner or mode, chain.
 * FAILURE_CERTIFICATE_USAGE (-EKEYREJECTED), FAILURE_CERTIFICATE_EXPIRED (-EKEYEXPIRED): outside its dates,
 * either end.
 */
_must_use_ int trust_store_find(const TrustStoreParams *params, const char *name, X509 **ret, Failure *reterr);

/* For a person. Texts are escaped and cut. */
typedef struct TrustEntry {
        char file[TRUST_NAME_MAX + 16]; /* "NAME.pem", "chain/NAME.pem", "ca/FILE.pem" */
        bool is_anchor;                 /* of ca/; else a signer */
        char subject[256];              /* "" where it cannot be read */
        char key_type[48];              /* "EC prime256v1", "RSA 2048" */
        int64_t not_after_sec;          /* since 1970; 0 where it cannot be read */
        bool usable;
        Failure why_not; /* set where not usable */
} TrustEntry;

/*
 * Every file of the store, signers first, by name; at most 256 of each folder. On success *ret (may be NULL where there is
 * nothing) is the caller's to free(). FAILURE_CERTIFICATE_UNTRUSTED: the folder itself cannot be used.
 */
_must_use_ int trust_store_list(const TrustStoreParams *params, TrustEntry **ret, size_t *ret_n, Failure *reterr);
