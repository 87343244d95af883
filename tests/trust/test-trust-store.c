#include <errno.h>
#include <stdlib.h>

#include "base/time-util.h"
#include "certs.h"
#include "trust/trust-store.h"
#include "vector.h"

#define DAY 86400L

static char store[64];
static EVP_PKEY *signer_key, *middle_key, *root_key, *other_key;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
        return remove(path);
}

static const char *in_store(const char *name)
{
        static char path[512];

        (void)snprintf(path, sizeof(path), "%s/%s", store, name);
        return path;
}

static int set_up(void **state)
{
        (void)snprintf(store, sizeof(store), "/tmp/otad-test-trust-XXXXXX");
        if (!mkdtemp(store))
                return -1;
        (void)umask(022);
        return mkdir(in_store("chain"), 0755) < 0 || mkdir(in_store("ca"), 0755) < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
        return nftw(store, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static int make_keys(void **state)
{
        signer_key = make_ec_key("P-256");
        middle_key = make_ec_key("P-256");
        root_key = make_ec_key("P-384");
        other_key = make_ec_key("P-256");
        return 0;
}

static int free_keys(void **state)
{
        EVP_PKEY_free(signer_key);
        EVP_PKEY_free(middle_key);
        EVP_PKEY_free(root_key);
        EVP_PKEY_free(other_key);
        return 0;
}

/* Takes the certificates, up to NULL. */
static void put(const char *name, X509 *first, X509 *second, X509 *third)
{
        FILE *file = fopen(in_store(name), "we");
        X509 *all[] = {first, second, third};

        assert_non_null(file);
        for (size_t i = 0; i < ELEMENTSOF(all) && all[i]; i++) {
                assert_int_equal(PEM_write_X509(file, all[i]), 1);
                X509_free(all[i]);
        }
        assert_int_equal(fclose(file), 0);
}

static void put_text(const char *name, const char *text)
{
        FILE *file = fopen(in_store(name), "we");

        assert_non_null(file);
        assert_true(fputs(text, file) >= 0);
        assert_int_equal(fclose(file), 0);
}

static TrustStoreParams params(bool check_dates)
{
        return (TrustStoreParams){.path = store, .check_dates = check_dates, .wall_clock_usec = wall_clock_usec()};
}

/* FAILURE_NONE: found, and trusted. */
static FailureReason find_at(const TrustStoreParams *p, const char *name, char *detail)
{
        _cleanup_(certificate_freep) X509 *certificate = NULL;
        Failure failure = {};
        int r = trust_store_find(p, name, &certificate, &failure);

        assert_int_equal(r == 0, certificate != NULL);
        assert_int_equal(r == 0, !failure_is_set(&failure));
        if (detail)
                (void)snprintf(detail, FAILURE_DETAIL_MAX, "%s", failure.detail);
        return failure.reason;
}

static FailureReason find(const char *name, char *detail)
{
        TrustStoreParams p = params(true);

        return find_at(&p, name, detail);
}

static void test_pinned(void **state)
{
        put_text("vector.pem", vector_certificate);
        put("plain.crt", make_signer(signer_key), NULL, NULL);
        assert_int_equal(find("vector.pem", NULL), FAILURE_NONE);
        assert_int_equal(find("vector", NULL), FAILURE_NONE);
        assert_int_equal(find("plain", NULL), FAILURE_NONE);
        assert_int_equal(find("/any/where/plain.crt", NULL), FAILURE_NONE);
        assert_int_equal(find("plain.pem", NULL), FAILURE_CERTIFICATE_UNKNOWN);
}

static void test_usages(void **state)
{
        static const struct {
                const char *basic_constraints, *key_usage, *extended_key_usage;
                FailureReason reason;
                const char *in_detail;
        } cases[] = {
                {NULL, "digitalSignature", "codeSigning", FAILURE_NONE, ""},
                {"CA:FALSE", "digitalSignature,keyEncipherment", "serverAuth,codeSigning", FAILURE_NONE, ""},
                {"CA:FALSE", "digitalSignature", NULL, FAILURE_CERTIFICATE_USAGE, "extendedKeyUsage is missing"},
                {"CA:FALSE", "digitalSignature", "serverAuth", FAILURE_CERTIFICATE_USAGE,
                 "extendedKeyUsage does not"},
                {"CA:FALSE", "digitalSignature", "anyExtendedKeyUsage", FAILURE_CERTIFICATE_USAGE,
                 "extendedKeyUsage"},
                {"CA:FALSE", NULL, "codeSigning", FAILURE_CERTIFICATE_USAGE, "keyUsage is missing"},
                {"CA:FALSE", "keyEncipherment", "codeSigning", FAILURE_CERTIFICATE_USAGE, "keyUsage does not"},
                {"CA:TRUE", "digitalSignature,keyCertSign", "codeSigning", FAILURE_CERTIFICATE_USAGE, "CA:TRUE"},
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                char detail[FAILURE_DETAIL_MAX];

                put("s.pem",
                    make_cert(&(CertSpec){.name = "s",
                                          .key = signer_key,
                                          .basic_constraints = cases[i].basic_constraints,
                                          .key_usage = cases[i].key_usage,
                                          .extended_key_usage = cases[i].extended_key_usage}),
                    NULL, NULL);
                assert_int_equal(find("s", detail), cases[i].reason);
                assert_non_null(strstr(detail, cases[i].in_detail));
                if (cases[i].reason != FAILURE_NONE)
                        assert_non_null(strstr(detail, "s.pem: "));
        }
}

static X509 *signer_between(long from_sec, long to_sec)
{
        return make_cert(&(CertSpec){.name = "s",
                                     .key = signer_key,
                                     .key_usage = "digitalSignature",
                                     .extended_key_usage = "codeSigning",
                                     .from_sec = from_sec,
                                     .to_sec = to_sec});
}

static void test_dates(void **state)
{
        TrustStoreParams unchecked = params(false), then = params(true);
        char detail[FAILURE_DETAIL_MAX];

        put("old.pem", signer_between(-10 * DAY, -5 * DAY), NULL, NULL);
        put("young.pem", signer_between(5 * DAY, 10 * DAY), NULL, NULL);
        assert_int_equal(find("old", detail), FAILURE_CERTIFICATE_EXPIRED);
        assert_non_null(strstr(detail, "old.pem: expired on 2"));
        assert_int_equal(find("young", detail), FAILURE_CERTIFICATE_EXPIRED);
        assert_non_null(strstr(detail, "young.pem: is not valid before 2"));
        assert_int_equal(find_at(&unchecked, "old", NULL), FAILURE_NONE);
        assert_int_equal(find_at(&unchecked, "young", NULL), FAILURE_NONE);
        then.wall_clock_usec -= (uint64_t)(7 * DAY) * USEC_PER_SEC;
        assert_int_equal(find_at(&then, "old", NULL), FAILURE_NONE);

        /* Without dates everything else still counts. */
        put("s.pem",
            make_cert(&(CertSpec){.name = "s", .key = signer_key, .from_sec = -10 * DAY, .to_sec = -5 * DAY}), NULL,
            NULL);
        assert_int_equal(find_at(&unchecked, "s", NULL), FAILURE_CERTIFICATE_USAGE);
}

static X509 *make_ca(const char *name, const char *issuer, EVP_PKEY *key, EVP_PKEY *issuer_key,
                     const char *constraints)
{
        return make_cert(&(CertSpec){.name = name,
                                     .issuer = issuer,
                                     .key = key,
                                     .issuer_key = issuer_key,
                                     .basic_constraints = constraints,
                                     .key_usage = "critical,keyCertSign,cRLSign"});
}

static X509 *make_leaf(const char *issuer, EVP_PKEY *issuer_key)
{
        return make_cert(&(CertSpec){.name = "leaf",
                                     .issuer = issuer,
                                     .key = signer_key,
                                     .issuer_key = issuer_key,
                                     .basic_constraints = "critical,CA:FALSE",
                                     .key_usage = "critical,digitalSignature",
                                     .extended_key_usage = "codeSigning"});
}

static void test_chains(void **state)
{
        char detail[FAILURE_DETAIL_MAX];

        put("ca/root.pem", make_ca("root", NULL, root_key, NULL, "critical,CA:TRUE"), NULL, NULL);
        put("chain/direct.pem", make_leaf("root", root_key), NULL, NULL);
        assert_int_equal(find("direct", NULL), FAILURE_NONE);
        put("chain/long.pem", make_leaf("middle", middle_key),
            make_ca("middle", "root", middle_key, root_key, "critical,CA:TRUE,pathlen:0"), NULL);
        assert_int_equal(find("long", NULL), FAILURE_NONE);

        /* Not without what lies between, not by another root of the same name, not by an intermediate alone. */
        put("chain/gap.pem", make_leaf("middle", middle_key), NULL, NULL);
        assert_int_equal(find("gap", detail), FAILURE_CERTIFICATE_UNTRUSTED);
        assert_non_null(strstr(detail, "chain/gap.pem: "));
        put("chain/forged.pem", make_leaf("root", other_key), NULL, NULL);
        assert_int_equal(find("forged", NULL), FAILURE_CERTIFICATE_UNTRUSTED);
        put("chain/own-root.pem", make_leaf("root", other_key), make_ca("root", NULL, other_key, NULL, "CA:TRUE"),
            NULL);
        assert_int_equal(find("own-root", NULL), FAILURE_CERTIFICATE_UNTRUSTED);
        put("chain/self.pem", make_signer(signer_key), NULL, NULL);
        assert_int_equal(find("self", NULL), FAILURE_CERTIFICATE_UNTRUSTED);
        /* The anchor itself signs no code. */
        put("chain/anchor.pem", make_ca("root", NULL, root_key, NULL, "critical,CA:TRUE"), NULL, NULL);
        assert_int_equal(find("anchor", NULL), FAILURE_CERTIFICATE_USAGE);
        assert_int_equal(find("root", NULL), FAILURE_CERTIFICATE_UNKNOWN);
        /* A leaf of a trusted CA is trusted in chain/ only by its chain, and needs its usages there too. */
        put("chain/bare.pem",
            make_cert(&(CertSpec){.name = "bare", .issuer = "root", .key = signer_key, .issuer_key = root_key}), NULL,
            NULL);
        assert_int_equal(find("bare", NULL), FAILURE_CERTIFICATE_USAGE);
}

static void test_chains_of_no_authority(void **state)
{
        put("ca/root.pem", make_ca("root", NULL, root_key, NULL, "critical,CA:TRUE"), NULL, NULL);
        put("chain/not-ca.pem", make_leaf("middle", middle_key),
            make_ca("middle", "root", middle_key, root_key, "CA:FALSE"), NULL);
        assert_int_equal(find("not-ca", NULL), FAILURE_CERTIFICATE_UNTRUSTED);
        put("chain/no-constraints.pem", make_leaf("middle", middle_key),
            make_ca("middle", "root", middle_key, root_key, NULL), NULL);
        assert_int_equal(find("no-constraints", NULL), FAILURE_CERTIFICATE_UNTRUSTED);
        put("chain/no-cert-sign.pem", make_leaf("middle", middle_key),
            make_cert(&(CertSpec){.name = "middle",
                                  .issuer = "root",
                                  .key = middle_key,
                                  .issuer_key = root_key,
                                  .basic_constraints = "CA:TRUE",
                                  .key_usage = "digitalSignature"}),
            NULL);
        assert_int_equal(find("no-cert-sign", NULL), FAILURE_CERTIFICATE_UNTRUSTED);
        put("chain/web-ca.pem", make_leaf("middle", middle_key),
            make_cert(&(CertSpec){.name = "middle",
                                  .issuer = "root",
                                  .key = middle_key,
                                  .issuer_key = root_key,
                                  .basic_constraints = "CA:TRUE",
                                  .key_usage = "keyCertSign",
                                  .extended_key_usage = "serverAuth"}),
            NULL);
        assert_int_equal(find("web-ca", NULL), FAILURE_CERTIFICATE_USAGE);
}

static void test_path_length(void **state)
{
        put("ca/root.pem", make_ca("root", NULL, root_key, NULL, "critical,CA:TRUE,pathlen:0"), NULL, NULL);
        put("chain/deep.pem", make_leaf("middle", middle_key),
            make_ca("middle", "root", middle_key, root_key, "critical,CA:TRUE"), NULL);
        put("chain/flat.pem", make_leaf("root", root_key), NULL, NULL);
        assert_int_equal(find("deep", NULL), FAILURE_CERTIFICATE_UNTRUSTED);
        assert_int_equal(find("flat", NULL), FAILURE_NONE);
}

static void test_anchors_that_are_none(void **state)
{
        /* An intermediate, an end entity and garbage in ca/ anchor nothing, and hide no good one. */
        put("ca/a.pem", make_ca("middle", "root", middle_key, root_key, "critical,CA:TRUE"), NULL, NULL);
        put("ca/b.pem", make_cert(&(CertSpec){.name = "plain", .key = other_key}), NULL, NULL);
        put_text("ca/c.pem", "garbage");
        put("chain/m.pem", make_leaf("middle", middle_key), NULL, NULL);
        put("chain/p.pem", make_leaf("plain", other_key), NULL, NULL);
        put("chain/r.pem", make_leaf("root", root_key), NULL, NULL);
        assert_int_equal(find("m", NULL), FAILURE_CERTIFICATE_UNTRUSTED);
        assert_int_equal(find("p", NULL), FAILURE_CERTIFICATE_UNTRUSTED);
        assert_int_equal(find("r", NULL), FAILURE_CERTIFICATE_UNTRUSTED);
        put("ca/z.pem", make_ca("root", NULL, root_key, NULL, "critical,CA:TRUE"), NULL, NULL);
        assert_int_equal(find("r", NULL), FAILURE_NONE);
}

static void test_expired_chain(void **state)
{
        TrustStoreParams unchecked = params(false);

        put("ca/root.pem",
            make_cert(&(CertSpec){.name = "root",
                                  .key = root_key,
                                  .basic_constraints = "critical,CA:TRUE",
                                  .key_usage = "keyCertSign",
                                  .from_sec = -10 * DAY,
                                  .to_sec = -5 * DAY}),
            NULL, NULL);
        put("chain/s.pem", make_leaf("root", root_key), NULL, NULL);
        assert_int_equal(find("s", NULL), FAILURE_CERTIFICATE_EXPIRED);
        assert_int_equal(find_at(&unchecked, "s", NULL), FAILURE_NONE);
}

static void test_hostile_names(void **state)
{
        static const char *const names[] = {
                "../signer.pem/..", "..", ".",     "a/", "/",  ".hidden.pem", "a b.pem", "signer.pem\n",
                "s\xc3\xa4.pem",    "ca", "chain", "*",  "%s", "signer.pem;",
        };
        char longest[256] = "";

        put("signer.pem", make_signer(signer_key), NULL, NULL);
        put(".hidden.pem", make_signer(signer_key), NULL, NULL);
        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                assert_int_equal(find(names[i], NULL), FAILURE_CERTIFICATE_UNKNOWN);
        /* Only what follows the last slash counts, and only in the store. */
        assert_int_equal(find("../../../signer.pem", NULL), FAILURE_NONE);
        assert_int_equal(find("ca/signer", NULL), FAILURE_NONE);
        assert_int_equal(find("/etc/passwd", NULL), FAILURE_CERTIFICATE_UNKNOWN);
        memset(longest, 'x', 200);
        assert_int_equal(find(longest, NULL), FAILURE_CERTIFICATE_UNKNOWN);
        longest[128] = 0;
        assert_int_equal(find(longest, NULL), FAILURE_CERTIFICATE_UNKNOWN);
}

static void check_untrusted(const char *name, const char *in_detail)
{
        char detail[FAILURE_DETAIL_MAX];

        assert_int_equal(find(name, detail), FAILURE_CERTIFICATE_UNTRUSTED);
        assert_non_null(strstr(detail, name));
        if (!strstr(detail, in_detail))
                assert_string_equal(detail, in_detail);
}

static void test_files_not_believed(void **state)
{
        X509 *der = make_signer(signer_key);
        FILE *file;

        put("good.pem", make_signer(signer_key), NULL, NULL);
        assert_int_equal(symlink("good.pem", in_store("link.pem")), 0);
        check_untrusted("link.pem", "is a symbolic link");
        put("open.pem", make_signer(signer_key), NULL, NULL);
        assert_int_equal(chmod(in_store("open.pem"), 0646), 0);
        check_untrusted("open.pem", "writable by others");
        assert_int_equal(chmod(in_store("open.pem"), 0664), 0);
        check_untrusted("open.pem", "writable by others");
        assert_int_equal(chmod(in_store("open.pem"), 0644), 0);
        assert_int_equal(find("open.pem", NULL), FAILURE_NONE);
        if (geteuid() == 0) {
                assert_int_equal(chown(in_store("open.pem"), 1, 0), 0);
                check_untrusted("open.pem", "belongs to user 1");
        }
        put_text("garbage.pem", "garbage");
        check_untrusted("garbage.pem", "holds no PEM certificate");
        put_text("empty.pem", "");
        check_untrusted("empty.pem", "holds no PEM certificate");
        put_text("cut.pem", "-----BEGIN CERTIFICATE-----\nMIIBgzCCASmg\n");
        check_untrusted("cut.pem", "damaged");
        put_text("damaged.pem", "-----BEGIN CERTIFICATE-----\nMIIBgzCCASmg\n-----END CERTIFICATE-----\n");
        check_untrusted("damaged.pem", "damaged");
        put("two.pem", make_signer(signer_key), make_signer(other_key), NULL);
        check_untrusted("two.pem", "more than 1 certificate");
        assert_int_equal(mkdir(in_store("folder.pem"), 0755), 0);
        check_untrusted("folder.pem", "no regular file");
        assert_int_equal(mkfifo(in_store("pipe.pem"), 0644), 0);
        check_untrusted("pipe.pem", "no regular file");
        put("huge.pem", make_signer(signer_key), NULL, NULL);
        assert_int_equal(truncate(in_store("huge.pem"), 300000), 0);
        check_untrusted("huge.pem", "256 KiB");

        file = fopen(in_store("der.pem"), "we");
        assert_non_null(file);
        assert_int_equal(i2d_X509_fp(file, der), 1);
        assert_int_equal(fclose(file), 0);
        X509_free(der);
        check_untrusted("der.pem", "looks like DER");
}

static void test_folders_not_believed(void **state)
{
        TrustStoreParams missing = {.path = "/no/such/folder"};
        char detail[FAILURE_DETAIL_MAX];

        put("good.pem", make_signer(signer_key), NULL, NULL);
        assert_int_equal(chmod(store, 0777), 0);
        assert_int_equal(find("good", detail), FAILURE_CERTIFICATE_UNTRUSTED);
        assert_non_null(strstr(detail, store));
        assert_int_equal(chmod(store, 0755), 0);
        assert_int_equal(chmod(in_store("ca"), 0775), 0);
        assert_int_equal(find("good", detail), FAILURE_CERTIFICATE_UNTRUSTED);
        assert_int_equal(chmod(in_store("ca"), 0755), 0);
        assert_int_equal(find("good", detail), FAILURE_NONE);
        assert_int_equal(find_at(&missing, "good", detail), FAILURE_CERTIFICATE_UNTRUSTED);
        assert_int_equal(rmdir(in_store("ca")) | rmdir(in_store("chain")), 0);
        assert_int_equal(find("good", detail), FAILURE_NONE);
}

static void test_no_name(void **state)
{
        char detail[FAILURE_DETAIL_MAX];

        assert_int_equal(find("", detail), FAILURE_CERTIFICATE_UNKNOWN);
        assert_non_null(strstr(detail, "there is no signer"));
        put_text("README", "not looked at");
        put("ca/root.pem", make_ca("root", NULL, root_key, NULL, "CA:TRUE"), NULL, NULL);
        put("one.pem", make_signer(signer_key), NULL, NULL);
        assert_int_equal(find("", NULL), FAILURE_NONE);
        assert_int_equal(find(NULL, NULL), FAILURE_NONE);
        put("chain/two.pem", make_leaf("root", root_key), NULL, NULL);
        assert_int_equal(find("", detail), FAILURE_CERTIFICATE_UNKNOWN);
        assert_non_null(strstr(detail, "has 2: one.pem, chain/two.pem"));
}

static void test_list(void **state)
{
        TrustStoreParams p = params(true);
        _cleanup_free_ TrustEntry *entries = NULL, *none = NULL;
        size_t n = 99;

        assert_int_equal(trust_store_list(&p, &none, &n, NULL), 0);
        assert_int_equal(n, 0);
        put_text("vector.pem", vector_certificate);
        put_text("broken.pem", "garbage");
        put_text("README", "not looked at");
        put("ca/root.pem", make_ca("root", NULL, root_key, NULL, "critical,CA:TRUE"), NULL, NULL);
        put("ca/leaf.pem", make_signer(signer_key), NULL, NULL);
        put("chain/c.crt", make_leaf("root", root_key), NULL, NULL);
        assert_int_equal(trust_store_list(&p, &entries, &n, NULL), 0);
        assert_int_equal(n, 5);
        assert_string_equal(entries[0].file, "broken.pem");
        assert_false(entries[0].usable);
        assert_int_equal(entries[0].why_not.reason, FAILURE_CERTIFICATE_UNTRUSTED);
        assert_string_equal(entries[1].file, "vector.pem");
        assert_true(entries[1].usable && !entries[1].is_anchor);
        assert_string_equal(entries[1].subject, "CN=otad test code signer");
        assert_string_equal(entries[1].key_type, "EC prime256v1");
        assert_true(entries[1].not_after_sec == INT64_C(2524607999)); /* 2049-12-31T23:59:59Z */
        assert_string_equal(entries[2].file, "chain/c.crt");
        assert_true(entries[2].usable);
        assert_string_equal(entries[3].file, "ca/leaf.pem");
        assert_true(entries[3].is_anchor && !entries[3].usable);
        assert_string_equal(entries[4].file, "ca/root.pem");
        assert_true(entries[4].is_anchor && entries[4].usable);
        assert_string_equal(entries[4].key_type, "EC secp384r1");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_pinned, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_usages, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_dates, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_chains, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_chains_of_no_authority, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_path_length, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_anchors_that_are_none, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_expired_chain, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_hostile_names, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_files_not_believed, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_folders_not_believed, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_no_name, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_list, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, make_keys, free_keys);
}
