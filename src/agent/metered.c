#include "metered.h"

#include <errno.h>

#include "base/log.h"

#define NM_NAME      "org.freedesktop.NetworkManager"
#define NM_PATH      "/org/freedesktop/NetworkManager"
#define NM_INTERFACE "org.freedesktop.NetworkManager"

/* NMMetered. A guess is as good as a word: that is how NetworkManager's own users take it. */
enum { NM_METERED_YES = 1, NM_METERED_GUESS_YES = 3 };

struct Metered {
        sd_bus *bus;
        MeteredFn fn;
        void *userdata;
        sd_bus_slot *on_owner;
        sd_bus_slot *on_changed;
        sd_bus_slot *question;
        bool is_metered;
        bool told; /* that, at least once */
};

static int on_answer(sd_bus_message *message, void *userdata, sd_bus_error *reterr)
{
        Metered *m = userdata;
        const sd_bus_error *error = sd_bus_message_get_error(message);
        bool is_metered;
        uint32_t word = 0;

        m->question = sd_bus_slot_unref(m->question);
        if (error)
                log_debug("NetworkManager does not tell whether the connection is metered (%s): it is taken for not",
                          error->name);
        else if (sd_bus_message_read(message, "v", "u", &word) < 0)
                log_debug("NetworkManager's word on metered connections is not understood: taken for not metered");
        is_metered = word == NM_METERED_YES || word == NM_METERED_GUESS_YES;
        if (m->told && is_metered == m->is_metered)
                return 0;
        m->is_metered = is_metered;
        m->told = true;
        log_debug("The connection counts as %s", is_metered ? "metered" : "not metered");
        m->fn(is_metered, m->userdata);
        return 0;
}

/* One question at a time: the answer to an older one is of no interest. */
static int ask(Metered *m)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *call = NULL;
        int r;

        m->question = sd_bus_slot_unref(m->question);
        r = sd_bus_message_new_method_call(m->bus, &call, NM_NAME, NM_PATH, "org.freedesktop.DBus.Properties", "Get");
        if (r >= 0)
                r = sd_bus_message_append(call, "ss", NM_INTERFACE, "Metered");
        if (r >= 0)
                r = sd_bus_message_set_auto_start(call, false); /* who does not run manages no network */
        if (r >= 0)
                r = sd_bus_call_async(m->bus, &m->question, call, on_answer, m, 0);
        return r;
}

static int on_news(sd_bus_message *message, void *userdata, sd_bus_error *reterr)
{
        int r = ask(userdata);

        if (r < 0)
                (void)log_warning_errno(r, "Cannot ask NetworkManager whether the connection is metered: %m");
        return 0;
}

int metered_new(sd_bus *bus, MeteredFn fn, void *userdata, Metered **ret)
{
        _cleanup_(metered_freep) Metered *m = calloc(1, sizeof(*m));
        int r;

        if (!m)
                return -ENOMEM;
        m->bus = sd_bus_ref(bus);
        m->fn = fn;
        m->userdata = userdata;
        r = sd_bus_add_match_async(bus, &m->on_owner,
                                   "type='signal',sender='org.freedesktop.DBus',interface='org.freedesktop.DBus',"
                                   "member='NameOwnerChanged',arg0='" NM_NAME "'",
                                   on_news, NULL, m);
        if (r >= 0)
                r = sd_bus_add_match_async(bus, &m->on_changed,
                                           "type='signal',sender='" NM_NAME "',path='" NM_PATH "',"
                                           "interface='org.freedesktop.DBus.Properties',"
                                           "member='PropertiesChanged',arg0='" NM_INTERFACE "'",
                                           on_news, NULL, m);
        if (r >= 0)
                r = ask(m);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(m);
        return 0;
}

Metered *metered_free(Metered *m)
{
        if (!m)
                return NULL;
        sd_bus_slot_unref(m->question);
        sd_bus_slot_unref(m->on_changed);
        sd_bus_slot_unref(m->on_owner);
        sd_bus_unref(m->bus);
        free(m);
        return NULL;
}
