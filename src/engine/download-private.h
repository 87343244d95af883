/*
 * download-private: one download, which is in four files:
 *
 *   download.c          the files one after the other, the choice of a plane, time
 *   download-failure.c  what a failed try means
 *   download-http.c     a file by HTTPS
 *   download-stream.c   a file by MQTT stream
 */
#pragma once

#include "base/backoff.h"
#include "engine/download.h"
#include "pace.h"

enum { ETAG_MAX = 256 };

typedef enum Phase {
        PHASE_IDLE,    /* not started, or suspended */
        PHASE_OPENING, /* the installer opens the pipe */
        PHASE_SUBSCRIBING,
        PHASE_FETCHING,
        PHASE_RENEWING, /* waits for a document with a fresh URL */
        PHASE_WAITING,  /* until retry_usec */
        PHASE_OVER,
} Phase;

typedef enum PlaneState {
        PLANE_GOOD,
        PLANE_SET_ASIDE, /* has had its attempts, but may mend */
        PLANE_FAILED,    /* for good */
} PlaneState;

struct Download {
        DownloadParams params;
        const WorldOps *world;
        void *world_userdata;
        const DownloadOps *ops;
        void *userdata;
        const JobDocument *document;
        LinkOffsets offsets; /* what each target holds, kept up to date */

        Phase phase;
        bool suspended;
        bool open; /* there is a pipe for the current file */
        DownloadPlane plane;
        PlaneState plane_states[_DOWNLOAD_PLANE_MAX]; /* for the current file */
        unsigned n_attempts;                          /* failed ones in a row, without a new byte */
        uint64_t barren_since_usec;                   /* since when no new byte came, without suspensions and sleep */
        uint64_t suspended_usec;                      /* when that was */
        unsigned n_renewals;
        unsigned n_restarts;
        bool new_bytes; /* since the last failure */
        bool patient;   /* every plane has had its attempts: one try each now */
        uint64_t retry_usec;
        uint64_t subscribe_deadline_usec;
        Backoff backoff;
        Failure last_failure; /* of the current file */

        StreamFetch *stream;
        bool subscribed;
        bool stream_answers;     /* since it was started last */
        unsigned n_streams_lost; /* connections in a row that ended instead of an answer */
        uint64_t stream_since_usec;
        bool http_running;
        bool http_paused; /* the pipe is full, or the pace does not let more through */
        Pace http_pace;
        uint64_t http_skip; /* bytes of the paused chunk that are written already */
        char etag[ETAG_MAX];
        uint64_t event_usec;   /* when the event came that the stream is working on */
        uint64_t blocked_usec; /* since when the pipe takes nothing; USEC_INFINITY: it does */
        DownloadStats stats;   /* without the stream at work */
        DownloadStats shown;
};

const JobFile *download_current(const Download *d);
uint64_t *download_held(Download *d); /* of the current file's bytes */

/* Hands bytes to the installer. How many it took, or a negative errno: then download_on_pipe_gone() is to follow. */
ssize_t download_hand_on(Download *d, const uint8_t *data, size_t n_data, uint64_t now_usec);
void download_on_pipe_gone(Download *d, uint64_t now_usec);
void download_file_complete(Download *d, uint64_t now_usec);

/* The first one that is in this state and offered for the current file, in the operator's order. False: none. */
bool download_find_plane(const Download *d, PlaneState state, DownloadPlane *ret);
/* The current file, or the next one if all of its bytes have come; the end, if there is no plane that is good. */
void download_start_file(Download *d, uint64_t now_usec);
void download_restart_file(Download *d, uint64_t now_usec); /* from its first byte */

/* What a failed try means: again later (not before `wait_usec`), from zero, with a fresh URL, or by the other plane. */
void download_on_failure(Download *d, const Failure *failure, uint64_t wait_usec, uint64_t now_usec);
void download_stop_fetching(Download *d);

void download_http_start(Download *d);
void download_http_resume(Download *d);
uint64_t download_http_deadline(const Download *d); /* when the pace lets more through; USEC_INFINITY: it does */

void download_stream_start(Download *d, uint64_t now_usec);
void download_stream_unsubscribe(Download *d);
/* The connection to the broker has ended. */
void download_stream_lost(Download *d, uint64_t now_usec);
