/*
 * mangle: each beginning of a vector, and the vector with each byte replaced by each other one; of those each
 * test_stride()-th.
 *
 * What is handed on lies in a block of just its size, so that the sanitizer sees a read behind it.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "stride.h"

typedef void (*MangleFn)(const uint8_t *data, size_t n_data);

static inline void mangle_one(const uint8_t *data, size_t n_data, MangleFn try)
{
        uint8_t *copy = malloc(n_data > 0 ? n_data : 1);

        if (!copy)
                abort();
        memcpy(copy, data, n_data);
        try(copy, n_data);
        free(copy);
}

static inline void mangle(const void *vector, size_t n_vector, MangleFn try)
{
        size_t stride = test_stride();
        uint8_t *copy = malloc(n_vector);

        if (!copy)
                abort();
        memcpy(copy, vector, n_vector);
        for (size_t n = 0; n < n_vector; n++)
                mangle_one(copy, n, try);
        for (size_t i = 0; i < n_vector; i++) {
                uint8_t was = copy[i];

                for (size_t value = i % stride; value < 256; value += stride) {
                        copy[i] = (uint8_t)value;
                        if (copy[i] != was)
                                try(copy, n_vector);
                }
                copy[i] = was;
        }
        free(copy);
}
