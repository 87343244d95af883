/*
 * unit: cmocka, with what it wants included before it, and without its fail(), whose name is ours (base/failure.h).
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#undef fail
