/*
 * link-client-private: the client, which is in two files:
 *
 *   link-client.c   the connection: made, watched, rested, and made again
 *   link-calls.c    the calls, and how their answers are read
 */
#pragma once

#include "base/backoff.h"
#include "link/link-client.h"

typedef struct LinkCall LinkCall;

/* Who waits for an answer, and how it is read; `reply` is NULL where the call was lost. */
typedef struct LinkAnswer {
        void (*finish)(const struct LinkAnswer *answer, sd_bus_message *reply, const LinkError *error);
        void *userdata;
        union {
                LinkDoneFn done;
                LinkStateFn state;
                LinkBeginFn begin;
                LinkWriteFn write;
                LinkActivateFn activate;
                LinkHistoryFn history;
        };
} LinkAnswer;

struct LinkCall {
        LinkClient *client;
        LinkCall *previous, *next;
        sd_bus_slot *slot;
        uint64_t sent_usec;
        LinkAnswer answer;
};

struct LinkClient {
        sd_event *event;
        char *path;
        uint64_t silence_usec;
        uint64_t connect_timeout_usec;
        uint64_t rest_usec;
        Backoff backoff;
        const LinkClientOps *ops;
        void *userdata;
        sd_bus *bus;            /* NULL while resting or waiting to connect */
        sd_event_source *timer; /* connect again, or the deadline of what is awaited */
        sd_event_source *exit;
        bool up;
        bool known; /* the owner has heard on_up(), and no on_down() since */
        bool needed, resting;
        uint64_t unneeded_usec; /* since when */
        bool broken;            /* a call could not even be sent: the timer drops the connection at once */
        bool said_unreachable;  /* the log hears of it once, not at every try */
        uint64_t up_usec;
        uint64_t life_usec; /* last sign of life */
        LinkCall *calls;
};

/* Sets the timer to the moment at which silence means that the installer hangs. */
void link_client_arm(LinkClient *c);
/* The connection is of no use any more: ends every call, tells the owner, and tries again later. */
void link_client_drop(LinkClient *c, const char *why);

LinkCall *link_call_free(LinkCall *call); /* takes it from its client; returns NULL */
