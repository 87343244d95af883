#include "mqtt-pending.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/time-util.h"

static bool kind_is_publish(MqttPendingKind kind)
{
        return kind == MQTT_PENDING_PUBLISH_0 || kind == MQTT_PENDING_PUBLISH_1;
}

static MqttPending *pending_free(MqttPending *pending)
{
        if (!pending)
                return NULL;
        for (size_t i = 0; i < pending->n_filters; i++)
                free(pending->filters[i]);
        free(pending->filters);
        free(pending);
        return NULL;
}
DEFINE_CLEANUP(MqttPending *, pending_free);

void mqtt_pending_list_done(MqttPendingList *list)
{
        MqttPending *next;

        for (MqttPending *p = list->first; p; p = next) {
                next = p->pending_next;
                pending_free(p);
        }
        *list = (MqttPendingList){0};
}

MqttPending *mqtt_pending_add(MqttPendingList *list, MqttPendingKind kind, size_t n_bytes, uint64_t deadline_usec,
                              const char *const *filters, size_t n_filters)
{
        _cleanup_(pending_freep) MqttPending *pending = calloc(1, sizeof(*pending));

        if (!pending)
                return NULL;
        pending->kind = kind;
        pending->n_bytes = n_bytes;
        pending->deadline_usec = deadline_usec;
        if (n_filters > 0) {
                pending->filters = calloc(n_filters, sizeof(*pending->filters));
                if (!pending->filters)
                        return NULL;
        }
        for (; pending->n_filters < n_filters; pending->n_filters++) {
                pending->filters[pending->n_filters] = strdup(filters[pending->n_filters]);
                if (!pending->filters[pending->n_filters])
                        return NULL;
        }

        if (list->last)
                list->last->pending_next = pending;
        else
                list->first = pending;
        list->last = pending;
        if (kind_is_publish(kind))
                list->n_bytes += n_bytes;
        else
                list->n_subscribes++;
        return TAKE_PTR(pending);
}

void mqtt_pending_remove(MqttPendingList *list, MqttPending *pending)
{
        MqttPending **link = &list->first, *previous = NULL;

        while (*link != pending) {
                previous = *link;
                link = &previous->pending_next;
        }
        *link = pending->pending_next;
        if (list->last == pending)
                list->last = previous;
        if (kind_is_publish(pending->kind))
                list->n_bytes -= pending->n_bytes;
        else
                list->n_subscribes--;
        pending_free(pending);
}

MqttPending *mqtt_pending_find(const MqttPendingList *list, MqttPendingKind kind, int id)
{
        for (MqttPending *p = list->first; p; p = p->pending_next)
                if (p->kind == kind && p->id == id)
                        return p;
        return NULL;
}

/* Added in the order of time with one and the same time-out: the first that has a deadline has the nearest. */
MqttPending *mqtt_pending_first_due(const MqttPendingList *list)
{
        for (MqttPending *p = list->first; p; p = p->pending_next)
                if (p->deadline_usec != USEC_INFINITY)
                        return p;
        return NULL;
}

const char *mqtt_pending_kind_to_answer(MqttPendingKind kind)
{
        switch (kind) {
        case MQTT_PENDING_PUBLISH_0:
                return "nothing";
        case MQTT_PENDING_PUBLISH_1:
                return "PUBACK";
        case MQTT_PENDING_SUBSCRIBE:
                return "SUBACK";
        case MQTT_PENDING_UNSUBSCRIBE:
                return "UNSUBACK";
        }
        return "nothing";
}
