/*
 * otactl install: Begin, the bytes down the pipe, Verify; from there as any local update.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file-util.h"
#include "base/local-session.h"
#include "base/log.h"
#include "local-update-private.h"

enum { BUFFER_BYTES = 256 * 1024 };

static void begin(LocalUpdate *u);

static void on_verified(const LinkError *error, void *userdata);

static void verify(LocalUpdate *u)
{
        local_update_check_sent(u, link_client_verify(u->link, on_verified, u));
}

static void on_verified(const LinkError *error, void *userdata)
{
        LocalUpdate *u = userdata;

        if (error)
                local_update_on_error(u, error, verify);
        else
                local_update_activate(u);
}

static void close_pipe(LocalUpdate *u)
{
        u->bell = sd_event_source_disable_unref(u->bell);
        u->sending = sd_event_source_disable_unref(u->sending);
        u->pipe = data_pipe_free(u->pipe);
}

/* More of the file into the buffer. 0: there is no more. */
static ssize_t refill(LocalUpdate *u)
{
        ssize_t n = pread_full(u->image->fd, u->buffer, BUFFER_BYTES, u->n_sent);

        u->at_buffer = 0;
        u->n_buffer = n > 0 ? (size_t)n : 0;
        return n;
}

static void give_up_reading(LocalUpdate *u, int error)
{
        log_error("Cannot read the image %s from byte %llu on: %s; the update is abandoned", u->image->path,
                  (unsigned long long)u->n_sent, error == 0 ? "it has become shorter" : strerror(-error));
        local_update_finish(u, EXIT_FAILED);
}

static int on_bell(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
        LocalUpdate *u = userdata;

        if (!data_pipe_on_bell(u->pipe))
                (void)sd_event_source_set_enabled(u->bell, SD_EVENT_OFF);
        (void)sd_event_source_set_enabled(u->sending, SD_EVENT_ON);
        return 0;
}

static int on_turn(sd_event_source *source, void *userdata)
{
        LocalUpdate *u = userdata;
        uint64_t left = u->image->file.size_bytes - u->n_sent;
        ssize_t n;

        if (left == 0) {
                close_pipe(u);
                verify(u);
                return 0;
        }
        if (u->at_buffer == u->n_buffer) {
                n = refill(u);
                if (n <= 0) {
                        give_up_reading(u, (int)n);
                        return 0;
                }
        }
        n = data_pipe_write(u->pipe, u->buffer + u->at_buffer,
                            (size_t)MIN2((uint64_t)(u->n_buffer - u->at_buffer), left));
        if (n == -EAGAIN) {
                (void)sd_event_source_set_enabled(u->sending, SD_EVENT_OFF);
                return 0;
        }
        if (n < 0) {
                /* The installer has closed it: it is about to say why. */
                close_pipe(u);
                local_update_await_end(u);
                return 0;
        }
        u->at_buffer += (size_t)n;
        u->n_sent += (uint64_t)n;
        return 0;
}

static void on_opened(const LinkError *error, DataPipe *pipe, void *userdata)
{
        LocalUpdate *u = userdata;
        int r;

        if (error) {
                local_update_on_error(u, error, begin);
                return;
        }
        u->pipe = pipe;
        r = sd_event_add_io(u->event, &u->bell, data_pipe_fd(pipe), EPOLLIN, on_bell, u);
        if (r >= 0)
                r = sd_event_add_defer(u->event, &u->sending, on_turn, u);
        if (r >= 0)
                r = sd_event_source_set_enabled(u->sending, SD_EVENT_ON);
        u->buffer = malloc(BUFFER_BYTES);
        local_update_check_sent(u, r >= 0 && !u->buffer ? -ENOMEM : r);
}

static void on_begun(const LinkError *error, const LinkOffsets *offsets, void *userdata)
{
        LocalUpdate *u = userdata;

        if (error)
                local_update_on_error(u, error, begin);
        else
                local_update_check_sent(u, link_client_write(u->link, 0, 0, on_opened, u));
}

static void begin(LocalUpdate *u)
{
        local_update_check_sent(u, link_client_begin(u->link, &u->begin, on_begun, u));
}

void local_install_start(LocalUpdate *u)
{
        const InstallFile *from = &u->image->file;
        LinkFile *to = &u->begin.files[0];
        char text[256];
        int r;

        if (u->state.session[0]) {
                log_error("%s; 'otactl watch' shows how it goes on, 'otactl cancel' ends it",
                          local_update_at_hand(&u->state, text, sizeof(text)));
                local_update_finish(u, EXIT_FAILED);
                return;
        }
        r = local_update_name(u, "install");
        if (r < 0) {
                local_update_check_sent(u, r);
                return;
        }
        u->begin.attempt = 1;
        u->begin.n_files = 1;
        snprintf(u->begin.session, sizeof(u->begin.session), "%s", u->session);
        snprintf(u->begin.job_id, sizeof(u->begin.job_id), "%s", LOCAL_SESSION_JOB_ID);
        snprintf(to->target, sizeof(to->target), "%s", from->target);
        snprintf(to->cert, sizeof(to->cert), "%s", from->cert);
        to->size_bytes = from->size_bytes;
        to->algorithm = from->algorithm;
        to->n_signature = from->n_signature;
        memcpy(to->signature, from->signature, from->n_signature);
        begin(u);
}
