#include "link-value.h"

#include <errno.h>
#include <string.h>

#include "base/local-session.h"
#include "base/text.h"

/* One line of valid UTF-8 without control characters; nothing that could end a line or start an escape
 * sequence. */
static bool line_is_valid(const char *text, size_t max_length)
{
        size_t n = strnlen(text, max_length + 1);

        if (n > max_length || !utf8_is_valid(text, n))
                return false;
        for (size_t i = 0; i < n; i++) {
                unsigned char c = (unsigned char)text[i];

                /* C1 controls are U+0080..U+009F, in UTF-8 0xc2 0x80..0x9f */
                if (c < 0x20 || c == 0x7f || (c == 0xc2 && (unsigned char)text[i + 1] < 0xa0))
                        return false;
        }
        return true;
}

bool link_job_id_is_valid(const char *job_id)
{
        return text_is_token(job_id, LINK_JOB_ID_MAX, "_-");
}

bool link_session_is_valid(const char *session)
{
        return text_is_token(session, LINK_SESSION_MAX, "_-#");
}

bool link_target_is_valid(const char *target)
{
        return text_is_token(target, LINK_TARGET_MAX, "._-");
}

bool link_cert_is_valid(const char *cert)
{
        return line_is_valid(cert, LINK_CERT_MAX);
}

bool link_slot_is_valid(const char *slot)
{
        return line_is_valid(slot, LINK_TARGET_MAX);
}

bool link_version_is_valid(const char *version)
{
        return line_is_valid(version, LINK_VERSION_MAX);
}

bool link_session_is_local_and_valid(const char *session)
{
        return link_session_is_valid(session) && session_is_local(session);
}

bool link_word_is_valid(const char *word)
{
        return text_is_token(word, LINK_WORD_MAX, "-");
}

bool link_word_or_none_is_valid(const char *word)
{
        return word[0] == '\0' || link_word_is_valid(word);
}

bool link_targets_are_valid(const char *targets)
{
        return text_is_token(targets, LINK_TARGETS_MAX, "._-,");
}

bool link_detail_is_valid(const char *detail)
{
        return line_is_valid(detail, LINK_HISTORY_DETAIL_MAX);
}

bool link_session_or_none_is_valid(const char *session)
{
        return session[0] == '\0' || link_session_is_valid(session);
}

bool link_job_id_or_none_is_valid(const char *job_id)
{
        return job_id[0] == '\0' || link_job_id_is_valid(job_id);
}

int link_read_text(sd_bus_message *m, bool (*is_valid)(const char *), char *buffer, size_t buffer_size)
{
        const char *text;

        if (sd_bus_message_read_basic(m, 's', &text) <= 0 || !is_valid(text) || strlen(text) >= buffer_size)
                return -EBADMSG;
        memcpy(buffer, text, strlen(text) + 1);
        return 0;
}

int link_read_u64(sd_bus_message *m, uint64_t *ret)
{
        return sd_bus_message_read_basic(m, 't', ret) > 0 ? 0 : -EBADMSG;
}

int link_read_bool(sd_bus_message *m, bool *ret)
{
        int b;

        if (sd_bus_message_read_basic(m, 'b', &b) <= 0)
                return -EBADMSG;
        *ret = b;
        return 0;
}

int link_read_file_index(sd_bus_message *m, unsigned *ret)
{
        uint32_t file;

        if (sd_bus_message_read_basic(m, 'u', &file) <= 0 || file >= LINK_FILES_MAX)
                return -EBADMSG;
        *ret = file;
        return 0;
}

int link_read_failure(sd_bus_message *m, Failure *ret)
{
        const char *word, *detail;

        if (sd_bus_message_read(m, "ss", &word, &detail) <= 0 || !text_is_token(word[0] ? word : "-", 64, "-"))
                return -EBADMSG;
        failure_set(ret, word[0] ? failure_reason_from_string(word) : FAILURE_NONE, detail);
        return 0;
}

int link_read_end(sd_bus_message *m)
{
        return sd_bus_message_at_end(m, true) > 0 ? 0 : -EBADMSG;
}

int link_append_failure(sd_bus_message *m, const Failure *failure)
{
        return sd_bus_message_append(
                m, "ss", failure_is_set(failure) ? failure_reason_to_string(failure->reason) : "", failure->detail);
}
