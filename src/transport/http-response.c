#include "http-response.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "transport/http-client.h"

bool http_status_is_redirect(int status)
{
        return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

bool http_etag_is_useful(const char *etag)
{
        size_t n = etag ? strlen(etag) : 0;

        if (n < 2 || n >= HTTP_ETAG_MAX || etag[0] != '"' || etag[n - 1] != '"')
                return false;
        for (size_t i = 1; i < n - 1; i++)
                if ((unsigned char)etag[i] < 0x21 || etag[i] == '"' || etag[i] == 0x7f)
                        return false;
        return true;
}

static bool read_number(const char **text, uint64_t *ret)
{
        uint64_t value = 0;
        const char *p = *text;

        if (!isdigit((unsigned char)*p))
                return false;
        for (; isdigit((unsigned char)*p); p++)
                if (__builtin_mul_overflow(value, 10, &value) ||
                    __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value))
                        return false;
        *text = p;
        *ret = value;
        return true;
}

/* "bytes FIRST-LAST/TOTAL", nothing else: neither an unknown total nor another unit is of use here. */
static bool content_range_parse(const char *text, uint64_t *ret_first, uint64_t *ret_last, uint64_t *ret_total)
{
        if (strncasecmp(text, "bytes ", 6) != 0)
                return false;
        text += 6;
        return read_number(&text, ret_first) && *text++ == '-' && read_number(&text, ret_last) && *text++ == '/' &&
               read_number(&text, ret_total) && *text == '\0';
}

static int check_partial(const HttpExpectation *expected, const HttpHead *head, Failure *reterr)
{
        uint64_t first, last, total;

        if (!head->content_range || !content_range_parse(head->content_range, &first, &last, &total))
                return fail(reterr, FAILURE_RANGE_WRONG, EBADMSG,
                            "asked for bytes from %" PRIu64 ", got 206 without a usable Content-Range (%s)",
                            expected->first_byte, head->content_range ? head->content_range : "none");
        if (first != expected->first_byte || total != expected->total_bytes || last != total - 1)
                return fail(reterr, FAILURE_RANGE_WRONG, EBADMSG,
                            "asked for bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64 ", got %s", expected->first_byte,
                            expected->total_bytes - 1, expected->total_bytes, head->content_range);
        return 0;
}

int http_head_check(const HttpExpectation *expected, const HttpHead *head, Failure *reterr)
{
        uint64_t n_wanted = expected->total_bytes - expected->first_byte;
        int r;

        if (head->status != 200 && head->status != 206)
                return fail(reterr, FAILURE_DOWNLOAD_FAILED, EBADMSG, "HTTP status %d with nothing of use",
                            head->status);
        if (expected->if_match && head->etag && strcmp(expected->if_match, head->etag) != 0)
                return fail(reterr, FAILURE_OBJECT_CHANGED, ESTALE, "the image's ETag was %s and is now %s",
                            expected->if_match, head->etag);
        if (head->status == 206) {
                r = check_partial(expected, head, reterr);
                if (r < 0)
                        return r;
        } else if (expected->first_byte > 0) {
                return fail(reterr, FAILURE_RANGE_WRONG, EBADMSG,
                            "asked for bytes from %" PRIu64 ", got the whole image", expected->first_byte);
        }
        if (head->has_length && head->length != n_wanted)
                return fail(reterr, FAILURE_RANGE_WRONG, EBADMSG,
                            "the image has %" PRIu64 " bytes, so %" PRIu64 " from %" PRIu64
                            " on, but the server offers %" PRIu64,
                            expected->total_bytes, n_wanted, expected->first_byte, head->length);
        return 0;
}

/* The text of the first <name> element, as it stands; "" where there is none. */
static void element_text(const char *body, size_t n_body, const char *name, char *buffer, size_t n_buffer)
{
        char open[32];
        const char *start, *end;
        size_t n_open, n;

        buffer[0] = '\0';
        n_open = (size_t)snprintf(open, sizeof(open), "<%s>", name);
        start = n_body > 0 ? memmem(body, n_body, open, n_open) : NULL;
        if (!start)
                return;
        start += n_open;
        end = memchr(start, '<', n_body - (size_t)(start - body));
        if (!end)
                return;
        n = MIN2((size_t)(end - start), n_buffer - 1);
        memcpy(buffer, start, n);
        buffer[n] = '\0';
}

static FailureReason status_to_reason(int status)
{
        switch (status) {
        case 400:
        case 403:
                return FAILURE_URL_EXPIRED;
        case 412:
                return FAILURE_OBJECT_CHANGED;
        case 416:
                return FAILURE_RANGE_WRONG;
        case 408: /* these three ask to come again, not to go away */
        case 425:
        case 429:
                return FAILURE_DOWNLOAD_FAILED;
        default:
                return status >= 300 && status < 500 ? FAILURE_URL_REFUSED : FAILURE_DOWNLOAD_FAILED;
        }
}

int http_status_fail(int status, const char *body, size_t n_body, Failure *reterr)
{
        char code[64], message[256];

        element_text(body, n_body, "Code", code, sizeof(code));
        element_text(body, n_body, "Message", message, sizeof(message));
        return fail(reterr, status_to_reason(status), EPROTO, "HTTP status %d%s%s%s%s", status, code[0] ? ", " : "",
                    code, message[0] ? ": " : "", message);
}
