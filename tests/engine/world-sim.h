/*
 * world-sim: the world around one engine: AWS IoT Jobs, an image store, otad-installer, a machine that reboots, a clock.
 *
 * Everything the engine asks for is answered later, one event after the other, so that a test can disturb the world
 * between any two. It breaks off where the engine breaks a rule: two calls to the installer at once, a release before
 * the final status is safe, a reboot before the goodbye, an event that leads to too many acts.
 */
#pragma once

#include "engine/engine.h"
#include "folder.h"

enum { SIM_JOBS_MAX = 4, SIM_FILES_MAX = 2, SIM_ACTS_PER_EVENT_MAX = 24, SIM_TRACE_MAX = 64 };

typedef struct SimJob {
        char id[32];
        int execution;
        JobStatus status;
        int version;
        char document[1024];
        char phase[64]; /* of the last report */
        char error[64];
        char waiting[128];
        unsigned n_updates;
        unsigned n_refused; /* of them */
} SimJob;

typedef enum SimDeviceNext { SIM_DEVICE_STAYS, SIM_DEVICE_ROLLS_BACK, SIM_DEVICE_REBOOTS } SimDeviceNext;

typedef struct SimDevice {
        bool up, rests;
        bool ab; /* activation needs a reboot */
        LinkState state;
        bool tested;
        unsigned n_boots;
        bool pipe_open;
        unsigned pipe_file;
        uint64_t pipe_bytes; /* in the pipe, not yet read */
        uint64_t written_at; /* of the open pipe */
        bool wants_writable;
        SimDeviceNext next;         /* by itself, after the answer */
        uint64_t reboot_asked_usec; /* 0: not */
} SimDevice;

typedef struct SimEvent SimEvent;

typedef struct World {
        Engine *engine;
        Folder folder;
        uint64_t now_usec;
        /* What the config says; read when otad starts. */
        bool reject_foreign;
        Schedule download_windows, activate_windows;
        uint64_t metered_max_bytes;
        bool hook_never_gives_up;

        uint64_t wall_base_usec; /* the wall clock when now_usec is 0; USEC_INFINITY: it is not set */
        bool broker_first;       /* at a start it is reached before the installer */
        SimEvent *first, **last;
        uint64_t n_events; /* that have happened */
        unsigned n_acts;   /* since the last event */

        bool wants_connection;
        bool connected;
        unsigned connection; /* counts them: what was on its way over an older one is lost */
        SimJob jobs[SIM_JOBS_MAX];
        size_t n_jobs;
        char reported[128]; /* version of the package "software"; "": none yet */
        unsigned n_urls;

        SimDevice device;
        bool call_under_way;
        unsigned n_calls[_INSTALL_CALL_MAX];
        unsigned n_out_of_turn;

        unsigned n_prepared;
        unsigned fetch; /* counts them */
        bool fetching;
        bool paused;
        uint64_t fetch_at, fetch_end;
        bool silent;  /* the store answers nothing */
        bool expired; /* the store refuses the next fetch, its URL being too old */

        /* what is to go wrong */
        InstallCall bad_call; /* the next n_bad of these end so */
        LinkErrorKind bad_kind;
        FailureReason bad_reason;
        unsigned n_bad;
        uint64_t lose_message; /* the n-th of all to the engine, from 1; 0: none */
        uint64_t n_messages;
        bool twice; /* every message comes twice */
        bool reboot_never_comes;
        bool boots_old;
        bool takes_nothing; /* the installer, from the data pipe */

        char trace[SIM_TRACE_MAX][160];
        unsigned n_trace;
} World;

void world_open(World *world, bool ab);
void world_close(World *world);
void world_add_job(World *world, const char *id, const char *files); /* "app", "rootfs.img app"; "": foreign */
SimJob *world_job(World *world, const char *id);

/* The next event, or the next deadline. False: nothing is left to do and nobody waits for anything. */
bool world_step(World *world);
/* Until there is nothing left to do; fails the test if that takes too long. */
void world_settle(World *world);

/* Disturbances. */
void world_kill_otad(World *world);      /* and it starts again */
void world_lose_broker(World *world);    /* and comes back */
void world_lose_installer(World *world); /* and it starts again */
void world_end_job(World *world, const char *id, JobStatus status);
void world_retry_job(World *world, const char *id); /* timed out, with a new attempt */
void world_delete_job(World *world, const char *id);

_printf_(2, 3) void world_fail(World *world, const char *format, ...);
