/*
 * link-value: the strings and numbers that the link's messages are made of. Whoever reads one refuses what is not as it
 * should be, with -EBADMSG: the other side may be hostile.
 */
#pragma once

#include <systemd/sd-bus.h>

#include "link/link-message.h"

/* Besides those of link-message.h. "or none": may be empty. */
bool link_slot_is_valid(const char *slot);
bool link_version_is_valid(const char *version);
bool link_session_is_local_and_valid(const char *session);
bool link_session_or_none_is_valid(const char *session);
bool link_job_id_or_none_is_valid(const char *job_id);
bool link_word_is_valid(const char *word);
bool link_word_or_none_is_valid(const char *word);
bool link_targets_are_valid(const char *targets); /* names with a comma between */
bool link_detail_is_valid(const char *detail);

/* A string that `is_valid` accepts, which bounds its length, and that fits the buffer. */
_must_use_ int link_read_text(sd_bus_message *m, bool (*is_valid)(const char *), char *buffer, size_t buffer_size);
_must_use_ int link_read_u64(sd_bus_message *m, uint64_t *ret);
_must_use_ int link_read_bool(sd_bus_message *m, bool *ret);
_must_use_ int link_read_file_index(sd_bus_message *m, unsigned *ret);
/* "WORD", "detail", as two strings. The empty word is FAILURE_NONE. */
_must_use_ int link_read_failure(sd_bus_message *m, Failure *ret);
_must_use_ int link_append_failure(sd_bus_message *m, const Failure *failure);
/* There is nothing more in the message. */
_must_use_ int link_read_end(sd_bus_message *m);
