/*
 * read-budget: how many bytes one wake-up may take from a TLS connection that another library reads.
 *
 * libmosquitto reads for as long as TLS has data; a fast broker would keep it, and the event loop, for good. A filter
 * BIO between TLS and socket says "try again" once the budget is used up. It counts, too. And it holds back what TLS says
 * while the way to the other end is still being asked of a proxy.
 */
#pragma once

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct ReadBudget {
        size_t left_bytes;   /* set before each wake-up's reading */
        uint64_t read_bytes; /* since the beginning, TLS framing included */
        bool hold_writes;
} ReadBudget;

/* Puts the filter under `ssl`, which must have its socket BIO; `budget` must outlive it. -ENOMEM. */
int read_budget_attach(ReadBudget *budget, SSL *ssl);
