/*
 * engine-private: the inside of the engine, shared by the files that make it up.
 *
 *   engine.c          life, what the parts ask for, and all events but
 *   engine-message.c  the messages that the broker brings
 */
#pragma once

#include "engine/engine.h"
#include "engine/package-report.h"

enum { N_FILTERS = 5 };

struct Engine {
        char thing_name[THING_NAME_MAX + 1];
        char filters[N_FILTERS][TOPIC_MAX + 1];
        const char *filter_list[N_FILTERS];
        const WorldOps *world;
        void *userdata;
        Outbox *outbox;
        JobQueue *queue;
        Update *update;
        PackageReport *package;
        bool tells_version;
        bool job_committed; /* since the device was idle last */
        bool connected;
        bool device_known;   /* the installer has answered at least once */
        bool queue_started;  /* since the last connect */
        uint64_t event_usec; /* the time of the event at work, for what the parts ask for meanwhile */
};

/* To be called wherever the device may have come to rest. */
void engine_tell_version(Engine *e, uint64_t now);
