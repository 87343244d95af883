/*
 * message: what the parsers of job-message.c and job-answer.c share.
 *
 * `reterr` is static text, as in codec/job-message.h; NULL is fine.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "codec/job-message.h"
#include "json.h"

int message_refuse(const char **reterr, const char *why); /* -EBADMSG */

/* What every message has: one object, perhaps a token and a time. *ret is the caller's. */
_must_use_ int message_open(const char *payload, size_t n_payload, cJSON **ret,
                            char token[static CLIENT_TOKEN_MAX + 1], uint64_t *ret_time, const char **reterr);
/* An absent number leaves *ret as it is. */
_must_use_ int message_read_number(const cJSON *object, const char *name, int64_t *ret, const char **reterr);
_must_use_ int message_read_status(const cJSON *object, JobStatus *ret, const char **reterr);
