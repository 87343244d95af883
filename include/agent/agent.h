/*
 * agent: wires broker, image store, otad-installer and engine together on one event loop. Decides nothing about updates.
 */
#pragma once

#include <systemd/sd-event.h>

#include "base/cleanup.h"

struct Config;

typedef struct Agent Agent;

/* Starts to connect, to both sides. `config` is borrowed for the agent's life. What failed is logged. */
_must_use_ int agent_new(sd_event *event, const struct Config *config, Agent **ret);
Agent *agent_free(Agent *agent); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(Agent *, agent_free);

/* Says goodbye to the broker, then ends the loop; at the latest after two seconds. */
void agent_stop(Agent *agent);
