#include "agent-private.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/file-util.h"
#include "base/log.h"
#include "base/time-util.h"

void agent_op_data_close(void *userdata)
{
        Agent *a = userdata;

        a->data_bell = sd_event_source_disable_unref(a->data_bell);
        a->data = data_pipe_free(a->data);
        a->data_full = false;
}

static int on_data_bell(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
        Agent *a = userdata;

        if (!data_pipe_on_bell(a->data))
                (void)sd_event_source_set_enabled(a->data_bell, SD_EVENT_OFF);
        if (!a->data_full)
                return 0;
        a->data_full = false;
        engine_on_data_writable(a->engine, now_usec());
        agent_after_event(a);
        return 0;
}

ssize_t agent_op_data_write(const uint8_t *data, size_t n_data, void *userdata)
{
        Agent *a = userdata;
        ssize_t n;

        if (!a->data)
                return -EPIPE;
        n = data_pipe_write(a->data, data, n_data);
        if (n == -EAGAIN)
                n = 0;
        a->data_full = n >= 0 && (size_t)n < n_data;
        return n;
}

static void finish_call(Agent *a, const LinkError *error, const LinkOffsets *offsets, const LinkState *state)
{
        InstallCall call = a->call;

        a->call = INSTALL_CALL_NONE;
        engine_on_call_done(a->engine, call, error, offsets, state, now_usec());
        agent_after_event(a);
}

static void on_link_done(const LinkError *error, void *userdata)
{
        finish_call(userdata, error, NULL, NULL);
}

static void on_link_activated(const LinkError *error, bool reboot_needed, void *userdata)
{
        finish_call(userdata, error, NULL, NULL);
}

static void on_link_state_read(const LinkError *error, const LinkState *state, void *userdata)
{
        finish_call(userdata, error, NULL, state);
}

static void on_link_begun(const LinkError *error, const LinkOffsets *offsets, void *userdata)
{
        finish_call(userdata, error, offsets, NULL);
}

static void on_link_write(const LinkError *error, DataPipe *pipe, void *userdata)
{
        Agent *a = userdata;
        LinkError failed;
        int r;

        if (!error) {
                agent_op_data_close(a);
                a->data = pipe;
                r = sd_event_add_io(a->event, &a->data_bell, data_pipe_fd(pipe), EPOLLIN, on_data_bell, a);
                if (r < 0) {
                        agent_op_data_close(a);
                        link_error_set(&failed, LINK_ERROR_FAILED, FAILURE_RESOURCES, strerror(-r));
                        error = &failed;
                }
        }
        finish_call(a, error, NULL, NULL);
}

static void note_call(Agent *a, InstallCall call, int r)
{
        a->call = call;
        if (r >= 0)
                return;
        a->deferred_call = true;
        agent_defer(a);
}

void agent_op_call(InstallCall call, void *userdata)
{
        Agent *a = userdata;
        int r = -EINVAL;

        switch (call) {
        case INSTALL_CALL_GET_STATE:
                r = link_client_get_state(a->link, on_link_state_read, a);
                break;
        case INSTALL_CALL_VERIFY:
                r = link_client_verify(a->link, on_link_done, a);
                break;
        case INSTALL_CALL_ACTIVATE:
                r = link_client_activate(a->link, on_link_activated, a);
                break;
        case INSTALL_CALL_REBOOT:
                r = link_client_reboot(a->link, on_link_done, a);
                break;
        case INSTALL_CALL_SELF_TEST:
                r = link_client_self_test(a->link, on_link_done, a);
                break;
        case INSTALL_CALL_COMMIT:
                r = link_client_commit(a->link, on_link_done, a);
                break;
        case INSTALL_CALL_RELEASE:
                r = link_client_release(a->link, on_link_done, a);
                break;
        case INSTALL_CALL_BEGIN:
        case INSTALL_CALL_WRITE:
        case INSTALL_CALL_ROLL_BACK:
        case INSTALL_CALL_NONE:
        case _INSTALL_CALL_MAX:
                assert(false); /* those with arguments have ops of their own */
        }
        note_call(a, call, r);
}

void agent_op_begin(const LinkBegin *begin, void *userdata)
{
        Agent *a = userdata;

        note_call(a, INSTALL_CALL_BEGIN, link_client_begin(a->link, begin, on_link_begun, a));
}

void agent_op_write(unsigned file, uint64_t offset, void *userdata)
{
        Agent *a = userdata;

        note_call(a, INSTALL_CALL_WRITE, link_client_write(a->link, file, offset, on_link_write, a));
}

void agent_op_roll_back(const Failure *why, void *userdata)
{
        Agent *a = userdata;

        note_call(a, INSTALL_CALL_ROLL_BACK, link_client_roll_back(a->link, why, on_link_done, a));
}

static void on_link_history(const LinkError *error, const LinkHistoryEntry *entries, size_t n_entries, void *userdata)
{
        Agent *a = userdata;

        a->history_asked = false;
        if (a->control)
                control_on_history(a->control, error ? &error->failure : NULL, entries, n_entries);
}

int agent_control_get_history(void *userdata)
{
        Agent *a = userdata;
        int r;

        if (a->history_asked)
                return 0;
        r = link_client_get_history(a->link, on_link_history, a);
        a->history_asked = r >= 0;
        return r;
}

static void on_link_up(const LinkState *state, void *userdata)
{
        Agent *a = userdata;

        log_info("Connected to otad-installer, its state is %s", update_state_to_string(state->state));
        engine_on_device_up(a->engine, state, now_usec());
        agent_after_event(a);
}

static void on_link_rest(void *userdata)
{
        Agent *a = userdata;

        engine_on_device_rest(a->engine, now_usec());
        agent_after_event(a);
}

static void on_link_down(const Failure *failure, void *userdata)
{
        Agent *a = userdata;

        log_warning("Lost otad-installer: %s; connecting again", failure->detail);
        a->call = INSTALL_CALL_NONE;
        a->deferred_call = false;
        engine_on_device_down(a->engine, failure, now_usec());
        agent_after_event(a);
}

static void on_link_progress(const LinkProgress *progress, void *userdata)
{
        Agent *a = userdata;

        engine_on_device_progress(a->engine, progress, now_usec());
}

static void on_link_state(const LinkState *state, void *userdata)
{
        Agent *a = userdata;

        engine_on_device_state(a->engine, state, now_usec());
        agent_after_event(a);
}

static const LinkClientOps link_ops = {
        .on_up = on_link_up,
        .on_rest = on_link_rest,
        .on_down = on_link_down,
        .on_progress = on_link_progress,
        .on_state = on_link_state,
};

int agent_start_link(Agent *a)
{
        LinkClientParams params = {0};
        char path[256];

        snprintf(path, sizeof(path), "%s/installer.sock", a->config->paths.runtime);
        params.socket_path = path;
        return link_client_new(a->event, &params, &link_ops, a, &a->link);
}
