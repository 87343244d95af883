#include "trust/expiry.h"

#include <assert.h>
#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>

#include "base/file-util.h"
#include "base/log.h"
#include "certificate.h"

enum { BUNDLE_MAX_BYTES = 1024 * 1024 }; /* a system's whole bundle has a fifth of it */

static void BIO_freep(BIO **bio)
{
        (void)BIO_free(*bio);
}

const char *expiry_kind_to_string(ExpiryKind kind)
{
        static const char *const words[_EXPIRY_KIND_MAX] = {
                [EXPIRY_DEVICE] = "device",
                [EXPIRY_ROOT_CA] = "root-ca",
                [EXPIRY_SIGNER] = "signer",
                [EXPIRY_ANCHOR] = "anchor",
        };

        assert(kind >= 0 && kind < _EXPIRY_KIND_MAX);
        return words[kind];
}

static void add(ExpiryList *list, ExpiryKind kind, const char *file, int64_t not_after_sec)
{
        ExpiryEntry *entry;

        if (not_after_sec == 0 || list->n_entries == EXPIRY_ENTRIES_MAX)
                return;
        entry = &list->entries[list->n_entries++];
        entry->kind = kind;
        entry->not_after_sec = not_after_sec;
        (void)snprintf(entry->file, sizeof(entry->file), "%s", file);
}

/* Of all certificates in the file the first end, or the last; 0: there is none. */
static int64_t read_end(BIO *bio, bool last)
{
        int64_t end = 0;

        for (;;) {
                _cleanup_(certificate_freep) X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
                int64_t not_after;

                if (!certificate)
                        break;
                not_after = certificate_not_after(certificate);
                if (end == 0 || (last ? not_after > end : not_after < end))
                        end = not_after;
        }
        ERR_clear_error();
        return end;
}

static void read_file(const char *path, ExpiryKind kind, bool last, ExpiryList *list)
{
        _cleanup_(BIO_freep) BIO *bio = NULL;
        _cleanup_free_ char *text = NULL;
        size_t n_text;
        int r;

        r = file_read(AT_FDCWD, path, BUNDLE_MAX_BYTES, &text, &n_text);
        if (r < 0) {
                (void)log_debug_errno(r, "Cannot look at the dates of %s: %m", path);
                return;
        }
        bio = BIO_new_mem_buf(text, (int)n_text);
        if (bio)
                add(list, kind, path, read_end(bio, last));
}

static void read_store(const char *path, ExpiryList *list)
{
        const TrustStoreParams params = {.path = path};
        _cleanup_free_ TrustEntry *entries = NULL;
        Failure failure = {0};
        size_t n = 0;

        if (trust_store_list(&params, &entries, &n, &failure) < 0) {
                log_debug("Cannot look at the dates of the signers: %s", failure.detail);
                return;
        }
        for (size_t i = 0; i < n; i++)
                if (entries[i].usable)
                        add(list, entries[i].is_anchor ? EXPIRY_ANCHOR : EXPIRY_SIGNER, entries[i].file,
                            entries[i].not_after_sec);
}

void expiry_read(const ExpiryParams *params, ExpiryList *ret)
{
        ret->n_entries = 0;
        read_file(params->cert_file, EXPIRY_DEVICE, false, ret);
        read_file(params->root_ca_file, EXPIRY_ROOT_CA, true, ret);
        read_store(params->trust_store, ret);
}
