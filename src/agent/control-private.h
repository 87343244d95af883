/*
 * control-private: the inside of one Control, shared by the files that make it up.
 *
 *   control.c         what is shown, signals, clients, life
 *   control-calls.c   the interface's methods and properties
 *   control-access.c  who may do what
 */
#pragma once

#include "agent/control.h"
#include "agent/status-json.h"
#include "control-bus.h"
#include "link/peer-bus.h"
#include "status-watch.h"

enum { SHOWN_MESSAGE_MAX = 160, SHOWN_ERROR_MAX = FAILURE_DETAIL_MAX + 64 };

/* What the properties say. */
typedef struct Shown {
        const char *operation;
        int32_t percent;
        char message[SHOWN_MESSAGE_MAX];
        char last_error[SHOWN_ERROR_MAX];
} Shown;

typedef enum Act { ACT_GET_STATUS, ACT_GET_HISTORY, ACT_GET_STATS, ACT_SUSPEND, ACT_RESUME, ACT_CANCEL } Act;

/* A connection that we serve: one of the socket's peers, or the bus. */
typedef struct Client {
        Control *control;
        struct Client *next;
        sd_bus *bus;
        sd_bus_slot *object;
        bool is_bus;
        uid_t uid; /* of the peer; on a bus each call has its own sender */
} Client;

/* A call that waits for a word from elsewhere: whose it is, whether he may, or what otad-installer remembers. */
typedef struct Question {
        Client *client;
        struct Question *next;
        bool awaits_history;
        sd_bus_slot *slot;
        sd_bus_message *call;
        Act act;
} Question;

struct Control {
        char *thing_name;
        const ControlOps *ops;
        void *userdata;
        PeerBus *socket;
        ControlBus *bus;
        Client *clients;
        unsigned n_strangers;
        Question *questions;
        unsigned n_questions;

        StatusWatch watch;
        Shown shown;
        Shown sent;
        uint64_t sent_usec;
        uint64_t started_usec;
        int n_completed; /* Completed signals still to be sent */
        sd_event_source *timer;
};

/* control.c: looks at the engine, and sees to it that what has changed is sent. */
void control_look(Control *control, EngineStatus *ret);

/* control-calls.c */
_must_use_ int control_add_object(Client *client);
/* Does it and answers, at once or (history) later. */
_must_use_ int control_perform(Client *client, sd_bus_message *call, Act act);

/* control-access.c */
/* As a method handler's return value: performed, refused, or a question is asked first. */
int control_act_for(Client *client, sd_bus_message *call, Act act);
/* Root, and the user that we run as. */
bool control_uid_may_act(uid_t uid);
/* NULL: there are too many, or no memory; then *ret_answer is what a handler returns. */
Question *question_new(Client *client, sd_bus_message *call, Act act, int *ret_answer);
Question *question_free(Question *question);
void control_forget_questions(Client *client);
