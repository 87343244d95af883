/*
 * stride: of the thousands of inputs that differ in a bit or a byte, each; or each n-th, where OTAD_TEST_STRIDE is n.
 *
 * For tests that are run by an emulator, many times slower than a machine. Tables of cases are always tried as a whole.
 */
#pragma once

#include <stddef.h>
#include <stdlib.h>

static inline size_t test_stride(void)
{
        const char *text = getenv("OTAD_TEST_STRIDE");
        long n = text ? strtol(text, NULL, 10) : 1;

        return n > 1 ? (size_t)n : 1;
}
