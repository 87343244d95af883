/* NetworkManager's word on metered connections, over a bus daemon that the test starts. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#include "base/time-util.h"
#include "metered.h"
#include "unit.h"

#define NAME "org.freedesktop.NetworkManager"
#define PATH "/org/freedesktop/NetworkManager"

typedef struct Fixture {
        char address[256];
        pid_t daemon;
        sd_event *event;
        sd_bus *bus;
        Metered *metered;
        unsigned n_told;
        bool is_metered;

        sd_bus *manager; /* NULL: NetworkManager does not run */
        uint32_t word;
} Fixture;

static sd_bus *open_bus(Fixture *f)
{
        sd_bus *bus = NULL;

        assert_true(sd_bus_new(&bus) >= 0);
        assert_true(sd_bus_set_address(bus, f->address) >= 0 && sd_bus_set_bus_client(bus, true) >= 0);
        assert_true(sd_bus_start(bus) >= 0 && sd_bus_attach_event(bus, f->event, 0) >= 0);
        return bus;
}

static int set_up(void **state)
{
        Fixture *f = calloc(1, sizeof(*f));
        int out[2];
        ssize_t n;

        assert_non_null(f);
        assert_int_equal(pipe2(out, O_CLOEXEC), 0);
        f->daemon = fork();
        assert_true(f->daemon >= 0);
        if (f->daemon == 0) {
                char fd[32];

                (void)snprintf(fd, sizeof(fd), "--print-address=%d", dup(out[1]));
                (void)execlp("dbus-daemon", "dbus-daemon", "--session", "--nofork", "--nopidfile", fd, NULL);
                _exit(127);
        }
        close(out[1]);
        n = read(out[0], f->address, sizeof(f->address) - 1);
        close(out[0]);
        assert_true(n > 1);
        f->address[n - 1] = 0;
        assert_true(sd_event_new(&f->event) >= 0);
        f->bus = open_bus(f);
        *state = f;
        return 0;
}

static int tear_down(void **state)
{
        Fixture *f = *state;

        metered_free(f->metered);
        sd_bus_close_unref(f->manager);
        sd_bus_close_unref(f->bus);
        sd_event_unref(f->event);
        kill(f->daemon, SIGTERM);
        waitpid(f->daemon, NULL, 0);
        free(f);
        return 0;
}

/* -- NetworkManager --------------------------------------------------------------------------------------------- */

static int get_metered(sd_bus *bus, const char *path, const char *interface, const char *property,
                       sd_bus_message *reply, void *userdata, sd_bus_error *reterr)
{
        Fixture *f = userdata;

        return sd_bus_message_append(reply, "u", f->word);
}

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("Metered", "u", get_metered, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_VTABLE_END,
};

static void start_manager(Fixture *f, uint32_t word)
{
        f->word = word;
        f->manager = open_bus(f);
        assert_true(sd_bus_add_object_vtable(f->manager, NULL, PATH, NAME, vtable, f) >= 0);
        assert_true(sd_bus_request_name_async(f->manager, NULL, NAME, 0, NULL, NULL) >= 0);
}

static void say(Fixture *f, uint32_t word)
{
        f->word = word;
        assert_true(sd_bus_emit_properties_changed(f->manager, PATH, NAME, "Metered", NULL) >= 0);
}

/* -- what is heard ---------------------------------------------------------------------------------------------- */

static void on_metered(bool is_metered, void *userdata)
{
        Fixture *f = userdata;

        f->n_told++;
        f->is_metered = is_metered;
}

static void ask(Fixture *f)
{
        assert_int_equal(metered_new(f->bus, on_metered, f, &f->metered), 0);
}

static void wait_told(Fixture *f, unsigned n_told, bool is_metered)
{
        uint64_t end = now_usec() + 10 * USEC_PER_SEC;

        while (f->n_told < n_told && now_usec() < end)
                assert_true(sd_event_run(f->event, 10000) >= 0);
        assert_int_equal(f->n_told, n_told);
        assert_int_equal(f->is_metered, is_metered);
}

static void test_nobody_there(void **state)
{
        Fixture *f = *state;

        ask(f);
        wait_told(f, 1, false);
}

static void test_words(void **state)
{
        Fixture *f = *state;

        start_manager(f, 1);
        while (!sd_bus_is_ready(f->manager))
                assert_true(sd_event_run(f->event, 10000) >= 0);
        ask(f);
        while (f->n_told == 0 || !f->is_metered) /* it may not have had its name yet */
                assert_true(sd_event_run(f->event, 10000) >= 0);
        f->n_told = 0;
        say(f, 2);
        wait_told(f, 1, false);
        say(f, 3); /* guessed: yes */
        wait_told(f, 2, true);
        say(f, 4); /* guessed: no */
        wait_told(f, 3, false);
        say(f, 0);
        say(f, 1);
        wait_told(f, 4, true);
        say(f, 77);
        wait_told(f, 5, false);
}

static void test_comes_and_goes(void **state)
{
        Fixture *f = *state;

        ask(f);
        wait_told(f, 1, false);
        start_manager(f, 1);
        wait_told(f, 2, true);
        f->manager = sd_bus_close_unref(f->manager);
        wait_told(f, 3, false);
        start_manager(f, 3);
        wait_told(f, 4, true);
}

static void test_freed_while_asking(void **state)
{
        Fixture *f = *state;

        start_manager(f, 1);
        ask(f);
        f->metered = metered_free(f->metered);
        for (unsigned i = 0; i < 20; i++)
                assert_true(sd_event_run(f->event, 10000) >= 0);
        assert_int_equal(f->n_told, 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_nobody_there, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_words, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_comes_and_goes, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_freed_while_asking, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
