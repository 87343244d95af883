#include "agent/status-json.h"
#include "base/json-writer.h"
#include "base/time-util.h"

static uint64_t average_speed(const UpdateTotals *totals)
{
        return totals->download_usec == 0
                       ? 0
                       : (uint64_t)((double)totals->n_bytes * (double)USEC_PER_SEC / (double)totals->download_usec);
}

int stats_json_format(const UpdateTotals *totals, uint64_t uptime_usec, char **ret)
{
        _cleanup_(json_writer_done) JsonWriter w;
        int r;

        r = json_writer_init(&w);
        if (r < 0)
                return r;
        json_writer_open(&w, NULL, '{');
        json_writer_u64(&w, "schema", STATUS_SCHEMA);
        json_writer_text(&w, "otad", OTAD_VERSION);
        json_writer_u64(&w, "seconds", uptime_usec / USEC_PER_SEC);
        json_writer_open(&w, "packets", '{');
        json_writer_u64(&w, "received", totals->n_received);
        json_writer_u64(&w, "queued", totals->n_queued);
        json_writer_u64(&w, "processed", totals->n_processed);
        json_writer_u64(&w, "dropped", totals->n_dropped);
        json_writer_close(&w, '}');
        json_writer_u64(&w, "requests", totals->n_requests);
        json_writer_u64(&w, "lost", totals->n_lost);
        json_writer_u64(&w, "bytes", totals->n_bytes);
        json_writer_u64(&w, "retries", totals->n_retries);
        json_writer_u64(&w, "download_seconds", totals->download_usec / USEC_PER_SEC);
        json_writer_u64(&w, "bytes_per_second", average_speed(totals));
        json_writer_close(&w, '}');
        return json_writer_finish(&w, ret);
}
