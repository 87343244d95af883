/*
 * trust-file: certificates out of one file of the trust store, if that file may be believed.
 */
#pragma once

#include <openssl/x509.h>
#include <stdbool.h>

#include "base/failure.h"

void certificates_free(STACK_OF(X509) * certificates);
DEFINE_CLEANUP(STACK_OF(X509) *, certificates_free);

/* "signer.pem": a name we look at. */
bool trust_file_has_suffix(const char *name);

/*
 * Opens a folder (dir_fd may be AT_FDCWD). `label` is what messages call it. -ENOENT without failure: not there.
 * FAILURE_CERTIFICATE_UNTRUSTED: no folder, or others may write to it.
 */
_must_use_ int trust_folder_open(int dir_fd, const char *name, const char *label, bool follow, int *ret,
                                 Failure *reterr);

/*
 * All certificates of dir_fd/name in their order, at least one and at most n_max. -ENOENT without failure: not there.
 * FAILURE_CERTIFICATE_UNTRUSTED: says why.
 */
_must_use_ int trust_file_read(int dir_fd, const char *name, const char *label, int n_max, STACK_OF(X509) * *ret,
                               Failure *reterr);
