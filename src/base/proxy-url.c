#include "base/proxy-url.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

static int hex_digit(char c)
{
        static const char digits[] = "0123456789abcdef";
        const char *found = c ? strchr(digits, tolower((unsigned char)c)) : NULL;

        return found ? (int)(found - digits) : -1;
}

/* With what a line or a header could be broken with is refused, encoded or not. */
static int credential_decode(const char *text, size_t n_text, char ret[static PROXY_CREDENTIAL_MAX + 1])
{
        size_t n = 0;

        for (size_t i = 0; i < n_text; i++) {
                int c = (unsigned char)text[i];

                if (c == '%') {
                        int high = i + 2 < n_text ? hex_digit(text[i + 1]) : -1;
                        int low = high >= 0 ? hex_digit(text[i + 2]) : -1;

                        if (low < 0)
                                return -EINVAL;
                        c = high << 4 | low;
                        i += 2;
                }
                if (c < 0x20 || c == 0x7f || n == PROXY_CREDENTIAL_MAX)
                        return -EINVAL;
                ret[n++] = (char)c;
        }
        ret[n] = '\0';
        return 0;
}

static int parse_credentials(const char *text, size_t n_text, ProxyUrl *url)
{
        const char *colon = memchr(text, ':', n_text);

        if (!colon || colon == text || credential_decode(text, (size_t)(colon - text), url->user) < 0 ||
            credential_decode(colon + 1, n_text - (size_t)(colon + 1 - text), url->password) < 0 ||
            strchr(url->user, ':'))
                return -EINVAL;
        url->has_credentials = true;
        return 0;
}

static int parse_place(const char *text, ProxyUrl *url)
{
        const char *colon = strrchr(text, ':'), *end;
        struct in6_addr address;
        unsigned long port;
        size_t n_host;

        if (!colon || !isdigit((unsigned char)colon[1]) || strlen(colon + 1) > 5)
                return -EINVAL;
        port = strtoul(colon + 1, (char **)(uintptr_t)&end, 10);
        if (port == 0 || port > UINT16_MAX || (*end && strcmp(end, "/") != 0))
                return -EINVAL;
        n_host = (size_t)(colon - text);
        if (n_host == 0 || n_host > PROXY_HOST_MAX)
                return -EINVAL;
        memcpy(url->host, text, n_host);
        url->host[n_host] = '\0';
        url->port = (uint16_t)port;
        if (url->host[0] == '[' && url->host[n_host - 1] == ']') {
                memmove(url->host, url->host + 1, n_host - 2);
                url->host[n_host - 2] = '\0';
                return inet_pton(AF_INET6, url->host, &address) == 1 ? 0 : -EINVAL;
        }
        return text_is_token(url->host, PROXY_HOST_MAX, ".-") && isalnum((unsigned char)url->host[0]) ? 0 : -EINVAL;
}

int proxy_url_parse(const char *text, ProxyUrl *ret)
{
        static const struct {
                const char *scheme;
                ProxyKind kind;
        } schemes[] = {{"http://", PROXY_HTTP}, {"socks5://", PROXY_SOCKS5}, {"socks5h://", PROXY_SOCKS5}};
        const char *rest = NULL, *at;

        *ret = (ProxyUrl){0};
        if (strcmp(text, "none") == 0)
                return 0;
        for (size_t i = 0; i < ELEMENTSOF(schemes); i++)
                if (strncmp(text, schemes[i].scheme, strlen(schemes[i].scheme)) == 0) {
                        ret->kind = schemes[i].kind;
                        rest = text + strlen(schemes[i].scheme);
                }
        if (!rest)
                return -EINVAL;
        at = strrchr(rest, '@');
        if (at && parse_credentials(rest, (size_t)(at - rest), ret) < 0)
                return -EINVAL;
        return parse_place(at ? at + 1 : rest, ret);
}

int proxy_url_set_credentials(ProxyUrl *url, const char *text)
{
        size_t n = strcspn(text, "\r\n"), n_user = strcspn(text, ":\r\n"), n_password;

        if (n_user == n || n_user == 0)
                return -EINVAL;
        n_password = n - n_user - 1;
        if (n_user > PROXY_CREDENTIAL_MAX || n_password > PROXY_CREDENTIAL_MAX)
                return -EINVAL;
        memcpy(url->user, text, n_user);
        url->user[n_user] = '\0';
        memcpy(url->password, text + n_user + 1, n_password);
        url->password[n_password] = '\0';
        url->has_credentials = true;
        return 0;
}
