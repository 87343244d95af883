#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "link-value.h"

/* sd-bus answers 1 for what it did; our own callers want 0. */
static int plain(int r)
{
        return r < 0 ? r : 0;
}

static int file_append(sd_bus_message *m, const LinkFile *file)
{
        int r;

        if ((r = sd_bus_message_open_container(m, 'r', "stsays")) < 0 ||
            (r = sd_bus_message_append(m, "sts", file->target, file->size_bytes,
                                       signature_algorithm_to_string(file->algorithm))) < 0 ||
            (r = sd_bus_message_append_array(m, 'y', file->signature, file->n_signature)) < 0 ||
            (r = sd_bus_message_append(m, "s", file->cert)) < 0)
                return r;
        return sd_bus_message_close_container(m);
}

/* 1: one more file, 0: the array has ended. */
static int file_read(sd_bus_message *m, LinkFile *ret)
{
        const void *signature;
        const char *word;
        size_t n_signature;
        int r;

        r = sd_bus_message_enter_container(m, 'r', "stsays");
        if (r <= 0)
                return r < 0 ? -EBADMSG : 0;
        if (link_read_text(m, link_target_is_valid, ret->target, sizeof(ret->target)) < 0 ||
            link_read_u64(m, &ret->size_bytes) < 0 || sd_bus_message_read_basic(m, 's', &word) <= 0 ||
            sd_bus_message_read_array(m, 'y', &signature, &n_signature) < 0 || n_signature > sizeof(ret->signature) ||
            link_read_text(m, link_cert_is_valid, ret->cert, sizeof(ret->cert)) < 0)
                return -EBADMSG;
        r = signature_algorithm_from_string(word);
        if (r < 0 || (r == SIGNATURE_ALGORITHM_NONE) != (n_signature == 0))
                return -EBADMSG;
        ret->algorithm = (SignatureAlgorithm)r;
        if (n_signature > 0)
                memcpy(ret->signature, signature, n_signature);
        ret->n_signature = n_signature;
        return sd_bus_message_exit_container(m) < 0 ? -EBADMSG : 1;
}

int link_begin_append(sd_bus_message *m, const LinkBegin *begin)
{
        int r;

        assert(begin->n_files <= LINK_FILES_MAX);
        r = sd_bus_message_append(m, "sst", begin->session, begin->job_id, begin->attempt);
        if (r < 0)
                return r;
        r = sd_bus_message_open_container(m, 'a', "(stsays)");
        for (size_t i = 0; r >= 0 && i < begin->n_files; i++)
                r = file_append(m, &begin->files[i]);
        if (r < 0)
                return r;
        return plain(sd_bus_message_close_container(m));
}

int link_begin_read(sd_bus_message *m, LinkBegin *ret)
{
        int r;

        memset(ret, 0, sizeof(*ret));
        if (link_read_text(m, link_session_is_valid, ret->session, sizeof(ret->session)) < 0 ||
            link_read_text(m, link_job_id_is_valid, ret->job_id, sizeof(ret->job_id)) < 0 ||
            link_read_u64(m, &ret->attempt) < 0 || sd_bus_message_enter_container(m, 'a', "(stsays)") <= 0)
                return -EBADMSG;
        while (ret->n_files < LINK_FILES_MAX) {
                r = file_read(m, &ret->files[ret->n_files]);
                if (r < 0)
                        return r;
                if (r == 0)
                        break;
                ret->n_files++;
        }
        /* Leaving fails where an eleventh file follows. */
        if (ret->n_files == 0 || sd_bus_message_exit_container(m) < 0)
                return -EBADMSG;
        return link_read_end(m);
}

int link_offsets_append(sd_bus_message *m, const LinkOffsets *offsets)
{
        assert(offsets->n_files <= LINK_FILES_MAX);
        return plain(sd_bus_message_append_array(m, 't', offsets->resume_bytes,
                                                 offsets->n_files * sizeof(offsets->resume_bytes[0])));
}

int link_offsets_read(sd_bus_message *m, LinkOffsets *ret)
{
        const void *array;
        size_t size;

        memset(ret, 0, sizeof(*ret));
        if (sd_bus_message_read_array(m, 't', &array, &size) < 0 || size > sizeof(ret->resume_bytes))
                return -EBADMSG;
        if (size > 0)
                memcpy(ret->resume_bytes, array, size);
        ret->n_files = size / sizeof(ret->resume_bytes[0]);
        return link_read_end(m);
}

int link_write_append(sd_bus_message *m, unsigned file, uint64_t offset)
{
        return plain(sd_bus_message_append(m, "ut", (uint32_t)file, offset));
}

int link_write_read(sd_bus_message *m, unsigned *ret_file, uint64_t *ret_offset)
{
        if (link_read_file_index(m, ret_file) < 0 || link_read_u64(m, ret_offset) < 0)
                return -EBADMSG;
        return link_read_end(m);
}

int link_roll_back_append(sd_bus_message *m, const Failure *why)
{
        return plain(link_append_failure(m, why));
}

int link_roll_back_read(sd_bus_message *m, Failure *ret)
{
        /* A rollback without a reason would be told to the cloud as a failure without one. */
        if (link_read_failure(m, ret) < 0 || !failure_is_set(ret))
                return -EBADMSG;
        return link_read_end(m);
}

int link_revert_append(sd_bus_message *m, const LinkRevert *revert)
{
        int r;

        assert(revert->n_targets <= LINK_FILES_MAX);
        if ((r = sd_bus_message_append(m, "s", revert->session)) < 0 ||
            (r = sd_bus_message_open_container(m, 'a', "s")) < 0)
                return r;
        for (size_t i = 0; i < revert->n_targets; i++)
                if ((r = sd_bus_message_append(m, "s", revert->targets[i])) < 0)
                        return r;
        return plain(sd_bus_message_close_container(m));
}

int link_revert_read(sd_bus_message *m, LinkRevert *ret)
{
        memset(ret, 0, sizeof(*ret));
        if (link_read_text(m, link_session_is_local_and_valid, ret->session, sizeof(ret->session)) < 0 ||
            sd_bus_message_enter_container(m, 'a', "s") <= 0)
                return -EBADMSG;
        while (ret->n_targets < LINK_FILES_MAX && sd_bus_message_at_end(m, false) == 0) {
                if (link_read_text(m, link_target_is_valid, ret->targets[ret->n_targets], sizeof(ret->targets[0])) <
                    0)
                        return -EBADMSG;
                ret->n_targets++;
        }
        /* Leaving fails where an eleventh target follows. */
        if (ret->n_targets == 0 || sd_bus_message_exit_container(m) < 0)
                return -EBADMSG;
        return link_read_end(m);
}

int link_history_append(sd_bus_message *m, const LinkHistoryEntry *entries, size_t n_entries)
{
        int r;

        r = sd_bus_message_open_container(m, 'a', LINK_HISTORY_SIGNATURE);
        for (size_t i = 0; r >= 0 && i < n_entries; i++) {
                const LinkHistoryEntry *e = &entries[i];

                r = sd_bus_message_append(m, LINK_HISTORY_SIGNATURE, e->session, e->job_id, e->attempt, e->operation,
                                          e->targets, e->result, e->reason, e->detail, e->previous_version,
                                          e->version, e->size_bytes, e->began_wall_usec, e->ended_wall_usec);
        }
        if (r < 0)
                return r;
        return plain(sd_bus_message_close_container(m));
}

/* 1: one more entry, 0: the array has ended. */
static int history_entry_read(sd_bus_message *m, LinkHistoryEntry *ret)
{
        int r;

        r = sd_bus_message_enter_container(m, 'r', "sstsssssssttt");
        if (r <= 0)
                return r < 0 ? -EBADMSG : 0;
        if (link_read_text(m, link_session_is_valid, ret->session, sizeof(ret->session)) < 0 ||
            link_read_text(m, link_job_id_is_valid, ret->job_id, sizeof(ret->job_id)) < 0 ||
            link_read_u64(m, &ret->attempt) < 0 ||
            link_read_text(m, link_word_is_valid, ret->operation, sizeof(ret->operation)) < 0 ||
            link_read_text(m, link_targets_are_valid, ret->targets, sizeof(ret->targets)) < 0 ||
            link_read_text(m, link_word_is_valid, ret->result, sizeof(ret->result)) < 0 ||
            link_read_text(m, link_word_or_none_is_valid, ret->reason, sizeof(ret->reason)) < 0 ||
            link_read_text(m, link_detail_is_valid, ret->detail, sizeof(ret->detail)) < 0 ||
            link_read_text(m, link_version_is_valid, ret->previous_version, sizeof(ret->previous_version)) < 0 ||
            link_read_text(m, link_version_is_valid, ret->version, sizeof(ret->version)) < 0 ||
            link_read_u64(m, &ret->size_bytes) < 0 || link_read_u64(m, &ret->began_wall_usec) < 0 ||
            link_read_u64(m, &ret->ended_wall_usec) < 0)
                return -EBADMSG;
        return sd_bus_message_exit_container(m) < 0 ? -EBADMSG : 1;
}

int link_history_read(sd_bus_message *m, LinkHistoryEntry **ret, size_t *ret_n)
{
        _cleanup_free_ LinkHistoryEntry *entries = NULL;
        size_t n = 0;
        int r = 1;

        if (sd_bus_message_enter_container(m, 'a', LINK_HISTORY_SIGNATURE) <= 0)
                return -EBADMSG;
        entries = calloc(LINK_HISTORY_MAX, sizeof(*entries));
        if (!entries)
                return -ENOMEM;
        while (n < LINK_HISTORY_MAX && (r = history_entry_read(m, &entries[n])) > 0)
                n++;
        if (r < 0 || sd_bus_message_exit_container(m) < 0 || link_read_end(m) < 0)
                return -EBADMSG;
        *ret = TAKE_PTR(entries);
        *ret_n = n;
        return 0;
}

int link_progress_append(sd_bus_message *m, const LinkProgress *progress)
{
        return plain(sd_bus_message_append(m, "uttt", (uint32_t)progress->file, progress->written_bytes,
                                           progress->durable_bytes, progress->verified_bytes));
}

int link_progress_read(sd_bus_message *m, LinkProgress *ret)
{
        if (link_read_file_index(m, &ret->file) < 0 || link_read_u64(m, &ret->written_bytes) < 0 ||
            link_read_u64(m, &ret->durable_bytes) < 0 || link_read_u64(m, &ret->verified_bytes) < 0)
                return -EBADMSG;
        return link_read_end(m);
}

int link_state_append(sd_bus_message *m, const LinkState *state)
{
        int r;

        assert(state->n_files <= LINK_FILES_MAX);
        if ((r = sd_bus_message_append(m, "ssts", state->session, state->job_id, state->attempt,
                                       update_state_to_string(state->state))) < 0 ||
            (r = link_append_failure(m, &state->failure)) < 0 ||
            (r = sd_bus_message_append(m, "bbsst", (int)state->reboot_needed, (int)state->without_signature,
                                       state->previous_version, state->version, state->selftest_left_usec)) < 0)
                return r;
        r = sd_bus_message_open_container(m, 'a', "(sstttt)");
        for (size_t i = 0; r >= 0 && i < state->n_files; i++) {
                const LinkFileState *f = &state->files[i];

                r = sd_bus_message_append(m, "(sstttt)", f->target, f->slot, f->size_bytes, f->written_bytes,
                                          f->durable_bytes, f->verified_bytes);
        }
        if (r < 0)
                return r;
        return plain(sd_bus_message_close_container(m));
}

static int file_state_read(sd_bus_message *m, LinkFileState *ret)
{
        int r;

        r = sd_bus_message_enter_container(m, 'r', "sstttt");
        if (r <= 0)
                return r < 0 ? -EBADMSG : 0;
        if (link_read_text(m, link_target_is_valid, ret->target, sizeof(ret->target)) < 0 ||
            link_read_text(m, link_slot_is_valid, ret->slot, sizeof(ret->slot)) < 0 ||
            link_read_u64(m, &ret->size_bytes) < 0 || link_read_u64(m, &ret->written_bytes) < 0 ||
            link_read_u64(m, &ret->durable_bytes) < 0 || link_read_u64(m, &ret->verified_bytes) < 0)
                return -EBADMSG;
        return sd_bus_message_exit_container(m) < 0 ? -EBADMSG : 1;
}

int link_state_read(sd_bus_message *m, LinkState *ret)
{
        const char *word;
        int r;

        memset(ret, 0, sizeof(*ret));
        if (link_read_text(m, link_session_or_none_is_valid, ret->session, sizeof(ret->session)) < 0 ||
            link_read_text(m, link_job_id_or_none_is_valid, ret->job_id, sizeof(ret->job_id)) < 0 ||
            link_read_u64(m, &ret->attempt) < 0 || sd_bus_message_read_basic(m, 's', &word) <= 0)
                return -EBADMSG;
        r = update_state_from_string(word);
        if (r < 0)
                return -EBADMSG;
        ret->state = (UpdateState)r;
        if (link_read_failure(m, &ret->failure) < 0 || link_read_bool(m, &ret->reboot_needed) < 0 ||
            link_read_bool(m, &ret->without_signature) < 0 ||
            link_read_text(m, link_version_is_valid, ret->previous_version, sizeof(ret->previous_version)) < 0 ||
            link_read_text(m, link_version_is_valid, ret->version, sizeof(ret->version)) < 0 ||
            link_read_u64(m, &ret->selftest_left_usec) < 0 || sd_bus_message_enter_container(m, 'a', "(sstttt)") <= 0)
                return -EBADMSG;
        while (ret->n_files < LINK_FILES_MAX) {
                r = file_state_read(m, &ret->files[ret->n_files]);
                if (r < 0)
                        return r;
                if (r == 0)
                        break;
                ret->n_files++;
        }
        if (sd_bus_message_exit_container(m) < 0)
                return -EBADMSG;
        return link_read_end(m);
}

static const char *const error_names[_LINK_ERROR_MAX] = {
        [LINK_ERROR_FAILED] = LINK_ERROR_NAME_FAILED,   [LINK_ERROR_NOT_NOW] = LINK_ERROR_NAME_NOT_NOW,
        [LINK_ERROR_BUSY] = LINK_ERROR_NAME_BUSY,       [LINK_ERROR_OUT_OF_TURN] = LINK_ERROR_NAME_OUT_OF_TURN,
        [LINK_ERROR_NOTHING] = LINK_ERROR_NAME_NOTHING,
};

void link_error_set(LinkError *error, LinkErrorKind kind, FailureReason reason, const char *detail)
{
        error->kind = kind;
        failure_set(&error->failure, reason, detail);
}

void link_error_format(const LinkError *error, sd_bus_error *ret)
{
        assert(error->kind < _LINK_ERROR_MAX && error_names[error->kind]);
        /* The return value is the error itself as an errno; out of memory leaves a static error in *ret. */
        if (error->kind == LINK_ERROR_FAILED)
                (void)sd_bus_error_setf(ret, LINK_ERROR_NAME_FAILED, "%s %s",
                                        failure_reason_to_string(error->failure.reason), error->failure.detail);
        else
                (void)sd_bus_error_setf(ret, error_names[error->kind], "%s", error->failure.detail);
}

void link_error_parse(const sd_bus_error *wire, LinkError *ret)
{
        const char *message = wire->message ?: "", *name = wire->name ?: "", *blank;
        char word[64];

        if (strcmp(name, LINK_ERROR_NAME_NOT_NOW) == 0) {
                link_error_set(ret, LINK_ERROR_NOT_NOW, FAILURE_HOOK_NOT_NOW, message);
        } else if (strcmp(name, LINK_ERROR_NAME_BUSY) == 0) {
                link_error_set(ret, LINK_ERROR_BUSY, FAILURE_INSTALLER, message);
        } else if (strcmp(name, LINK_ERROR_NAME_OUT_OF_TURN) == 0) {
                link_error_set(ret, LINK_ERROR_OUT_OF_TURN, FAILURE_INSTALLER, message);
        } else if (strcmp(name, LINK_ERROR_NAME_NOTHING) == 0) {
                link_error_set(ret, LINK_ERROR_NOTHING, FAILURE_INSTALLER, message);
        } else if (strcmp(name, LINK_ERROR_NAME_FAILED) == 0 && (blank = strchr(message, ' ')) &&
                   (size_t)(blank - message) < sizeof(word)) {
                memcpy(word, message, (size_t)(blank - message));
                word[blank - message] = '\0';
                link_error_set(ret, LINK_ERROR_FAILED, failure_reason_from_string(word), blank + 1);
        } else {
                ret->kind = LINK_ERROR_FAILED;
                (void)fail(&ret->failure, FAILURE_INSTALLER, EBADMSG, "the installer answered %s: %s", name, message);
        }
}
