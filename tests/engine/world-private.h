/*
 * world-private: what the parts of the simulated world know of each other. world-jobs.c is the cloud, world-device.c the
 * store and the installer, world-sim.c time and the programs that start and end.
 */
#pragma once

#include <errno.h>
#include <inttypes.h>

#include "base/time-util.h"
#include "transcript.h"
#include "world-sim.h"

typedef enum SimEventKind {
        SIM_CONNECTED,
        SIM_GOODBYE,
        SIM_SUBSCRIBED,
        SIM_MESSAGE,
        SIM_DEVICE_UP,
        SIM_STATE,
        SIM_CALL,
        SIM_ANSWER,
        SIM_ROLLED_BACK,
        SIM_REBOOT,
        SIM_DRAIN,
        SIM_DATA,
        SIM_DATA_END,
} SimEventKind;

struct SimEvent {
        SimEvent *next;
        SimEventKind kind;
        unsigned life; /* of the connection or the fetch it belongs to */
        char topic[128];
        char *payload;
        size_t n_payload;
        InstallCall call;
        LinkBegin *begin; /* of BEGIN only: it is large, as is a state */
        Failure failure;
        unsigned file;
        uint64_t offset;
        bool failed;
        LinkError error;
        LinkOffsets offsets;
        LinkState *state;
};

_printf_(2, 3) void sim_trace(World *w, const char *format, ...);
void *sim_copy(const void *data, size_t n);
SimEvent *sim_push(World *w, SimEventKind kind);
void sim_act(World *w);
SimJob *sim_find_execution(World *w, const char *id, long number);
void sim_op_publish(const char *topic, const void *payload, size_t n_payload, unsigned qos, void *userdata);
void sim_connect(World *w);
void sim_op_subscribe(const char *const *filters, size_t n_filters, void *userdata);
void sim_op_unsubscribe(const char *const *filters, size_t n_filters, void *userdata);
void sim_op_say_goodbye(void *userdata);
void sim_op_come_back(void *userdata);
void sim_op_http_prepare(void *userdata);
void sim_op_http_start(const char *url, uint64_t first_byte, uint64_t total_bytes, const char *etag, void *userdata);
void sim_op_http_resume(void *userdata);
void sim_op_http_cancel(void *userdata);
void sim_end_fetch(World *w, FailureReason reason);
void sim_on_data(World *w);
void sim_op_call(InstallCall call, void *userdata);
void sim_op_begin(const LinkBegin *begin, void *userdata);
void sim_op_write(unsigned file, uint64_t offset, void *userdata);
void sim_op_roll_back(const Failure *why, void *userdata);
void sim_drain(World *w);
ssize_t sim_op_data_write(const uint8_t *data, size_t n_data, void *userdata);
void sim_op_data_close(void *userdata);
void sim_end_session(World *w, const Failure *why);
void sim_go_on_alone(World *w);
void sim_on_call(World *w, SimEvent *event);
void sim_on_answer(World *w, const SimEvent *event);
void sim_roll_back_ends(World *w);
