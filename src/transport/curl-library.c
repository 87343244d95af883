#include "curl-library.h"

#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/memory.h"

#define LIBRARY "libcurl.so.4"

CurlLibrary curl;

static int find(void *library, const char *name, void *ret_function)
{
        void *function = dlsym(library, name);

        if (!function)
                return log_error_errno(-ELIBACC, "%s has no %s: %m", LIBRARY, name);
        *(void **)ret_function = function;
        return 0;
}

static int find_all(void *library)
{
        int r;

#define X(name)                                               \
        r = find(library, "curl_" #name, (void *)&curl.name); \
        if (r < 0)                                            \
                return r;
        CURL_LIBRARY_FUNCTIONS(X)
#undef X
        return 0;
}

int curl_library_load(void)
{
        static bool loaded;
        void *library;
        int r;

        if (loaded)
                return 0;
        /* GnuTLS comes along for RTMP and LDAP, which nobody uses here; it would set itself up (GnuTLS manual, 3.1). */
        if (setenv("GNUTLS_NO_IMPLICIT_INIT", "1", 1) < 0)
                return -ENOMEM;
        library = dlopen(LIBRARY, RTLD_LAZY | RTLD_LOCAL);
        if (!library)
                return log_error_errno(-ELIBACC, "Cannot load %s for downloads by HTTPS: %s", LIBRARY, dlerror());
        r = find_all(library);
        if (r < 0)
                return r;
        /* OpenSSL writes to sockets without MSG_NOSIGNAL; libmosquitto does the same for itself. */
        (void)signal(SIGPIPE, SIG_IGN);
        if (curl.global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
                return -ENOMEM;
        memory_give_back(); /* relocating 25 libraries has touched most of their pages */
        loaded = true;
        return 0;
}
