/*
 * openssl-reason: what OpenSSL says was wrong, and what it costs that it can.
 *
 * Half a MiB of memory in each process holds the words for every error of libcrypto (crypto/err/err_all.c of OpenSSL
 * 3.0). A process that leaves them out has those of TLS all the same, and fetches most others once there is an error.
 */
#pragma once

#include "base/cleanup.h"

enum { OPENSSL_REASON_MAX = 128 };

/* The first error that OpenSSL has put down for this thread, in words; "" where there is none. Returns what it comes to:
 * -ENOMEM, the -errno of the system's call, or else -EBADMSG. */
_must_use_ int openssl_reason(char text[static OPENSSL_REASON_MAX]);
