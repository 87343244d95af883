/*
 * world: how the engine reaches what it does not link: broker, image store, otad-installer and the clock.
 *
 * Every op only starts something; what comes of it is told to the engine as an event (engine/engine.h), never from
 * inside the op. An op that cannot even start is told the same way, from the loop.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/failure.h"
#include "link/link-message.h"

/* Calls to otad-installer that carry no argument of note; one is under way at a time. */
typedef enum InstallCall {
        INSTALL_CALL_NONE,
        INSTALL_CALL_GET_STATE,
        INSTALL_CALL_BEGIN,
        INSTALL_CALL_WRITE,
        INSTALL_CALL_VERIFY,
        INSTALL_CALL_ACTIVATE,
        INSTALL_CALL_REBOOT,
        INSTALL_CALL_SELF_TEST,
        INSTALL_CALL_COMMIT,
        INSTALL_CALL_ROLL_BACK,
        INSTALL_CALL_RELEASE,
        _INSTALL_CALL_MAX,
} InstallCall;

typedef struct WorldOps {
        /* MQTT. A publish that cannot be sent is dropped: every request has a deadline and is repeated. */
        void (*publish)(const char *topic, const void *payload, size_t n_payload, unsigned qos, void *userdata);
        void (*subscribe)(const char *const *filters, size_t n_filters, void *userdata); /* engine_on_subscribed() */
        /* The same, and nothing is told: what the filters bring is waited for with a deadline anyway. */
        void (*subscribe_aside)(const char *const *filters, size_t n_filters, void *userdata);
        void (*unsubscribe)(const char *const *filters, size_t n_filters, void *userdata);
        void (*say_goodbye)(void *userdata); /* DISCONNECT; engine_on_goodbye() */
        void (*come_back)(void *userdata);   /* connect again after a goodbye */

        /* HTTPS, one fetch at a time: engine_on_http_*(). `etag` may be NULL. The URL is a secret. */
        void (*http_start)(const char *url, uint64_t first_byte, uint64_t total_bytes, const char *etag,
                           void *userdata);
        void (*http_resume)(void *userdata);
        void (*http_cancel)(void *userdata);
        void (*http_prepare)(void *userdata); /* a fetch is likely soon, and there is time now; nothing is told */

        /* otad-installer: engine_on_call_done(). */
        void (*call)(InstallCall call, void *userdata);
        void (*begin)(const LinkBegin *begin, void *userdata);
        void (*write)(unsigned file, uint64_t offset, void *userdata);
        void (*roll_back)(const Failure *why, void *userdata);

        /* The data pipe that `write` opened. Bytes taken; 0: none now, engine_on_data_writable(); or negative errno. */
        ssize_t (*data_write)(const uint8_t *data, size_t n_data, void *userdata);
        void (*data_close)(void *userdata);

        /* The configured target that a job's (hostile) file path stands for; NULL: none. Borrowed. */
        const char *(*find_target)(const char *job_path, void *userdata);
        /* Microseconds since 1970; USEC_INFINITY while the clock is not set. Asked only where there are windows of time. */
        uint64_t (*wall_clock)(void *userdata);
        /* Something that otactl shows has changed. */
        void (*changed)(void *userdata);
} WorldOps;
