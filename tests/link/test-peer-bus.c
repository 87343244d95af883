/* Who may connect, stale and foreign sockets, limits and deadlines. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/time-util.h"
#include "link/peer-bus.h"

/* last: it has a macro called fail */
#include <cmocka.h>

typedef struct Fixture {
        sd_event *event;
        char folder[64];
        char path[96];
        unsigned n_connected, n_disconnected;
} Fixture;

static int on_connect(sd_bus *bus, uid_t peer_uid, void *userdata)
{
        Fixture *f = userdata;

        assert_int_equal(peer_uid, geteuid());
        f->n_connected++;
        return 0;
}

static void on_disconnect(sd_bus *bus, void *userdata)
{
        ((Fixture *)userdata)->n_disconnected++;
}

static int set_up(void **state)
{
        Fixture *f = calloc(1, sizeof(*f));

        strcpy(f->folder, "/tmp/otad-peer-XXXXXX");
        assert_non_null(mkdtemp(f->folder));
        (void)snprintf(f->path, sizeof(f->path), "%s/sock", f->folder);
        assert_true(sd_event_new(&f->event) >= 0);
        *state = f;
        return 0;
}

static int tear_down(void **state)
{
        Fixture *f = *state;

        (void)unlink(f->path);
        (void)rmdir(f->folder);
        sd_event_unref(f->event);
        free(f);
        return 0;
}

static PeerBusParams params(const Fixture *f)
{
        return (PeerBusParams){
                .name = "test", .path = f->path, .mode = 0600, .listen_fd = -1, .peer_uid = PEER_BUS_NO_UID};
}

/* Turns the loop until `n` is reached, 60 s at most. */
static void turn_until(Fixture *f, const unsigned *counter, unsigned n)
{
        uint64_t deadline = now_usec() + 60 * USEC_PER_SEC;

        while (*counter < n && now_usec() < deadline)
                assert_true(sd_event_run(f->event, 50000) >= 0);
        assert_int_equal(*counter, n);
}

static int raw_connect(const char *path)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        strcpy(address.sun_path, path);
        assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
        return fd;
}

static void test_who_may(void **state)
{
        assert_true(peer_bus_uid_is_allowed(0, 1000, 990));
        assert_true(peer_bus_uid_is_allowed(1000, 1000, 990));
        assert_true(peer_bus_uid_is_allowed(990, 1000, 990));
        assert_false(peer_bus_uid_is_allowed(991, 1000, 990));
        assert_false(peer_bus_uid_is_allowed(65534, 0, PEER_BUS_NO_UID));
        assert_false(peer_bus_uid_is_allowed(PEER_BUS_NO_UID, 0, PEER_BUS_NO_UID));
}

static void test_comes_and_goes(void **state)
{
        Fixture *f = *state;
        PeerBusParams p = params(f);
        PeerBus *listener;
        struct stat st;
        sd_bus *bus;

        assert_int_equal(peer_bus_connect(f->event, f->path, "client", &bus), -ENOENT);
        assert_int_equal(peer_bus_new(f->event, &p, on_connect, on_disconnect, f, &listener), 0);
        assert_int_equal(stat(f->path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
        assert_int_equal(peer_bus_connect(f->event, f->path, "client", &bus), 0);
        turn_until(f, &f->n_connected, 1);
        assert_int_equal(peer_bus_n_peers(listener), 1);
        sd_bus_close_unref(bus);
        turn_until(f, &f->n_disconnected, 1);
        assert_int_equal(peer_bus_n_peers(listener), 0);

        /* Whoever is left when the listener goes is told of, too. */
        assert_int_equal(peer_bus_connect(f->event, f->path, "client", &bus), 0);
        turn_until(f, &f->n_connected, 2);
        peer_bus_free(listener);
        assert_int_equal(f->n_disconnected, 2);
        assert_int_equal(access(f->path, F_OK), -1);
        sd_bus_close_unref(bus);
}

static void test_sockets_that_are_there(void **state)
{
        Fixture *f = *state;
        PeerBusParams p = params(f);
        PeerBus *first, *second;
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        char big[200];
        int fd;

        assert_int_equal(peer_bus_new(f->event, &p, on_connect, on_disconnect, f, &first), 0);
        assert_int_equal(peer_bus_new(f->event, &p, on_connect, on_disconnect, f, &second), -EADDRINUSE);
        assert_int_equal(access(f->path, F_OK), 0);
        peer_bus_free(first);

        /* What a killed process leaves behind. */
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        strcpy(address.sun_path, f->path);
        assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
        close(fd);
        assert_int_equal(peer_bus_new(f->event, &p, on_connect, on_disconnect, f, &first), 0);
        peer_bus_free(first);

        fd = open(f->path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        close(fd);
        assert_int_equal(peer_bus_new(f->event, &p, on_connect, on_disconnect, f, &first), -EEXIST);
        assert_int_equal(access(f->path, F_OK), 0);

        memset(big, 'x', sizeof(big) - 1);
        big[0] = '/';
        big[sizeof(big) - 1] = '\0';
        p.path = big;
        assert_int_equal(peer_bus_new(f->event, &p, on_connect, on_disconnect, f, &first), -ENAMETOOLONG);
}

static void test_socket_from_outside(void **state)
{
        Fixture *f = *state;
        PeerBusParams p = params(f);
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        PeerBus *listener;
        sd_bus *bus;
        int fds[2];

        p.listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        strcpy(address.sun_path, f->path);
        assert_int_equal(bind(p.listen_fd, (struct sockaddr *)&address, sizeof(address)), 0);
        assert_int_equal(listen(p.listen_fd, 5), 0);
        assert_int_equal(peer_bus_new(f->event, &p, on_connect, on_disconnect, f, &listener), 0);
        assert_int_equal(peer_bus_connect(f->event, f->path, "client", &bus), 0);
        turn_until(f, &f->n_connected, 1);
        sd_bus_close_unref(bus);
        peer_bus_free(listener);
        /* It is systemd's, and stays. */
        assert_int_equal(access(f->path, F_OK), 0);

        assert_int_equal(pipe(fds), 0);
        p.listen_fd = fds[0];
        assert_int_equal(peer_bus_new(f->event, &p, on_connect, on_disconnect, f, &listener), -EINVAL);
        assert_int_equal(fcntl(fds[0], F_GETFD), -1);
        close(fds[1]);
}

static void test_too_many(void **state)
{
        Fixture *f = *state;
        PeerBusParams p = params(f);
        PeerBus *listener;
        int fds[3];
        char byte;

        p.max_peers = 2;
        assert_int_equal(peer_bus_new(f->event, &p, on_connect, on_disconnect, f, &listener), 0);
        for (size_t i = 0; i < 3; i++)
                fds[i] = raw_connect(f->path);
        for (int i = 0; i < 20; i++)
                assert_true(sd_event_run(f->event, 10000) >= 0);
        assert_int_equal(f->n_connected, 2);
        assert_int_equal(recv(fds[2], &byte, 1, MSG_DONTWAIT), 0);
        for (size_t i = 0; i < 3; i++)
                close(fds[i]);
        turn_until(f, &f->n_disconnected, 2);
        peer_bus_free(listener);
}

/* Connects, and never says a word. */
static void test_silent_client(void **state)
{
        Fixture *f = *state;
        PeerBusParams p = params(f);
        PeerBus *listener;
        char byte;
        int fd;

        p.auth_timeout_usec = 200 * USEC_PER_MSEC;
        assert_int_equal(peer_bus_new(f->event, &p, on_connect, on_disconnect, f, &listener), 0);
        fd = raw_connect(f->path);
        turn_until(f, &f->n_disconnected, 1);
        assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), 0);
        close(fd);
        peer_bus_free(listener);
}

/* Authenticated, and gone just when the time for that is over, after so many turns of the loop: nothing to warn of. */
static void leave_at_the_deadline(Fixture *f, unsigned n_turns)
{
        PeerBusParams p = params(f);
        PeerBus *listener;
        uint64_t deadline;
        sd_bus *bus;

        p.auth_timeout_usec = 100 * USEC_PER_MSEC;
        f->n_connected = f->n_disconnected = 0;
        assert_int_equal(peer_bus_new(f->event, &p, on_connect, on_disconnect, f, &listener), 0);
        assert_int_equal(peer_bus_connect(f->event, f->path, "client", &bus), 0);
        turn_until(f, &f->n_connected, 1);
        deadline = now_usec() + p.auth_timeout_usec + USEC_PER_SEC / 2;
        while (sd_event_run(f->event, 0) > 0)
                ;
        assert_true(sd_bus_is_ready(bus) > 0);
        sd_bus_close_unref(bus);
        for (unsigned i = 0; i < n_turns; i++)
                assert_true(sd_event_run(f->event, 0) >= 0);
        while (now_usec() < deadline)
                (void)usleep(10000);
        turn_until(f, &f->n_disconnected, 1);
        assert_int_equal(peer_bus_n_peers(listener), 0);
        peer_bus_free(listener);
}

static void test_leaves_at_the_deadline(void **state)
{
        int pair[2], standard_error = dup(STDERR_FILENO);
        char text[1024];
        ssize_t n;

        assert_int_equal(pipe(pair), 0);
        assert_int_equal(dup2(pair[1], STDERR_FILENO), STDERR_FILENO);
        for (unsigned n_turns = 0; n_turns < 4; n_turns++)
                leave_at_the_deadline(*state, n_turns);
        assert_int_equal(dup2(standard_error, STDERR_FILENO), STDERR_FILENO);
        close(standard_error);
        close(pair[1]);
        n = read(pair[0], text, sizeof(text) - 1);
        close(pair[0]);
        text[n > 0 ? n : 0] = '\0';
        assert_string_equal(text, "");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_who_may),
                cmocka_unit_test_setup_teardown(test_comes_and_goes, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_sockets_that_are_there, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_socket_from_outside, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_too_many, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_silent_client, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_leaves_at_the_deadline, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
