/*
 * chain: from a signer's certificate up to an anchor.
 */
#pragma once

#include <openssl/x509.h>
#include <stdint.h>

#include "base/failure.h"

/* Fit to be an anchor: a self-signed CA (CA:TRUE). -EKEYREJECTED, FAILURE_CERTIFICATE_UNTRUSTED. */
_must_use_ int chain_check_anchor(X509 *certificate, const char *file, Failure *reterr);
/*
 * `certificates` holds the signer first, then what may lie between. `now`: NULL does not check dates, else seconds since
 * 1970. The signer's own usages are not looked at here.
 */
_must_use_ int chain_verify(STACK_OF(X509) * certificates, STACK_OF(X509) * anchors, const int64_t *now,
                            const char *file, Failure *reterr);
