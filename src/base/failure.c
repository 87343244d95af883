#include "base/failure.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

/*
 * The FreeRTOS texts: "rejected: AGENT" where the image was refused by rule, "aborted: AGENT" where the
 * download ended, "PAL-MAIN: SUB" where storing or verifying failed, "0x0000000c: SUB" where the document was
 * not understood. Agent errors: 12 parser, 13 no usable protocol, 14 momentum, 15 downgrade, 16 same version,
 * 17 image state mismatch, 19 user abort, 22 activate. PAL mains: e1 memory, e3 signature check, e4 file
 * create, e5 too large, e7 bad signer certificate, e8 bad image state, eb commit, ec activate, ee file close,
 * ea reject.
 */
static const struct {
        const char *word;
        const char *freertos;
        bool permanent;
} reasons[_FAILURE_MAX] = {
        [FAILURE_NONE] = {"none", "0x00000000: 0x00000000", false},
        [FAILURE_DOCUMENT_INVALID] = {"document-invalid", "0x0000000c: 0x00000004", true},
        [FAILURE_DOCUMENT_UNSUPPORTED] = {"document-unsupported", "0x0000000c: 0x00000004", true},
        [FAILURE_NO_PROTOCOL] = {"no-protocol", "aborted: 0x0000000d", true},
        [FAILURE_TARGET_UNKNOWN] = {"target-unknown", "0x000000e4: 0x00000000", true},
        [FAILURE_TARGET_REPEATED] = {"target-repeated", "0x000000e4: 0x00000000", true},
        [FAILURE_IMAGE_EMPTY] = {"image-empty", "0x0000000c: 0x00000003", true},
        [FAILURE_IMAGE_TOO_LARGE] = {"image-too-large", "0x000000e5: 0x00000000", true},
        [FAILURE_SIGNATURE_MISSING] = {"signature-missing", "0x000000e3: 0x00000000", true},
        [FAILURE_ALGORITHM_REFUSED] = {"algorithm-refused", "0x000000e3: 0x00000000", true},
        [FAILURE_DOWNLOAD_FAILED] = {"download-failed", "aborted: 0x0000000e", false},
        [FAILURE_DOWNLOAD_STALLED] = {"download-stalled", "aborted: 0x0000000e", false},
        [FAILURE_URL_EXPIRED] = {"url-expired", "aborted: 0x0000000e", false},
        [FAILURE_URL_REFUSED] = {"url-refused", "aborted: 0x0000000e", false},
        [FAILURE_RANGE_WRONG] = {"range-wrong", "aborted: 0x0000000e", false},
        [FAILURE_OBJECT_CHANGED] = {"object-changed", "aborted: 0x0000000e", false},
        [FAILURE_STREAM_REFUSED] = {"stream-refused", "aborted: 0x0000000e", false},
        [FAILURE_TLS] = {"tls-untrusted", "aborted: 0x0000000e", false},
        [FAILURE_TARGET_MISSING] = {"target-missing", "0x000000e4: 0x00000000", false},
        [FAILURE_TARGET_BUSY] = {"target-busy", "0x000000e4: 0x00000000", false},
        [FAILURE_TARGET_IO] = {"target-io", "0x000000ee: 0x00000000", false},
        [FAILURE_NO_SPACE] = {"no-space", "0x000000e5: 0x00000000", false},
        [FAILURE_BOOT_SCRIPT] = {"boot-script", "0x000000e6: 0x00000000", false},
        [FAILURE_SIGNATURE_INVALID] = {"signature-invalid", "0x000000e3: 0x00000000", false},
        [FAILURE_SIGNATURE_MALFORMED] = {"signature-malformed", "0x000000e3: 0x00000000", true},
        [FAILURE_CERTIFICATE_UNKNOWN] = {"certificate-unknown", "0x000000e7: 0x00000000", false},
        [FAILURE_CERTIFICATE_UNTRUSTED] = {"certificate-untrusted", "0x000000e7: 0x00000000", false},
        [FAILURE_CERTIFICATE_USAGE] = {"certificate-usage", "0x000000e7: 0x00000000", false},
        [FAILURE_CERTIFICATE_EXPIRED] = {"certificate-expired", "0x000000e7: 0x00000000", false},
        [FAILURE_KEY_MISMATCH] = {"key-mismatch", "0x000000e3: 0x00000000", false},
        [FAILURE_HOOK_FAILED] = {"hook-failed", "0x000000ec: 0x00000000", false},
        [FAILURE_HOOK_TIMEOUT] = {"hook-timeout", "0x000000ec: 0x00000000", false},
        [FAILURE_HOOK_NOT_NOW] = {"hook-not-now", "aborted: 0x00000013", false},
        [FAILURE_ACTIVATION_FAILED] = {"activation-failed", "0x000000ec: 0x00000000", false},
        [FAILURE_REBOOT_FAILED] = {"reboot-failed", "rejected: 0x00000016", false},
        [FAILURE_BOOTED_OLD] = {"booted-old-slot", "rejected: 0x00000011", false},
        [FAILURE_SELFTEST_FAILED] = {"selftest-failed", "rejected: 0x000000ea", false},
        [FAILURE_SELFTEST_TIMEOUT] = {"selftest-timeout", "rejected: 0x000000ea", false},
        [FAILURE_VERSION_SAME] = {"version-same", "rejected: 0x00000010", false},
        [FAILURE_VERSION_OLDER] = {"version-older", "rejected: 0x0000000f", false},
        [FAILURE_COMMIT_FAILED] = {"commit-failed", "0x000000eb: 0x00000000", false},
        [FAILURE_ROLLBACK_FAILED] = {"rollback-failed", "0x000000ea: 0x00000000", false},
        [FAILURE_CANCELLED] = {"cancelled", "aborted: 0x00000013", false},
        [FAILURE_CANCELLED_LOCALLY] = {"cancelled-locally", "aborted: 0x00000013", false},
        [FAILURE_INSTALLER] = {"installer", "0x000000e2: 0x00000000", false},
        [FAILURE_RECORD_DAMAGED] = {"record-damaged", "0x000000e8: 0x00000000", false},
        [FAILURE_RESOURCES] = {"resources", "0x000000e1: 0x00000000", false},
        [FAILURE_INTERNAL] = {"internal", "0x000000e2: 0x00000000", false},
};

void failure_set(Failure *failure, FailureReason reason, const char *detail)
{
        failure->reason = reason;
        text_escape(failure->detail, sizeof(failure->detail), detail, strlen(detail), false);
}

int fail_va(Failure *reterr, FailureReason reason, int error, const char *format, va_list args)
{
        char raw[FAILURE_DETAIL_MAX * 2];

        assert(error > 0);
        if (reterr) {
                (void)vsnprintf(raw, sizeof(raw), format, args);
                failure_set(reterr, reason, raw);
        }
        return -error;
}

int fail(Failure *reterr, FailureReason reason, int error, const char *format, ...)
{
        va_list args;
        int r;

        va_start(args, format);
        r = fail_va(reterr, reason, error, format, args);
        va_end(args);
        return r;
}

const char *failure_reason_to_string(FailureReason reason)
{
        assert(reason >= 0 && reason < _FAILURE_MAX);
        return reasons[reason].word;
}

FailureReason failure_reason_from_string(const char *word)
{
        for (size_t i = 0; i < ELEMENTSOF(reasons); i++)
                if (strcmp(reasons[i].word, word) == 0)
                        return (FailureReason)i;
        return FAILURE_INTERNAL;
}

const char *failure_reason_to_freertos(FailureReason reason)
{
        assert(reason >= 0 && reason < _FAILURE_MAX);
        return reasons[reason].freertos;
}

bool failure_reason_is_permanent(FailureReason reason)
{
        assert(reason >= 0 && reason < _FAILURE_MAX);
        return reasons[reason].permanent;
}
