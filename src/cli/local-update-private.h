/*
 * local-update-private: the inside of a LocalUpdate.
 *
 *   local-update.c        the link, the steps after the beginning, the end
 *   local-install.c       how an install begins: Begin, and the bytes
 *   local-rollback.c      how a rollback begins: of what is at hand, or Revert to what was committed before
 */
#pragma once

#include <systemd/sd-event.h>

#include "cli/status-view.h"
#include "link/link-client.h"
#include "local-update.h"
#include "terminal-line.h"

typedef struct LocalUpdate LocalUpdate;

struct LocalUpdate {
        const Options *options;
        sd_event *event;
        LinkClient *link;
        void (*start)(LocalUpdate *u); /* once the installer is reached, with its state in `state` */

        LinkState state;
        char session[LINK_SESSION_MAX + 1]; /* ours; "": not begun */
        bool began;                         /* the installer has said that it is at hand */
        bool ending;                        /* the rest is the installer's, its history will tell */
        bool asks_history;
        bool asked_undo; /* rolled back is what was wanted */
        bool goes_down;  /* a reboot is due: losing the installer is no failure */

        /* a hook said not now */
        void (*again)(LocalUpdate *u);
        uint64_t not_now_since_usec;
        sd_event_source *timer;

        /* install */
        const Image *image;
        LinkBegin begin;
        DataPipe *pipe;
        sd_event_source *bell, *sending; /* the latter is on while the pipe may have room */
        uint64_t n_sent;
        uint8_t *buffer;
        size_t n_buffer, at_buffer;

        TerminalLine line;
        UpdateState printed;
};

/* local-update.c */
_printf_(2, 3) void local_update_say(LocalUpdate *u, const char *format, ...);
void local_update_finish(LocalUpdate *u, int code);
/* "local#WORD-" and something nobody had before. */
_must_use_ int local_update_name(LocalUpdate *u, const char *word);
/* A call that could not be made, or failed. `again` is called later, should a hook have said not now. */
void local_update_on_error(LocalUpdate *u, const LinkError *error, void (*again)(LocalUpdate *u));
void local_update_check_sent(LocalUpdate *u, int r);
void local_update_activate(LocalUpdate *u);
/* Now the installer goes on by itself: waits for its end, and tells it. */
void local_update_await_end(LocalUpdate *u);
/* Why nothing may begin: what is at hand, in words. */
const char *local_update_at_hand(const LinkState *state, char *text, size_t text_size);

/* local-install.c, local-rollback.c: each a start() */
void local_install_start(LocalUpdate *u);
void local_rollback_start(LocalUpdate *u);
