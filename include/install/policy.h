/*
 * policy: whose signature counts on this device, by its configuration. The one place where that is decided: for
 * otad-installer, and for who only wants to know (otactl verify).
 *
 * Blocks on the trust store, which is a few small files.
 */
#pragma once

#include "base/failure.h"
#include "install/record.h"
#include "install/session.h"
#include "trust/digest.h"

/*
 * All that can be told before a byte of the image is there: size, algorithm, signer, form of the signature. Of `params`
 * what is about signing counts. FAILURE_IMAGE_EMPTY, FAILURE_SIGNATURE_MISSING, FAILURE_ALGORITHM_REFUSED, and those of
 * trust_store_find() and signature_check_form().
 */
_must_use_ int policy_check_file(const InstallParams *params, const InstallFile *file, Failure *reterr);
/* The same, and then the signature over the image's digest. */
_must_use_ int policy_verify_file(const InstallParams *params, const InstallFile *file, const DigestValue *digest,
                                  Failure *reterr);
/*
 * For a signature that comes without a word for what it is: sets file->algorithm to the first allowed one that fits the
 * signer's key. Failures as above, of the last one tried.
 */
_must_use_ int policy_choose_algorithm(const InstallParams *params, InstallFile *file, Failure *reterr);
/* What is hashed for it: without a signature SHA-256, for people. */
DigestAlgorithm policy_digest_algorithm(const InstallFile *file);
