/*
 * http-response: is this answer the one that was asked for, and if not, what is it? Pure: no curl, no loop.
 *
 * Sources: RFC 9110 sections 14.4 and 15.3.7; Amazon S3 API Reference, "Error responses"; AWS IoT OTA agents renew a
 * presigned URL on 400 and 403.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/failure.h"

typedef struct HttpExpectation {
        uint64_t first_byte;
        uint64_t total_bytes;
        const char *if_match; /* NULL: no condition */
} HttpExpectation;

/* Borrowed texts; NULL where the header is absent. */
typedef struct HttpHead {
        int status;
        bool has_length;
        uint64_t length; /* Content-Length */
        const char *content_range;
        const char *etag;
} HttpHead;

bool http_status_is_redirect(int status);

/* 0: the bytes from first_byte to the end follow. Else negative, for 2xx with the wrong content and all others. */
_must_use_ int http_head_check(const HttpExpectation *expected, const HttpHead *head, Failure *reterr);

/* The failure for a status of 300 and above, with what its body (text of an S3 error, or not) says. Negative. */
int http_status_fail(int status, const char *body, size_t n_body, Failure *reterr);

/* False for NULL, a weak one (If-Match compares strongly, RFC 9110 section 13.1.1) and one that is no quoted string. */
bool http_etag_is_useful(const char *etag);
