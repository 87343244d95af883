/*
 * pace: a bound on bytes per second, as a bucket that may be overdrawn by what is spent at a time. A plain value; told
 * the time.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

typedef struct Pace {
        uint64_t bytes_per_sec; /* 0: no bound */
        double bytes;           /* that may be spent; below 0: owed */
        uint64_t earned_usec;   /* until when what was earned is in there */
} Pace;

Pace pace_make(uint64_t bytes_per_sec, uint64_t now_usec);
/* To be asked before something is spent; how much that is need not be known. */
bool pace_lets(Pace *pace, uint64_t now_usec);
void pace_spend(Pace *pace, uint64_t n_bytes);
/* When it lets again; in the past where it does, as always without a bound. */
uint64_t pace_next_usec(const Pace *pace);
/* As much as should be spent at a time, so that the flow is even. */
uint64_t pace_portion_bytes(const Pace *pace);
