/* Client and server on one loop: calls, errors, signals, descriptors; a server that hangs, dies, comes back. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/data-pipe.h"
#include "base/time-util.h"
#include "begin-same.h"
#include "link/link-client.h"
#include "link/link-server.h"

/* last: it has a macro called fail */
#include <cmocka.h>

typedef struct End {
        unsigned n_up, n_rest, n_down, n_progress, n_state, n_done;
        LinkErrorKind kind;
        Failure failure;
        bool failed;
        bool reboot_needed;
        DataPipe *pipe;
        LinkOffsets offsets;
        UpdateState state;
} End;

typedef struct Fixture {
        sd_event *event;
        char folder[64], path[96];
        LinkServer *server;
        LinkReply *held; /* Verify() is answered later */
        LinkBegin begun;
        Failure why;
        DataPipe *pipe;
        const void *peer; /* of the last GetHistory() */
        unsigned n_gone;
} Fixture;

/* ---- server ---- */

static void op_get_state(LinkState *ret, void *userdata)
{
        ret->state = UPDATE_STATE_TESTING;
        strcpy(ret->session, "J#1");
}

static void op_begin(LinkReply *reply, const LinkBegin *begin, void *userdata)
{
        Fixture *f = userdata;
        LinkOffsets offsets = {.n_files = begin->n_files, .resume_bytes = {4096, 0}};

        f->begun = *begin;
        link_reply_offsets(reply, &offsets);
}

static void op_write(LinkReply *reply, unsigned file, uint64_t offset, void *userdata)
{
        Fixture *f = userdata;
        int fd;

        assert_int_equal(file, 1);
        assert_int_equal(offset, 77);
        assert_int_equal(data_pipe_new(4096, &f->pipe, &fd), 0);
        link_reply_fd(reply, fd);
        close(fd);
}

static void op_verify(LinkReply *reply, void *userdata)
{
        ((Fixture *)userdata)->held = reply;
}

static void op_activate(LinkReply *reply, void *userdata)
{
        link_reply_reboot_needed(reply, true);
}

static void op_reboot(LinkReply *reply, void *userdata)
{
        link_reply_error(reply, LINK_ERROR_NOT_NOW, FAILURE_HOOK_NOT_NOW, "pump is running");
}

static void op_self_test(LinkReply *reply, void *userdata)
{
        link_reply_error(reply, LINK_ERROR_FAILED, FAILURE_VERSION_SAME, "1.0 again");
}

static void op_commit(LinkReply *reply, void *userdata)
{
        link_reply_ok(reply);
}

static void op_roll_back(LinkReply *reply, const Failure *why, void *userdata)
{
        ((Fixture *)userdata)->why = *why;
        link_reply_ok(reply);
}

static void op_release(LinkReply *reply, void *userdata)
{
        link_reply_error(reply, LINK_ERROR_OUT_OF_TURN, FAILURE_INSTALLER, "not finished");
}

static void op_revert(LinkReply *reply, const LinkRevert *revert, void *userdata)
{
        assert_string_equal(revert->session, "local#rollback-1");
        assert_int_equal(revert->n_targets, 1);
        assert_int_equal(link_reply_uid(reply), geteuid());
        link_reply_error(reply, LINK_ERROR_NOTHING, FAILURE_INSTALLER, "slot B is bad");
}

static void op_get_history(LinkReply *reply, void *userdata)
{
        Fixture *f = userdata;
        LinkHistoryEntry entry = {.attempt = 1, .size_bytes = UINT64_C(1) << 40};

        f->peer = link_reply_peer(reply);
        assert_true(link_server_has_peer(f->server, f->peer));
        strcpy(entry.session, "JOB#1");
        strcpy(entry.job_id, "JOB");
        strcpy(entry.operation, "update");
        strcpy(entry.targets, "rootfs,app");
        strcpy(entry.result, "committed");
        link_reply_history(reply, &entry, 1);
}

static void op_peer_gone(const void *peer, void *userdata)
{
        Fixture *f = userdata;

        assert_false(link_server_has_peer(f->server, peer));
        f->n_gone += peer == f->peer;
}

static const LinkServerOps server_ops = {
        .get_state = op_get_state,
        .begin = op_begin,
        .write = op_write,
        .verify = op_verify,
        .activate = op_activate,
        .reboot = op_reboot,
        .self_test = op_self_test,
        .commit = op_commit,
        .roll_back = op_roll_back,
        .release = op_release,
        .revert = op_revert,
        .get_history = op_get_history,
        .peer_gone = op_peer_gone,
};

/* ---- client ---- */

static void on_history(const LinkError *error, const LinkHistoryEntry *entries, size_t n_entries, void *userdata)
{
        End *end = userdata;

        end->failed = error != NULL;
        end->n_done++;
        assert_int_equal(n_entries, 1);
        assert_string_equal(entries[0].targets, "rootfs,app");
        assert_int_equal(entries[0].size_bytes, UINT64_C(1) << 40);
}

static void on_up(const LinkState *state, void *userdata)
{
        ((End *)userdata)->n_up++;
        ((End *)userdata)->state = state->state;
}

static void on_rest(void *userdata)
{
        ((End *)userdata)->n_rest++;
}

static void on_down(const Failure *failure, void *userdata)
{
        assert_int_equal(failure->reason, FAILURE_INSTALLER);
        ((End *)userdata)->n_down++;
}

static void on_progress(const LinkProgress *progress, void *userdata)
{
        assert_int_equal(progress->written_bytes, 5);
        ((End *)userdata)->n_progress++;
}

static void on_state(const LinkState *state, void *userdata)
{
        ((End *)userdata)->n_state++;
        ((End *)userdata)->state = state->state;
}

static const LinkClientOps client_ops = {
        .on_up = on_up, .on_rest = on_rest, .on_down = on_down, .on_progress = on_progress, .on_state = on_state};

static void note(End *end, const LinkError *error)
{
        end->n_done++;
        end->failed = error != NULL;
        if (error) {
                end->kind = error->kind;
                end->failure = error->failure;
        }
}

static void on_done(const LinkError *error, void *userdata)
{
        note(userdata, error);
}

static void on_begin(const LinkError *error, const LinkOffsets *offsets, void *userdata)
{
        note(userdata, error);
        if (offsets)
                ((End *)userdata)->offsets = *offsets;
}

static void on_write(const LinkError *error, DataPipe *pipe, void *userdata)
{
        note(userdata, error);
        ((End *)userdata)->pipe = pipe;
}

static void on_activate(const LinkError *error, bool reboot_needed, void *userdata)
{
        note(userdata, error);
        ((End *)userdata)->reboot_needed = reboot_needed;
}

static void on_get_state(const LinkError *error, const LinkState *state, void *userdata)
{
        note(userdata, error);
        if (state)
                ((End *)userdata)->state = state->state;
}

/* ---- both ---- */

static void start_server(Fixture *f)
{
        PeerBusParams params = {
                .name = "test", .path = f->path, .mode = 0600, .listen_fd = -1, .peer_uid = PEER_BUS_NO_UID};

        assert_int_equal(link_server_new(f->event, &params, &server_ops, f, &f->server), 0);
}

static int set_up(void **state)
{
        Fixture *f = calloc(1, sizeof(*f));

        strcpy(f->folder, "/tmp/otad-link-XXXXXX");
        assert_non_null(mkdtemp(f->folder));
        (void)snprintf(f->path, sizeof(f->path), "%s/sock", f->folder);
        assert_true(sd_event_new(&f->event) >= 0);
        *state = f;
        return 0;
}

static int tear_down(void **state)
{
        Fixture *f = *state;

        link_server_free(f->server);
        (void)rmdir(f->folder);
        sd_event_unref(f->event);
        free(f);
        return 0;
}

static LinkClient *start_client(Fixture *f, End *end, uint64_t silence_usec)
{
        LinkClientParams params = {
                .socket_path = f->path,
                .silence_usec = silence_usec,
                .rest_usec = 100 * USEC_PER_MSEC,
                .backoff_base_usec = 20 * USEC_PER_MSEC,
                .backoff_cap_usec = 50 * USEC_PER_MSEC,
        };
        LinkClient *client;

        memset(end, 0, sizeof(*end));
        assert_int_equal(link_client_new(f->event, &params, &client_ops, end, &client), 0);
        return client;
}

static void turn_until(Fixture *f, const unsigned *counter, unsigned n)
{
        uint64_t deadline = now_usec() + 60 * USEC_PER_SEC;

        while (*counter < n && now_usec() < deadline)
                assert_true(sd_event_run(f->event, 50000) >= 0);
        assert_int_equal(*counter, n);
}

static void test_calls(void **state)
{
        Fixture *f = *state;
        LinkBegin begin = {.session = "J#1", .job_id = "J", .attempt = 1, .n_files = 2};
        LinkRevert revert = {.session = "local#rollback-1", .n_targets = 1, .targets = {"rootfs"}};
        LinkClient *client;
        Failure why;
        char byte;
        End end;

        start_server(f);
        client = start_client(f, &end, 0);
        assert_int_equal(link_client_commit(client, on_done, &end), -ENOTCONN);
        turn_until(f, &end.n_up, 1);
        assert_int_equal(end.state, UPDATE_STATE_TESTING);

        strcpy(begin.files[0].target, "rootfs");
        strcpy(begin.files[1].target, "app");
        begin.files[0].size_bytes = begin.files[1].size_bytes = 10000;
        assert_int_equal(link_client_begin(client, &begin, on_begin, &end), 0);
        turn_until(f, &end.n_done, 1);
        assert_false(end.failed);
        assert_int_equal(end.offsets.n_files, 2);
        assert_int_equal(end.offsets.resume_bytes[0], 4096);
        assert_true(begin_is_same(&begin, &f->begun));

        assert_int_equal(link_client_write(client, 1, 77, on_write, &end), 0);
        turn_until(f, &end.n_done, 2);
        assert_false(end.failed);
        assert_true(fcntl(data_pipe_fd(end.pipe), F_GETFD) & FD_CLOEXEC);
        assert_int_equal(data_pipe_write(end.pipe, "x", 1), 1);
        assert_int_equal(data_pipe_look(f->pipe), 1);
        data_pipe_read(f->pipe, &byte, 1);
        assert_int_equal(byte, 'x');
        data_pipe_free(end.pipe);
        /* No copy of the writing end is left open anywhere, or the end of the data would never be seen. */
        assert_true(sd_event_run(f->event, 0) >= 0);
        assert_false(data_pipe_on_bell(f->pipe));
        assert_int_equal(data_pipe_look(f->pipe), 0);
        data_pipe_free(f->pipe);

        assert_int_equal(link_client_activate(client, on_activate, &end), 0);
        turn_until(f, &end.n_done, 3);
        assert_true(end.reboot_needed);
        assert_int_equal(link_client_reboot(client, on_done, &end), 0);
        turn_until(f, &end.n_done, 4);
        assert_int_equal(end.kind, LINK_ERROR_NOT_NOW);
        assert_string_equal(end.failure.detail, "pump is running");
        assert_int_equal(link_client_self_test(client, on_done, &end), 0);
        turn_until(f, &end.n_done, 5);
        assert_int_equal(end.failure.reason, FAILURE_VERSION_SAME);
        assert_int_equal(link_client_commit(client, on_done, &end), 0);
        turn_until(f, &end.n_done, 6);
        assert_false(end.failed);
        failure_set(&why, FAILURE_CANCELLED_LOCALLY, "a person said so");
        assert_int_equal(link_client_roll_back(client, &why, on_done, &end), 0);
        turn_until(f, &end.n_done, 7);
        assert_int_equal(f->why.reason, FAILURE_CANCELLED_LOCALLY);
        assert_int_equal(link_client_release(client, on_done, &end), 0);
        turn_until(f, &end.n_done, 8);
        assert_int_equal(end.kind, LINK_ERROR_OUT_OF_TURN);
        assert_int_equal(link_client_get_state(client, on_get_state, &end), 0);
        turn_until(f, &end.n_done, 9);
        assert_false(end.failed);
        assert_int_equal(link_client_revert(client, &revert, on_done, &end), 0);
        turn_until(f, &end.n_done, 10);
        assert_int_equal(end.kind, LINK_ERROR_NOTHING);
        assert_string_equal(end.failure.detail, "slot B is bad");
        assert_int_equal(link_client_get_history(client, on_history, &end), 0);
        turn_until(f, &end.n_done, 11);
        assert_false(end.failed);
        link_client_free(client);
        turn_until(f, &f->n_gone, 1);
}

static void test_two_clients(void **state)
{
        Fixture *f = *state;
        LinkProgress progress = {.file = 0, .written_bytes = 5};
        LinkState link_state = {.state = UPDATE_STATE_COMMITTED};
        LinkClient *a, *b;
        End end_a, end_b;

        start_server(f);
        a = start_client(f, &end_a, 0);
        b = start_client(f, &end_b, 0);
        turn_until(f, &end_a.n_up, 1);
        turn_until(f, &end_b.n_up, 1);
        assert_int_equal(link_server_n_peers(f->server), 2);
        link_server_emit_progress(f->server, &progress);
        link_server_emit_state(f->server, &link_state);
        turn_until(f, &end_a.n_state, 1);
        turn_until(f, &end_b.n_state, 1);
        assert_int_equal(end_a.n_progress, 1);
        assert_int_equal(end_b.n_progress, 1);
        assert_int_equal(end_b.state, UPDATE_STATE_COMMITTED);

        /* One waits for a long answer, the other goes on. */
        assert_int_equal(link_client_verify(a, on_done, &end_a), 0);
        assert_int_equal(link_client_commit(b, on_done, &end_b), 0);
        turn_until(f, &end_b.n_done, 1);
        assert_int_equal(end_a.n_done, 0);
        link_reply_ok(f->held);
        turn_until(f, &end_a.n_done, 1);

        /* Whoever asked may have gone when the answer comes. */
        assert_int_equal(link_client_verify(a, on_done, &end_a), 0);
        f->held = NULL;
        for (int i = 0; i < 50 && !f->held; i++)
                assert_true(sd_event_run(f->event, 10000) >= 0);
        assert_non_null(f->held);
        link_client_free(a);
        for (int i = 0; i < 10; i++)
                assert_true(sd_event_run(f->event, 1000) >= 0);
        link_reply_ok(f->held);
        link_client_free(b);
}

static void test_server_comes_late_and_goes(void **state)
{
        Fixture *f = *state;
        LinkClient *client;
        End end;

        client = start_client(f, &end, 0);
        for (int i = 0; i < 10; i++)
                assert_true(sd_event_run(f->event, 20000) >= 0);
        assert_int_equal(end.n_up, 0);
        start_server(f);
        turn_until(f, &end.n_up, 1);
        assert_int_equal(link_client_verify(client, on_done, &end), 0);
        f->held = NULL;
        for (int i = 0; i < 50 && !f->held; i++)
                assert_true(sd_event_run(f->event, 10000) >= 0);
        f->server = link_server_free(f->server);
        turn_until(f, &end.n_down, 1);
        assert_int_equal(end.n_done, 1);
        assert_int_equal(end.kind, LINK_ERROR_LOST);
        assert_int_equal(link_client_verify(client, on_done, &end), -ENOTCONN);
        link_reply_ok(f->held);
        start_server(f);
        turn_until(f, &end.n_up, 2);
        link_client_free(client);
}

/* The server is gone, and the client does not know yet: the owner hears of a lost call, and may not be asked to believe
 * in a link that is up and of no use. */
static void test_call_to_a_server_just_gone(void **state)
{
        Fixture *f = *state;
        LinkClient *client;
        End end;

        start_server(f);
        client = start_client(f, &end, 0);
        turn_until(f, &end.n_up, 1);
        f->server = link_server_free(f->server);
        assert_int_equal(end.n_down, 0);
        assert_int_equal(link_client_commit(client, on_done, &end), 0);
        assert_int_equal(link_client_verify(client, on_done, &end), 0);
        assert_int_equal(end.n_done, 0);
        turn_until(f, &end.n_done, 2);
        assert_int_equal(end.kind, LINK_ERROR_LOST);
        assert_int_equal(end.n_down, 1);
        assert_int_equal(link_client_verify(client, on_done, &end), -ENOTCONN);
        start_server(f);
        turn_until(f, &end.n_up, 2);
        link_client_free(client);
}

static void test_silence_is_a_hang(void **state)
{
        Fixture *f = *state;
        LinkProgress progress = {.file = 0, .written_bytes = 5};
        LinkClient *client;
        uint64_t began;
        End end;

        start_server(f);
        client = start_client(f, &end, USEC_PER_SEC);
        turn_until(f, &end.n_up, 1);
        assert_int_equal(link_client_verify(client, on_done, &end), 0);
        /* Signs of life keep the call alive well beyond the silence that is allowed. */
        for (int i = 0; i < 20; i++) {
                began = now_usec();
                while (now_usec() < began + 100 * USEC_PER_MSEC)
                        assert_true(sd_event_run(f->event, 10000) >= 0);
                link_server_emit_progress(f->server, &progress);
        }
        assert_int_equal(end.n_done, 0);
        turn_until(f, &end.n_done, 1);
        assert_int_equal(end.kind, LINK_ERROR_LOST);
        assert_int_equal(end.n_down, 1);
        link_reply_ok(f->held);
        turn_until(f, &end.n_up, 2);
        link_client_free(client);
}

/* Without need it rests, but not before a call has its answer; a need brings it back, or the news that it is gone. */
static void test_rest(void **state)
{
        Fixture *f = *state;
        LinkClient *client;
        End end;

        start_server(f);
        client = start_client(f, &end, 0);
        turn_until(f, &end.n_up, 1);
        f->held = NULL;
        assert_int_equal(link_client_verify(client, on_done, &end), 0);
        link_client_need(client, false);
        for (int i = 0; i < 30; i++)
                assert_true(sd_event_run(f->event, 10000) >= 0);
        assert_int_equal(end.n_rest, 0);
        link_reply_ok(f->held);
        turn_until(f, &end.n_rest, 1);
        assert_int_equal(end.n_done, 1);
        assert_false(end.failed);
        assert_int_equal(link_client_verify(client, on_done, &end), -ENOTCONN);
        for (int i = 0; i < 30; i++)
                assert_true(sd_event_run(f->event, 10000) >= 0);
        assert_int_equal(link_server_n_peers(f->server), 0);
        assert_int_equal(end.n_up, 1);

        link_client_need(client, true);
        turn_until(f, &end.n_up, 2);
        link_client_need(client, false);
        turn_until(f, &end.n_rest, 2);
        f->server = link_server_free(f->server);
        link_client_need(client, true);
        turn_until(f, &end.n_down, 1);
        start_server(f);
        turn_until(f, &end.n_up, 3);
        link_client_free(client);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_calls, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_two_clients, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_server_comes_late_and_goes, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_call_to_a_server_just_gone, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_silence_is_a_hang, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_rest, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
