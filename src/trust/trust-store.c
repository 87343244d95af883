#include "trust/trust-store.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "base/time-util.h"
#include "certificate.h"
#include "chain.h"
#include "trust-file.h"

enum {
        SIGNERS_MAX = 1, /* in a file of STORE */
        CHAIN_MAX = 8,   /* in a file of STORE/chain */
        ANCHORS_PER_FILE_MAX = 64,
        FILES_MAX = 256, /* of each folder */
        LABEL_MAX = TRUST_NAME_MAX + 16,
};

typedef enum Folder {
        FOLDER_SIGNERS,
        FOLDER_CHAIN,
        FOLDER_ANCHORS,
        _FOLDER_MAX,
} Folder;

static const struct {
        const char *name;
        const char *prefix; /* of file names in messages */
        int certificates_max;
} folders[] = {
        [FOLDER_SIGNERS] = {"", "", SIGNERS_MAX},
        [FOLDER_CHAIN] = {"chain", "chain/", CHAIN_MAX},
        [FOLDER_ANCHORS] = {"ca", "ca/", ANCHORS_PER_FILE_MAX},
};

/* The store while a call lasts. */
typedef struct Store {
        const TrustStoreParams *params;
        int64_t now;
        int fds[_FOLDER_MAX]; /* -1: not there */
} Store;

typedef struct Names {
        char names[FILES_MAX][TRUST_NAME_MAX + 1];
        size_t n;
} Names;

static void store_done(Store *store)
{
        for (int i = 0; i < _FOLDER_MAX; i++)
                close_fd(store->fds[i]);
}

static void closedirp(DIR **dir)
{
        if (*dir)
                closedir(*dir);
}

static int store_init(Store *store, const TrustStoreParams *params, Failure *reterr)
{
        int r;

        *store = (Store){
                .params = params, .now = (int64_t)(params->wall_clock_usec / USEC_PER_SEC), .fds = {-1, -1, -1}};
        r = trust_folder_open(AT_FDCWD, params->path, params->path, true, &store->fds[FOLDER_SIGNERS], reterr);
        if (r == -ENOENT)
                return fail(reterr, FAILURE_CERTIFICATE_UNTRUSTED, ENOENT, "%s: there is no such folder",
                            params->path);
        for (int i = FOLDER_CHAIN; i < _FOLDER_MAX && r >= 0; i++) {
                r = trust_folder_open(store->fds[FOLDER_SIGNERS], folders[i].name, folders[i].name, false,
                                      &store->fds[i], reterr);
                r = r == -ENOENT ? 0 : r;
        }
        return r;
}

/* Fit to be looked up: never a way out of the folder, never a hidden file. */
static bool is_name(const char *name)
{
        return name[0] != '.' && text_is_token(name, TRUST_NAME_MAX, "._-");
}

static int compare_names(const void *a, const void *b)
{
        return strcmp(a, b);
}

/* The files of one folder that have a name of ours, sorted. Beyond FILES_MAX there is nothing to be expected. */
static int list_names(const Store *store, Folder folder, Names *ret)
{
        _cleanup_(closedirp) DIR *dir = NULL;
        int fd;

        ret->n = 0;
        if (store->fds[folder] < 0)
                return 0;
        fd = openat(store->fds[folder], ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        dir = fdopendir(fd);
        if (!dir) {
                close_fd(fd);
                return -ENOMEM;
        }
        for (struct dirent *entry; ret->n < FILES_MAX && (entry = readdir(dir));) {
                if (!is_name(entry->d_name) || !trust_file_has_suffix(entry->d_name))
                        continue;
                memcpy(ret->names[ret->n++], entry->d_name, strlen(entry->d_name) + 1); /* is_name(): it fits */
        }
        qsort(ret->names, ret->n, sizeof(ret->names[0]), compare_names);
        return 0;
}

static int read_file(const Store *store, Folder folder, const char *name, STACK_OF(X509) * *ret, Failure *reterr)
{
        char label[LABEL_MAX];

        (void)snprintf(label, sizeof(label), "%s%s", folders[folder].prefix, name);
        return trust_file_read(store->fds[folder], name, label, folders[folder].certificates_max, ret, reterr);
}

/* An anchor that is no good makes no chain; it is listed with the reason, and hides no other. */
static int add_anchors(const Store *store, const char *name, STACK_OF(X509) * anchors)
{
        _cleanup_(certificates_freep) STACK_OF(X509) *certificates = NULL;
        Failure failure = {};
        int r;

        r = read_file(store, FOLDER_ANCHORS, name, &certificates, &failure);
        if (r == -ENOMEM)
                return r;
        for (int i = 0; i < sk_X509_num(certificates); i++) {
                X509 *certificate = sk_X509_value(certificates, i);

                if (chain_check_anchor(certificate, name, &failure) < 0)
                        continue;
                if (!X509_up_ref(certificate))
                        return -ENOMEM;
                if (sk_X509_push(anchors, certificate) <= 0) {
                        certificate_free(certificate);
                        return -ENOMEM;
                }
        }
        if (failure_is_set(&failure))
                log_debug("Trust store: passing over an anchor: %s", failure.detail);
        return 0;
}

static int read_anchors(const Store *store, STACK_OF(X509) * *ret)
{
        _cleanup_(certificates_freep) STACK_OF(X509) *anchors = sk_X509_new_null();
        _cleanup_free_ Names *names = malloc(sizeof(*names));
        int r;

        if (!anchors || !names)
                return -ENOMEM;
        r = list_names(store, FOLDER_ANCHORS, names);
        for (size_t i = 0; i < names->n && r >= 0; i++)
                r = add_anchors(store, names->names[i], anchors);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(anchors);
        return 0;
}

/* `certificates` are those of one file of STORE or STORE/chain. */
static int check_signer(const Store *store, Folder folder, const char *name, STACK_OF(X509) * certificates,
                        Failure *reterr)
{
        _cleanup_(certificates_freep) STACK_OF(X509) *anchors = NULL;
        X509 *signer = sk_X509_value(certificates, 0);
        char label[LABEL_MAX];
        int r;

        (void)snprintf(label, sizeof(label), "%s%s", folders[folder].prefix, name);
        r = certificate_check_signer(signer, label, reterr);
        if (r < 0)
                return r;
        if (folder == FOLDER_SIGNERS)
                return store->params->check_dates ? certificate_check_dates(signer, label, store->now, reterr) : 0;
        r = read_anchors(store, &anchors);
        if (r < 0)
                return r;
        return chain_verify(certificates, anchors, store->params->check_dates ? &store->now : NULL, label, reterr);
}

static int find_in_file(const Store *store, Folder folder, const char *name, X509 **ret, Failure *reterr)
{
        _cleanup_(certificates_freep) STACK_OF(X509) *certificates = NULL;
        int r;

        r = read_file(store, folder, name, &certificates, reterr);
        if (r < 0)
                return r;
        r = check_signer(store, folder, name, certificates, reterr);
        if (r < 0)
                return r;
        *ret = sk_X509_shift(certificates);
        return 0;
}

/* Fills in the name of the only signer there is. */
static int find_only_signer(const Store *store, Folder *ret_folder, char ret_name[static LABEL_MAX], Failure *reterr)
{
        _cleanup_free_ Names *names = malloc(sizeof(*names));
        char all[FAILURE_DETAIL_MAX / 2] = "";
        size_t n = 0, n_all = 0;

        if (!names)
                return -ENOMEM;
        for (Folder folder = FOLDER_SIGNERS; folder <= FOLDER_CHAIN; folder++) {
                int r = list_names(store, folder, names);

                if (r < 0)
                        return r;
                for (size_t i = 0; i < names->n; i++, n++) {
                        *ret_folder = folder;
                        (void)snprintf(ret_name, LABEL_MAX, "%s", names->names[i]);
                        if (n_all < sizeof(all))
                                n_all += (size_t)snprintf(all + n_all, sizeof(all) - n_all, "%s%s%s",
                                                          n > 0 ? ", " : "", folders[folder].prefix, names->names[i]);
                }
        }
        if (n == 0)
                return fail(reterr, FAILURE_CERTIFICATE_UNKNOWN, ENOENT, "there is no signer in %s",
                            store->params->path);
        if (n > 1)
                return fail(reterr, FAILURE_CERTIFICATE_UNKNOWN, ENOENT,
                            "the job names no certificate, and %s has %zu: %s", store->params->path, n, all);
        return 0;
}

static int find_by_name(const Store *store, const char *name, X509 **ret, Failure *reterr)
{
        static const char *const suffixes[] = {"", ".pem", ".crt"};
        const char *slash = strrchr(name, '/'), *base = slash ? slash + 1 : name;
        char file[LABEL_MAX], shown[64];
        int r;

        if (!is_name(base))
                return fail(reterr, FAILURE_CERTIFICATE_UNKNOWN, ENOENT,
                            "\"%s\" cannot be the name of a certificate in %s",
                            text_escape(shown, sizeof(shown), base, strlen(base), true), store->params->path);
        for (Folder folder = FOLDER_SIGNERS; folder <= FOLDER_CHAIN; folder++) {
                for (size_t i = 0; i < ELEMENTSOF(suffixes) && store->fds[folder] >= 0; i++) {
                        (void)snprintf(file, sizeof(file), "%s%s", base, suffixes[i]);
                        if (!trust_file_has_suffix(file))
                                continue;
                        r = find_in_file(store, folder, file, ret, reterr);
                        if (r != -ENOENT)
                                return r;
                }
        }
        return fail(reterr, FAILURE_CERTIFICATE_UNKNOWN, ENOENT, "there is no certificate %s in %s", base,
                    store->params->path);
}

int trust_store_find(const TrustStoreParams *params, const char *name, X509 **ret, Failure *reterr)
{
        _cleanup_(store_done) Store store;
        char file[LABEL_MAX];
        Folder folder = FOLDER_SIGNERS;
        int r;

        r = store_init(&store, params, reterr);
        if (r < 0)
                return r;
        if (name && name[0])
                return find_by_name(&store, name, ret, reterr);
        r = find_only_signer(&store, &folder, file, reterr);
        if (r < 0)
                return r;
        r = find_in_file(&store, folder, file, ret, reterr);
        return r == -ENOENT ? fail(reterr, FAILURE_CERTIFICATE_UNKNOWN, ENOENT, "%s has just gone", file) : r;
}

static int check_anchors(const Store *store, const char *label, STACK_OF(X509) * certificates, Failure *reterr)
{
        int r = 0;

        for (int i = 0; i < sk_X509_num(certificates) && r >= 0; i++) {
                r = chain_check_anchor(sk_X509_value(certificates, i), label, reterr);
                if (r >= 0 && store->params->check_dates)
                        r = certificate_check_dates(sk_X509_value(certificates, i), label, store->now, reterr);
        }
        return r;
}

static int fill_entry(const Store *store, Folder folder, const char *name, TrustEntry *entry)
{
        _cleanup_(certificates_freep) STACK_OF(X509) *certificates = NULL;
        X509 *first;
        int r;

        (void)snprintf(entry->file, sizeof(entry->file), "%s%s", folders[folder].prefix, name);
        entry->is_anchor = folder == FOLDER_ANCHORS;
        r = read_file(store, folder, name, &certificates, &entry->why_not);
        if (r >= 0) {
                first = sk_X509_value(certificates, 0);
                certificate_describe_subject(first, entry->subject, sizeof(entry->subject));
                certificate_describe_key(first, entry->key_type);
                entry->not_after_sec = certificate_not_after(first);
                r = entry->is_anchor ? check_anchors(store, entry->file, certificates, &entry->why_not)
                                     : check_signer(store, folder, name, certificates, &entry->why_not);
        }
        entry->usable = r >= 0;
        if (r < 0 && !failure_is_set(&entry->why_not))
                failure_set(&entry->why_not, FAILURE_CERTIFICATE_UNTRUSTED, strerror(-r));
        return r == -ENOMEM ? r : 0;
}

int trust_store_list(const TrustStoreParams *params, TrustEntry **ret, size_t *ret_n, Failure *reterr)
{
        _cleanup_(store_done) Store store;
        _cleanup_free_ Names *names = malloc(sizeof(*names));
        _cleanup_free_ TrustEntry *entries = NULL;
        size_t n = 0;
        int r;

        r = store_init(&store, params, reterr);
        if (r < 0)
                return r;
        if (!names)
                return -ENOMEM;
        for (Folder folder = FOLDER_SIGNERS; folder < _FOLDER_MAX; folder++) {
                TrustEntry *more;

                r = list_names(&store, folder, names);
                if (r < 0)
                        return fail(reterr, FAILURE_CERTIFICATE_UNTRUSTED, -r, "reading %s: %s", params->path,
                                    strerror(-r));
                if (names->n == 0)
                        continue;
                more = realloc(entries, (n + names->n) * sizeof(*entries));
                if (!more)
                        return -ENOMEM;
                entries = more;
                memset(entries + n, 0, names->n * sizeof(*entries));
                for (size_t i = 0; i < names->n; i++, n++) {
                        r = fill_entry(&store, folder, names->names[i], &entries[n]);
                        if (r < 0)
                                return r;
                }
        }
        *ret = TAKE_PTR(entries);
        *ret_n = n;
        return 0;
}
