#include "trust-file.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file-util.h"
#include "trust/trust-store.h"

enum { FILE_MAX_BYTES = 256 * 1024 };

static void BIO_freep(BIO **bio)
{
        (void)BIO_free(*bio);
}

void certificates_free(STACK_OF(X509) * certificates)
{
        sk_X509_pop_free(certificates, X509_free);
}

bool trust_file_has_suffix(const char *name)
{
        size_t n = strlen(name);

        return n > 4 && (strcmp(name + n - 4, ".pem") == 0 || strcmp(name + n - 4, ".crt") == 0);
}

static int fail_file(const char *label, int error, const char *why, Failure *reterr)
{
        return fail(reterr, FAILURE_CERTIFICATE_UNTRUSTED, error, "%s: %s", label, why);
}

/* Who may write to it decides what is trusted. */
static int check_owner_and_mode(const struct stat *st, const char *label, Failure *reterr)
{
        if (st->st_uid != 0 && st->st_uid != geteuid())
                return fail(reterr, FAILURE_CERTIFICATE_UNTRUSTED, EKEYREJECTED,
                            "%s: belongs to user %u, not to root or to this process's user", label,
                            (unsigned)st->st_uid);
        if ((st->st_mode & (S_IWGRP | S_IWOTH)) != 0)
                return fail(reterr, FAILURE_CERTIFICATE_UNTRUSTED, EKEYREJECTED,
                            "%s: is writable by others than its owner (mode %04o)", label,
                            (unsigned)st->st_mode & 07777);
        return 0;
}

int trust_folder_open(int dir_fd, const char *name, const char *label, bool follow, int *ret, Failure *reterr)
{
        _cleanup_close_ int fd = -1;
        struct stat st;
        int r;

        fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | (follow ? 0 : O_NOFOLLOW));
        if (fd < 0 && errno == ENOENT)
                return -ENOENT;
        if (fd < 0 || fstat(fd, &st) < 0)
                return fail_file(label, errno, strerror(errno), reterr);
        r = check_owner_and_mode(&st, label, reterr);
        if (r < 0)
                return r;
        *ret = TAKE_FD(fd);
        return 0;
}

static int read_text(int dir_fd, const char *name, const char *label, char **ret, size_t *ret_size, Failure *reterr)
{
        _cleanup_close_ int fd = -1;
        _cleanup_free_ char *text = NULL;
        struct stat st;
        ssize_t n;
        int r;

        fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (fd < 0 && errno == ENOENT)
                return -ENOENT;
        if (fd < 0)
                return fail_file(label, errno, errno == ELOOP ? "is a symbolic link" : strerror(errno), reterr);
        if (fstat(fd, &st) < 0)
                return fail_file(label, errno, strerror(errno), reterr);
        if (!S_ISREG(st.st_mode))
                return fail_file(label, EKEYREJECTED, "is no regular file", reterr);
        r = check_owner_and_mode(&st, label, reterr);
        if (r < 0)
                return r;
        if (st.st_size > FILE_MAX_BYTES)
                return fail_file(label, EFBIG, "is larger than 256 KiB", reterr);

        text = malloc((size_t)st.st_size + 1);
        if (!text)
                return -ENOMEM;
        n = pread_full(fd, text, (size_t)st.st_size, 0);
        if (n < 0)
                return fail_file(label, (int)-n, strerror((int)-n), reterr);
        *ret = TAKE_PTR(text);
        *ret_size = (size_t)n;
        return 0;
}

/* An encrypted block must not make the library ask a terminal. */
static int no_password(char *buffer _unused_, int size _unused_, int for_writing _unused_, void *userdata _unused_)
{
        return -1;
}

static int parse(const char *text, size_t n_text, const char *label, int n_max, STACK_OF(X509) * *ret,
                 Failure *reterr)
{
        _cleanup_(certificates_freep) STACK_OF(X509) *certificates = sk_X509_new_null();
        _cleanup_(BIO_freep) BIO *bio = BIO_new_mem_buf(text, (int)n_text);
        unsigned long error;

        if (!certificates || !bio)
                return -ENOMEM;
        for (;;) {
                _cleanup_(certificate_freep) X509 *certificate = PEM_read_bio_X509(bio, NULL, no_password, NULL);

                if (!certificate)
                        break;
                if (sk_X509_num(certificates) >= n_max)
                        return fail(reterr, FAILURE_CERTIFICATE_UNTRUSTED, EKEYREJECTED,
                                    "%s: holds more than %d certificate%s", label, n_max, n_max == 1 ? "" : "s");
                if (sk_X509_push(certificates, certificate) <= 0)
                        return -ENOMEM;
                TAKE_PTR(certificate);
        }
        error = ERR_peek_last_error();
        if (ERR_GET_LIB(error) != ERR_LIB_PEM || ERR_GET_REASON(error) != PEM_R_NO_START_LINE) {
                const char *reason = ERR_reason_error_string(error);

                return fail(reterr, FAILURE_CERTIFICATE_UNTRUSTED, EBADMSG, "%s: certificate %d is damaged: %s",
                            label, sk_X509_num(certificates) + 1, reason ? reason : "unknown reason");
        }
        if (sk_X509_num(certificates) == 0)
                return fail_file(label, EBADMSG,
                                 n_text > 0 && text[0] == 0x30 ? "holds no PEM certificate; it looks like DER"
                                                               : "holds no PEM certificate",
                                 reterr);
        *ret = TAKE_PTR(certificates);
        return 0;
}

int trust_file_read(int dir_fd, const char *name, const char *label, int n_max, STACK_OF(X509) * *ret,
                    Failure *reterr)
{
        _cleanup_free_ char *text = NULL;
        size_t n_text = 0;
        int r;

        r = read_text(dir_fd, name, label, &text, &n_text, reterr);
        if (r < 0)
                return r;
        ERR_clear_error();
        r = parse(text, n_text, label, n_max, ret, reterr);
        ERR_clear_error();
        return r;
}
