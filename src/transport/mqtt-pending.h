/*
 * mqtt-pending: packets of one connection that are not yet done with: not written (QoS 0) or without an answer.
 *
 * A plain value inside its connection.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum MqttPendingKind {
        MQTT_PENDING_PUBLISH_0, /* until it is written */
        MQTT_PENDING_PUBLISH_1, /* until PUBACK */
        MQTT_PENDING_SUBSCRIBE,
        MQTT_PENDING_UNSUBSCRIBE,
} MqttPendingKind;

typedef struct MqttPending {
        struct MqttPending *pending_next;
        MqttPendingKind kind;
        int id; /* the packet id; libmosquitto numbers QoS 0 as well */
        size_t n_bytes;
        uint64_t deadline_usec; /* CLOCK_BOOTTIME; USEC_INFINITY for QoS 0 */
        char **filters;         /* of a SUBSCRIBE; or the topic of a publish at QoS 1 */
        size_t n_filters;
} MqttPending;

typedef struct MqttPendingList {
        MqttPending *first, *last;
        size_t n_bytes;      /* of the publishes */
        size_t n_subscribes; /* and unsubscribes */
} MqttPendingList;

void mqtt_pending_list_done(MqttPendingList *list);

/* NULL: out of memory. The list's; filters are copied. */
MqttPending *mqtt_pending_add(MqttPendingList *list, MqttPendingKind kind, size_t n_bytes, uint64_t deadline_usec,
                              const char *const *filters, size_t n_filters);
void mqtt_pending_remove(MqttPendingList *list, MqttPending *pending);
/* NULL where nothing of this id and kind is waited for. */
MqttPending *mqtt_pending_find(const MqttPendingList *list, MqttPendingKind kind, int id);
/* The one whose deadline comes first; NULL where none has one. */
MqttPending *mqtt_pending_first_due(const MqttPendingList *list);
const char *mqtt_pending_kind_to_answer(MqttPendingKind kind); /* "SUBACK" */
