#include "download-private.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/log.h"
#include "base/time-util.h"

/*
 * AWS IoT closes the connection on a subscription or a request that the policy does not allow, within a round trip, and
 * MQTT 3.1.1 has no word for why. So does a network that drops connections, or somebody else of our name, but hardly so often
 * in a row before the first block.
 */
enum { LOST_MAX = 8, LOST_SOON_USEC = 30 * 1000 * 1000 };

static void stream_filters(Download *d, char filters[static 3][TOPIC_MAX + 1], const char *list[static 3])
{
        static const TopicForm forms[] = {TOPIC_FORM_STREAM_DATA, TOPIC_FORM_STREAM_REJECTED,
                                          TOPIC_FORM_STREAM_DESCRIPTION};

        for (size_t i = 0; i < ELEMENTSOF(forms); i++) {
                /* Both names were checked when they were parsed, and that they fit together by is_offered(). */
                int r = topic_format(d->params.thing_name, forms[i], d->document->stream_name, filters[i]);

                assert(r >= 0);
                list[i] = filters[i];
        }
}

void download_stream_unsubscribe(Download *d)
{
        char filters[3][TOPIC_MAX + 1];
        const char *list[3];

        if (!d->subscribed)
                return;
        d->subscribed = false;
        stream_filters(d, filters, list);
        d->world->unsubscribe(list, 3, d->world_userdata);
}

static void on_stream_request(const StreamRequest *request, void *userdata)
{
        uint8_t buffer[STREAM_REQUEST_MAX_BYTES];
        Download *d = userdata;
        char topic[TOPIC_MAX + 1];
        size_t n;
        int r;

        r = topic_format(d->params.thing_name, TOPIC_FORM_STREAM_GET, d->document->stream_name, topic);
        if (r >= 0)
                r = stream_request_format(request, buffer, sizeof(buffer), &n);
        if (r < 0)
                log_error_errno(r, "Cannot make a request for blocks from %" PRIu32 ", asking again later: %m",
                                request->first_block);
        else
                d->world->publish(topic, buffer, n, 0, d->world_userdata);
}

static void on_stream_describe(const char *token, void *userdata)
{
        uint8_t buffer[STREAM_DESCRIBE_MAX_BYTES];
        Download *d = userdata;
        char topic[TOPIC_MAX + 1];
        size_t n;

        if (topic_format(d->params.thing_name, TOPIC_FORM_STREAM_DESCRIBE, d->document->stream_name, topic) >= 0 &&
            stream_describe_format(token, buffer, sizeof(buffer), &n) >= 0)
                d->world->publish(topic, buffer, n, 0, d->world_userdata);
}

static ssize_t on_stream_deliver(const uint8_t *data, size_t n_data, void *userdata)
{
        Download *d = userdata;
        ssize_t n = download_hand_on(d, data, n_data, d->event_usec);

        /* The stream has fallen silent; it is freed with the download, for it is still on the stack. */
        if (n < 0)
                download_on_pipe_gone(d, d->event_usec);
        return n;
}

static void on_stream_done(const Failure *failure, void *userdata)
{
        Download *d = userdata;

        if (failure)
                download_on_failure(d, failure, 0, d->event_usec);
        else
                download_file_complete(d, d->event_usec);
}

static const StreamFetchOps stream_ops = {
        .request = on_stream_request,
        .describe = on_stream_describe,
        .deliver = on_stream_deliver,
        .done = on_stream_done,
};

void download_stream_lost(Download *d, uint64_t now_usec)
{
        bool at_work = d->phase == PHASE_SUBSCRIBING || d->stream;

        if (at_work && !d->stream_answers && usec_sub(now_usec, d->stream_since_usec) <= LOST_SOON_USEC)
                d->n_streams_lost++;
}

static void start_fetch(Download *d, uint64_t now_usec)
{
        StreamFetchParams params = {
                .file_id = download_current(d)->file_id,
                .size_bytes = download_current(d)->size_bytes,
                .first_byte = *download_held(d),
                .block_bytes = d->params.block_bytes,
                .window_bytes = d->params.window_bytes,
                .aws_limits = d->params.aws_limits,
                .max_bytes_per_sec = d->params.max_bytes_per_sec,
                .stall_usec = d->params.stall_usec,
        };
        Failure failure;
        int r;

        download_stop_fetching(d);
        d->phase = PHASE_FETCHING;
        d->event_usec = now_usec;
        r = stream_fetch_new(&params, &stream_ops, d, &d->stream);
        if (r < 0) {
                (void)fail(&failure, FAILURE_RESOURCES, -r, "cannot prepare the download by stream: %s",
                           strerror(-r));
                download_on_failure(d, &failure, 0, now_usec);
                return;
        }
        stream_fetch_start(d->stream, now_usec);
}

void download_stream_start(Download *d, uint64_t now_usec)
{
        char filters[3][TOPIC_MAX + 1];
        const char *list[3];
        Failure failure;

        if (d->n_streams_lost >= LOST_MAX) {
                (void)fail(&failure, FAILURE_STREAM_REFUSED, EACCES,
                           "the connection ended %u times in a row instead of an answer to stream '%s', as it does "
                           "where the policy does not allow it",
                           d->n_streams_lost, d->document->stream_name);
                download_on_failure(d, &failure, 0, now_usec);
                return;
        }
        d->stream_since_usec = now_usec;
        d->stream_answers = false;
        if (d->subscribed) {
                start_fetch(d, now_usec);
                return;
        }
        d->phase = PHASE_SUBSCRIBING;
        d->subscribe_deadline_usec = usec_add(now_usec, d->params.stall_usec);
        stream_filters(d, filters, list);
        d->world->subscribe(list, 3, d->world_userdata);
}

void download_on_subscribed(Download *d, bool granted, uint64_t now_usec)
{
        Failure failure;

        if (d->phase != PHASE_SUBSCRIBING)
                return;
        if (granted) {
                d->subscribed = true;
                start_fetch(d, now_usec);
                return;
        }
        (void)fail(&failure, FAILURE_STREAM_REFUSED, EACCES, "the broker refused the subscription to stream '%s'",
                   d->document->stream_name);
        download_on_failure(d, &failure, 0, now_usec);
}

static bool is_our_stream(const Download *d, const char *stream)
{
        return d->stream && d->document->stream_name && strcmp(stream, d->document->stream_name) == 0;
}

/* Whatever it says: who is answered may ask. */
static void note_answer(Download *d)
{
        d->stream_answers = true;
        d->n_streams_lost = 0;
}

void download_on_stream_block(Download *d, const char *stream, const StreamBlock *block, uint64_t now_usec)
{
        d->event_usec = now_usec;
        if (!is_our_stream(d, stream))
                return;
        note_answer(d);
        stream_fetch_on_block(d->stream, block, now_usec);
}

void download_on_stream_rejection(Download *d, const char *stream, const StreamRejection *rejection,
                                  uint64_t now_usec)
{
        d->event_usec = now_usec;
        if (!is_our_stream(d, stream))
                return;
        note_answer(d);
        stream_fetch_on_rejection(d->stream, rejection, now_usec);
}

void download_on_stream_description(Download *d, const char *stream, const StreamDescription *description,
                                    uint64_t now_usec)
{
        d->event_usec = now_usec;
        if (is_our_stream(d, stream))
                stream_fetch_on_description(d->stream, description, now_usec);
}
