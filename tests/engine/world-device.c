#include "stream-sim.h"
#include "world-private.h"

enum { CHUNK_BYTES = 300, PIPE_BYTES = 200 };

/* -- the image store -------------------------------------------------------------------------------------------- */

void sim_op_http_prepare(void *userdata)
{
        World *w = userdata;

        assert_true(w->call_under_way); /* there is time */
        w->n_prepared++;
}

void sim_op_http_start(const char *url, uint64_t first_byte, uint64_t total_bytes, const char *etag, void *userdata)
{
        World *w = userdata;

        sim_act(w);
        sim_trace(w, "  http from %" PRIu64 " of %" PRIu64, first_byte, total_bytes);
        assert_false(w->fetching);
        assert_true(first_byte < total_bytes);
        w->fetching = true;
        w->paused = false;
        w->fetch_at = first_byte;
        w->fetch_end = total_bytes;
        sim_push(w, SIM_DATA)->life = ++w->fetch;
}

void sim_op_http_resume(void *userdata)
{
        World *w = userdata;

        sim_act(w);
        assert_true(w->fetching && w->paused);
        w->paused = false;
        sim_push(w, SIM_DATA)->life = w->fetch;
}

void sim_op_http_cancel(void *userdata)
{
        World *w = userdata;

        sim_act(w);
        w->fetching = false;
        w->fetch++;
}

void sim_end_fetch(World *w, FailureReason reason)
{
        Failure failure = {.reason = reason, .detail = "the store says no"};

        w->fetching = false;
        engine_on_http_done(w->engine, reason == FAILURE_NONE ? NULL : &failure, 0, w->now_usec);
}

void sim_on_data(World *w)
{
        uint64_t n = MIN2((uint64_t)CHUNK_BYTES, w->fetch_end - w->fetch_at);
        unsigned fetch = w->fetch;
        SimEvent *event;
        int r;

        if (w->silent)
                return;
        if (w->expired) {
                w->expired = false;
                sim_end_fetch(w, FAILURE_URL_EXPIRED);
                return;
        }
        r = engine_on_http_data(w->engine, stream_sim_bytes(w->fetch_at), (size_t)n, w->now_usec);
        if (r == -EAGAIN) {
                w->paused = true;
        } else {
                w->fetch_at += r < 0 ? 0 : n;
                event = sim_push(w, r < 0 || w->fetch_at == w->fetch_end ? SIM_DATA_END : SIM_DATA);
                event->life = fetch;
                event->failed = r < 0;
        }
}

/* -- otad-installer --------------------------------------------------------------------------------------------- */

static void set_error(LinkError *error, LinkErrorKind kind, FailureReason reason)
{
        *error = (LinkError){.kind = kind, .failure = {.reason = reason, .detail = "the installer says no"}};
}

static SimEvent *push_call(World *w, InstallCall call)
{
        SimEvent *event;

        sim_act(w);
        sim_trace(w, "  call %d", call);
        if (w->call_under_way)
                world_fail(w, "two calls at once");
        if (!w->device.up)
                world_fail(w, "a call while the installer is down");
        w->call_under_way = true;
        w->n_calls[call]++;
        event = sim_push(w, SIM_CALL);
        event->call = call;
        return event;
}

void sim_op_call(InstallCall call, void *userdata)
{
        (void)push_call(userdata, call);
}

void sim_op_begin(const LinkBegin *begin, void *userdata)
{
        assert_true(begin->session[0] && begin->job_id[0] && begin->n_files > 0);
        assert_string_equal(begin->files[0].cert, "signer");
        push_call(userdata, INSTALL_CALL_BEGIN)->begin = sim_copy(begin, sizeof(*begin));
}

void sim_op_write(unsigned file, uint64_t offset, void *userdata)
{
        SimEvent *event = push_call(userdata, INSTALL_CALL_WRITE);

        event->file = file;
        event->offset = offset;
}

void sim_op_roll_back(const Failure *why, void *userdata)
{
        assert_true(failure_is_set(why));
        push_call(userdata, INSTALL_CALL_ROLL_BACK)->failure = *why;
}

void sim_drain(World *w)
{
        SimDevice *d = &w->device;

        if (w->takes_nothing)
                return;
        if (d->pipe_open)
                d->state.files[d->pipe_file].written_bytes = d->written_at;
        d->pipe_bytes = 0;
}

ssize_t sim_op_data_write(const uint8_t *data, size_t n_data, void *userdata)
{
        World *w = userdata;
        SimDevice *d = &w->device;
        size_t n;

        sim_act(w);
        if (!d->pipe_open)
                return -EPIPE;
        n = MIN2(n_data, PIPE_BYTES - d->pipe_bytes);
        if (memcmp(data, stream_sim_bytes(d->written_at), n) != 0)
                world_fail(w, "other bytes than those of byte %" PRIu64, d->written_at);
        if (d->pipe_bytes == 0 && n > 0)
                (void)sim_push(w, SIM_DRAIN);
        d->pipe_bytes += n;
        d->written_at += n;
        d->wants_writable |= n < n_data;
        return (ssize_t)n;
}

void sim_op_data_close(void *userdata)
{
        World *w = userdata;

        sim_act(w);
        sim_drain(w);
        w->device.pipe_open = false;
        w->device.wants_writable = false;
}

static void enter(World *w, UpdateState state)
{
        w->device.state.state = state;
        sim_trace(w, "device: %s", update_state_to_string(state));
        sim_push(w, SIM_STATE)->state = sim_copy(&w->device.state, sizeof(LinkState));
}

/* The installer ends the session by itself, as install/session.h describes it. */
void sim_end_session(World *w, const Failure *why)
{
        SimDevice *d = &w->device;

        d->pipe_open = false;
        if (d->state.state == UPDATE_STATE_IDLE)
                return;
        d->state.failure = *why;
        if (d->state.state < UPDATE_STATE_ACTIVATING) {
                enter(w, UPDATE_STATE_ROLLED_BACK);
        } else {
                bool boots = d->ab && d->state.state == UPDATE_STATE_TESTING;

                d->state.reboot_needed = boots;
                enter(w, UPDATE_STATE_ROLLING_BACK);
                w->device.next = boots ? SIM_DEVICE_REBOOTS : SIM_DEVICE_ROLLS_BACK;
        }
}

static bool begin(SimDevice *d, const LinkBegin *begin, LinkOffsets *offsets)
{
        if (!d->state.session[0]) {
                snprintf(d->state.session, sizeof(d->state.session), "%s", begin->session);
                snprintf(d->state.job_id, sizeof(d->state.job_id), "%s", begin->job_id);
                d->state.attempt = begin->attempt;
                d->state.n_files = begin->n_files;
                memset(d->state.files, 0, sizeof(d->state.files));
                for (size_t i = 0; i < begin->n_files; i++)
                        d->state.files[i].size_bytes = begin->files[i].size_bytes;
                d->state.failure = (Failure){0};
                d->state.state = UPDATE_STATE_DOWNLOADING;
        }
        if (strcmp(d->state.session, begin->session) != 0 || d->state.state > UPDATE_STATE_INSTALLED)
                return false;
        offsets->n_files = d->state.n_files;
        for (size_t i = 0; i < d->state.n_files; i++)
                offsets->resume_bytes[i] = d->state.files[i].written_bytes;
        return true;
}

static bool open_pipe(SimDevice *d, unsigned file, uint64_t offset)
{
        if (d->state.state != UPDATE_STATE_DOWNLOADING || file >= d->state.n_files ||
            offset > d->state.files[file].written_bytes)
                return false;
        d->pipe_open = true;
        d->pipe_file = file;
        d->written_at = offset;
        d->pipe_bytes = 0;
        return true;
}

static bool is_complete(const SimDevice *d)
{
        for (size_t i = 0; i < d->state.n_files; i++)
                if (d->state.files[i].written_bytes != d->state.files[i].size_bytes)
                        return false;
        return true;
}

/* The final status must not get lost any more. */
static void check_release(World *w)
{
        const LinkState *s = &w->device.state;
        SimJob *job = sim_find_execution(w, s->job_id, (long)s->attempt);

        if (s->state != UPDATE_STATE_IDLE && job && !job_status_is_terminal(job->status) &&
            !folder_has(&w->folder, "outbox"))
                world_fail(w, "released before the final status was on disk");
}

/* False: out of turn. */
static bool execute(World *w, SimEvent *event, SimEvent *answer)
{
        SimDevice *d = &w->device;
        UpdateState state = d->state.state;

        switch (event->call) {
        case INSTALL_CALL_GET_STATE:
                return true;
        case INSTALL_CALL_BEGIN:
                if (!begin(d, event->begin, &answer->offsets))
                        return false;
                if (state == UPDATE_STATE_IDLE)
                        enter(w, UPDATE_STATE_DOWNLOADING);
                return true;
        case INSTALL_CALL_WRITE:
                return open_pipe(d, event->file, event->offset);
        case INSTALL_CALL_VERIFY:
                if ((state != UPDATE_STATE_DOWNLOADING && state != UPDATE_STATE_VERIFYING) || !is_complete(d))
                        return false;
                enter(w, UPDATE_STATE_VERIFYING);
                enter(w, UPDATE_STATE_INSTALLED);
                return true;
        case INSTALL_CALL_ACTIVATE:
                if (state != UPDATE_STATE_INSTALLED)
                        return state == UPDATE_STATE_ACTIVATING;
                d->state.reboot_needed = d->ab;
                enter(w, UPDATE_STATE_ACTIVATING);
                if (!d->ab)
                        enter(w, UPDATE_STATE_TESTING);
                return true;
        case INSTALL_CALL_REBOOT:
                if (state != UPDATE_STATE_ACTIVATING || !d->state.reboot_needed)
                        return false;
                if (w->connected)
                        world_fail(w, "a reboot without a goodbye");
                if (d->reboot_asked_usec == 0 && !w->reboot_never_comes)
                        d->next = SIM_DEVICE_REBOOTS;
                d->reboot_asked_usec = w->now_usec;
                return true;
        case INSTALL_CALL_SELF_TEST:
                d->tested = state == UPDATE_STATE_TESTING;
                return d->tested;
        case INSTALL_CALL_COMMIT:
                if (state != UPDATE_STATE_TESTING || !d->tested)
                        return false;
                enter(w, UPDATE_STATE_COMMITTED);
                return true;
        case INSTALL_CALL_ROLL_BACK:
                if (state == UPDATE_STATE_COMMITTED)
                        return false;
                if (state != UPDATE_STATE_ROLLING_BACK && state != UPDATE_STATE_ROLLED_BACK)
                        sim_end_session(w, &event->failure);
                return true;
        case INSTALL_CALL_RELEASE:
                if (state != UPDATE_STATE_COMMITTED && state != UPDATE_STATE_ROLLED_BACK)
                        return state == UPDATE_STATE_IDLE;
                check_release(w);
                d->state = (LinkState){.selftest_left_usec = USEC_INFINITY};
                d->tested = false;
                d->reboot_asked_usec = 0;
                strcpy(d->state.version, "2.0.0");
                enter(w, UPDATE_STATE_IDLE);
                return true;
        case INSTALL_CALL_NONE:
        case _INSTALL_CALL_MAX:
                break;
        }
        fail_msg("no such call");
        return false;
}

/* What the installer does without being asked comes after its answer. */
void sim_go_on_alone(World *w)
{
        SimDeviceNext next = w->device.next;

        w->device.next = SIM_DEVICE_STAYS;
        if (next != SIM_DEVICE_STAYS)
                (void)sim_push(w, next == SIM_DEVICE_REBOOTS ? SIM_REBOOT : SIM_ROLLED_BACK);
}

void sim_on_call(World *w, SimEvent *event)
{
        SimEvent *answer = calloc(1, sizeof(*answer));

        assert_non_null(answer);
        answer->kind = SIM_ANSWER;
        answer->call = event->call;
        if (w->n_bad > 0 && event->call == w->bad_call) {
                w->n_bad--;
                answer->failed = true;
                set_error(&answer->error, w->bad_kind, w->bad_reason);
                if (w->bad_kind == LINK_ERROR_FAILED && event->call != INSTALL_CALL_GET_STATE &&
                    event->call != INSTALL_CALL_ROLL_BACK && event->call != INSTALL_CALL_RELEASE)
                        sim_end_session(w, &answer->error.failure);
        } else if (!execute(w, event, answer)) {
                w->n_out_of_turn++;
                answer->failed = true;
                set_error(&answer->error, LINK_ERROR_OUT_OF_TURN, FAILURE_INSTALLER);
        }
        answer->state = sim_copy(&w->device.state, sizeof(LinkState));
        *w->last = answer;
        w->last = &answer->next;
        sim_go_on_alone(w);
}

void sim_on_answer(World *w, const SimEvent *event)
{
        w->call_under_way = false;
        engine_on_call_done(w->engine, event->call, event->failed ? &event->error : NULL, &event->offsets,
                            event->state, w->now_usec);
}

void sim_roll_back_ends(World *w)
{
        if (w->device.state.state != UPDATE_STATE_ROLLING_BACK)
                return;
        w->device.state.reboot_needed = false;
        enter(w, UPDATE_STATE_ROLLED_BACK);
}
