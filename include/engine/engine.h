/*
 * engine: everything otad decides about updates, without a socket, a file descriptor of the network or a clock.
 *
 * Wires outbox, job-queue and update together and gives each message of the cloud to the one it is for. Links neither
 * transport nor link: events come in by the functions below, acts go out by WorldOps. None of them may be called from
 * inside an op.
 */
#pragma once

#include "engine/job-queue.h"
#include "engine/outbox.h"
#include "engine/update.h"
#include "engine/world.h"

typedef struct Engine Engine;

typedef struct EngineParams {
        const char *thing_name; /* copied */
        int state_dir_fd;       /* borrowed; holds the outbox */
        uint64_t answer_timeout_usec;
        uint64_t refresh_usec;
        int step_timeout_minutes;
        const char *package_name; /* copied; "" or NULL: the version is not told to the $package shadow */
        UpdateParams update;      /* download.thing_name is filled in here */
} EngineParams;

typedef struct EngineStatus {
        UpdateStatus update;
        bool connected;
        size_t n_unsent_finals;
} EngineStatus;

_must_use_ int engine_new(const EngineParams *params, const WorldOps *world, void *userdata, Engine **ret);
Engine *engine_free(Engine *engine); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(Engine *, engine_free);

/* The topic filters to subscribe to after each connect, before engine_on_connected(). Borrowed. */
const char *const *engine_filters(const Engine *engine, size_t *ret_n);

void engine_on_connected(Engine *engine, uint64_t now_usec); /* and the filters are granted */
void engine_on_disconnected(Engine *engine, uint64_t now_usec);
void engine_on_goodbye(Engine *engine, uint64_t now_usec);
void engine_on_subscribed(Engine *engine, bool granted, uint64_t now_usec);
void engine_on_message(Engine *engine, const char *topic, const void *payload, size_t n_payload, uint64_t now_usec);

void engine_on_http_headers(Engine *engine, const char *etag);
int engine_on_http_data(Engine *engine, const uint8_t *data, size_t n_data, uint64_t now_usec);
void engine_on_http_done(Engine *engine, const Failure *failure, uint64_t retry_after_usec, uint64_t now_usec);
void engine_on_data_writable(Engine *engine, uint64_t now_usec);

void engine_on_device_up(Engine *engine, const LinkState *state, uint64_t now_usec);
/* There was no need of it, and it is reached again as soon as there is one. */
void engine_on_device_rest(Engine *engine, uint64_t now_usec);
void engine_on_device_down(Engine *engine, const Failure *failure, uint64_t now_usec);
void engine_on_device_state(Engine *engine, const LinkState *state, uint64_t now_usec);
/* Bytes written and read back since the last state. */
void engine_on_device_progress(Engine *engine, const LinkProgress *progress, uint64_t now_usec);
void engine_on_call_done(Engine *engine, InstallCall call, const LinkError *error, const LinkOffsets *offsets,
                         const LinkState *state, uint64_t now_usec);

/* The network is, or is not any more, paid for by the byte; not, until this was called. */
void engine_on_metered(Engine *engine, bool is_metered, uint64_t now_usec);
/* Whether the device must be within reach: nothing is known of it yet, or there is an update, here or on it. */
bool engine_needs_device(const Engine *engine);

/* See update_suspend() and its like. */
_must_use_ int engine_suspend(Engine *engine, uint64_t now_usec);
_must_use_ int engine_resume(Engine *engine, uint64_t now_usec);
_must_use_ int engine_cancel(Engine *engine, const char *why, uint64_t now_usec);

void engine_on_timer(Engine *engine, uint64_t now_usec);
uint64_t engine_next_deadline(const Engine *engine); /* USEC_INFINITY: none; ask again after each event */
void engine_status(const Engine *engine, EngineStatus *ret);
void engine_totals(const Engine *engine, uint64_t now_usec, UpdateTotals *ret);
