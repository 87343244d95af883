/*
 * job-document: the job document that CreateOTAUpdate makes ("afr_ota"), checked against every bound it has.
 *
 * The document is operator input with root consequences: whatever this struct holds is within the bounds written here.
 * Still untrusted after that: `path` and `cert_name` are selectors, never names in a file system; `url` is a secret.
 * Signing policy (must there be a signature, which algorithms) and the choice of a protocol are not decided here.
 *
 * Members that are not known are ignored. Numbers are JSON numbers: a string such as "647324" is refused, as the
 * service never writes one, and so is a number with an exponent or one that a double would not hold exactly.
 *
 * Sources: AWS IoT API reference, CreateOTAUpdate; FreeRTOS User Guide, "OTA tutorial"; captured documents and the
 * parsers of ota-for-aws-iot-embedded-sdk v3.4.0 and Jobs-for-AWS-IoT-embedded-sdk v2.0.1.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/failure.h"
#include "base/signature-algorithm.h"
#include "codec/topic.h"

enum {
        JOB_DOCUMENT_MAX_BYTES = 128 * 1024, /* 32 KiB, and what presigned URLs add */
        JOB_FILES_MAX = 10,                  /* files of one stream */
        JOB_PATH_MAX = 1024,                 /* bytes */
        JOB_CERT_NAME_MAX = 1024,            /* bytes */
        JOB_URL_MAX = 8192,                  /* bytes */
};
#define JOB_FILE_MAX_BYTES (UINT64_C(1) << 53) /* the largest whole number that JSON carries safely */

typedef struct JobFile {
        char *path;                   /* `filepath`: 1 to JOB_PATH_MAX bytes, no control characters */
        uint64_t size_bytes;          /* 1 to JOB_FILE_MAX_BYTES; a stream carries STREAM_FILE_MAX_BYTES only */
        uint8_t file_id;              /* differs between files where MQTT is offered */
        uint8_t file_type;            /* 0: firmware, also where not given */
        char *cert_name;              /* `certfile`, no control characters; NULL: not given, or empty */
        char *url;                    /* https://, at most JOB_URL_MAX visible ASCII; NULL: HTTP is not offered */
        SignatureAlgorithm algorithm; /* SIGNATURE_ALGORITHM_NONE: not signed */
        uint8_t signature[SIGNATURE_MAX_BYTES]; /* decoded from base64; what it means is not looked at */
        size_t n_signature;                     /* 0 only where not signed */
} JobFile;

typedef struct JobDocument {
        bool https;        /* HTTP is offered, every file has a URL */
        bool mqtt;         /* MQTT is offered, there is a stream name */
        char *stream_name; /* a valid stream id; NULL: MQTT is not offered */
        JobFile files[JOB_FILES_MAX];
        size_t n_files; /* 1 to JOB_FILES_MAX */
} JobDocument;

/*
 * `text` need not end in NUL. On success *ret is the caller's.
 *
 * -ENOMSG: JSON, but without a member "afr_ota": a custom job, not ours to judge; *reterr is not touched.
 * -EBADMSG: with FAILURE_DOCUMENT_INVALID (not JSON, a member missing, of the wrong type or beyond its bound, two
 *   members of one name, two files of one id over MQTT), FAILURE_IMAGE_EMPTY (`filesize` 0) or
 *   FAILURE_SIGNATURE_MALFORMED (not base64, empty, or longer than SIGNATURE_MAX_BYTES).
 * -EOPNOTSUPP: with FAILURE_DOCUMENT_UNSUPPORTED (a URL that is not https, another `auth_scheme`, a "${aws:iot:"
 *   that the service has not replaced), FAILURE_NO_PROTOCOL (neither MQTT nor HTTP) or FAILURE_ALGORITHM_REFUSED (a
 *   member "sig-..." that is not known).
 * -ENOMEM: with FAILURE_RESOURCES.
 * The detail names the member and its bound, and never quotes a URL.
 */
_must_use_ int job_document_parse(const char *text, size_t n_text, JobDocument **ret, Failure *reterr);
JobDocument *job_document_free(JobDocument *document); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(JobDocument *, job_document_free);
