/*
 * unit: cmocka, with what it wants included before it, and without its fail(), whose name is ours (base/failure.h).
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#undef fail

/* As cmocka has it, but for the fail() in it. */
#undef fail_msg
#define fail_msg(format, ...)                                      \
        do {                                                       \
                print_error("ERROR: " format "\n", ##__VA_ARGS__); \
                _fail(__FILE__, __LINE__);                         \
        } while (0)
