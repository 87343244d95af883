/*
 * priority: how this process, and whatever it starts, shares the machine with the product.
 *
 * Sources: ioprio_set(2), setpriority(2).
 */
#pragma once

#include "config/config.h"

/* What cannot be set is logged, and the work goes on without. */
void priority_apply(const Config *config);
