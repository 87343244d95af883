#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "base/log-event.h"
#include "base/log.h"
#include "base/time-util.h"
#include "base/version.h"
#include "session-private.h"
#include "trust/clock.h"
#include "trust/signature.h"
#include "trust/trust-store.h"

static bool algorithm_is_allowed(const InstallParams *params, SignatureAlgorithm algorithm)
{
        for (size_t i = 0; i < params->n_algorithms; i++)
                if (params->algorithms[i] == algorithm)
                        return true;
        return false;
}

static int find_signer(const InstallParams *params, const char *name, X509 **ret, Failure *reterr)
{
        TrustStoreParams store = {.path = params->trust_store, .check_dates = params->dates_always};
        ClockSigns signs;

        clock_read_signs(&signs);
        store.wall_clock_usec = signs.wall_clock_usec;
        if (!store.check_dates)
                store.check_dates = clock_is_known(&signs, CLOCK_REFERENCE_USEC);
        return trust_store_find(&store, name, ret, reterr);
}

int policy_check_file(const InstallParams *params, const InstallFile *file, Failure *reterr)
{
        _cleanup_(certificate_freep) X509 *signer = NULL;
        int r;

        if (file->size_bytes == 0)
                return fail(reterr, FAILURE_IMAGE_EMPTY, EINVAL, "target %s: the image has no bytes", file->target);
        if (file->algorithm == SIGNATURE_ALGORITHM_NONE) {
                if (params->signing_required)
                        return fail(reterr, FAILURE_SIGNATURE_MISSING, EKEYREJECTED,
                                    "target %s: the image has no signature, and signing.required is true",
                                    file->target);
                log_event(
                        LOG_EVENT_UNSIGNED_ALLOWED, &(LogFields){.target = file->target},
                        "Target %s: the image has NO SIGNATURE, and signing.required is false: whoever can create a "
                        "job decides what runs here",
                        file->target);
                return 0;
        }
        if (!algorithm_is_allowed(params, file->algorithm))
                return fail(reterr, FAILURE_ALGORITHM_REFUSED, EKEYREJECTED,
                            "target %s: %s is not one of signing.algorithms", file->target,
                            signature_algorithm_to_string(file->algorithm));
        r = find_signer(params, file->cert, &signer, reterr);
        if (r < 0)
                return r;
        return signature_check_form(file->algorithm, file->signature, file->n_signature, signer, reterr);
}

int policy_check_space(const InstallParams *params, Failure *reterr)
{
        uint64_t available, keep;
        struct statvfs fs;

        if (params->keep_free.bytes == 0 && params->keep_free.percent == 0)
                return 0;
        if (fstatvfs(params->state_dir_fd, &fs) < 0)
                return fail(reterr, FAILURE_RESOURCES, errno, "free space of the installer's state folder: %s",
                            strerror(errno));
        available = (uint64_t)fs.f_bavail * fs.f_frsize;
        keep = free_space_rule_bytes(&params->keep_free, &fs);
        if (keep > available)
                return fail(reterr, FAILURE_NO_SPACE, ENOSPC,
                            "the file system of the installer's state folder has %" PRIu64 " bytes free, and %" PRIu64
                            " have to stay free",
                            available, keep);
        return 0;
}

int policy_verify_file(const InstallParams *params, const InstallFile *file, const DigestValue *digest,
                       Failure *reterr)
{
        _cleanup_(certificate_freep) X509 *signer = NULL;
        int r;

        /* All of it again: hours may have passed, and the rules are those of now. */
        r = policy_check_file(params, file, reterr);
        if (r < 0 || file->algorithm == SIGNATURE_ALGORITHM_NONE)
                return r;
        r = find_signer(params, file->cert, &signer, reterr);
        if (r < 0)
                return r;
        return signature_verify(file->algorithm, digest, file->signature, file->n_signature, signer, reterr);
}

int policy_choose_algorithm(const InstallParams *params, InstallFile *file, Failure *reterr)
{
        _cleanup_(certificate_freep) X509 *signer = NULL;
        int r;

        r = find_signer(params, file->cert, &signer, reterr);
        if (r < 0)
                return r;
        r = fail(reterr, FAILURE_ALGORITHM_REFUSED, EKEYREJECTED, "signing.algorithms is empty");
        for (size_t i = 0; r < 0 && i < params->n_algorithms; i++) {
                file->algorithm = params->algorithms[i];
                r = signature_check_form(file->algorithm, file->signature, file->n_signature, signer, reterr);
                /* The key fits, the signature does not: that is the answer, and not what the next key type says. */
                if (r == -EBADMSG)
                        break;
        }
        return r;
}

DigestAlgorithm policy_digest_algorithm(const InstallFile *file)
{
        return file->algorithm == SIGNATURE_ALGORITHM_NONE ? DIGEST_SHA256
                                                           : signature_algorithm_digest(file->algorithm);
}

void policy_read_version(const char *file, const char *key, char ret[static INSTALL_VERSION_MAX + 1])
{
        _cleanup_free_ char *version = NULL;
        int r;

        ret[0] = '\0';
        if (!file)
                return;
        r = version_read(file, key, &version);
        if (r < 0)
                (void)log_warning_errno(r, "Cannot read %s from %s, this version is unknown: %m", key, file);
        else
                (void)snprintf(ret, INSTALL_VERSION_MAX + 1, "%s", version);
}

int policy_check_version(const InstallParams *params, const InstallTarget *target, const char *previous,
                         Failure *reterr)
{
        char version[INSTALL_VERSION_MAX + 1];
        int order;

        if (!target->version_file)
                return 0;
        policy_read_version(target->version_file, target->version_key, version);
        if (version[0] == '\0')
                return fail(reterr, FAILURE_SELFTEST_FAILED, ENODATA,
                            "target %s: the new software does not tell its version (%s in %s)",
                            target_name(target->target), target->version_key, target->version_file);
        if (previous[0] == '\0' || params->allow_downgrade)
                return 0;
        order = version_compare(version, previous);
        if (order == 0)
                return fail(reterr, FAILURE_VERSION_SAME, EEXIST, "target %s: version %s is the one that ran before",
                            target_name(target->target), version);
        if (order < 0)
                return fail(reterr, FAILURE_VERSION_OLDER, EEXIST,
                            "target %s: version %s is older than %s, which ran before", target_name(target->target),
                            version, previous);
        return 0;
}
