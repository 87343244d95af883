/*
 * agent-private: the inside of otad's Agent, shared by the files that wire its sides to the engine.
 *
 *   agent.c            life, timer, operator, what systemd is told
 *   agent-broker.c     broker: transport/mqtt-client
 *   agent-store.c      image store: transport/http-client
 *   agent-metrics.c    the text file for Prometheus
 *   agent-watch.c      certificates that end, for the journal and otactl
 *   agent-installer.c  otad-installer and the data pipe: link/link-client
 *
 * The agent_op_* are those of engine/world.h; none answers from inside.
 */
#pragma once

#include <systemd/sd-event.h>

#include "agent/agent.h"
#include "agent/control.h"
#include "certificate-watch.h"
#include "config/config.h"
#include "engine/engine.h"
#include "link/link-client.h"
#include "metered.h"
#include "metrics.h"
#include "transport/http-client.h"
#include "transport/mqtt-client.h"

struct Agent {
        sd_event *event;
        const Config *config;
        Engine *engine;
        int state_dir_fd;

        MqttClient *mqtt;
        unsigned jobs_subscription; /* ids of the SUBSCRIBEs under way; 0: none */
        unsigned stream_subscription;
        uint64_t connection_usec; /* since when it is connected, or is not */
        bool connected;
        bool told_away;          /* since then, that it has been away for long */
        bool refusals_told[128]; /* on this connection, by MQTT's reason code less 0x80 */

        HttpClient *http;
        HttpFetch *fetch;

        Metered *metered; /* NULL where nobody asks, or there is no bus to ask on */
        Control *control; /* NULL while it is not there yet, at start and at the end */

        LinkClient *link;
        InstallCall call; /* under way */
        DataPipe *data;
        sd_event_source *data_bell;
        bool data_full; /* what waits for room goes on with the next bell */
        bool history_asked;

        CertificateWatch certificates;
        sd_event_source *certificates_timer; /* once a day */

        sd_event_source *metrics_timer; /* NULL: metrics.file is not set */
        Metrics metrics;
        uint64_t metrics_usec; /* when they were written */
        bool metrics_changed;  /* since then; the timer is set for it */
        bool metrics_failed;

        sd_event_source *timer;
        /* Outcomes of what could not even be started; told from the loop, since an op never answers by itself. */
        sd_event_source *deferred;
        Failure deferred_http;
        bool deferred_call;
        char status[128];
};

/* To be called at the end of each event that the engine was told of: sets the timer, and whether the link may rest. */
void agent_after_event(Agent *agent);
/* The one way out, for both planes. */
ProxyParams agent_proxy(const Agent *agent);
/* What could not even be started is told to the engine from the loop. */
void agent_defer(Agent *agent);

void agent_op_publish(const char *topic, const void *payload, size_t n_payload, unsigned qos, void *userdata);
void agent_op_subscribe(const char *const *filters, size_t n_filters, void *userdata);
void agent_op_subscribe_aside(const char *const *filters, size_t n_filters, void *userdata);
void agent_op_unsubscribe(const char *const *filters, size_t n_filters, void *userdata);
void agent_op_say_goodbye(void *userdata);
void agent_op_come_back(void *userdata);
int agent_start_broker(Agent *a);

void agent_op_http_prepare(void *userdata);
void agent_op_http_start(const char *url, uint64_t first_byte, uint64_t total_bytes, const char *etag,
                         void *userdata);
void agent_op_http_resume(void *userdata);
void agent_op_http_cancel(void *userdata);

void agent_op_data_close(void *userdata);
ssize_t agent_op_data_write(const uint8_t *data, size_t n_data, void *userdata);
void agent_op_call(InstallCall call, void *userdata);
void agent_op_begin(const LinkBegin *begin, void *userdata);
void agent_op_write(unsigned file, uint64_t offset, void *userdata);
void agent_op_roll_back(const Failure *why, void *userdata);
int agent_control_get_history(void *userdata);
int agent_start_link(Agent *a);

const CertificateWatch *agent_certificates(void *userdata); /* read anew */
int agent_start_watch(Agent *a);

/* Nothing where metrics.file is not set. */
void agent_observe_metrics(Agent *a);
int agent_start_metrics(Agent *a);
void agent_stop_metrics(Agent *a);
