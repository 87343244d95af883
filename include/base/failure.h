/*
 * failure: why an update failed, in the cloud's words.
 *
 * Every reason has one word (statusDetails `error`, otactl, the journal, docs/troubleshooting.md) and one
 * text in the FreeRTOS OTA agent's vocabulary (statusDetails `reason`). Both stand in one table in failure.c
 * and nowhere else. The codes in that vocabulary: agent errors and PAL statuses of
 * ota-for-aws-iot-embedded-sdk v3.4.0.
 */
#pragma once

#include <stdarg.h>
#include <stdbool.h>

#include "base/cleanup.h"

typedef enum FailureReason {
        FAILURE_NONE,
        /* the job */
        FAILURE_DOCUMENT_INVALID,     /* not a well-formed afr_ota document, or beyond a bound */
        FAILURE_DOCUMENT_UNSUPPORTED, /* well-formed, but asks for what this device can never do */
        FAILURE_NO_PROTOCOL,          /* no data protocol in common */
        FAILURE_TARGET_UNKNOWN,       /* no configured target matches */
        FAILURE_TARGET_REPEATED,      /* two files of one job for one target */
        FAILURE_IMAGE_EMPTY,          /* filesize 0 */
        FAILURE_IMAGE_TOO_LARGE,      /* larger than the target, or than a stream can carry */
        FAILURE_SIGNATURE_MISSING,    /* no signature, and signing is required */
        FAILURE_ALGORITHM_REFUSED,    /* signature algorithm unknown or not configured */
        /* the download */
        FAILURE_DOWNLOAD_FAILED,  /* every source tried, no way on */
        FAILURE_DOWNLOAD_STALLED, /* connected, but no byte for too long */
        FAILURE_URL_EXPIRED,      /* 403 or 400 from the store */
        FAILURE_URL_REFUSED,      /* another 4xx, or a redirect that must not be followed */
        FAILURE_RANGE_WRONG,      /* 206 with other bytes than asked, 416, wrong total length */
        FAILURE_OBJECT_CHANGED,   /* ETag or stream version differs from when the download began */
        FAILURE_STREAM_REFUSED,   /* a rejection on the stream's topics that repeating cannot mend */
        FAILURE_TLS,              /* the store's certificate was not accepted */
        /* the target */
        FAILURE_TARGET_MISSING, /* no such device or directory */
        FAILURE_TARGET_BUSY,    /* mounted, or the slot that is running */
        FAILURE_TARGET_IO,      /* read, write or sync failed */
        FAILURE_NO_SPACE,
        FAILURE_BOOT_SCRIPT, /* failed, timed out or contradicted itself */
        /* trust */
        FAILURE_SIGNATURE_INVALID,     /* does not match the bytes on the target */
        FAILURE_SIGNATURE_MALFORMED,   /* not base64, not DER, wrong length */
        FAILURE_CERTIFICATE_UNKNOWN,   /* the trust store has no such entry */
        FAILURE_CERTIFICATE_UNTRUSTED, /* its chain does not end in the trust store, or it cannot be read */
        FAILURE_CERTIFICATE_USAGE,     /* keyUsage or extendedKeyUsage forbid code signing */
        FAILURE_CERTIFICATE_EXPIRED,   /* outside its dates, by a clock known to be right */
        FAILURE_KEY_MISMATCH,          /* key type or size does not fit the algorithm */
        /* activation and test */
        FAILURE_HOOK_FAILED,
        FAILURE_HOOK_TIMEOUT,
        FAILURE_HOOK_NOT_NOW, /* "not now" for longer than hook.give-up-sec */
        FAILURE_ACTIVATION_FAILED,
        FAILURE_REBOOT_FAILED, /* asked for, and did not come */
        FAILURE_BOOTED_OLD,    /* a reboot came up in the old slot */
        FAILURE_SELFTEST_FAILED,
        FAILURE_SELFTEST_TIMEOUT, /* no commit within selftest.timeout-sec */
        FAILURE_VERSION_SAME,
        FAILURE_VERSION_OLDER,
        FAILURE_COMMIT_FAILED,
        FAILURE_ROLLBACK_FAILED,
        /* ended from outside */
        FAILURE_CANCELLED,         /* by the cloud: cancelled, timed out, deleted, removed, or a new attempt */
        FAILURE_CANCELLED_LOCALLY, /* otactl cancel, otactl rollback */
        /* ourselves */
        FAILURE_INSTALLER,      /* otad-installer unreachable, or gave an answer out of turn */
        FAILURE_RECORD_DAMAGED, /* what was on disk cannot be trusted */
        FAILURE_RESOURCES,      /* out of memory or descriptors */
        FAILURE_INTERNAL,
        _FAILURE_MAX,
} FailureReason;

enum { FAILURE_DETAIL_MAX = 512 };

/* A plain value. `detail` is one line of printable UTF-8 for a person; it may quote hostile text, already
 * escaped. */
typedef struct Failure {
        FailureReason reason;
        char detail[FAILURE_DETAIL_MAX];
} Failure;

/*
 * Fills *reterr (NULL is fine) and returns -error, so that `return fail(...)` says it all. Control characters
 * and invalid UTF-8 in the formatted detail are escaped, and it is cut at FAILURE_DETAIL_MAX.
 */
_printf_(4, 5) int fail(Failure *reterr, FailureReason reason, int error, const char *format, ...);
_printf_(4, 0) int fail_va(Failure *reterr, FailureReason reason, int error, const char *format, va_list args);
/* The same, for a detail that is already text from elsewhere (a record, the wire). */
void failure_set(Failure *failure, FailureReason reason, const char *detail);
static inline bool failure_is_set(const Failure *failure)
{
        return failure->reason != FAILURE_NONE;
}

const char *failure_reason_to_string(FailureReason reason);   /* "signature-invalid" */
FailureReason failure_reason_from_string(const char *word);   /* FAILURE_INTERNAL where unknown */
const char *failure_reason_to_freertos(FailureReason reason); /* "0x000000e3: 0x00000000" */
/* True where the same document can never succeed on this device: the job is REJECTED, not FAILED. */
bool failure_reason_is_permanent(FailureReason reason);
