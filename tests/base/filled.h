/*
 * filled: what test-memory finds in the library of that name.
 */
#pragma once

enum { FILLED_BYTES = 64 * 1024, FILLED_WITH = 0x5a };
extern const unsigned char filled[FILLED_BYTES];
