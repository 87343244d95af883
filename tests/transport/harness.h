/*
 * harness: what the transport tests share: a folder with certificates, helper processes, a name server, waiting.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "base/time-util.h"

/* Makes a folder with certificates (see make-certs.sh) and moves into it; fails the test program otherwise. */
void harness_enter(void);
void harness_leave(void); /* removes it */

/* Runs the loop until *flag or the time-out; false at the time-out. */
bool harness_run(sd_event *event, const bool *flag, uint64_t timeout_usec);
/* Runs it for so long; how often it woke up. */
unsigned harness_idle(sd_event *event, uint64_t usec);

typedef struct HarnessProcess {
        pid_t pid;
        int output; /* its stdout */
        unsigned port;
} HarnessProcess;

/* Starts one of the scripts of this folder with up to two arguments; it prints its port first. */
HarnessProcess harness_start_script(const char *script, const char *arg1, const char *arg2);
/* A broker on `port` (0: one that is free) with the server certificate NAME.pem; it wants client certificates. */
HarnessProcess harness_start_broker(unsigned port, const char *certificate);
/* One line of what it prints, without its end; false when there is none within 5 s. */
bool harness_read_line(const HarnessProcess *process, char *line, size_t n_line);
void harness_stop(HarnessProcess *process);
unsigned harness_free_port(void);

/*
 * A name server on the loop: addresses for every name but those with "nowhere" in them (no such name) or "silent" (no
 * answer). n_answers addresses, 127.0.0.1 the last: 127.0.0.3, 127.0.0.2, 127.0.0.1; or, ascending, the first.
 * n_answers_6 AAAA records of the same order, 2001:db8::3 and so on, which nobody has (RFC 3849).
 */
typedef struct HarnessDns {
        sd_event_source *source;
        int fd;
        unsigned n_answers, n_answers_6;
        bool ascending;
        unsigned n_queries;
        unsigned n_deaf;  /* so many queries are not heard */
        char servers[32]; /* for ResolverParams */
} HarnessDns;
void harness_dns_start(HarnessDns *dns, sd_event *event, unsigned n_answers);
void harness_dns_stop(HarnessDns *dns);
