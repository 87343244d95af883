#include <stdlib.h>

#include "base/time-util.h"
#include "certs.h"
#include "trust/expiry.h"

#define DAY 86400L

static char folder[64];
static EVP_PKEY *key;

static const char *in_folder(const char *name)
{
        static char paths[16][512];
        static unsigned n;
        char *path = paths[n++ % ELEMENTSOF(paths)];

        (void)snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
        return path;
}

/* Certificates that end so many days from now; up to a 0. `purpose` NULL: of no use for code. */
static void put(const char *name, const char *purpose, const long *days)
{
        FILE *file = fopen(in_folder(name), "we");

        assert_non_null(file);
        for (; *days != 0; days++) {
                bool is_ca = purpose && strcmp(purpose, "ca") == 0;
                X509 *certificate = make_cert(&(CertSpec){.name = name,
                                                          .key = key,
                                                          .basic_constraints = is_ca ? "critical,CA:TRUE" : NULL,
                                                          .key_usage = is_ca ? "keyCertSign" : "digitalSignature",
                                                          .extended_key_usage = is_ca ? NULL : purpose,
                                                          .from_sec = -400 * DAY,
                                                          .to_sec = *days * DAY});

                assert_int_equal(PEM_write_X509(file, certificate), 1);
                X509_free(certificate);
        }
        assert_int_equal(fclose(file), 0);
}

static int set_up(void **state)
{
        (void)snprintf(folder, sizeof(folder), "/tmp/otad-test-expiry-XXXXXX");
        (void)umask(022);
        key = make_ec_key("P-256");
        return mkdtemp(folder) && mkdir(in_folder("trust"), 0755) == 0 && mkdir(in_folder("trust/ca"), 0755) == 0
                       ? 0
                       : -1;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
        return remove(path);
}

static int tear_down(void **state)
{
        EVP_PKEY_free(key);
        return nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void check(const ExpiryList *list, size_t i, ExpiryKind kind, const char *file, long days)
{
        int64_t left = list->entries[i].not_after_sec - (int64_t)(wall_clock_usec() / USEC_PER_SEC);

        assert_true(i < list->n_entries);
        assert_int_equal(list->entries[i].kind, kind);
        assert_string_equal(list->entries[i].file, file);
        assert_in_range(left - days * DAY + 60, 0, 120);
}

static void test_all(void **state)
{
        const char *device = in_folder("device.pem"), *root = in_folder("root.pem"), *trust = in_folder("trust");
        const ExpiryParams params = {.cert_file = device, .root_ca_file = root, .trust_store = trust};
        ExpiryList list;

        expiry_read(&params, &list);
        assert_int_equal(list.n_entries, 0);
        put("device.pem", NULL, (long[]){300, 20, 900, 0});
        put("root.pem", "ca", (long[]){300, 20, 900, 0});
        put("trust/b.pem", "codeSigning", (long[]){-5, 0}); /* ended: the more it is to be told */
        put("trust/a.pem", "codeSigning", (long[]){50, 0});
        put("trust/tls.pem", "serverAuth", (long[]){1, 0}); /* signs nothing here anyway */
        put("trust/ca/x.pem", "ca", (long[]){70, 0});
        expiry_read(&params, &list);
        assert_int_equal(list.n_entries, 5);
        check(&list, 0, EXPIRY_DEVICE, device, 20);
        check(&list, 1, EXPIRY_ROOT_CA, root, 900);
        check(&list, 2, EXPIRY_SIGNER, "a.pem", 50);
        check(&list, 3, EXPIRY_SIGNER, "b.pem", -5);
        check(&list, 4, EXPIRY_ANCHOR, "ca/x.pem", 70);
        assert_string_equal(expiry_kind_to_string(EXPIRY_ROOT_CA), "root-ca");
}

static void test_no_certificates(void **state)
{
        const char *device = in_folder("device.pem"), *root = in_folder("root.pem");
        const ExpiryParams params = {.cert_file = device, .root_ca_file = root, .trust_store = "/nonexistent"};
        FILE *file = fopen(device, "we");
        ExpiryList list;

        assert_non_null(file);
        assert_true(fputs("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", file) >= 0);
        assert_int_equal(fclose(file), 0);
        assert_int_equal(mkdir(root, 0755), 0);
        expiry_read(&params, &list);
        assert_int_equal(list.n_entries, 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_all, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_no_certificates, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
