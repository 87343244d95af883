/* All files of a job by two planes, as transcripts: an event, and the acts it has to lead to. */
#include <errno.h>
#include <inttypes.h>

#include "base/time-util.h"
#include "engine/download.h"
#include "stream-sim.h"
#include "transcript.h"

enum { STEPS_MAX = 72, BLOCK_BYTES = 256 };

/*
 * Events: "resume", "suspend", "disconnected N" (N seconds later), "opened", "granted", "refused", "document" (fresh URLs), "headers ETAG", "data N" (the
 * next N bytes by HTTPS), "end" (of them), "failed WORD" (HTTPS, by a word of base/failure), "blocks N" (the next N in
 * order by stream), "rejected N" (the stream's answer), "room N" (the pipe takes so many bytes more), "writable",
 * "broken" (the pipe from now on), "timer" (at the next deadline, which must be later).
 * Acts: "open F@OFFSET", "close", "http FIRST of SIZE url N [if ETAG]", "http-resume", "http-cancel", "subscribe S",
 * "unsubscribe S", "ask" (for blocks, at least once), "need-document", "stuck", "not-stuck", "again" (data was not taken now), "unwanted",
 * "done", "failed WORD", "pipe-lost".
 */
typedef struct Step {
        const char *event;
        const char *acts;
} Step;

typedef struct Scene {
        const char *planes; /* of the config, in order of preference: h, m */
        const char *offers; /* of the job */
        uint64_t sizes[3];
        uint64_t offsets[3];
        uint64_t max_bytes_per_sec;
        uint64_t give_up_sec;
} Scene;

typedef struct Room {
        Download *download;
        JobDocument documents[2];
        char urls[2][3][32];
        unsigned n_documents;
        uint64_t now_usec;
        Transcript acts;
        bool asked;

        unsigned file;         /* of the open pipe */
        uint64_t at;           /* where it goes on */
        uint64_t handed_on[3]; /* the furthest byte of each file */
        size_t room_bytes;
        bool broken;
        uint64_t http_at;
        unsigned n_ended;
} Room;

/* -- the world -------------------------------------------------------------------------------------------------- */

static void on_publish(const char *topic, const void *payload, size_t n_payload, unsigned qos, void *userdata)
{
        Room *room = userdata;

        assert_int_equal(qos, 0);
        if (strstr(topic, "/get/cbor") && !room->asked) {
                note(&room->acts, "ask");
                room->asked = true;
        }
}

static const char *stream_of(const char *topic)
{
        static char stream[32];

        assert_int_equal(sscanf(topic, "$aws/things/t/streams/%31[^/]", stream), 1);
        return stream;
}

static void on_subscribe(const char *const *filters, size_t n_filters, void *userdata)
{
        Room *room = userdata;

        assert_int_equal(n_filters, 3);
        note(&room->acts, "subscribe %s", stream_of(filters[0]));
}

static void on_unsubscribe(const char *const *filters, size_t n_filters, void *userdata)
{
        Room *room = userdata;

        assert_int_equal(n_filters, 3);
        note(&room->acts, "unsubscribe %s", stream_of(filters[0]));
}

static void on_http_start(const char *url, uint64_t first_byte, uint64_t total_bytes, const char *etag,
                          void *userdata)
{
        Room *room = userdata;

        room->http_at = first_byte;
        note(&room->acts, "http %" PRIu64 " of %" PRIu64 " %s%s%s", first_byte, total_bytes, url, etag ? " if " : "",
             etag ? etag : "");
}

static void on_http_resume(void *userdata)
{
        note(&((Room *)userdata)->acts, "http-resume");
}

static void on_http_cancel(void *userdata)
{
        note(&((Room *)userdata)->acts, "http-cancel");
}

static ssize_t on_data_write(const uint8_t *data, size_t n_data, void *userdata)
{
        Room *room = userdata;
        size_t n = MIN2(n_data, room->room_bytes);

        if (room->broken)
                return -EPIPE;
        assert_memory_equal(data, stream_sim_bytes(room->at), n);
        room->at += n;
        if (room->room_bytes != SIZE_MAX)
                room->room_bytes -= n;
        room->handed_on[room->file] = MAX2(room->handed_on[room->file], room->at);
        return (ssize_t)n;
}

static void on_data_close(void *userdata)
{
        note(&((Room *)userdata)->acts, "close");
}

static const WorldOps world = {
        .publish = on_publish,
        .subscribe = on_subscribe,
        .unsubscribe = on_unsubscribe,
        .http_start = on_http_start,
        .http_resume = on_http_resume,
        .http_cancel = on_http_cancel,
        .data_write = on_data_write,
        .data_close = on_data_close,
};

static void on_open(unsigned file, uint64_t offset, void *userdata)
{
        Room *room = userdata;

        room->file = file;
        room->at = offset;
        note(&room->acts, "open %u@%" PRIu64, file, offset);
}

static void on_need_document(uint64_t now_usec, void *userdata)
{
        note(&((Room *)userdata)->acts, "need-document");
}

static void on_stuck(bool is_stuck, void *userdata)
{
        note(&((Room *)userdata)->acts, is_stuck ? "stuck" : "not-stuck");
}

static void on_done(const Failure *failure, void *userdata)
{
        Room *room = userdata;

        if (failure)
                note(&room->acts, "failed %s", failure_reason_to_string(failure->reason));
        else
                note(&room->acts, "done");
        room->n_ended++;
}

static void on_pipe_lost(const char *why, uint64_t now_usec, void *userdata)
{
        Room *room = userdata;

        note(&room->acts, "pipe-lost");
        room->n_ended++;
}

static const DownloadOps ops = {
        .open = on_open,
        .need_document = on_need_document,
        .stuck = on_stuck,
        .done = on_done,
        .pipe_lost = on_pipe_lost,
};

/* -- a room ----------------------------------------------------------------------------------------------------- */

static JobDocument *make_document(Room *room, const Scene *scene)
{
        JobDocument *document = &room->documents[room->n_documents % 2];

        *document = (JobDocument){.https = strchr(scene->offers, 'h'), .mqtt = strchr(scene->offers, 'm')};
        document->stream_name = document->mqtt ? (char *)"s1" : NULL;
        while (document->n_files < 3 && scene->sizes[document->n_files] > 0) {
                unsigned i = (unsigned)document->n_files++;
                char *url = room->urls[room->n_documents % 2][i];

                snprintf(url, sizeof(room->urls[0][0]), "u%u", room->n_documents);
                document->files[i] = (JobFile){
                        .size_bytes = scene->sizes[i], .file_id = (uint8_t)i, .url = document->https ? url : NULL};
        }
        room->n_documents++;
        return document;
}

static void open_room(Room *room, const Scene *scene)
{
        DownloadParams params = {
                .thing_name = "t",
                .block_bytes = BLOCK_BYTES,
                .window_bytes = 128 * 1024,
                .max_bytes_per_sec = scene->max_bytes_per_sec,
                .stall_usec = 60 * USEC_PER_SEC,
                .attempts = 3,
                .give_up_usec = scene->give_up_sec * USEC_PER_SEC,
        };
        LinkOffsets offsets = {0};

        *room = (Room){.now_usec = 1000 * USEC_PER_SEC, .room_bytes = SIZE_MAX};
        for (const char *p = scene->planes; *p; p++)
                params.planes[params.n_planes++] = *p == 'h' ? DOWNLOAD_PLANE_HTTPS : DOWNLOAD_PLANE_MQTT;
        (void)make_document(room, scene);
        offsets.n_files = room->documents[0].n_files;
        memcpy(offsets.resume_bytes, scene->offsets, sizeof(scene->offsets));
        memcpy(room->handed_on, scene->offsets, sizeof(scene->offsets));
        assert_int_equal(
                download_new(&params, &world, room, &ops, room, &room->documents[0], &offsets, &room->download), 0);
}

static void http_data(Room *room, size_t n)
{
        int r = download_on_http_data(room->download, stream_sim_bytes(room->http_at), n, room->now_usec);

        if (r == 0)
                room->http_at += n;
        else
                note(&room->acts, r == -EAGAIN ? "again" : "unwanted");
}

static void stream_blocks(Room *room, unsigned n, const Scene *scene)
{
        for (unsigned i = 0; i < n; i++) {
                uint64_t start = room->at / BLOCK_BYTES * BLOCK_BYTES;
                StreamBlock block = {
                        .payload = stream_sim_bytes(start),
                        .n_payload = (uint32_t)MIN2(scene->sizes[room->file] - start, (uint64_t)BLOCK_BYTES),
                        .block = (uint32_t)(start / BLOCK_BYTES),
                        .file_id = (uint8_t)room->file,
                };

                download_on_stream_block(room->download, "s2", &block, room->now_usec); /* another stream: nothing */
                download_on_stream_block(room->download, "s1", &block, room->now_usec);
        }
}

static StreamRejectionCode stream_code(const char *word)
{
        StreamRejectionCode code = 0;

        while (strcmp(stream_rejection_code_to_string(code), word) != 0)
                assert_true(++code < _STREAM_REJECTION_MAX);
        return code;
}

static void happen(Room *room, const Scene *scene, const char *event)
{
        uint64_t now = room->now_usec;
        Download *d = room->download;
        char a[64] = "";
        long n = 0;

        if (strcmp(event, "resume") == 0) {
                download_resume(d, now);
        } else if (strcmp(event, "suspend") == 0) {
                download_suspend(d, now);
        } else if (sscanf(event, "disconnected %ld", &n) == 1) {
                room->now_usec = now += (uint64_t)n * USEC_PER_SEC;
                download_on_disconnected(d, now);
                download_suspend(d, now);
        } else if (strcmp(event, "opened") == 0) {
                download_on_opened(d, now);
        } else if (strcmp(event, "granted") == 0 || strcmp(event, "refused") == 0) {
                download_on_subscribed(d, event[0] == 'g', now);
        } else if (strcmp(event, "document") == 0) {
                download_on_document(d, make_document(room, scene), now);
        } else if (sscanf(event, "headers %63s", a) == 1) {
                download_on_http_headers(d, a);
        } else if (sscanf(event, "data %ld", &n) == 1) {
                http_data(room, (size_t)n);
        } else if (strcmp(event, "end") == 0) {
                download_on_http_done(d, NULL, 0, now);
        } else if (sscanf(event, "failed %63s %ld", a, &n) >= 1) {
                Failure failure;

                failure_set(&failure, failure_reason_from_string(a), "it failed");
                download_on_http_done(d, &failure, (uint64_t)n * USEC_PER_SEC, now);
        } else if (sscanf(event, "blocks %ld", &n) == 1) {
                stream_blocks(room, (unsigned)n, scene);
        } else if (sscanf(event, "rejected %63s", a) == 1) {
                StreamRejection rejection = {.code = stream_code(a)};

                download_on_stream_rejection(d, "s1", &rejection, now);
        } else if (sscanf(event, "room %ld", &n) == 1) {
                room->room_bytes = n < 0 ? SIZE_MAX : (size_t)n;
        } else if (strcmp(event, "writable") == 0) {
                download_on_writable(d, now);
        } else if (strcmp(event, "broken") == 0) {
                room->broken = true;
        } else {
                uint64_t deadline = download_next_deadline(d);

                assert_string_equal(event, "timer");
                assert_true(deadline != USEC_INFINITY && deadline > now);
                room->now_usec = deadline;
                download_on_timer(d, deadline);
        }
}

static void play(const Scene *scene, const Step *steps)
{
        Room room;

        open_room(&room, scene);
        for (unsigned i = 0; i < STEPS_MAX && steps[i].event; i++) {
                forget_notes(&room.acts);
                room.asked = false;
                room.now_usec += USEC_PER_MSEC;
                happen(&room, scene, steps[i].event);
                if (strcmp(room.acts.text, steps[i].acts) != 0)
                        fail_msg("step %u, '%s': '%s' instead of '%s'", i, steps[i].event, room.acts.text,
                                 steps[i].acts);
                assert_true(room.n_ended <= 1);
        }
        if (strcmp(room.acts.text, "done") == 0 || strstr(room.acts.text, "; done")) {
                for (unsigned i = 0; i < 3; i++)
                        assert_true(room.handed_on[i] == scene->sizes[i]);
                assert_true(download_stats(room.download)->held_bytes == download_stats(room.download)->total_bytes);
        }
        if (room.n_ended > 0)
                assert_true(download_next_deadline(room.download) == USEC_INFINITY);
        download_free(room.download);
}

#define TRANSCRIPT(name, scene, ...)                                \
        static void name(void **state)                              \
        {                                                           \
                static const Step steps[STEPS_MAX] = {__VA_ARGS__}; \
                                                                    \
                play(&(scene), steps);                              \
        }                                                           \
        struct transcript_needs_a_semicolon_

static const Scene https = {"hm", "h", {1000}, {0}, 0, 0};
static const Scene mqtt = {"hm", "m", {1000}, {0}, 0, 0};
static const Scene both = {"hm", "hm", {1000}, {0}, 0, 0};
static const Scene both_mqtt_first = {"mh", "hm", {1000}, {0}, 0, 0};
static const Scene three = {"hm", "hm", {1000, 500, 300}, {0, 0, 0}, 0, 0};
static const Scene three_some_complete = {"h", "hm", {1000, 500, 300}, {1000, 100, 300}, 0, 0};
static const Scene three_all_complete = {"h", "hm", {1000, 500, 300}, {1000, 500, 300}, 0, 0};
static const Scene mqtt_only_for_https = {"m", "h", {1000}, {0}, 0, 0};
static const Scene too_large = {"m", "m", {STREAM_FILE_MAX_BYTES + 1}, {0}, 0, 0};
static const Scene resumed = {"mh", "hm", {1000}, {300}, 0, 0};
static const Scene patient = {"hm", "h", {1000}, {0}, 0, 3600};
static const Scene patient_both = {"hm", "hm", {1000}, {0}, 0, 3600};

/* -- one plane -------------------------------------------------------------------------------------------------- */

TRANSCRIPT(test_https, https, {"resume", "open 0@0"}, {"opened", "http 0 of 1000 u0"}, {"headers e1", ""},
           {"data 600", ""}, {"data 400", ""}, {"end", "close; done"}, {"resume", ""}, {"suspend", ""},
           {"data 1", "unwanted"}, {"end", ""});

TRANSCRIPT(test_mqtt, mqtt, {"resume", "open 0@0"}, {"opened", "subscribe s1"}, {"granted", "ask"}, {"blocks 3", ""},
           {"blocks 1", "close; unsubscribe s1; done"}, {"blocks 1", ""});

TRANSCRIPT(test_preference, both_mqtt_first, {"resume", "open 0@0"}, {"opened", "subscribe s1"}, {"granted", "ask"},
           {"blocks 4", "close; unsubscribe s1; done"});

TRANSCRIPT(test_offered_is_not_enabled, mqtt_only_for_https, {"resume", "open 0@0"},
           {"opened", "close; failed no-protocol"});

TRANSCRIPT(test_too_large_for_a_stream, too_large, {"resume", "open 0@0"}, {"opened", "close; failed no-protocol"});

/* -- several files ---------------------------------------------------------------------------------------------- */

TRANSCRIPT(test_three_files, three, {"resume", "open 0@0"}, {"opened", "http 0 of 1000 u0"}, {"headers e1", ""},
           {"data 1000", ""}, {"end", "close; open 1@0"}, {"opened", "http 0 of 500 u0"}, {"data 500", ""},
           {"end", "close; open 2@0"}, {"opened", "http 0 of 300 u0"}, {"data 300", ""}, {"end", "close; done"});

TRANSCRIPT(test_some_complete, three_some_complete, {"resume", "open 1@100"}, {"opened", "http 100 of 500 u0"},
           {"data 400", ""}, {"end", "close; done"});

TRANSCRIPT(test_all_complete, three_all_complete, {"resume", "done"});

/* All bytes came, but not the word that it was all: the next file must not go into the pipe of the last one. */
TRANSCRIPT(test_suspended_after_the_last_byte, three, {"resume", "open 0@0"}, {"opened", "http 0 of 1000 u0"},
           {"headers e1", ""}, {"data 1000", ""}, {"suspend", "http-cancel"}, {"resume", "close; open 1@0"},
           {"opened", "http 0 of 500 u0"}, {"data 500", ""}, {"failed download-failed", ""},
           {"timer", "close; open 2@0"}, {"opened", "http 0 of 300 u0"}, {"data 300", ""},
           {"failed url-expired", "need-document"}, {"document", "close; done"});

/* What one file's plane could not do says nothing about the next file. */
TRANSCRIPT(test_each_file_tries_all_planes, three, {"resume", "open 0@0"}, {"opened", "http 0 of 1000 u0"},
           {"failed stream-refused", "subscribe s1"}, {"granted", "ask"}, {"blocks 4", "close; open 1@0"},
           {"opened", "unsubscribe s1; http 0 of 500 u0"}, {"data 500", ""}, {"end", "close; open 2@0"});

/* -- from one plane to the other -------------------------------------------------------------------------------- */

TRANSCRIPT(test_https_then_mqtt, both, {"resume", "open 0@0"}, {"opened", "http 0 of 1000 u0"}, {"data 300", ""},
           {"failed download-failed", ""}, {"timer", "http 300 of 1000 u0"}, {"failed tls-untrusted", ""},
           {"timer", "http 300 of 1000 u0"}, {"failed download-stalled", "subscribe s1"}, {"granted", "ask"},
           {"blocks 3", "close; unsubscribe s1; done"});

TRANSCRIPT(test_mqtt_then_https, both_mqtt_first, {"resume", "open 0@0"}, {"opened", "subscribe s1"},
           {"granted", "ask"}, {"blocks 2", ""}, {"rejected Unauthorized", "unsubscribe s1; http 512 of 1000 u0"},
           {"data 488", ""}, {"end", "close; done"});

TRANSCRIPT(test_subscription_refused, both_mqtt_first, {"resume", "open 0@0"}, {"opened", "subscribe s1"},
           {"refused", "http 0 of 1000 u0"}, {"granted", ""}, {"data 1000", ""}, {"end", "close; done"});

TRANSCRIPT(test_subscription_never_answered, both_mqtt_first, {"resume", "open 0@0"}, {"opened", "subscribe s1"},
           {"timer", ""}, {"timer", "subscribe s1"}, {"timer", ""}, {"timer", "subscribe s1"},
           {"timer", "http 0 of 1000 u0"});

TRANSCRIPT(test_all_planes_fail, both_mqtt_first, {"resume", "open 0@0"}, {"opened", "subscribe s1"},
           {"granted", "ask"}, {"rejected ResourceNotFound", "unsubscribe s1; http 0 of 1000 u0"},
           {"failed download-failed", ""}, {"timer", "http 0 of 1000 u0"}, {"failed download-failed", ""},
           {"timer", "http 0 of 1000 u0"}, {"failed download-failed", "close; failed download-failed"});

TRANSCRIPT(test_new_bytes_count_tries_anew, https, {"resume", "open 0@0"}, {"opened", "http 0 of 1000 u0"},
           {"failed download-failed", ""}, {"timer", "http 0 of 1000 u0"}, {"failed download-failed", ""},
           {"timer", "http 0 of 1000 u0"}, {"data 1", ""}, {"failed download-failed", ""},
           {"timer", "http 1 of 1000 u0"}, {"failed download-failed", ""}, {"timer", "http 1 of 1000 u0"},
           {"failed download-failed", "close; failed download-failed"});

TRANSCRIPT(test_ends_early, https, {"resume", "open 0@0"}, {"opened", "http 0 of 1000 u0"}, {"data 999", ""},
           {"end", ""}, {"timer", "http 999 of 1000 u0"}, {"data 1", ""}, {"end", "close; done"});

/* -- what may mend by itself ------------------------------------------------------------------------------------- */

TRANSCRIPT(test_outage_is_survived, patient, {"resume", "open 0@0"}, {"opened", "http 0 of 1000 u0"},
           {"data 300", ""}, {"failed download-failed", ""}, {"timer", "http 300 of 1000 u0"},
           {"failed download-failed", ""}, {"timer", "http 300 of 1000 u0"}, {"failed tls-untrusted", "stuck"},
           {"timer", "http 300 of 1000 u0"}, {"failed download-stalled", "stuck"}, {"timer", "http 300 of 1000 u0"},
           {"failed download-failed", "stuck"}, {"timer", "http 300 of 1000 u0"}, {"data 600", "not-stuck"},
           {"data 100", ""}, {"end", "close; done"});

/* What trying again cannot mend ends as it did. */
TRANSCRIPT(test_patience_is_for_what_may_mend, patient, {"resume", "open 0@0"}, {"opened", "http 0 of 1000 u0"},
           {"failed download-failed", ""}, {"timer", "http 0 of 1000 u0"}, {"failed download-failed", ""},
           {"timer", "http 0 of 1000 u0"}, {"failed download-failed", "stuck"}, {"timer", "http 0 of 1000 u0"},
           {"failed url-refused", "need-document"}, {"document", "http 0 of 1000 u1"},
           {"failed url-refused", "close; failed url-refused"});

/* The first plane had but a bad moment: it is not forgotten because the other one will never do. */
TRANSCRIPT(test_back_to_the_plane_that_may_mend, patient_both, {"resume", "open 0@0"},
           {"opened", "http 0 of 1000 u0"}, {"failed download-failed", ""}, {"timer", "http 0 of 1000 u0"},
           {"failed download-failed", ""}, {"timer", "http 0 of 1000 u0"}, {"failed download-failed", "subscribe s1"},
           {"refused", "stuck"}, {"timer", "http 0 of 1000 u0"}, {"failed download-failed", ""},
           {"timer", "http 0 of 1000 u0"}, {"data 1000", "not-stuck"}, {"end", "close; done"});

/* Both have had their attempts: by turns, one try each. */
TRANSCRIPT(test_by_turns, patient_both, {"resume", "open 0@0"}, {"opened", "http 0 of 1000 u0"},
           {"failed download-failed", ""}, {"timer", "http 0 of 1000 u0"}, {"failed download-failed", ""},
           {"timer", "http 0 of 1000 u0"}, {"failed download-failed", "subscribe s1"}, {"timer", ""},
           {"timer", "subscribe s1"}, {"timer", ""}, {"timer", "subscribe s1"}, {"timer", "stuck"},
           {"timer", "http 0 of 1000 u0"}, {"failed download-failed", "subscribe s1"}, {"timer", "stuck"},
           {"timer", "http 0 of 1000 u0"}, {"data 1", "not-stuck"}, {"failed download-failed", ""},
           {"timer", "http 1 of 1000 u0"}, {"data 999", ""}, {"end", "close; done"});

static void fail_at_once(Room *room, const Scene *scene)
{
        forget_notes(&room->acts);
        happen(room, scene, "failed download-failed");
}

/* The waits grow to a minute, and nothing ends before the time is over. */
static void test_given_up_after_some_time(void **state)
{
        unsigned n_tries = 1;
        uint64_t began;
        Room room;

        open_room(&room, &patient);
        happen(&room, &patient, "resume");
        room.now_usec += 500 * USEC_PER_SEC;
        happen(&room, &patient, "opened");
        happen(&room, &patient, "data 1");
        began = room.now_usec;
        for (;; n_tries++) {
                fail_at_once(&room, &patient);
                if (room.n_ended > 0)
                        break;
                assert_true(room.now_usec - began < 3600 * USEC_PER_SEC);
                assert_true(download_next_deadline(room.download) <= room.now_usec + 60 * USEC_PER_SEC + 1);
                happen(&room, &patient, "timer");
        }
        assert_string_equal(room.acts.text, "close; failed download-failed");
        assert_in_range(room.now_usec - began, 3600 * USEC_PER_SEC, 3661 * USEC_PER_SEC);
        assert_in_range(n_tries, 60, 300);
        download_free(room.download);
}

/* Suspended by a window or a person, or asleep: no time in which bytes could have come. */
static void test_time_that_does_not_count(void **state)
{
        Room room;

        open_room(&room, &patient);
        happen(&room, &patient, "resume");
        happen(&room, &patient, "opened");
        for (unsigned i = 0; i < 10; i++) {
                fail_at_once(&room, &patient);
                assert_int_equal(room.n_ended, 0);
                if (i % 2 == 0) {
                        happen(&room, &patient, "suspend");
                        room.now_usec += 86400 * USEC_PER_SEC;
                        happen(&room, &patient, "resume");
                } else {
                        room.now_usec = download_next_deadline(room.download) + 86400 * USEC_PER_SEC;
                        download_on_timer(room.download, room.now_usec);
                }
        }
        assert_int_equal(room.n_ended, 0);
        download_free(room.download);
}

/* -- a fresh URL ------------------------------------------------------------------------------------------------ */

TRANSCRIPT(test_url_expires, https, {"resume", "open 0@0"}, {"opened", "http 0 of 1000 u0"}, {"headers e1", ""},
           {"data 300", ""}, {"failed url-expired", "need-document"}, {"document", "http 300 of 1000 u1 if e1"},
           {"document", ""}, {"data 700", ""}, {"end", "close; done"});

TRANSCRIPT(test_url_expires_again_and_again, https, {"resume", "open 0@0"}, {"opened", "http 0 of 1000 u0"},
           {"failed url-expired", "need-document"}, {"document", "http 0 of 1000 u1"},
           {"failed url-expired", "need-document"}, {"document", "http 0 of 1000 u2"},
           {"failed url-expired", "need-document"}, {"document", "http 0 of 1000 u3"}, {"data 1", ""},
           {"failed url-expired", "need-document"}, {"document", "http 1 of 1000 u4"},
           {"failed url-expired", "need-document"}, {"document", "http 1 of 1000 u5"},
           {"failed url-expired", "need-document"}, {"document", "http 1 of 1000 u6"},
           {"failed url-expired", "close; failed url-expired"});

TRANSCRIPT(test_url_refused_is_renewed_once, both, {"resume", "open 0@0"}, {"opened", "http 0 of 1000 u0"},
           {"failed url-refused", "need-document"}, {"document", "http 0 of 1000 u1"},
           {"failed url-refused", "subscribe s1"});

TRANSCRIPT(test_document_while_suspended, https, {"resume", "open 0@0"}, {"opened", "http 0 of 1000 u0"},
           {"failed url-expired", "need-document"}, {"suspend", ""}, {"document", ""},
           {"resume", "http 0 of 1000 u1"});

/* -- another object ---------------------------------------------------------------------------------------------- */

TRANSCRIPT(test_object_changed, https, {"resume", "open 0@0"}, {"opened", "http 0 of 1000 u0"}, {"headers e1", ""},
           {"data 300", ""}, {"failed download-failed", ""}, {"timer", "http 300 of 1000 u0 if e1"},
           {"failed object-changed", "close; open 0@0"}, {"opened", "http 0 of 1000 u0"}, {"headers e2", ""},
           {"data 10", ""}, {"failed range-wrong", "close; open 0@0"}, {"opened", "http 0 of 1000 u0"},
           {"data 10", ""}, {"failed object-changed", "close; failed object-changed"});

TRANSCRIPT(test_object_changed_before_the_first_byte, https, {"resume", "open 0@0"}, {"opened", "http 0 of 1000 u0"},
           {"headers e1", ""}, {"failed download-failed", ""}, {"timer", "http 0 of 1000 u0 if e1"},
           {"failed object-changed", "close; open 0@0"}, {"opened", "http 0 of 1000 u0"}, {"data 1000", ""},
           {"end", "close; done"});

TRANSCRIPT(test_stream_changed, resumed, {"resume", "open 0@300"}, {"opened", "subscribe s1"}, {"granted", "ask"},
           {"rejected VersionMismatch", "close; open 0@0"}, {"opened", "ask"},
           {"blocks 4", "close; unsubscribe s1; done"});

/* -- a connection that is closed on what the policy does not allow ----------------------------------------------- */

/* clang-format off */
#define CLOSED      {"disconnected 0", ""}, {"resume", "subscribe s1"}
#define CLOSED_LATE {"disconnected 31", ""}, {"resume", "subscribe s1"}
/* clang-format on */
#define CLOSED_SEVEN_TIMES CLOSED, CLOSED, CLOSED, CLOSED, CLOSED, CLOSED, CLOSED

TRANSCRIPT(test_closed_on_the_subscription, both_mqtt_first, {"resume", "open 0@0"}, {"opened", "subscribe s1"},
           CLOSED_SEVEN_TIMES, {"disconnected 2", ""}, {"resume", "http 0 of 1000 u0"},
           {"disconnected 0", "http-cancel"}, {"resume", "http 0 of 1000 u0"}, {"data 1000", ""},
           {"end", "close; done"});

TRANSCRIPT(test_closed_on_the_first_request, mqtt, {"resume", "open 0@0"}, {"opened", "subscribe s1"},
           {"granted", "ask"}, CLOSED_SEVEN_TIMES, {"granted", "ask"}, {"disconnected 0", ""},
           {"resume", "close; failed stream-refused"});

/* With a block, an answer of any kind, or after a while, it was the network. */
TRANSCRIPT(test_lost_by_the_network, mqtt, {"resume", "open 0@0"}, {"opened", "subscribe s1"}, {"granted", "ask"},
           CLOSED_SEVEN_TIMES, {"granted", "ask"}, {"blocks 1", ""}, CLOSED, CLOSED_SEVEN_TIMES, {"granted", "ask"},
           {"rejected InternalError", ""}, CLOSED, CLOSED_LATE, CLOSED_LATE, CLOSED_LATE, CLOSED_LATE, CLOSED_LATE,
           CLOSED_LATE, CLOSED_LATE, CLOSED_LATE, {"granted", "ask"}, {"blocks 3", "close; unsubscribe s1; done"});

/* While the other plane is at work the broker may come and go. */
TRANSCRIPT(test_disconnected_while_https_runs, both, {"resume", "open 0@0"}, {"opened", "http 0 of 1000 u0"},
           {"disconnected 0", "http-cancel"}, {"resume", "http 0 of 1000 u0"}, {"disconnected 0", "http-cancel"},
           {"disconnected 0", ""}, {"resume", "http 0 of 1000 u0"}, {"disconnected 0", "http-cancel"},
           {"resume", "http 0 of 1000 u0"}, {"failed url-refused", "need-document"},
           {"document", "http 0 of 1000 u1"}, {"failed url-refused", "subscribe s1"}, {"granted", "ask"},
           {"blocks 4", "close; unsubscribe s1; done"});

/* -- suspend and resume in each phase --------------------------------------------------------------------------- */

TRANSCRIPT(test_suspended_before_the_start, https, {"suspend", ""}, {"resume", "open 0@0"}, {"resume", ""},
           {"opened", "http 0 of 1000 u0"}, {"suspend", "http-cancel"}, {"suspend", ""},
           {"resume", "http 0 of 1000 u0"});

TRANSCRIPT(test_suspended_while_opening, https, {"resume", "open 0@0"}, {"suspend", ""}, {"opened", ""},
           {"resume", "http 0 of 1000 u0"}, {"data 1000", ""}, {"end", "close; done"});

TRANSCRIPT(test_suspended_and_resumed_while_opening, https, {"resume", "open 0@0"}, {"suspend", ""}, {"resume", ""},
           {"opened", "http 0 of 1000 u0"});

TRANSCRIPT(test_suspended_while_subscribing, mqtt, {"resume", "open 0@0"}, {"opened", "subscribe s1"},
           {"suspend", ""}, {"granted", ""}, {"resume", "subscribe s1"}, {"granted", "ask"},
           {"blocks 4", "close; unsubscribe s1; done"});

TRANSCRIPT(test_suspended_while_fetching, both, {"resume", "open 0@0"}, {"opened", "http 0 of 1000 u0"},
           {"data 300", ""}, {"suspend", "http-cancel"}, {"data 100", "unwanted"}, {"failed download-failed", ""},
           {"resume", "http 300 of 1000 u0"}, {"data 700", ""}, {"end", "close; done"});

TRANSCRIPT(test_suspended_while_streaming, mqtt, {"resume", "open 0@0"}, {"opened", "subscribe s1"},
           {"granted", "ask"}, {"blocks 2", ""}, {"suspend", ""}, {"blocks 1", ""}, {"resume", "subscribe s1"},
           {"granted", "ask"}, {"blocks 2", "close; unsubscribe s1; done"});

TRANSCRIPT(test_suspended_while_waiting, https, {"resume", "open 0@0"}, {"opened", "http 0 of 1000 u0"},
           {"failed download-failed 30", ""}, {"suspend", ""}, {"resume", "http 0 of 1000 u0"});

/* -- the pipe --------------------------------------------------------------------------------------------------- */

TRANSCRIPT(test_full_pipe_by_https, https, {"resume", "open 0@0"}, {"room 100", ""}, {"opened", "http 0 of 1000 u0"},
           {"data 400", "again"}, {"room 299", ""}, {"writable", "http-resume"}, {"data 400", "again"},
           {"room 0", ""}, {"writable", "http-resume"}, {"data 400", "again"}, {"room -1", ""},
           {"writable", "http-resume"}, {"data 400", ""}, {"data 600", ""}, {"end", "close; done"});

/* A chunk that comes again in pieces. */
TRANSCRIPT(test_redelivered_in_pieces, https, {"resume", "open 0@0"}, {"room 250", ""},
           {"opened", "http 0 of 1000 u0"}, {"data 400", "again"}, {"room -1", ""}, {"writable", "http-resume"},
           {"data 100", ""}, {"data 100", ""}, {"data 200", ""}, {"data 600", ""}, {"end", "close; done"});

TRANSCRIPT(test_full_pipe_by_mqtt, mqtt, {"resume", "open 0@0"}, {"room 100", ""}, {"opened", "subscribe s1"},
           {"granted", "ask"}, {"blocks 1", ""}, {"room -1", ""}, {"writable", ""},
           {"blocks 3", "close; unsubscribe s1; done"});

TRANSCRIPT(test_pipe_full_for_too_long, https, {"resume", "open 0@0"}, {"room 100", ""},
           {"opened", "http 0 of 1000 u0"}, {"data 400", "again"}, {"timer", "http-cancel; close; pipe-lost"},
           {"writable", ""}, {"data 100", "unwanted"}, {"suspend", ""}, {"resume", ""});

/* However long a suspension was, it is no time in which the installer took nothing. */
TRANSCRIPT(test_full_pipe_and_a_suspension, https, {"resume", "open 0@0"}, {"room 100", ""},
           {"opened", "http 0 of 1000 u0"}, {"data 400", "again"}, {"suspend", "http-cancel"},
           {"resume", "http 100 of 1000 u0"}, {"data 900", "again"}, {"room -1", ""}, {"writable", "http-resume"},
           {"data 900", ""}, {"end", "close; done"});

TRANSCRIPT(test_pipe_breaks_by_https, https, {"resume", "open 0@0"}, {"opened", "http 0 of 1000 u0"}, {"broken", ""},
           {"data 100", "close; pipe-lost; unwanted"}, {"data 100", "unwanted"}, {"end", ""}, {"resume", ""},
           {"suspend", ""});

TRANSCRIPT(test_pipe_breaks_by_mqtt, mqtt, {"resume", "open 0@0"}, {"opened", "subscribe s1"}, {"granted", "ask"},
           {"broken", ""}, {"blocks 1", "close; pipe-lost"}, {"blocks 2", ""}, {"writable", ""});

/* -- by hand ---------------------------------------------------------------------------------------------------- */

static void test_pipe_full_for_too_long_by_mqtt(void **state)
{
        uint64_t full_usec;
        Room room;

        open_room(&room, &mqtt);
        happen(&room, &mqtt, "resume");
        happen(&room, &mqtt, "opened");
        happen(&room, &mqtt, "granted");
        happen(&room, &mqtt, "room 100");
        happen(&room, &mqtt, "blocks 1");
        full_usec = room.now_usec;
        for (unsigned i = 0; i < 100 && room.n_ended == 0; i++) {
                forget_notes(&room.acts);
                room.asked = false;
                happen(&room, &mqtt, "timer"); /* meanwhile blocks are asked for, into the window */
        }
        assert_string_equal(room.acts.text, "close; pipe-lost");
        assert_true(room.now_usec == full_usec + 60 * USEC_PER_SEC);
        download_free(room.download);
}

static void test_stats(void **state)
{
        const DownloadStats *stats;
        Room room;

        open_room(&room, &resumed);
        stats = download_stats(room.download);
        assert_int_equal(stats->total_bytes, 1000);
        assert_int_equal(stats->held_bytes, 300);
        happen(&room, &resumed, "resume");
        happen(&room, &resumed, "opened");
        happen(&room, &resumed, "granted");
        happen(&room, &resumed, "blocks 1");
        stats = download_stats(room.download);
        assert_int_equal(stats->stream.n_blocks, 1);
        assert_int_equal(stats->held_bytes, 512);
        assert_int_equal(stats->fetched_bytes, 212);
        assert_int_equal(stats->plane, DOWNLOAD_PLANE_MQTT);
        happen(&room, &resumed, "rejected Unauthorized");
        stats = download_stats(room.download);
        assert_int_equal(stats->plane, DOWNLOAD_PLANE_HTTPS);
        assert_int_equal(stats->n_retries, 1);
        assert_int_equal(stats->stream.n_blocks, 1);
        download_free(room.download);
        assert_non_null(strstr(room.acts.text, "http-cancel; close"));
}

/* The store says when to come again: not before, and no server can make the wait shorter than the backoff. */
static void test_retry_after(void **state)
{
        Room room;

        open_room(&room, &https);
        happen(&room, &https, "resume");
        happen(&room, &https, "opened");
        happen(&room, &https, "failed download-failed 90");
        assert_true(download_next_deadline(room.download) == room.now_usec + 90 * USEC_PER_SEC);
        download_free(room.download);
}

static void test_offsets_that_cannot_be(void **state)
{
        const LinkOffsets bad[] = {{.n_files = 2}, {.n_files = 0}, {.n_files = 1, .resume_bytes = {1001}}};
        DownloadParams params = {.thing_name = "t"};
        Download *download;
        Room room;

        open_room(&room, &https);
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_int_equal(
                        download_new(&params, &world, &room, &ops, &room, &room.documents[0], &bad[i], &download),
                        -EINVAL);
        download_free(room.download);
}

/* 1000 bytes a second, an eighth of which may be spent at once; what was spent in advance is waited for. */
static const Scene paced = {"hm", "h", {1000}, {0}, 1000, 0};
TRANSCRIPT(
        test_paced_https, paced, {"resume", "open 0@0"}, {"opened", "http 0 of 1000 u0"}, {"data 100", ""},
        {"data 100", ""}, {"data 100", "again"}, {"timer", "http-resume"}, {"data 100", ""}, {"data 100", "again"},
        /* Half of a chunk is taken before the pipe is full; the other half waits for room, and then for its time. */
        {"room 50", ""}, {"timer", "http-resume"}, {"data 100", "again"}, {"room -1", ""},
        {"writable", "http-resume"}, {"data 100", "again"}, {"timer", "http-resume"}, {"data 100", ""},
        {"data 100", "again"}, {"suspend", "http-cancel"}, {"resume", "http 400 of 1000 u0"}, {"data 100", "again"},
        {"timer", "http-resume"}, {"data 600", ""}, {"end", "close; done"});

/* Whatever the chunks, the bytes of some seconds are what the bound says; and a pause is not made up for. */
static void test_pace_is_kept(void **state)
{
        static const size_t chunks[] = {100, 1400, 16384};

        for (size_t i = 0; i < ELEMENTSOF(chunks); i++) {
                const Scene scene = {"h", "h", {20 * 50000}, {0}, 50000, 0};
                uint64_t began;
                Room room;

                open_room(&room, &scene);
                download_resume(room.download, room.now_usec);
                download_on_opened(room.download, room.now_usec);
                room.now_usec += 10 * USEC_PER_SEC; /* until the first byte */
                began = room.now_usec;
                while (room.http_at < scene.sizes[0]) {
                        uint64_t deadline = download_next_deadline(room.download);

                        if (deadline != USEC_INFINITY) {
                                room.now_usec = deadline + 700; /* as late as a timer may be */
                                download_on_timer(room.download, room.now_usec);
                        }
                        forget_notes(&room.acts);
                        http_data(&room, MIN2(chunks[i], scene.sizes[0] - room.http_at));
                }
                assert_in_range((room.now_usec - began) / USEC_PER_MSEC, 19500, 20200);
                download_free(room.download);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_https),
                cmocka_unit_test(test_mqtt),
                cmocka_unit_test(test_preference),
                cmocka_unit_test(test_offered_is_not_enabled),
                cmocka_unit_test(test_too_large_for_a_stream),
                cmocka_unit_test(test_three_files),
                cmocka_unit_test(test_some_complete),
                cmocka_unit_test(test_all_complete),
                cmocka_unit_test(test_suspended_after_the_last_byte),
                cmocka_unit_test(test_each_file_tries_all_planes),
                cmocka_unit_test(test_https_then_mqtt),
                cmocka_unit_test(test_mqtt_then_https),
                cmocka_unit_test(test_subscription_refused),
                cmocka_unit_test(test_subscription_never_answered),
                cmocka_unit_test(test_all_planes_fail),
                cmocka_unit_test(test_new_bytes_count_tries_anew),
                cmocka_unit_test(test_ends_early),
                cmocka_unit_test(test_outage_is_survived),
                cmocka_unit_test(test_patience_is_for_what_may_mend),
                cmocka_unit_test(test_back_to_the_plane_that_may_mend),
                cmocka_unit_test(test_by_turns),
                cmocka_unit_test(test_given_up_after_some_time),
                cmocka_unit_test(test_time_that_does_not_count),
                cmocka_unit_test(test_url_expires),
                cmocka_unit_test(test_url_expires_again_and_again),
                cmocka_unit_test(test_url_refused_is_renewed_once),
                cmocka_unit_test(test_document_while_suspended),
                cmocka_unit_test(test_object_changed),
                cmocka_unit_test(test_object_changed_before_the_first_byte),
                cmocka_unit_test(test_stream_changed),
                cmocka_unit_test(test_closed_on_the_subscription),
                cmocka_unit_test(test_closed_on_the_first_request),
                cmocka_unit_test(test_lost_by_the_network),
                cmocka_unit_test(test_disconnected_while_https_runs),
                cmocka_unit_test(test_suspended_before_the_start),
                cmocka_unit_test(test_suspended_while_opening),
                cmocka_unit_test(test_suspended_and_resumed_while_opening),
                cmocka_unit_test(test_suspended_while_subscribing),
                cmocka_unit_test(test_suspended_while_fetching),
                cmocka_unit_test(test_suspended_while_streaming),
                cmocka_unit_test(test_suspended_while_waiting),
                cmocka_unit_test(test_full_pipe_by_https),
                cmocka_unit_test(test_redelivered_in_pieces),
                cmocka_unit_test(test_full_pipe_by_mqtt),
                cmocka_unit_test(test_pipe_full_for_too_long),
                cmocka_unit_test(test_pipe_full_for_too_long_by_mqtt),
                cmocka_unit_test(test_full_pipe_and_a_suspension),
                cmocka_unit_test(test_pipe_breaks_by_https),
                cmocka_unit_test(test_pipe_breaks_by_mqtt),
                cmocka_unit_test(test_paced_https),
                cmocka_unit_test(test_pace_is_kept),
                cmocka_unit_test(test_stats),
                cmocka_unit_test(test_retry_after),
                cmocka_unit_test(test_offsets_that_cannot_be),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
