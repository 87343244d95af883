/*
 * signer: a throw-away code signer, made anew for each test.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

typedef struct evp_pkey_st EVP_PKEY;

/* Makes a P-256 key, and a self-signed code-signing certificate for it at `path`. Aborts where that fails. */
EVP_PKEY *signer_new(const char *path);
void signer_free(EVP_PKEY *key);
/* Returns the length; `signature` has room for 128 bytes. */
size_t signer_sign(EVP_PKEY *key, const uint8_t *data, size_t n_data, uint8_t *signature);
