/*
 * http-client: HTTPS downloads on the event loop, each from a given byte onwards.
 *
 * HttpClient owns the curl multi handle and keeps connections for reuse; HttpFetch is one GET. libcurl is loaded
 * for the first. A fetch checks the answer's status, range, length and ETag before its first byte is handed on. It
 * knows nothing of jobs or slots, keeps no file, never retries.
 *
 * https only, HTTP/1.1, no cookies, no content coding; name look-up by transport/resolver, so no thread;
 * through a proxy where one is given, which then looks the server up. The URL is sent to the letter (a
 * presigned one carries a signature over it) and is a secret: logged are scheme and host only. At most HTTP_REDIRECTS_MAX redirects are followed, to https only.
 *
 * Every wait has a deadline: name look-up connect_timeout_usec; TCP, the proxy's answer and TLS together
 * connect_timeout_usec, again for each redirect; from then on at least low_speed_bytes a second averaged over each stall_usec, the
 * answer's head included. A paused fetch is not stalled.
 *
 * Sources: RFC 9110, sections 13.1.1 (If-Match), 14.2 (Range), 14.4 (Content-Range), 15.3.7 (206), 10.2.3
 * (Retry-After); Amazon S3 API Reference, "Error responses".
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "base/cleanup.h"
#include "base/failure.h"
#include "transport/proxy.h"

enum {
        HTTP_REDIRECTS_MAX = 3,
        HTTP_URL_MAX = 8192,
        HTTP_ETAG_MAX = 256,
        HTTP_ERROR_BODY_MAX = 4096, /* how much of an error's body is read for the detail */
};

typedef struct HttpClient HttpClient;
typedef struct HttpFetch HttpFetch;

/* Strings are copied. */
typedef struct HttpFetchParams {
        const char *url;
        uint64_t first_byte;  /* 0: a plain GET; else Range: bytes=N- */
        uint64_t total_bytes; /* of the whole image; greater than first_byte */
        const char *if_match; /* an ETag that on_headers gave, or NULL */
        const char *ca_file;  /* PEM */
        ProxyParams proxy;
        const char *user_agent;  /* NULL: none is sent */
        const char *dns_servers; /* NULL: the system's; for tests, see transport/resolver.h */
        uint64_t connect_timeout_usec;
        uint64_t stall_usec;
        uint64_t low_speed_bytes; /* a second; 0 counts as 1 a stall_usec */
} HttpFetchParams;

/* Borrowed for the call. */
typedef struct HttpFetchOutcome {
        const Failure *failure;    /* NULL on success: every byte from first_byte to the end was taken */
        int http_status;           /* of the last answer; 0: none came */
        uint64_t next_byte;        /* first_byte + bytes taken: where to go on */
        uint64_t retry_after_usec; /* what the server asked for, at most a day; 0: nothing */
} HttpFetchOutcome;

/*
 * All come from the loop, never from inside a call into the fetch; inside them every call on any fetch of
 * this client is allowed, freeing too. on_headers may be NULL.
 *
 * Outcomes: 206 with another range than asked, 200 where a range was asked, 416, a length that does not fit
 * total_bytes, more bytes than announced: FAILURE_RANGE_WRONG. 412 or another ETag than if_match:
 * OBJECT_CHANGED. 400, 403: URL_EXPIRED, with S3's <Code> and <Message>. 404 and other 4xx, a redirect too
 * many or not to https: URL_REFUSED. 5xx, 408, 425, 429, no connection, reset, end before the last byte:
 * DOWNLOAD_FAILED. Too slow: DOWNLOAD_STALLED. The server's certificate: TLS. What on_data filled in, or
 * FAILURE_INTERNAL where it filled nothing.
 */
typedef struct HttpFetchCallbacks {
        /*
         * The answer is as it should be; bytes follow. etag: a strong one, to be given as if_match when going
         * on; NULL where there is none of use.
         */
        void (*on_headers)(HttpFetch *fetch, const char *etag, void *userdata);
        /*
         * Bytes in order, without gaps. 0: all taken. -EAGAIN: none taken; the fetch pauses and the same
         * bytes come again after http_fetch_resume(). Any other negative ends the fetch with the failure it
         * filled in.
         */
        int (*on_data)(HttpFetch *fetch, const uint8_t *data, size_t n_data, void *userdata, Failure *reterr);
        /* Called exactly once, last of all, unless the fetch is freed before. May free the fetch. */
        void (*on_done)(HttpFetch *fetch, const HttpFetchOutcome *outcome, void *userdata);
} HttpFetchCallbacks;

_must_use_ int http_client_new(sd_event *event, HttpClient **ret);
/* NULL is fine; returns NULL. Free its fetches first; not from inside a callback. */
HttpClient *http_client_free(HttpClient *client);
DEFINE_CLEANUP(HttpClient *, http_client_free);

/*
 * Loads libcurl, where that is still to be done: some milliseconds that the first fetch need not take then.
 * -ELIBACC: there is none; the log says what is missing. -ENOMEM.
 */
_must_use_ int http_client_prepare(HttpClient *client);

/*
 * On success *ret is the caller's, and freeing it cancels. -EINVAL: not an https URL, one with a user name or
 * with bytes that are not allowed in a URL, first_byte not below total_bytes, or another senseless parameter.
 * -ELIBACC: there is no libcurl, which the first fetch loads. -ENOMEM.
 */
_must_use_ int http_fetch_start(HttpClient *client, const HttpFetchParams *params,
                                const HttpFetchCallbacks *callbacks, void *userdata, HttpFetch **ret);
HttpFetch *http_fetch_free(HttpFetch *fetch); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(HttpFetch *, http_fetch_free);

/* The bytes come again, from the loop. Fine where it is not paused. */
void http_fetch_resume(HttpFetch *fetch);
