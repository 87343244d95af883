#include "base/record.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

#include "base/file-util.h"
#include "base/log.h"
#include "base/text.h"

enum {
        NAME_MAX_LENGTH = 64,
        N_FIELDS_MAX = 512,
        FILE_BYTES_MAX = 256 * 1024,
        HEX_DIGITS = SHA256_DIGEST_LENGTH * 2,
};

static const char sum_name[] = "sha256=";
static const char hex_digits[] = "0123456789abcdef";

typedef struct Field {
        char *name;
        char *value;
} Field;

struct Record {
        Field *fields;
        size_t n_fields;
};

Record *record_new(void)
{
        return calloc(1, sizeof(Record));
}

Record *record_free(Record *record)
{
        if (!record)
                return NULL;
        for (size_t i = 0; i < record->n_fields; i++) {
                free(record->fields[i].name);
                free(record->fields[i].value);
        }
        free(record->fields);
        free(record);
        return NULL;
}

static Field *find(const Record *record, const char *name)
{
        for (size_t i = 0; i < record->n_fields; i++)
                if (strcmp(record->fields[i].name, name) == 0)
                        return &record->fields[i];
        return NULL;
}

static bool name_is_valid(const char *name)
{
        for (const char *p = name; *p; p++)
                if (*p >= 'A' && *p <= 'Z')
                        return false;
        return text_is_token(name, NAME_MAX_LENGTH, "-.") && strcmp(name, "sha256") != 0;
}

int record_set(Record *record, const char *name, const char *value)
{
        _cleanup_free_ char *copy = strdup(value), *name_copy = NULL;
        Field *field, *grown;

        if (!name_is_valid(name))
                return -EINVAL;
        if (!copy)
                return -ENOMEM;
        field = find(record, name);
        if (field) {
                free(field->value);
                field->value = TAKE_PTR(copy);
                return 0;
        }

        if (record->n_fields >= N_FIELDS_MAX)
                return -E2BIG;
        name_copy = strdup(name);
        grown = reallocarray(record->fields, record->n_fields + 1, sizeof(Field));
        if (grown)
                record->fields = grown;
        if (!name_copy || !grown)
                return -ENOMEM;
        record->fields[record->n_fields++] = (Field){.name = TAKE_PTR(name_copy), .value = TAKE_PTR(copy)};
        return 0;
}

int record_set_u64(Record *record, const char *name, uint64_t value)
{
        char text[24];

        snprintf(text, sizeof(text), "%" PRIu64, value);
        return record_set(record, name, text);
}

const char *record_get(const Record *record, const char *name)
{
        const Field *field = find(record, name);

        return field ? field->value : NULL;
}

int record_get_u64(const Record *record, const char *name, uint64_t *ret)
{
        const char *text = record_get(record, name);
        unsigned long long value;
        char *end;

        if (!text)
                return -ENOENT;
        if (text[0] < '0' || text[0] > '9')
                return -EINVAL;
        errno = 0;
        value = strtoull(text, &end, 10);
        if (errno != 0 || *end)
                return -EINVAL;
        *ret = value;
        return 0;
}

static void hex_digest(const char *data, size_t n_data, char hex[static HEX_DIGITS + 1])
{
        uint8_t digest[SHA256_DIGEST_LENGTH];

        SHA256((const uint8_t *)data, n_data, digest);
        for (size_t i = 0; i < sizeof(digest); i++)
                snprintf(hex + i * 2, 3, "%02x", digest[i]);
}

/* Bytes that would end a line or start an escape become \xNN; all others stay, so that any value comes back
 * as it was. */
static void put_escaped(FILE *out, const char *value)
{
        for (const uint8_t *p = (const uint8_t *)value; *p; p++)
                if (*p < 0x20 || *p == 0x7f || *p == '\\') {
                        const char escape[] = {'\\', 'x', hex_digits[*p >> 4], hex_digits[*p & 15]};

                        (void)fwrite(escape, 1, sizeof(escape), out);
                } else {
                        (void)putc_unlocked(*p, out);
                }
}

int record_format(const Record *record, char **ret, size_t *ret_size)
{
        _cleanup_free_ char *text = NULL;
        char hex[HEX_DIGITS + 1];
        size_t n_text = 0;
        FILE *out;

        out = open_memstream(&text, &n_text);
        if (!out)
                return -ENOMEM;
        for (size_t i = 0; i < record->n_fields; i++) {
                fprintf(out, "%s=", record->fields[i].name);
                put_escaped(out, record->fields[i].value);
                fputc('\n', out);
        }
        if (fflush(out) == 0) {
                hex_digest(text, n_text, hex);
                fprintf(out, "%s%s\n", sum_name, hex);
        }
        if (fclose(out) != 0)
                return -ENOMEM;
        *ret = TAKE_PTR(text);
        *ret_size = n_text;
        return 0;
}

static int hex_value(char digit)
{
        if (digit >= '0' && digit <= '9')
                return digit - '0';
        return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

/* In place; -EBADMSG where an escape is not one of ours. */
static int unescape(char *value)
{
        char *to = value;

        for (const char *from = value; *from; to++) {
                int high, low;

                if (*from != '\\') {
                        *to = *from++;
                        continue;
                }
                if (from[1] != 'x' || (high = hex_value(from[2])) < 0 || (low = hex_value(from[3])) < 0 ||
                    high + low == 0)
                        return -EBADMSG;
                *to = (char)(high << 4 | low);
                from += 4;
        }
        *to = 0;
        return 0;
}

static int parse_fields(char *text, Record *record)
{
        char *rest = text, *line;
        int r;

        while ((line = strsep(&rest, "\n")) && rest) {
                char *value = strchr(line, '=');

                if (!value)
                        return -EBADMSG;
                *value++ = 0;
                if (find(record, line))
                        return -EBADMSG;
                r = unescape(value);
                if (r < 0)
                        return r;
                r = record_set(record, line, value);
                if (r < 0)
                        return r == -ENOMEM ? r : -EBADMSG;
        }
        return 0;
}

int record_parse(const char *text, size_t n_text, Record **ret)
{
        const size_t n_sum = strlen(sum_name) + HEX_DIGITS + 1;
        _cleanup_(record_freep) Record *record = NULL;
        _cleanup_free_ char *copy = NULL;
        char hex[HEX_DIGITS + 1];
        size_t n_fields;
        int r;

        if (n_text < n_sum || n_text > FILE_BYTES_MAX || memchr(text, 0, n_text) || text[n_text - 1] != '\n')
                return -EBADMSG;
        n_fields = n_text - n_sum;
        if (n_fields > 0 && text[n_fields - 1] != '\n')
                return -EBADMSG;
        hex_digest(text, n_fields, hex);
        if (memcmp(text + n_fields, sum_name, strlen(sum_name)) != 0 ||
            memcmp(text + n_fields + strlen(sum_name), hex, HEX_DIGITS) != 0)
                return -EBADMSG;

        record = record_new();
        copy = strndup(text, n_fields);
        if (!record || !copy)
                return -ENOMEM;
        r = parse_fields(copy, record);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(record);
        return 0;
}

int record_save(const Record *record, int dir_fd, const char *name)
{
        _cleanup_free_ char *text = NULL;
        size_t n_text;
        int r;

        r = record_format(record, &text, &n_text);
        if (r < 0)
                return r;
        return file_replace(dir_fd, name, text, n_text, 0600);
}

int record_put_aside(int dir_fd, const char *name)
{
        char aside[NAME_MAX_LENGTH + 16];

        snprintf(aside, sizeof(aside), "%.*s.damaged", NAME_MAX_LENGTH, name);
        if (renameat(dir_fd, name, dir_fd, aside) < 0) {
                (void)log_debug_errno(-errno, "Cannot put record '%s' aside: %m", name);
                return -EUCLEAN;
        }
        return directory_sync(dir_fd) < 0 ? -EUCLEAN : -EBADMSG;
}

/* A start a little later finds the record as it is. */
static bool is_passing(int r)
{
        return r == -ENOMEM || r == -EMFILE || r == -ENFILE;
}

int record_load(int dir_fd, const char *name, Record **ret)
{
        _cleanup_free_ char *text = NULL;
        size_t n_text;
        int r;

        r = file_read(dir_fd, name, FILE_BYTES_MAX, &text, &n_text);
        if (r >= 0)
                r = record_parse(text, n_text, ret);
        if (r >= 0 || r == -ENOENT || is_passing(r))
                return r;
        (void)log_debug_errno(r, "Record '%s' is of no use: %m", name);
        return record_put_aside(dir_fd, name);
}

int record_remove(int dir_fd, const char *name)
{
        if (unlinkat(dir_fd, name, 0) < 0)
                return errno == ENOENT ? 0 : -errno;
        return directory_sync(dir_fd);
}
