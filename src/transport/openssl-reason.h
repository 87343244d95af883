/*
 * openssl-reason: what OpenSSL says was wrong, and what it costs that it can.
 *
 * The words for every error of libcrypto (crypto/err/err_all.c of OpenSSL 3.0) take half a MiB of memory in a program
 * that has little else of it, and 0.1 to 0.2 in otad. A process that leaves them out has those of TLS all the same, and
 * fetches most others once there is an error.
 */
#pragma once

#include "base/cleanup.h"

enum { OPENSSL_REASON_MAX = 128 };

/* The first error that OpenSSL has put down for this thread, in words; "" where there is none. Returns what it comes to:
 * -ENOMEM, the -errno of the system's call, or else -EBADMSG. */
_must_use_ int openssl_reason(char text[static OPENSSL_REASON_MAX]);
