/*
 * curl-library: the functions of libcurl, loaded when the first download needs them.
 *
 * With the 25 libraries it brings along, libcurl is a third of what otad would have in memory; most of its days otad
 * waits for a job and needs none of it. Once loaded it stays.
 */
#pragma once

#include <curl/curl.h>

#include "base/cleanup.h"

/* Each is libcurl's function of that name after "curl_", and is called as curl.NAME(). */
/* clang-format off */
#define CURL_LIBRARY_FUNCTIONS(X)                                                                                      \
        X(easy_cleanup) X(easy_getinfo) X(easy_header) X(easy_init) X(easy_pause) X(easy_setopt)                       \
        X(easy_strerror) X(free) X(global_init) X(multi_add_handle) X(multi_assign) X(multi_cleanup)                   \
        X(multi_info_read) X(multi_init) X(multi_remove_handle) X(multi_setopt) X(multi_socket_action) X(slist_append) \
        X(slist_free_all) X(url) X(url_cleanup) X(url_get) X(url_set)
/* clang-format on */

typedef struct CurlLibrary {
#define X(name) __typeof__(curl_##name) *name;
        CURL_LIBRARY_FUNCTIONS(X)
#undef X
} CurlLibrary;

/* To be used only after curl_library_load(). */
extern CurlLibrary curl;

/* 0, also when it is loaded already. -ELIBACC: it is not there, or too old; the log says what is missing. -ENOMEM. */
_must_use_ int curl_library_load(void);
