/*
 * A library that is nothing but bytes to read.
 */
#include "filled.h"

const unsigned char filled[FILLED_BYTES] = {[0 ... FILLED_BYTES - 1] = FILLED_WITH};
