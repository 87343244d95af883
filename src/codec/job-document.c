#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/base64.h"
#include "base/text.h"
#include "codec/job-document.h"
#include "json.h"

/* What the service would have replaced, had the job been set up well. */
#define PLACEHOLDER "${aws:iot:"

#define SIGNATURE_PREFIX "sig-"

/* Where a member is, for the detail: "afr_ota.files[0]". */
typedef struct Place {
        char text[32];
} Place;

#define invalid(reterr, ...)     fail(reterr, FAILURE_DOCUMENT_INVALID, EBADMSG, __VA_ARGS__)
#define unsupported(reterr, ...) fail(reterr, FAILURE_DOCUMENT_UNSUPPORTED, EOPNOTSUPP, __VA_ARGS__)
#define no_memory(reterr)        fail(reterr, FAILURE_RESOURCES, ENOMEM, "No memory to read the job document")

static const cJSON *member(const cJSON *object, const char *name)
{
        return cJSON_GetObjectItemCaseSensitive(object, name);
}

static int read_integer(const cJSON *object, const Place *place, const char *name, uint64_t max, uint64_t *ret,
                        Failure *reterr)
{
        const cJSON *item = member(object, name);

        if (!cJSON_IsNumber(item))
                return invalid(reterr, "%s.%s is %s, has to be a number from 0 to %" PRIu64, place->text, name,
                               json_type_to_string(item), max);
        if (!json_is_integer(item, ret) || *ret > max)
                return invalid(reterr, "%s.%s is %g, has to be a whole number from 0 to %" PRIu64, place->text, name,
                               item->valuedouble, max);
        return 0;
}

static bool has_control(const char *text)
{
        /* C0 and DEL, and C1 as UTF-8 writes them. */
        for (const unsigned char *t = (const unsigned char *)text; *t; t++)
                if (*t < 0x20 || *t == 0x7f || (*t == 0xc2 && t[1] < 0xa0))
                        return true;
        return false;
}

/* A string of 1 to max bytes without control characters. */
static int read_name(const cJSON *item, const Place *place, const char *name, size_t max, char **ret, Failure *reterr)
{
        size_t n;

        if (!cJSON_IsString(item))
                return invalid(reterr, "%s.%s is %s, has to be a string", place->text, name,
                               json_type_to_string(item));
        n = strlen(item->valuestring);
        if (n == 0 || n > max)
                return invalid(reterr, "%s.%s has %zu bytes, allowed are 1 to %zu", place->text, name, n, max);
        if (has_control(item->valuestring))
                return invalid(reterr, "%s.%s has a control character", place->text, name);
        *ret = strdup(item->valuestring);
        return *ret ? 0 : no_memory(reterr);
}

static int read_url(const cJSON *object, const Place *place, JobFile *file, Failure *reterr)
{
        const cJSON *item = member(object, "update_data_url"), *scheme = member(object, "auth_scheme");
        size_t n;

        if (!cJSON_IsString(item))
                return invalid(reterr, "%s.update_data_url is %s, has to be a string since HTTP is offered",
                               place->text, json_type_to_string(item));
        n = strlen(item->valuestring);
        if (n == 0 || n > JOB_URL_MAX)
                return invalid(reterr, "%s.update_data_url has %zu bytes, allowed are 1 to %d", place->text, n,
                               JOB_URL_MAX);
        for (const char *c = item->valuestring; *c; c++)
                if (*c <= ' ' || *c > '~')
                        return invalid(reterr, "%s.update_data_url has a character that no URL has", place->text);
        if (strncmp(item->valuestring, "https://", strlen("https://")) != 0)
                return unsupported(reterr, "%s.update_data_url does not begin with https://", place->text);
        if (n == strlen("https://") || strchr("/?#", item->valuestring[strlen("https://")]))
                return invalid(reterr, "%s.update_data_url names no host", place->text);

        if (scheme && !cJSON_IsString(scheme))
                return invalid(reterr, "%s.auth_scheme is %s, has to be a string", place->text,
                               json_type_to_string(scheme));
        if (scheme && strcmp(scheme->valuestring, "aws.s3.presigned") != 0)
                return unsupported(reterr, "%s.auth_scheme is \"%.64s\", only \"aws.s3.presigned\" is known",
                                   place->text, scheme->valuestring);

        file->url = strdup(item->valuestring);
        return file->url ? 0 : no_memory(reterr);
}

static int decode_signature(const cJSON *item, const Place *place, JobFile *file, Failure *reterr)
{
        int r;

        if (!cJSON_IsString(item))
                return invalid(reterr, "%s.%.64s is %s, has to be a string", place->text, item->string,
                               json_type_to_string(item));
        r = base64_decode(item->valuestring, file->signature, sizeof(file->signature), &file->n_signature);
        if (r == -E2BIG)
                return fail(reterr, FAILURE_SIGNATURE_MALFORMED, EBADMSG, "%s.%s has more than %d bytes", place->text,
                            item->string, SIGNATURE_MAX_BYTES);
        if (r < 0)
                return fail(reterr, FAILURE_SIGNATURE_MALFORMED, EBADMSG, "%s.%s is not base64 with padding",
                            place->text, item->string);
        if (file->n_signature == 0)
                return fail(reterr, FAILURE_SIGNATURE_MALFORMED, EBADMSG, "%s.%s is empty", place->text,
                            item->string);
        return 0;
}

/* The member's name tells hash and key type. Two of them would leave open which one is meant. */
static int read_signature(const cJSON *object, const Place *place, JobFile *file, Failure *reterr)
{
        const cJSON *item, *found = NULL;
        int algorithm;

        for (item = object->child; item; item = item->next) {
                if (strncmp(item->string, SIGNATURE_PREFIX, strlen(SIGNATURE_PREFIX)) != 0)
                        continue;
                algorithm = signature_algorithm_from_string(item->string + strlen(SIGNATURE_PREFIX));
                if (algorithm <= SIGNATURE_ALGORITHM_NONE)
                        return fail(reterr, FAILURE_ALGORITHM_REFUSED, EOPNOTSUPP,
                                    "%s has a signature of unknown kind, \"%.64s\"", place->text, item->string);
                if (found)
                        return invalid(reterr, "%s has two signatures, %s and %s", place->text, found->string,
                                       item->string);
                found = item;
                file->algorithm = (SignatureAlgorithm)algorithm;
        }
        return found ? decode_signature(found, place, file, reterr) : 0;
}

static int read_file(const cJSON *object, const Place *place, bool https, JobFile *file, Failure *reterr)
{
        const cJSON *cert = member(object, "certfile");
        uint64_t id = 0, type = 0;
        int r;

        if (!cJSON_IsObject(object))
                return invalid(reterr, "%s is %s, has to be an object", place->text, json_type_to_string(object));
        r = read_name(member(object, "filepath"), place, "filepath", JOB_PATH_MAX, &file->path, reterr);
        if (r < 0)
                return r;
        r = read_integer(object, place, "filesize", JOB_FILE_MAX_BYTES, &file->size_bytes, reterr);
        if (r < 0)
                return r;
        if (file->size_bytes == 0)
                return fail(reterr, FAILURE_IMAGE_EMPTY, EBADMSG, "%s.filesize is 0", place->text);
        r = read_integer(object, place, "fileid", UINT8_MAX, &id, reterr);
        if (r < 0)
                return r;
        if (member(object, "fileType")) {
                r = read_integer(object, place, "fileType", UINT8_MAX, &type, reterr);
                if (r < 0)
                        return r;
        }
        file->file_id = (uint8_t)id;
        file->file_type = (uint8_t)type;

        if (cert && !(cJSON_IsString(cert) && cert->valuestring[0] == 0)) {
                r = read_name(cert, place, "certfile", JOB_CERT_NAME_MAX, &file->cert_name, reterr);
                if (r < 0)
                        return r;
        }
        if (https) {
                r = read_url(object, place, file, reterr);
                if (r < 0)
                        return r;
        }
        return read_signature(object, place, file, reterr);
}

static int read_protocols(const cJSON *ota, JobDocument *document, Failure *reterr)
{
        const cJSON *list = member(ota, "protocols"), *item;

        if (!cJSON_IsArray(list))
                return invalid(reterr, "afr_ota.protocols is %s, has to be an array", json_type_to_string(list));
        for (item = list->child; item; item = item->next) {
                if (!cJSON_IsString(item))
                        return invalid(reterr, "afr_ota.protocols holds %s, has to hold strings",
                                       json_type_to_string(item));
                if (strcmp(item->valuestring, "MQTT") == 0)
                        document->mqtt = true;
                else if (strcmp(item->valuestring, "HTTP") == 0)
                        document->https = true;
        }
        if (!document->mqtt && !document->https)
                return fail(reterr, FAILURE_NO_PROTOCOL, EOPNOTSUPP, "afr_ota.protocols has neither MQTT nor HTTP");
        return 0;
}

static int read_stream_name(const cJSON *ota, JobDocument *document, Failure *reterr)
{
        const cJSON *item = member(ota, "streamname");

        if (!cJSON_IsString(item))
                return invalid(reterr, "afr_ota.streamname is %s, has to be a string since MQTT is offered",
                               json_type_to_string(item));
        if (!stream_id_is_valid(item->valuestring))
                return invalid(reterr, "afr_ota.streamname is not 1 to %d of a-z A-Z 0-9 _ -", STREAM_ID_MAX);
        document->stream_name = strdup(item->valuestring);
        return document->stream_name ? 0 : no_memory(reterr);
}

static int read_files(const cJSON *ota, JobDocument *document, Failure *reterr)
{
        const cJSON *list = member(ota, "files"), *item;
        int n, r;

        if (!cJSON_IsArray(list))
                return invalid(reterr, "afr_ota.files is %s, has to be an array", json_type_to_string(list));
        n = cJSON_GetArraySize(list);
        if (n < 1 || n > JOB_FILES_MAX)
                return invalid(reterr, "afr_ota.files has %d entries, allowed are 1 to %d", n, JOB_FILES_MAX);

        for (item = list->child; item; item = item->next) {
                size_t i = document->n_files++;
                Place place;

                (void)snprintf(place.text, sizeof(place.text), "afr_ota.files[%zu]", i);
                r = read_file(item, &place, document->https, &document->files[i], reterr);
                if (r < 0)
                        return r;
                /* By MQTT only the id tells which file a block belongs to; by HTTPS it is 0 for all of them. */
                for (size_t k = 0; document->mqtt && k < i; k++)
                        if (document->files[k].file_id == document->files[i].file_id)
                                return invalid(reterr, "%s.fileid is %u, as is that of files[%zu]", place.text,
                                               document->files[i].file_id, k);
        }
        return 0;
}

/* Names and values alike; no deeper than JSON_DEPTH_MAX. */
static bool has_placeholder(const cJSON *item)
{
        const cJSON *child;

        if ((item->string && strstr(item->string, PLACEHOLDER)) ||
            (cJSON_IsString(item) && strstr(item->valuestring, PLACEHOLDER)))
                return true;
        for (child = item->child; child; child = child->next)
                if (has_placeholder(child))
                        return true;
        return false;
}

/* What is wrong with an afr_ota document as JSON, before any of its members is looked at. */
static int check_form(const cJSON *root, const char *text, size_t n_text, Failure *reterr)
{
        const char *why, *name;
        int r;

        r = json_check_unique(root, NULL, &name);
        if (r == -ENOMEM)
                return no_memory(reterr);
        if (r < 0)
                return invalid(reterr, "The job document has the member \"%.64s\" twice", name);
        r = json_check_numbers(text, n_text, &why);
        if (r < 0)
                return invalid(reterr, "The job document is refused: %s", why);
        if (has_placeholder(root))
                return unsupported(reterr,
                                   "The job document has a \"" PLACEHOLDER "\" that the service has not replaced");
        return 0;
}

int job_document_parse(const char *text, size_t n_text, JobDocument **ret, Failure *reterr)
{
        _cleanup_(job_document_freep) JobDocument *document = NULL;
        _cleanup_(cJSON_Deletep) cJSON *root = NULL;
        const cJSON *ota;
        const char *why;
        int r;

        if (n_text > JOB_DOCUMENT_MAX_BYTES)
                return invalid(reterr, "The job document has %zu bytes, allowed are %d", n_text,
                               JOB_DOCUMENT_MAX_BYTES);
        r = json_parse(text, n_text, &root, &why);
        if (r == -ENOMEM)
                return no_memory(reterr);
        if (r < 0)
                return invalid(reterr, "The job document is no JSON to work with: %s", why);

        ota = cJSON_IsObject(root) ? member(root, "afr_ota") : NULL;
        if (!ota)
                return -ENOMSG;
        r = check_form(root, text, n_text, reterr);
        if (r < 0)
                return r;
        if (!cJSON_IsObject(ota))
                return invalid(reterr, "afr_ota is %s, has to be an object", json_type_to_string(ota));

        document = calloc(1, sizeof(*document));
        if (!document)
                return no_memory(reterr);
        r = read_protocols(ota, document, reterr);
        if (r < 0)
                return r;
        if (document->mqtt) {
                r = read_stream_name(ota, document, reterr);
                if (r < 0)
                        return r;
        }
        r = read_files(ota, document, reterr);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(document);
        return 0;
}

JobDocument *job_document_free(JobDocument *document)
{
        if (!document)
                return NULL;
        for (size_t i = 0; i < document->n_files; i++) {
                free(document->files[i].path);
                free(document->files[i].cert_name);
                free(document->files[i].url);
        }
        free(document->stream_name);
        free(document);
        return NULL;
}
