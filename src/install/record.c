#include "install/record.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file-util.h"
#include "base/record.h"
#include "base/text.h"

enum { FIELD_MAX = 64 };

/* Both directions of one field stand in one line of fields() below, so that they cannot drift apart. */
typedef struct Pass {
        Record *record;
        bool loading;
        int r; /* the first error; everything after it is skipped */
} Pass;

static const char *file_name(char buffer[static FIELD_MAX], size_t i, const char *name)
{
        (void)snprintf(buffer, FIELD_MAX, "file%zu.%s", i, name);
        return buffer;
}

static void pass_text(Pass *p, const char *name, char *text, size_t text_size)
{
        const char *value;

        if (p->r < 0)
                return;
        if (!p->loading) {
                p->r = record_set(p->record, name, text);
                return;
        }
        value = record_get(p->record, name);
        if (!value || strlen(value) >= text_size || !utf8_is_valid(value, strlen(value)))
                p->r = -EBADMSG;
        else
                memcpy(text, value, strlen(value) + 1);
}

static void pass_u64(Pass *p, const char *name, uint64_t *number)
{
        if (p->r < 0)
                return;
        if (!p->loading)
                p->r = record_set_u64(p->record, name, *number);
        else if (record_get_u64(p->record, name, number) < 0)
                p->r = -EBADMSG;
}

static void pass_unsigned(Pass *p, const char *name, unsigned *number)
{
        uint64_t wide = *number;

        pass_u64(p, name, &wide);
        if (p->r >= 0 && wide > UINT_MAX)
                p->r = -EBADMSG;
        *number = (unsigned)wide;
}

static void pass_bool(Pass *p, const char *name, bool *flag)
{
        uint64_t wide = *flag;

        pass_u64(p, name, &wide);
        if (p->r >= 0 && wide > 1)
                p->r = -EBADMSG;
        *flag = wide == 1;
}

/* One that records of earlier versions do not have: false there. */
static void pass_new_bool(Pass *p, const char *name, bool *flag)
{
        if (p->r >= 0 && p->loading && !record_get(p->record, name))
                *flag = false;
        else
                pass_bool(p, name, flag);
}

/* An enum by its word. `value` is that of the enum, as int. */
static void pass_word(Pass *p, const char *name, int *value, const char *word, int (*from_string)(const char *))
{
        char text[64];

        (void)snprintf(text, sizeof(text), "%s", word);
        pass_text(p, name, text, sizeof(text));
        if (p->r < 0 || !p->loading)
                return;
        *value = from_string(text);
        if (*value < 0)
                p->r = -EBADMSG;
}

static int nibble(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void pass_signature(Pass *p, const char *name, InstallFile *file)
{
        char hex[2 * SIGNATURE_MAX_BYTES + 1] = "";

        for (size_t i = 0; i < file->n_signature; i++)
                (void)snprintf(hex + 2 * i, 3, "%02x", file->signature[i]);
        pass_text(p, name, hex, sizeof(hex));
        if (p->r < 0 || !p->loading)
                return;
        file->n_signature = strlen(hex) / 2;
        if (strlen(hex) % 2 != 0)
                p->r = -EBADMSG;
        for (size_t i = 0; p->r >= 0 && i < file->n_signature; i++) {
                int high = nibble(hex[2 * i]), low = nibble(hex[2 * i + 1]);

                if (high < 0 || low < 0)
                        p->r = -EBADMSG;
                else
                        file->signature[i] = (uint8_t)(high << 4 | low);
        }
}

static int reason_from_word(const char *word)
{
        return (int)failure_reason_from_string(word);
}

static void pass_file(Pass *p, size_t i, InstallFile *file, InstallFileRecord *more)
{
        int algorithm = (int)file->algorithm;
        char name[FIELD_MAX];

        pass_text(p, file_name(name, i, "target"), file->target, sizeof(file->target));
        pass_u64(p, file_name(name, i, "size"), &file->size_bytes);
        pass_word(p, file_name(name, i, "algorithm"), &algorithm, signature_algorithm_to_string(file->algorithm),
                  signature_algorithm_from_string);
        file->algorithm = (SignatureAlgorithm)algorithm;
        pass_signature(p, file_name(name, i, "signature"), file);
        pass_text(p, file_name(name, i, "cert"), file->cert, sizeof(file->cert));
        pass_text(p, file_name(name, i, "slot"), more->slot, sizeof(more->slot));
        pass_text(p, file_name(name, i, "old-slot"), more->old_slot, sizeof(more->old_slot));
        pass_u64(p, file_name(name, i, "durable"), &more->durable_bytes);
        pass_text(p, file_name(name, i, "previous-version"), more->previous_version, sizeof(more->previous_version));
        pass_text(p, file_name(name, i, "sha256"), more->sha256, sizeof(more->sha256));
        if (p->r >= 0 && more->durable_bytes > file->size_bytes)
                p->r = -EBADMSG;
}

static void fields(Pass *p, InstallRecord *record)
{
        int state = (int)record->state, reason = (int)record->failure.reason;
        char detail[FAILURE_DETAIL_MAX];
        uint64_t n_files = record->request.n_files;

        pass_text(p, "session", record->request.session, sizeof(record->request.session));
        pass_text(p, "job", record->request.job_id, sizeof(record->request.job_id));
        pass_u64(p, "attempt", &record->request.attempt);
        pass_word(p, "state", &state, update_state_to_string(record->state), update_state_from_string);
        record->state = (UpdateState)state;
        pass_word(p, "failure", &reason, failure_reason_to_string(record->failure.reason), reason_from_word);
        memcpy(detail, record->failure.detail, sizeof(detail));
        pass_text(p, "detail", detail, sizeof(detail));
        pass_text(p, "version", record->version, sizeof(record->version));
        pass_u64(p, "began", &record->began_wall_usec);
        pass_bool(p, "begun", &record->begun);
        pass_bool(p, "post-installed", &record->post_installed);
        pass_bool(p, "primary-asked", &record->primary_asked);
        pass_bool(p, "activated", &record->activated);
        pass_text(p, "boot-id", record->boot_id, sizeof(record->boot_id));
        pass_u64(p, "reboot-asked", &record->reboot_asked_usec);
        pass_u64(p, "test-began", &record->test_began_usec);
        pass_unsigned(p, "boots", &record->n_boots);
        pass_bool(p, "tested", &record->tested);
        pass_bool(p, "undone", &record->undone);
        pass_new_bool(p, "reverts", &record->reverts);
        pass_u64(p, "files", &n_files);
        if (p->r >= 0 && n_files > INSTALL_FILES_MAX)
                p->r = -EBADMSG;
        if (p->r < 0)
                return;
        if (p->loading)
                failure_set(&record->failure, (FailureReason)reason, detail);
        record->request.n_files = n_files;
        for (size_t i = 0; i < n_files; i++)
                pass_file(p, i, &record->request.files[i], &record->files[i]);
}

int install_request_check(const InstallRequest *request)
{
        if (!text_is_token(request->session, INSTALL_SESSION_MAX, "_-#") ||
            !text_is_token(request->job_id, INSTALL_JOB_ID_MAX, "_-") || request->n_files == 0 ||
            request->n_files > INSTALL_FILES_MAX)
                return -EBADMSG;
        for (size_t i = 0; i < request->n_files; i++) {
                const InstallFile *f = &request->files[i];

                if (!text_is_token(f->target, INSTALL_NAME_MAX, "._-") || f->n_signature > sizeof(f->signature) ||
                    (f->algorithm == SIGNATURE_ALGORITHM_NONE) != (f->n_signature == 0) ||
                    !utf8_is_valid(f->cert, strnlen(f->cert, sizeof(f->cert))))
                        return -EBADMSG;
        }
        return 0;
}

bool install_request_is_same(const InstallRequest *a, const InstallRequest *b)
{
        if (strcmp(a->session, b->session) != 0 || strcmp(a->job_id, b->job_id) != 0 || a->attempt != b->attempt ||
            a->n_files != b->n_files)
                return false;
        for (size_t i = 0; i < a->n_files; i++) {
                const InstallFile *f = &a->files[i], *g = &b->files[i];

                if (strcmp(f->target, g->target) != 0 || f->size_bytes != g->size_bytes ||
                    f->algorithm != g->algorithm || f->n_signature != g->n_signature ||
                    memcmp(f->signature, g->signature, f->n_signature) != 0 || strcmp(f->cert, g->cert) != 0)
                        return false;
        }
        return true;
}

static int check(const InstallRecord *record)
{
        switch (record->state) {
        case UPDATE_STATE_DOWNLOADING:
        case UPDATE_STATE_VERIFYING:
        case UPDATE_STATE_INSTALLED:
        case UPDATE_STATE_ACTIVATING:
        case UPDATE_STATE_TESTING:
        case UPDATE_STATE_COMMITTED:
        case UPDATE_STATE_ROLLING_BACK:
        case UPDATE_STATE_ROLLED_BACK:
                return install_request_check(&record->request);
        case UPDATE_STATE_IDLE:
        case UPDATE_STATE_ACCEPTED:
        case UPDATE_STATE_SUSPENDED:
        case _UPDATE_STATE_MAX:
                break;
        }
        return -EBADMSG;
}

static int install_record_read(Record *file, InstallRecord *ret)
{
        Pass pass = {.record = file, .loading = true};

        memset(ret, 0, sizeof(*ret));
        fields(&pass, ret);
        return pass.r < 0 ? pass.r : check(ret);
}

int install_record_save(const InstallRecord *record, int dir_fd)
{
        _cleanup_(record_freep) Record *file = record_new();
        Pass pass = {.record = file};

        if (!file)
                return -ENOMEM;
        /* Not written to when saving. */
        fields(&pass, (InstallRecord *)record);
        if (pass.r < 0)
                return pass.r;
        return record_save(file, dir_fd, INSTALL_RECORD_NAME);
}

int install_record_load(int dir_fd, InstallRecord *ret)
{
        _cleanup_(record_freep) Record *file = NULL;
        int r;

        r = record_load(dir_fd, INSTALL_RECORD_NAME, &file);
        if (r < 0)
                return r;
        r = install_record_read(file, ret);
        if (r != -EBADMSG)
                return r;
        return record_put_aside(dir_fd, INSTALL_RECORD_NAME);
}

int install_record_parse(const char *text, size_t n_text, InstallRecord *ret)
{
        _cleanup_(record_freep) Record *file = NULL;
        int r;

        r = record_parse(text, n_text, &file);
        return r < 0 ? r : install_record_read(file, ret);
}

int install_record_remove(int dir_fd)
{
        return record_remove(dir_fd, INSTALL_RECORD_NAME);
}
