/*
 * identity-private: one source of a certificate or key, and the two ways to ask OpenSSL for what a URI names.
 */
#pragma once

#include "transport/identity.h"

enum { IDENTITY_PIN_MAX = 255 };

/* A plain value, wiped by its owner. */
typedef struct IdentitySource {
        const char *what;                     /* "key", for messages */
        char uri[IDENTITY_SOURCE_MAX + 1];    /* or path; without what stands in the next two */
        char shown[IDENTITY_SOURCE_MAX + 1];  /* what may be said of it: never a query */
        char module[IDENTITY_SOURCE_MAX + 1]; /* "": not named */
        char pin_path[IDENTITY_SOURCE_MAX + 1];
        char pin[IDENTITY_PIN_MAX + 1];
        bool has_pin;
        bool pin_asked; /* by whom it was needed */
} IdentitySource;

/* A pem_password_cb() over the source: never asks on a terminal, which would wait for ever. */
int identity_answer_pin(char *buffer, int size, int writing, void *userdata);

/* Both: 0 where the engine could be asked; *ret is NULL then where it found nothing, and OpenSSL's errors tell why. */
_must_use_ int identity_engine_load_key(IdentitySource *source, EVP_PKEY **ret);
_must_use_ int identity_engine_load_certificate(IdentitySource *source, X509 **ret);
