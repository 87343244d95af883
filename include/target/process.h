/*
 * process: one program run on the event loop, to its end, within a time limit.
 *
 * The program gets its own session and process group, /dev/null as stdin, "/" as working directory, default
 * signal dispositions, an empty signal mask, no descriptor of ours, and no environment but what the caller
 * gives (plus PATH). Its stderr goes to the log line by line, escaped; what it writes beyond a bound is read
 * and dropped, so that neither megabytes nor binary garbage hurt. Knows nothing of hooks or boot loaders.
 *
 * The end comes when the program itself has ended and its pipes are drained. What it left behind in its
 * process group is then killed; what left the group (a daemon) lives on, and cannot delay the end though it
 * holds the pipes open. The program is watched by a pidfd, so the caller need not block SIGCHLD, but must not
 * ignore it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "base/cleanup.h"

typedef struct Process Process;

enum { PROCESS_LAST_LINE_MAX = 512 };

typedef struct ProcessParams {
        const char *name;               /* what log lines call it: "hook post-install"; copied */
        const char *const *argv;        /* NULL-terminated; argv[0] is a path; borrowed for the call */
        const char *const *environment; /* NULL-terminated "NAME=value"; NULL: none; borrowed for the call */
        size_t max_output_bytes;        /* of stdout kept; 0: stdout goes to the log, as stderr does */
        uint64_t timeout_usec;          /* then SIGTERM to the group; USEC_INFINITY is not allowed */
        uint64_t grace_usec;            /* then SIGKILL; 0 stands for 5 s */
} ProcessParams;

typedef enum ProcessEnd {
        PROCESS_EXITED,      /* code: exit status */
        PROCESS_SIGNALED,    /* code: signal number */
        PROCESS_TIMED_OUT,   /* code: 0; also when it ended with status 0 after SIGTERM, or would not die */
        PROCESS_NOT_STARTED, /* code: positive errno */
} ProcessEnd;

/* Borrowed for the callback, or until it frees the process. */
typedef struct ProcessResult {
        ProcessEnd end;
        int code;
        const char *output; /* stdout, raw, a NUL after its n_output bytes */
        size_t n_output;
        bool output_cut;       /* there was more than max_output_bytes */
        const char *last_line; /* the last line of stderr that is not blank, escaped; "" where there was none */
} ProcessResult;

/* Called exactly once, from the loop, last of all. May free the process. */
typedef void (*ProcessDoneFn)(Process *process, const ProcessResult *result, void *userdata);

/*
 * Starts the program. A program that cannot be executed is told by the callback (PROCESS_NOT_STARTED), not
 * here. On success *ret is the caller's. -EINVAL: no argv, no time limit. -ENOMEM, -EMFILE and the like.
 */
_must_use_ int process_start(sd_event *event, const ProcessParams *params, ProcessDoneFn on_done, void *userdata,
                             Process **ret);
/* While it runs: kills the whole group at once and reaps it (waits 200 ms at most); no callback. NULL is
 * fine. */
Process *process_free(Process *process);
DEFINE_CLEANUP(Process *, process_free);

/* "exited with status 3", "was killed by signal 11 (Segmentation fault)", ... Returns `text`. */
enum { PROCESS_END_TEXT_MAX = 128 };
const char *process_end_format(char text[static PROCESS_END_TEXT_MAX], const ProcessResult *result);
