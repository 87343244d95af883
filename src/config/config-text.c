#include "config-text.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "base/proxy-url.h"
#include "base/text.h"

bool config_text_is_clean(const char *text)
{
        size_t n = strlen(text);

        for (size_t i = 0, length; i < n; i += length) {
                unsigned char first = (unsigned char)text[i];

                length = utf8_char_length(text + i, n - i);
                /* C0, DEL, and C1, which is U+0080 to U+009F */
                if (length == 0 || first < 0x20 || first == 0x7f ||
                    (first == 0xc2 && (unsigned char)text[i + 1] < 0xa0))
                        return false;
        }
        return true;
}

/* AWS IoT API reference, thingName: [a-zA-Z0-9:_-]+, 1 to 128 */
bool config_text_is_thing_name(const char *text)
{
        return text_is_token(text, 128, ":_-");
}

/* A ':' is only let through in an IPv6 address, so that HOST:PORT is found here and not by the resolver. */
bool config_text_is_host(const char *text)
{
        struct in6_addr address;

        if (strchr(text, ':'))
                return inet_pton(AF_INET6, text, &address) == 1;
        return text_is_token(text, 253, ".-") && isalnum((unsigned char)text[0]);
}

bool config_text_is_name(const char *text)
{
        return text_is_token(text, 64, "._-") && isalnum((unsigned char)text[0]);
}

bool config_text_is_variable(const char *text)
{
        return text_is_token(text, 64, "_") && !isdigit((unsigned char)text[0]);
}

bool config_text_is_package_or_empty(const char *text)
{
        return !text[0] || text_is_token(text, 128, "._-");
}

bool config_text_is_user(const char *text)
{
        return text_is_token(text, 32, "._-") && text[0] != '-' && text[0] != '.';
}

bool config_text_is_user_or_empty(const char *text)
{
        return !text[0] || config_text_is_user(text);
}

/* The time fnmatch() takes grows with the text's length to the power of the number of stars. */
bool config_text_is_pattern(const char *text)
{
        unsigned n_stars = 0;

        for (const char *p = text; *p; p++)
                n_stars += *p == '*';
        return text[0] && n_stars <= 3;
}

/* An address is TRANSPORT:KEY=VALUE,... Source: D-Bus Specification, "Server Addresses". */
bool config_text_is_bus(const char *text)
{
        size_t n_transport = strspn(text, "abcdefghijklmnopqrstuvwxyz-");

        if (strcmp(text, "system") == 0 || strcmp(text, "user") == 0 || strcmp(text, "none") == 0)
                return true;
        return n_transport > 0 && text[n_transport] == ':' && strchr(text + n_transport, '=');
}

bool config_text_is_path(const char *text)
{
        if (text[0] != '/')
                return false;
        for (const char *p = text; *p; p += strcspn(p, "/")) {
                size_t n = strcspn(++p, "/");

                if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
                        return false;
        }
        return true;
}

/*
 * A URI goes to OpenSSL as it is. One that names a file is refused, since a path says the same; and so is a PIN, which is a
 * secret, as this file is not.
 */
bool config_text_is_identity(const char *text)
{
        size_t n_scheme = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789+.-");

        if (text[0] == '/')
                return config_text_is_path(text);
        return n_scheme > 0 && text[n_scheme] == ':' && text[n_scheme + 1] && strncmp(text, "file:", 5) != 0 &&
               !strstr(text, "pin-value=");
}

bool config_text_is_proxy(const char *text)
{
        ProxyUrl url;
        int r = proxy_url_parse(text, &url);

        explicit_bzero(&url, sizeof(url));
        return r == 0;
}
