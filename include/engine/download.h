/*
 * download: all files of one job, one after the other, each from the byte its target holds already.
 *
 * Chooses between HTTPS and MQTT among what the job offers and the config prefers, repeats with backoff, has an expired
 * URL renewed, and changes over to the other plane with the bytes it has when one does not get on. Gives up when no
 * plane brings a new byte any more: at once where trying again cannot mend it, else after some time.
 *
 * Told the time. One file, one plane, one data pipe at a time; bytes leave in order.
 */
#pragma once

#include "codec/job-document.h"
#include "codec/stream-block.h"
#include "engine/stream-fetch.h"
#include "engine/world.h"

typedef struct Download Download;

typedef enum DownloadPlane { DOWNLOAD_PLANE_HTTPS, DOWNLOAD_PLANE_MQTT, _DOWNLOAD_PLANE_MAX } DownloadPlane;

const char *download_plane_to_string(DownloadPlane plane); /* "https", "mqtt": config and otactl */

typedef struct DownloadParams {
        const char *thing_name;                    /* borrowed for the life of the download */
        DownloadPlane planes[_DOWNLOAD_PLANE_MAX]; /* in order of preference */
        size_t n_planes;
        uint32_t block_bytes;
        uint32_t window_bytes;
        bool aws_limits;
        uint64_t max_bytes_per_sec; /* by either plane; 0: no bound */
        uint64_t stall_usec;
        unsigned attempts;     /* per plane, in a row, without a new byte between */
        uint64_t give_up_usec; /* what may mend by itself is given up only after so long without one; 0: at once */
} DownloadParams;

/* `download` is NULL-safe nowhere. None may free the download. */
typedef struct DownloadOps {
        /* Opens the data pipe of a file at a byte: download_on_opened() follows. */
        void (*open)(unsigned file, uint64_t offset, void *userdata);
        /* A fresh document is needed: download_on_document() follows, unless the job is gone. */
        void (*need_document)(uint64_t now_usec, void *userdata);
        /* No plane brings a byte for now, and it is tried again; or (false) bytes come again. */
        void (*stuck)(bool is_stuck, void *userdata);
        /* Once: every byte of every file was handed to the installer (NULL), or why that cannot be. */
        void (*done)(const Failure *failure, void *userdata);
        /*
         * Once, instead of done(): the data pipe broke, or took nothing for too long; `why` is for a person. The
         * installer's own word on it may follow as an event; if none does, the update is to be begun again, for only the
         * installer knows how many bytes it has.
         */
        void (*pipe_lost)(const char *why, uint64_t now_usec, void *userdata);
} DownloadOps;

typedef struct DownloadStats {
        uint64_t total_bytes;   /* of all files */
        uint64_t held_bytes;    /* handed to the installer, those of earlier runs included */
        uint64_t fetched_bytes; /* in this run */
        unsigned n_retries;
        uint64_t n_pieces; /* of HTTPS bodies */
        DownloadPlane plane;
        unsigned file;
        StreamFetchStats stream; /* of all streams so far */
} DownloadStats;

/* The first plane, in order of preference, that can carry that file of the document; false: none. */
bool download_first_plane(const DownloadParams *params, const JobDocument *document, const JobFile *file,
                          DownloadPlane *ret);

/* `document` is borrowed until download_on_document() brings another or the download is freed. */
_must_use_ int download_new(const DownloadParams *params, const WorldOps *world, void *world_userdata,
                            const DownloadOps *ops, void *userdata, const JobDocument *document,
                            const LinkOffsets *offsets, Download **ret);
Download *download_free(Download *download); /* cancels; closes the data pipe; NULL is fine; returns NULL */
DEFINE_CLEANUP(Download *, download_free);

/* Starts, or goes on after a suspension. */
void download_resume(Download *download, uint64_t now_usec);
/* Stops fetching; the pipe stays open and not a byte is lost. */
void download_suspend(Download *download, uint64_t now_usec);
/* The broker is not reached any more: download_suspend() follows, or ought to. */
void download_on_disconnected(Download *download, uint64_t now_usec);
/* Of the same job: nothing but its URLs may differ from the one before. */
void download_on_document(Download *download, const JobDocument *document, uint64_t now_usec);
void download_on_opened(Download *download, uint64_t now_usec);
void download_on_writable(Download *download, uint64_t now_usec);
void download_on_subscribed(Download *download, bool granted, uint64_t now_usec);
void download_on_stream_block(Download *download, const char *stream, const StreamBlock *block, uint64_t now_usec);
void download_on_stream_rejection(Download *download, const char *stream, const StreamRejection *rejection,
                                  uint64_t now_usec);
void download_on_stream_description(Download *download, const char *stream, const StreamDescription *description,
                                    uint64_t now_usec);
void download_on_http_headers(Download *download, const char *etag);
/* 0: taken. -EAGAIN: not now, the same bytes again after http_resume. Other negative: nobody wants them. */
int download_on_http_data(Download *download, const uint8_t *data, size_t n_data, uint64_t now_usec);
/* NULL: every byte up to the end came. */
void download_on_http_done(Download *download, const Failure *failure, uint64_t retry_after_usec, uint64_t now_usec);
void download_on_timer(Download *download, uint64_t now_usec);
uint64_t download_next_deadline(const Download *download);
/* As of now, the stream at work included; borrowed until the next call. */
const DownloadStats *download_stats(Download *download);
