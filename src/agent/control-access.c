/*
 * Who may do what. On our own socket the kernel's word decides: everyone may look, root and otad's user may change things.
 * On a bus the same two are known by the bus daemon's word; about all others polkit is asked, where there is one, and
 * where there is none, they may look.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/time-util.h"
#include "control-private.h"

enum { QUESTIONS_MAX = 32 };

/* polkit's D-Bus API, org.freedesktop.PolicyKit1.Authority: CheckAuthorization(). */
#define POLKIT_NAME         "org.freedesktop.PolicyKit1"
#define POLKIT_PATH         "/org/freedesktop/PolicyKit1/Authority"
#define POLKIT_INTERFACE    "org.freedesktop.PolicyKit1.Authority"
#define POLKIT_INTERACTIVE  UINT32_C(1)
#define POLKIT_TIMEOUT_USEC (10 * USEC_PER_SEC)
#define PERSON_TIMEOUT_USEC (120 * USEC_PER_SEC) /* somebody types a password */

bool control_uid_may_act(uid_t uid)
{
        return uid == 0 || uid == geteuid();
}

static bool only_looks(Act act)
{
        switch (act) {
        case ACT_GET_STATUS:
        case ACT_GET_HISTORY:
        case ACT_GET_STATS:
                return true;
        case ACT_SUSPEND:
        case ACT_RESUME:
        case ACT_CANCEL:
                break;
        }
        return false;
}

static int refuse(sd_bus_message *call, Act act)
{
        return sd_bus_reply_method_errorf(call, SD_BUS_ERROR_ACCESS_DENIED, "%s",
                                          only_looks(act) ? "The rules of this machine do not let you look"
                                                          : "Only root, the user that otad runs as and whom polkit "
                                                            "lets may do this");
}

Question *question_new(Client *client, sd_bus_message *call, Act act, int *ret_answer)
{
        Control *c = client->control;
        Question *question;

        if (c->n_questions >= QUESTIONS_MAX) {
                *ret_answer =
                        sd_bus_reply_method_errorf(call, SD_BUS_ERROR_LIMITS_EXCEEDED, "Too many calls at a time");
                return NULL;
        }
        question = calloc(1, sizeof(*question));
        if (!question) {
                *ret_answer = -ENOMEM;
                return NULL;
        }
        *question = (Question){.client = client, .next = c->questions, .call = sd_bus_message_ref(call), .act = act};
        c->questions = question;
        c->n_questions++;
        return question;
}

Question *question_free(Question *question)
{
        Control *c = question->client->control;

        for (Question **link = &c->questions; *link; link = &(*link)->next)
                if (*link == question) {
                        *link = question->next;
                        break;
                }
        c->n_questions--;
        sd_bus_slot_unref(question->slot);
        sd_bus_message_unref(question->call);
        free(question);
        return NULL;
}

void control_forget_questions(Client *client)
{
        Question *next;

        for (Question *question = client->control->questions; question; question = next) {
                next = question->next;
                if (question->client == client)
                        question_free(question);
        }
}

static void decide(Question *question, bool may)
{
        int r = may ? control_perform(question->client, question->call, question->act)
                    : refuse(question->call, question->act);

        if (r < 0) {
                (void)log_debug_errno(r, "Cannot answer a call on the bus: %m");
                (void)sd_bus_reply_method_errno(question->call, r, NULL);
        }
        question_free(question);
}

static int on_polkit(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        Question *question = userdata;
        int allowed = 0, challenge = 0;

        /* Not there, or of no use: then the rule without polkit holds, which lets look. */
        if (sd_bus_message_is_method_error(m, NULL))
                decide(question, only_looks(question->act));
        else
                decide(question, sd_bus_message_enter_container(m, 'r', "bba{ss}") > 0 &&
                                         sd_bus_message_read(m, "bb", &allowed, &challenge) >= 0 && allowed);
        return 0;
}

static int ask_polkit(Question *question)
{
        bool interactive = sd_bus_message_get_allow_interactive_authorization(question->call) > 0;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r;

        question->slot = sd_bus_slot_unref(question->slot);
        if ((r = sd_bus_message_new_method_call(question->client->bus, &m, POLKIT_NAME, POLKIT_PATH, POLKIT_INTERFACE,
                                                "CheckAuthorization")) < 0 ||
            (r = sd_bus_message_append(m, "(sa{sv})sa{ss}us", "system-bus-name", 1, "name", "s",
                                       sd_bus_message_get_sender(question->call),
                                       only_looks(question->act) ? CONTROL_POLKIT_READ : CONTROL_POLKIT_MANAGE, 0,
                                       interactive ? POLKIT_INTERACTIVE : 0, "")) < 0)
                return r;
        return sd_bus_call_async(question->client->bus, &question->slot, m, on_polkit, question,
                                 interactive ? PERSON_TIMEOUT_USEC : POLKIT_TIMEOUT_USEC);
}

static int on_sender(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        Question *question = userdata;
        uint32_t uid;

        /* A sender that has gone since has no user any more; then nobody hears this answer. */
        if (sd_bus_message_is_method_error(m, NULL) || sd_bus_message_read(m, "u", &uid) < 0)
                decide(question, false);
        else if (control_uid_may_act(uid))
                decide(question, true);
        else if (ask_polkit(question) < 0)
                decide(question, only_looks(question->act));
        return 0;
}

/* Not sd_bus_query_sender_creds(), which would block the loop on the bus daemon. */
static int ask_for_sender(Client *client, sd_bus_message *call, Act act)
{
        Question *question;
        int r;

        if (!sd_bus_message_get_sender(call))
                return refuse(call, act);
        question = question_new(client, call, act, &r);
        if (!question)
                return r;
        r = sd_bus_call_method_async(client->bus, &question->slot, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                                     "org.freedesktop.DBus", "GetConnectionUnixUser", on_sender, question, "s",
                                     sd_bus_message_get_sender(call));
        if (r < 0) {
                question_free(question);
                return r;
        }
        return 1;
}

int control_act_for(Client *client, sd_bus_message *call, Act act)
{
        if (client->is_bus)
                return ask_for_sender(client, call, act);
        return only_looks(act) || control_uid_may_act(client->uid) ? control_perform(client, call, act)
                                                                   : refuse(call, act);
}
