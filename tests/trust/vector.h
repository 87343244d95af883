/*
 * vector: a signed image, made with a throw-away key.
 */
#pragma once

#include <stdint.h>

#define VECTOR_IMAGE       "otad-test-image-v1\n"
#define VECTOR_IMAGE_BYTES ((size_t)19)

static const uint8_t vector_signature[] = {
        0x30, 0x45, 0x02, 0x20, 0x33, 0x64, 0xcf, 0x48, 0x7d, 0xe5, 0xf1, 0xb7, 0x85, 0x65, 0x8b, 0xfb, 0xb0, 0xdd,
        0x91, 0x0e, 0x2a, 0x59, 0x7e, 0xf6, 0x03, 0xdc, 0x04, 0xf4, 0xb2, 0xb1, 0xdf, 0x9a, 0x9b, 0x16, 0x42, 0x6c,
        0x02, 0x21, 0x00, 0x98, 0x5e, 0xa1, 0x66, 0x42, 0xf7, 0x8b, 0xdd, 0x0f, 0xfb, 0x8e, 0xcc, 0x80, 0x7a, 0xb7,
        0x8d, 0xda, 0x99, 0x01, 0x0e, 0xc1, 0x33, 0x82, 0x9c, 0x34, 0xe8, 0x9a, 0x96, 0xca, 0xa5, 0xdc, 0xe8};

static const char vector_certificate[] = "-----BEGIN CERTIFICATE-----\n"
                                         "MIIBgzCCASmgAwIBAgIBATAKBggqhkjOPQQDAjAgMR4wHAYDVQQDDBVvdGFkIHRl\n"
                                         "c3QgY29kZSBzaWduZXIwHhcNMjAwMTAxMDAwMDAwWhcNNDkxMjMxMjM1OTU5WjAg\n"
                                         "MR4wHAYDVQQDDBVvdGFkIHRlc3QgY29kZSBzaWduZXIwWTATBgcqhkjOPQIBBggq\n"
                                         "hkjOPQMBBwNCAATCXhnym20eRuiVoG7CNYMMLD8yqhQTfsCtPu8QxTvO3gM3ch3y\n"
                                         "EqjAvs/QYC7pekoBDWqFvEACrS7Y8vz9Lthco1QwUjAMBgNVHRMBAf8EAjAAMA4G\n"
                                         "A1UdDwEB/wQEAwIHgDATBgNVHSUEDDAKBggrBgEFBQcDAzAdBgNVHQ4EFgQUOXtg\n"
                                         "XIRhF9hHf0fF5+uIllNtjSQwCgYIKoZIzj0EAwIDSAAwRQIgcWxjXaBCu+g0BROk\n"
                                         "GWLqLQcvQsXabAiZg1o4zIc54p8CIQCVK0mH4th75ybhUVbp5VB+xnyRcVUip/Gq\n"
                                         "kD1yqcKMbw==\n"
                                         "-----END CERTIFICATE-----\n";
