/*
 * metrics: what is counted and shown of otad, and as the text that Prometheus reads.
 *
 * A plain value, told the time and what the engine shows. Counters begin with otad; how the last update ended is set from
 * outside where it was kept (agent-metrics.c). Source: Prometheus, "Exposition formats" (text format 0.0.4) and "Metric and
 * label naming".
 */
#pragma once

#include "certificate-watch.h"
#include "status-watch.h"

/* How the last update ended; kept over restarts. A plain value. */
typedef struct MetricsLast {
        JobKey began_key; /* of the update under way or last seen, and when it began by the wall clock */
        uint64_t began_wall_usec;
        bool ended; /* one has, ever */
        StatusOutcome outcome;
        FailureReason error;
        uint64_t ended_wall_usec;
        uint64_t duration_usec;
        uint64_t success_wall_usec; /* 0: never */
} MetricsLast;

typedef struct Metrics {
        StatusWatch watch;
        MetricsLast last;
        uint64_t n_ended[_STATUS_OUTCOME_MAX];

        UpdateState state;
        uint64_t state_usec;
        uint64_t state_wall_usec;
        uint64_t phase_usec
                [_UPDATE_STATE_MAX]; /* of the update under way or last seen; the present phase not yet in it */

        bool connected;
        uint64_t connection_wall_usec; /* the last change */
        uint64_t n_connections;
        bool installer_reached;
        size_t n_unsent_finals;
        char version[LINK_VERSION_MAX + 1];

        DownloadStats download; /* as last seen; what came before it is in the sums */
        uint64_t sum_received_bytes;
        uint64_t sum_retries, sum_requests, sum_blocks, sum_lost;
} Metrics;

typedef enum MetricsNews {
        METRICS_NEWS_NONE,
        METRICS_NEWS_CHANGED, /* worth to be shown at once */
        METRICS_NEWS_KEEP,    /* and metrics->last is to be kept */
} MetricsNews;

void metrics_init(Metrics *metrics, uint64_t now_usec, uint64_t wall_clock_usec);
MetricsNews metrics_observe(Metrics *metrics, const EngineStatus *status, uint64_t now_usec,
                            uint64_t wall_clock_usec);
/* *ret is the caller's. -ENOMEM. */
_must_use_ int metrics_format(const Metrics *metrics, const char *thing_name, const CertificateWatch *certificates,
                              uint64_t now_usec, char **ret, size_t *ret_size);
