/*
 * certificate: one X.509 certificate looked at: key, usages, dates.
 */
#pragma once

#include <openssl/x509.h>
#include <stdint.h>

#include "base/failure.h"

enum { CERTIFICATE_KEY_TEXT_MAX = 48 };

/* "EC prime256v1", "RSA 2048". Returns `text`. */
const char *certificate_describe_key(X509 *certificate, char text[static CERTIFICATE_KEY_TEXT_MAX]);
/* RFC 2253, escaped and cut. Returns `text`. */
const char *certificate_describe_subject(X509 *certificate, char *text, size_t text_size);
/* Seconds since 1970; 0 where it cannot be read. */
int64_t certificate_not_after(X509 *certificate);

/*
 * The rules for a signer: well-formed, no critical extension unknown to OpenSSL, no CA, keyUsage digitalSignature and
 * extendedKeyUsage codeSigning. `file` is for the message.
 */
_must_use_ int certificate_check_signer(X509 *certificate, const char *file, Failure *reterr);
/* `now` in seconds since 1970. */
_must_use_ int certificate_check_dates(X509 *certificate, const char *file, int64_t now, Failure *reterr);
