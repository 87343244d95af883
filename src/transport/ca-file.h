/*
 * ca-file: trusts the certificates of a PEM file, read only as far as a chain asks for them.
 *
 * The bundle of a distribution has some 140 certificates, which would cost a megabyte to hold for the one that is
 * needed. It is searched instead, once for each issuer of a chain.
 */
#pragma once

#include <openssl/ssl.h>

#include "base/cleanup.h"

/*
 * From now on `context` trusts these and no others, whatever it trusted before. -ENOENT and other errors of opening the
 * file; -EBADMSG: no certificate in it; -ENOMEM.
 */
_must_use_ int ca_file_trust(SSL_CTX *context, const char *path);
