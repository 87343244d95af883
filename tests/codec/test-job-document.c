#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "codec/job-document.h"
#include "mangle.h"
#include "unit.h"

#define TEN   "0123456789"
#define SIXTY TEN TEN TEN TEN TEN TEN

/* The signature of the protocol's test vector: ECDSA, DER, 71 bytes. */
#define SIGNATURE "MEUCIDNkz0h95fG3hWWL+7DdkQ4qWX72A9wE9LKx35qbFkJsAiEAmF6hZkL3i90P+47MgHq3jdqZAQ7BM4KcNOialsql3Og="
#define URL       "https://bucket.s3.eu-west-1.amazonaws.com/key?X-Amz-Expires=1800&X-Amz-Signature=abc"

#define MQTT(files) "{\"afr_ota\":{\"protocols\":[\"MQTT\"],\"streamname\":\"S-1\",\"files\":[" files "]}}"
#define HTTP(files) "{\"afr_ota\":{\"protocols\":[\"HTTP\"],\"files\":[" files "]}}"
#define BODY        "\"filepath\":\"rootfs.img\",\"filesize\":647324,\"fileid\":0"
#define GOOD        "{" BODY "}"
#define WITH(more)  "{" BODY "," more "}"

static const char mqtt_document[] =
        "{\"afr_ota\":{\"protocols\":[\"MQTT\"],\"streamname\":\"AFR_OTA-0f9d1c5e-2b7a-4c6d-9e10-51a7c3b2d844\","
        "\"files\":[{\"filepath\":\"/var/lib/otad/slot\",\"filesize\":647324,\"fileid\":0,"
        "\"certfile\":\"codesign.pem\",\"fileType\":0,\"sig-sha256-ecdsa\":\"" SIGNATURE "\"}]}}";
static const char http_document[] =
        "{\"afr_ota\":{\"protocols\":[\"HTTP\"],\"files\":[{\"filepath\":\"/var/lib/otad/slot\",\"filesize\":647324,"
        "\"fileid\":0,\"certfile\":\"codesign.pem\",\"fileType\":0,\"update_data_url\":\"" URL "\","
        "\"auth_scheme\":\"aws.s3.presigned\",\"sig-sha256-ecdsa\":\"" SIGNATURE "\"}]}}";

static JobDocument *document_of(const char *text)
{
        JobDocument *document = NULL;
        Failure failure = {0};

        if (job_document_parse(text, strlen(text), &document, &failure) != 0)
                fail_msg("%s: %s", text, failure.detail);
        return document;
}

static void test_mqtt(void **state)
{
        _cleanup_(job_document_freep) JobDocument *d = document_of(mqtt_document);
        const JobFile *file = &d->files[0];

        (void)state;
        assert_true(d->mqtt);
        assert_false(d->https);
        assert_string_equal(d->stream_name, "AFR_OTA-0f9d1c5e-2b7a-4c6d-9e10-51a7c3b2d844");
        assert_int_equal(d->n_files, 1);
        assert_string_equal(file->path, "/var/lib/otad/slot");
        assert_int_equal(file->size_bytes, 647324);
        assert_int_equal(file->file_id, 0);
        assert_int_equal(file->file_type, 0);
        assert_string_equal(file->cert_name, "codesign.pem");
        assert_null(file->url);
        assert_int_equal(file->algorithm, SIGNATURE_ALGORITHM_SHA256_ECDSA);
        assert_string_equal(signature_algorithm_to_string(file->algorithm), "sha256-ecdsa");
        assert_int_equal(file->n_signature, 71);
        assert_memory_equal(file->signature, "\x30\x45\x02\x20\x33\x64\xcf\x48", 8);
        assert_memory_equal(file->signature + 67, "\xca\xa5\xdc\xe8", 4);
}

static void test_http(void **state)
{
        _cleanup_(job_document_freep) JobDocument *d = document_of(http_document);

        (void)state;
        assert_true(d->https);
        assert_false(d->mqtt);
        assert_null(d->stream_name);
        assert_string_equal(d->files[0].url, URL);
}

static void test_both(void **state)
{
        _cleanup_(job_document_freep) JobDocument *d = document_of(
                "{\"other\":{\"x\":[1.5,true,null]},\"afr_ota\":{\"protocols\":[\"HTTP\",\"FTP\",\"MQTT\"],"
                "\"streamname\":\"S\",\"version\":2,\"files\":["
                "{\"filepath\":\"a\",\"filesize\":1,\"fileid\":255,\"fileType\":255,\"update_data_url\":\"" URL "\","
                "\"attr\":3,\"sig-sha1-rsa\":\"AAEC\"},"
                "{\"filepath\":\"b\",\"filesize\":9007199254740992,\"fileid\":1,\"certfile\":\"\","
                "\"update_data_url\":\"" URL "\",\"sig-sha256-rsa\":\"AAE\\nC\\r\\n/w==\"}]}}");

        (void)state;
        assert_true(d->mqtt && d->https);
        assert_int_equal(d->n_files, 2);
        assert_int_equal(d->files[0].file_id, 255);
        assert_int_equal(d->files[0].file_type, 255);
        assert_int_equal(d->files[0].algorithm, SIGNATURE_ALGORITHM_SHA1_RSA);
        assert_int_equal(d->files[1].algorithm, SIGNATURE_ALGORITHM_SHA256_RSA);
        assert_int_equal(d->files[1].size_bytes, JOB_FILE_MAX_BYTES);
        assert_null(d->files[1].cert_name);
        assert_int_equal(d->files[1].n_signature, 4);
        assert_memory_equal(d->files[1].signature, "\x00\x01\x02\xff", 4);
}

/* By HTTPS every file has id 0. */
static void test_http_same_id(void **state)
{
        _cleanup_(job_document_freep) JobDocument *d = document_of(
                HTTP(WITH("\"update_data_url\":\"" URL "\"") "," WITH("\"update_data_url\":\"" URL "\"")));

        (void)state;
        assert_int_equal(d->n_files, 2);
        assert_int_equal(d->files[1].algorithm, SIGNATURE_ALGORITHM_NONE);
        assert_int_equal(d->files[1].n_signature, 0);
}

typedef struct Case {
        const char *text;
        FailureReason reason;
        const char *detail; /* has to be part of the detail */
} Case;

#define NAME_A(x) "{\"filepath\":" x ",\"filesize\":1,\"fileid\":0}"
#define SIZE(x)   "{\"filepath\":\"a\",\"filesize\":" x ",\"fileid\":0}"
#define ID(x)     "{\"filepath\":\"a\",\"filesize\":1,\"fileid\":" x "}"
#define TYPE(x)   WITH("\"fileType\":" x)
#define LINK(x)   HTTP(WITH("\"update_data_url\":" x))
#define SIG(x)    MQTT(WITH("\"sig-sha256-ecdsa\":" x))
#define STREAM(x) "{\"afr_ota\":{\"protocols\":[\"MQTT\"],\"streamname\":" x ",\"files\":[" GOOD "]}}"
#define PROTO(x)  "{\"afr_ota\":{\"protocols\":" x ",\"streamname\":\"S\",\"files\":[" GOOD "]}}"

#define INVALID     FAILURE_DOCUMENT_INVALID
#define UNSUPPORTED FAILURE_DOCUMENT_UNSUPPORTED

static const Case cases[] = {
        {MQTT(GOOD), FAILURE_NONE, NULL},
        {MQTT(TYPE("7")), FAILURE_NONE, NULL},
        {MQTT(SIZE("1")), FAILURE_NONE, NULL},
        {MQTT(SIZE("9007199254740992")), FAILURE_NONE, NULL},
        {MQTT(SIZE("100.0")), FAILURE_NONE, NULL},
        {MQTT(ID("0") "," ID("1") "," ID("2") "," ID("3") "," ID("4") "," ID("5") "," ID("6") "," ID("7") "," ID(
                 "8") "," ID("9")),
         FAILURE_NONE, NULL},
        {STREAM("\"" SIXTY SIXTY "01234567\""), FAILURE_NONE, NULL},
        {PROTO("[\"MQTT\",\"MQTT\"]"), FAILURE_NONE, NULL},
        {LINK("\"" URL "\",\"auth_scheme\":\"aws.s3.presigned\""), FAILURE_NONE, NULL},
        {SIG("\"AA==\""), FAILURE_NONE, NULL},
        {SIG("\"A\\nA=\\r\\n=\\n\""), FAILURE_NONE, NULL},
        {MQTT(WITH("\"update_data_url\":\"http://ignored since HTTP is not offered\"")), FAILURE_NONE, NULL},
        /* no JSON to work with */
        {"", INVALID, "The job document is no JSON to work with: ends where a value is due"},
        {"{\"afr_ota\":", INVALID, "ends where a value is due"},
        {"{\"afr_ota\":{}}x", INVALID, "something follows the JSON text"},
        {"{\"afr_ota\":\"\\u0000\"}", INVALID, "a string holds NUL"},
        {"{\"afr_ota\":\"\xff\"}", INVALID, "not UTF-8"},
        {"{\"afr_ota\":{},\"afr_ota\":{}}", INVALID, "has the member \"afr_ota\" twice"},
        {MQTT(WITH("\"filesize\":2")), INVALID, "has the member \"filesize\" twice"},
        {MQTT(WITH("\"x\":[{\"y\":1,\"y\":1}]")), INVALID, "has the member \"y\" twice"},
        {MQTT(WITH("\"sig-sha256-ecdsa\":\"AA==\",\"sig-sha256-ecdsa\":\"AQ==\"")), INVALID, "twice"},
        /* shape */
        {"{\"afr_ota\":null}", INVALID, "afr_ota is null, has to be an object"},
        {"{\"afr_ota\":[]}", INVALID, "afr_ota is an array, has to be an object"},
        {"{\"afr_ota\":{}}", INVALID, "afr_ota.protocols is missing, has to be an array"},
        {PROTO("\"MQTT\""), INVALID, "afr_ota.protocols is a string, has to be an array"},
        {PROTO("[1]"), INVALID, "afr_ota.protocols holds a number, has to hold strings"},
        {PROTO("[]"), FAILURE_NO_PROTOCOL, "afr_ota.protocols has neither MQTT nor HTTP"},
        {PROTO("[\"mqtt\"]"), FAILURE_NO_PROTOCOL, "neither MQTT nor HTTP"},
        {PROTO("[\"FTP\",\"BLE\"]"), FAILURE_NO_PROTOCOL, "neither MQTT nor HTTP"},
        {"{\"afr_ota\":{\"protocols\":[\"MQTT\"],\"files\":[" GOOD "]}}", INVALID,
         "afr_ota.streamname is missing, has to be a string since MQTT is offered"},
        {STREAM("7"), INVALID, "afr_ota.streamname is a number"},
        {STREAM("\"\""), INVALID, "afr_ota.streamname is not 1 to 128 of"},
        {STREAM("\"a/b\""), INVALID, "afr_ota.streamname is not 1 to 128 of"},
        {STREAM("\"+\""), INVALID, "afr_ota.streamname is not 1 to 128 of"},
        {STREAM("\"" SIXTY SIXTY "012345678\""), INVALID, "afr_ota.streamname is not 1 to 128 of"},
        {"{\"afr_ota\":{\"protocols\":[\"MQTT\"],\"streamname\":\"S\"}}", INVALID, "afr_ota.files is missing"},
        {"{\"afr_ota\":{\"protocols\":[\"MQTT\"],\"streamname\":\"S\",\"files\":{}}}", INVALID,
         "afr_ota.files is an object, has to be an array"},
        {MQTT(""), INVALID, "afr_ota.files has 0 entries, allowed are 1 to 10"},
        {MQTT("0,0,0,0,0,0,0,0,0,0,0"), INVALID, "afr_ota.files has 11 entries, allowed are 1 to 10"},
        {MQTT("7"), INVALID, "afr_ota.files[0] is a number, has to be an object"},
        {MQTT(GOOD ",[]"), INVALID, "afr_ota.files[1] is an array, has to be an object"},
        {MQTT(ID("3") "," ID("3")), INVALID, "afr_ota.files[1].fileid is 3, as is that of files[0]"},
        /* names */
        {MQTT("{\"filesize\":1,\"fileid\":0}"), INVALID, "afr_ota.files[0].filepath is missing, has to be a string"},
        {MQTT(NAME_A("1")), INVALID, "afr_ota.files[0].filepath is a number"},
        {MQTT(NAME_A("\"\"")), INVALID, "afr_ota.files[0].filepath has 0 bytes, allowed are 1 to 1024"},
        {MQTT(NAME_A("\"a\\nb\"")), INVALID, "afr_ota.files[0].filepath has a control character"},
        {MQTT(NAME_A("\"a\\u007f\"")), INVALID, "afr_ota.files[0].filepath has a control character"},
        {MQTT(NAME_A("\"a\\u0085\"")), INVALID, "afr_ota.files[0].filepath has a control character"},
        {MQTT(WITH("\"certfile\":7")), INVALID, "afr_ota.files[0].certfile is a number, has to be a string"},
        {MQTT(WITH("\"certfile\":null")), INVALID, "afr_ota.files[0].certfile is null"},
        {MQTT(WITH("\"certfile\":\"a\\u001b\"")), INVALID, "afr_ota.files[0].certfile has a control character"},
        /* numbers */
        {MQTT("{\"filepath\":\"a\",\"fileid\":0}"), INVALID,
         "afr_ota.files[0].filesize is missing, has to be a number"},
        {MQTT(SIZE("\"647324\"")), INVALID, "afr_ota.files[0].filesize is a string, has to be a number from 0 to"},
        {MQTT(SIZE("null")), INVALID, "afr_ota.files[0].filesize is null"},
        {MQTT(SIZE("true")), INVALID, "afr_ota.files[0].filesize is a boolean"},
        {MQTT(SIZE("0")), FAILURE_IMAGE_EMPTY, "afr_ota.files[0].filesize is 0"},
        {MQTT(SIZE("-1")), INVALID,
         "afr_ota.files[0].filesize is -1, has to be a whole number from 0 to 9007199254740992"},
        {MQTT(SIZE("1.5")), INVALID, "afr_ota.files[0].filesize is 1.5, has to be a whole number"},
        {MQTT(SIZE("9007199254740993")), INVALID, "a number is above 2^53 or has more than 15 digits"},
        {MQTT(SIZE("18446744073709551616")), INVALID, "a number is above 2^53 or has more than 15 digits"},
        {MQTT(SIZE("4503599627370497.25")), INVALID, "a number is above 2^53 or has more than 15 digits"},
        {MQTT(SIZE("1e3")), INVALID, "a number has an exponent"},
        {MQTT(SIZE("1e-999")), INVALID, "a number has an exponent"},
        {MQTT(SIZE("0x10")), INVALID, "a comma or bracket is missing"},
        {MQTT("{\"filepath\":\"a\",\"filesize\":1}"), INVALID, "afr_ota.files[0].fileid is missing"},
        {MQTT(ID("256")), INVALID, "afr_ota.files[0].fileid is 256, has to be a whole number from 0 to 255"},
        {MQTT(ID("-1")), INVALID, "afr_ota.files[0].fileid is -1"},
        {MQTT(ID("\"0\"")), INVALID, "afr_ota.files[0].fileid is a string"},
        {MQTT(TYPE("256")), INVALID, "afr_ota.files[0].fileType is 256, has to be a whole number from 0 to 255"},
        {MQTT(TYPE("\"0\"")), INVALID, "afr_ota.files[0].fileType is a string"},
        {MQTT(TYPE("0.5")), INVALID, "afr_ota.files[0].fileType is 0.5"},
        /* URLs, which no detail may quote */
        {HTTP(GOOD), INVALID,
         "afr_ota.files[0].update_data_url is missing, has to be a string since HTTP is offered"},
        {LINK("7"), INVALID, "afr_ota.files[0].update_data_url is a number"},
        {LINK("\"\""), INVALID, "afr_ota.files[0].update_data_url has 0 bytes, allowed are 1 to 8192"},
        {LINK("\"http://h/k?secret\""), UNSUPPORTED, "afr_ota.files[0].update_data_url does not begin with https://"},
        {LINK("\"HTTPS://h/k?secret\""), UNSUPPORTED, "does not begin with https://"},
        {LINK("\"file:///etc/secret\""), UNSUPPORTED, "does not begin with https://"},
        {LINK("\"https://\""), INVALID, "afr_ota.files[0].update_data_url names no host"},
        {LINK("\"https:///secret\""), INVALID, "afr_ota.files[0].update_data_url names no host"},
        {LINK("\"https://h/a secret\""), INVALID, "update_data_url has a character that no URL has"},
        {LINK("\"https://h/a\\r\\nsecret:\""), INVALID, "update_data_url has a character that no URL has"},
        {LINK("\"https://h/\xc3\xa9-secret\""), INVALID, "update_data_url has a character that no URL has"},
        {LINK("\"" URL "\",\"auth_scheme\":\"basic\""), UNSUPPORTED,
         "afr_ota.files[0].auth_scheme is \"basic\", only \"aws.s3.presigned\" is known"},
        {LINK("\"" URL "\",\"auth_scheme\":1"), INVALID, "afr_ota.files[0].auth_scheme is a number"},
        /* signatures */
        {SIG("7"), INVALID, "afr_ota.files[0].sig-sha256-ecdsa is a number, has to be a string"},
        {SIG("\"\""), FAILURE_SIGNATURE_MALFORMED, "afr_ota.files[0].sig-sha256-ecdsa is empty"},
        {SIG("\"\\n\""), FAILURE_SIGNATURE_MALFORMED, "is empty"},
        {SIG("\"AA=\""), FAILURE_SIGNATURE_MALFORMED, "is not base64 with padding"},
        {SIG("\"AA\""), FAILURE_SIGNATURE_MALFORMED, "is not base64 with padding"},
        {SIG("\"AAAAA\""), FAILURE_SIGNATURE_MALFORMED, "is not base64 with padding"},
        {SIG("\"AB==\""), FAILURE_SIGNATURE_MALFORMED, "is not base64 with padding"},
        {SIG("\"AAB=\""), FAILURE_SIGNATURE_MALFORMED, "is not base64 with padding"},
        {SIG("\"A===\""), FAILURE_SIGNATURE_MALFORMED, "is not base64 with padding"},
        {SIG("\"====\""), FAILURE_SIGNATURE_MALFORMED, "is not base64 with padding"},
        {SIG("\"AA==AAAA\""), FAILURE_SIGNATURE_MALFORMED, "is not base64 with padding"},
        {SIG("\"AA==AA==\""), FAILURE_SIGNATURE_MALFORMED, "is not base64 with padding"},
        {SIG("\"AA======\""), FAILURE_SIGNATURE_MALFORMED, "is not base64 with padding"},
        {SIG("\"AA=A\""), FAILURE_SIGNATURE_MALFORMED, "is not base64 with padding"},
        {SIG("\"AA A\""), FAILURE_SIGNATURE_MALFORMED, "is not base64 with padding"},
        {SIG("\"AA-_\""), FAILURE_SIGNATURE_MALFORMED, "is not base64 with padding"},
        {MQTT(WITH("\"sig-sha512-ecdsa\":\"AA==\"")), FAILURE_ALGORITHM_REFUSED,
         "afr_ota.files[0] has a signature of unknown kind, \"sig-sha512-ecdsa\""},
        {MQTT(WITH("\"sig-\":\"AA==\"")), FAILURE_ALGORITHM_REFUSED, "unknown kind, \"sig-\""},
        {MQTT(WITH("\"sig-none\":\"AA==\"")), FAILURE_ALGORITHM_REFUSED, "unknown kind, \"sig-none\""},
        {MQTT(WITH("\"sig-SHA256-ecdsa\":\"AA==\"")), FAILURE_ALGORITHM_REFUSED, "unknown kind"},
        {MQTT(WITH("\"sig-sha256-ecdsa\":\"AA==\",\"sig-md5-rsa\":\"AA==\"")), FAILURE_ALGORITHM_REFUSED,
         "sig-md5-rsa"},
        {MQTT(WITH("\"sig-sha256-ecdsa\":\"AA==\",\"sig-sha256-rsa\":\"AA==\"")), INVALID,
         "afr_ota.files[0] has two signatures, sig-sha256-ecdsa and sig-sha256-rsa"},
        /* what the service should have replaced */
        {LINK("\"${aws:iot:s3-presigned-url:https://s3.amazonaws.com/b/k}\""), UNSUPPORTED, "${aws:iot:"},
        {MQTT(WITH("\"other\":[[\"x ${aws:iot:parameter:NAME}\"]]")), UNSUPPORTED, "has not replaced"},
        {MQTT(WITH("\"${aws:iot:x}\":1")), UNSUPPORTED, "has not replaced"},
        {MQTT(WITH("\"x\":\"\\u0024{aws:iot:y}\"")), UNSUPPORTED, "has not replaced"},
        {"{\"note\":\"${aws:iot:x}\",\"afr_ota\":7}", UNSUPPORTED, "has not replaced"},
};

static int error_of(FailureReason reason)
{
        if (reason == FAILURE_NONE)
                return 0;
        if (reason == UNSUPPORTED || reason == FAILURE_NO_PROTOCOL || reason == FAILURE_ALGORITHM_REFUSED)
                return -EOPNOTSUPP;
        return -EBADMSG;
}

static void test_cases(void **state)
{
        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(job_document_freep) JobDocument *document = NULL;
                const Case *c = &cases[i];
                Failure failure = {0};
                int r = job_document_parse(c->text, strlen(c->text), &document, &failure);

                if (r != error_of(c->reason) || failure.reason != c->reason)
                        fail_msg("%s: %d %s %s", c->text, r, failure_reason_to_string(failure.reason),
                                 failure.detail);
                if (c->detail && !strstr(failure.detail, c->detail))
                        fail_msg("%s: \"%s\", not \"%s\"", c->text, failure.detail, c->detail);
                assert_null(strstr(failure.detail, "secret"));
                assert_true((r == 0) == (document != NULL));
        }
}

/* A member of `n` bytes in the middle of a document. */
static int parse_long(const char *head, size_t n, const char *tail, Failure *reterr)
{
        size_t n_text = strlen(head) + n + strlen(tail);
        _cleanup_(job_document_freep) JobDocument *document = NULL;
        _cleanup_free_ char *text = malloc(n_text + 1);

        assert_non_null(text);
        memcpy(text, head, strlen(head));
        memset(text + strlen(head), 'A', n);
        memcpy(text + strlen(head) + n, tail, strlen(tail) + 1);
        return job_document_parse(text, n_text, &document, reterr);
}

static void test_lengths(void **state)
{
        const struct {
                const char *head;
                const char *tail;
                size_t max;
                size_t step;
                FailureReason reason;
                const char *detail;
        } members[] = {
                {"{\"afr_ota\":{\"protocols\":[\"MQTT\"],\"streamname\":\"S\",\"files\":[{\"filepath\":\"",
                 "\",\"filesize\":1,\"fileid\":0}]}}", JOB_PATH_MAX, 1, INVALID,
                 "filepath has 1025 bytes, allowed are 1 to 1024"},
                {"{\"afr_ota\":{\"protocols\":[\"MQTT\"],\"streamname\":\"S\",\"files\":[{" BODY ",\"certfile\":\"",
                 "\"}]}}", JOB_CERT_NAME_MAX, 1, INVALID, "certfile has 1025 bytes, allowed are 1 to 1024"},
                {"{\"afr_ota\":{\"protocols\":[\"HTTP\"],\"files\":[{" BODY ",\"update_data_url\":\"https://",
                 "\"}]}}", JOB_URL_MAX - 8, 1, INVALID, "update_data_url has 8193 bytes, allowed are 1 to 8192"},
                /* 1365 groups of three bytes and one more, then two more */
                {"{\"afr_ota\":{\"protocols\":[\"MQTT\"],\"streamname\":\"S\",\"files\":[{" BODY
                 ",\"sig-sha1-ecdsa\":\"",
                 "AA==\"}]}}", 1364, 4, FAILURE_SIGNATURE_MALFORMED, "sig-sha1-ecdsa has more than 1024 bytes"},
        };

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(members); i++) {
                Failure failure = {0};

                assert_int_equal(parse_long(members[i].head, members[i].max, members[i].tail, &failure), 0);
                assert_int_equal(
                        parse_long(members[i].head, members[i].max + members[i].step, members[i].tail, &failure),
                        -EBADMSG);
                assert_int_equal(failure.reason, members[i].reason);
                if (!strstr(failure.detail, members[i].detail))
                        fail_msg("\"%s\", not \"%s\"", failure.detail, members[i].detail);
        }
}

static void test_size(void **state)
{
        char *text = malloc(JOB_DOCUMENT_MAX_BYTES + 1);
        JobDocument *document = NULL;
        Failure failure = {0};

        (void)state;
        assert_non_null(text);
        memset(text, ' ', JOB_DOCUMENT_MAX_BYTES + 1);
        memcpy(text, mqtt_document, strlen(mqtt_document));
        assert_int_equal(job_document_parse(text, JOB_DOCUMENT_MAX_BYTES, &document, &failure), 0);
        document = job_document_free(document);
        assert_int_equal(job_document_parse(text, JOB_DOCUMENT_MAX_BYTES + 1, &document, &failure), -EBADMSG);
        assert_string_equal(failure.detail, "The job document has 131073 bytes, allowed are 131072");
        free(text);
}

static void test_foreign(void **state)
{
        static const char *const texts[] = {
                "{}",
                "[]",
                "null",
                "\"afr_ota\"",
                "[{\"afr_ota\":{}}]",
                "{\"AFR_OTA\":{}}",
                "{\"x\":{\"afr_ota\":{}}}",
                ("{\"version\":\"1.0\",\"steps\":[{\"action\":{\"name\":\"Reboot\",\"type\":\"runHandler\","
                 "\"input\":{\"handler\":\"reboot.sh\",\"path\":\"\"},\"runAsUser\":\"\"}}]}"),
                /* what would be refused in a document of ours is no business of ours here */
                "{\"a\":1,\"a\":1e9,\"b\":\"${aws:iot:x}\"}",
        };

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                JobDocument *document = NULL;
                Failure failure = {0};

                assert_int_equal(job_document_parse(texts[i], strlen(texts[i]), &document, &failure), -ENOMSG);
                assert_false(failure_is_set(&failure));
                assert_null(document);
        }
}

static void try_document(const uint8_t *data, size_t n_data)
{
        _cleanup_(job_document_freep) JobDocument *d = NULL;
        Failure failure = {0};
        int r;

        r = job_document_parse((const char *)data, n_data, &d, &failure);
        if (r == 0) {
                assert_true(d->n_files >= 1 && d->n_files <= JOB_FILES_MAX);
                assert_true(d->mqtt == (d->stream_name != NULL));
                for (size_t i = 0; i < d->n_files; i++) {
                        assert_true(d->files[i].size_bytes >= 1 && d->files[i].size_bytes <= JOB_FILE_MAX_BYTES);
                        assert_true(d->https == (d->files[i].url != NULL));
                        assert_true((d->files[i].algorithm == SIGNATURE_ALGORITHM_NONE) ==
                                    (d->files[i].n_signature == 0));
                }
        } else
                assert_true(r == -ENOMSG ? !failure_is_set(&failure) : failure.detail[0] != 0);
}

static void test_mangled(void **state)
{
        (void)state;
        mangle(mqtt_document, strlen(mqtt_document), try_document);
        mangle(http_document, strlen(http_document), try_document);
}

static void test_algorithm_words(void **state)
{
        (void)state;
        for (SignatureAlgorithm a = 0; a < _SIGNATURE_ALGORITHM_MAX; a++)
                assert_int_equal(signature_algorithm_from_string(signature_algorithm_to_string(a)), a);
        assert_int_equal(signature_algorithm_from_string("sha256-ed25519"), -EINVAL);
        assert_int_equal(signature_algorithm_from_string(""), -EINVAL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_mqtt),    cmocka_unit_test(test_http),
                cmocka_unit_test(test_both),    cmocka_unit_test(test_http_same_id),
                cmocka_unit_test(test_cases),   cmocka_unit_test(test_lengths),
                cmocka_unit_test(test_size),    cmocka_unit_test(test_foreign),
                cmocka_unit_test(test_mangled), cmocka_unit_test(test_algorithm_words),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
