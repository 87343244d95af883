/*
 * expiry: when the certificates end that this device depends on.
 *
 * The device's own file counts as ended with the first certificate of its chain, the broker's root CA file with the last
 * of its certificates: any of them may be the one in use, so only with the last it is certain. Of the trust store, what
 * could be used but for its dates: signers and anchors, each by its file's first certificate.
 *
 * What cannot be read is left out; whoever uses it says why. Whether the dates mean anything is trust/clock.h's matter.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "trust/trust-store.h"

enum { EXPIRY_ENTRIES_MAX = 64, EXPIRY_FILE_MAX = 256 };

typedef enum ExpiryKind {
        EXPIRY_DEVICE,
        EXPIRY_ROOT_CA,
        EXPIRY_SIGNER,
        EXPIRY_ANCHOR,
        _EXPIRY_KIND_MAX,
} ExpiryKind;

const char *expiry_kind_to_string(ExpiryKind kind); /* "device", "root-ca", "signer", "anchor" */

typedef struct ExpiryEntry {
        ExpiryKind kind;
        char file[EXPIRY_FILE_MAX]; /* of the trust store: below it */
        int64_t not_after_sec;      /* since 1970 */
} ExpiryEntry;

/* A plain value; what is over EXPIRY_ENTRIES_MAX is left out. */
typedef struct ExpiryList {
        size_t n_entries;
        ExpiryEntry entries[EXPIRY_ENTRIES_MAX];
} ExpiryList;

/* Borrowed for the call. */
typedef struct ExpiryParams {
        const char *cert_file;
        const char *root_ca_file;
        const char *trust_store;
} ExpiryParams;

void expiry_read(const ExpiryParams *params, ExpiryList *ret);
