/*
 * fixture: a device made of files: two slots, a boot loader, a hook, a boot id, one file target; and a session on it.
 *
 * Targets: "rootfs" (ab, slots A and B of 4 MiB, A runs), "app" (file). Version of the device: version file, key VERSION;
 * "app" has its own. All in one folder, which is removed at the end.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "base/data-pipe.h"
#include "base/time-util.h"
#include "install/session.h"
#include "signer.h"

/* Every wait below ends then, and fails: far beyond what a busy machine takes, or an emulator. */
#define DEVICE_DEADLINE_USEC (60 * USEC_PER_SEC)

enum { SLOT_BYTES = 4 * 1024 * 1024, IMAGE_BYTES = 1500 * 1000 };

typedef struct Device {
        char folder[64];
        char paths[8][128];
        sd_event *event;
        EVP_PKEY *key;
        Target *targets[2];
        InstallTarget install_targets[2];
        InstallParams params;
        InstallSession *session;
        InstallRequest request;
        uint8_t *images[2]; /* of request.files, IMAGE_BYTES each, changing bytes */
        bool ready;
        unsigned n_states, n_progress;
        /* the last answer */
        bool answered;
        InstallOutcome outcome;
        Failure failure;
        DataPipe *pipe; /* after device_open_pipe(): the test's */
} Device;

int device_set_up(void **state);
int device_tear_down(void **state);

/* Files of the device: "current", "primary", "state.B", "boot-id", "version", "exit.STAGE", ... Read: borrowed, trimmed. */
void device_write(Device *d, const char *name, const char *text);
const char *device_read(Device *d, const char *name);
bool device_has(Device *d, const char *name);
void device_remove(Device *d, const char *name);
void device_mkdir(Device *d, const char *name);
/* Changes one byte. */
void device_flip(Device *d, const char *name, long offset);

/* Starts the session and turns the loop until it is ready; stop keeps the record, as SIGTERM does. */
void device_start(Device *d);
void device_stop(Device *d);
/* Stop, another boot id, the slot that runs then, start. */
void device_reboot(Device *d, const char *current);

/* Asks for one file for each name, with a good signature over images[i]. */
void device_ask_for(Device *d, const char *first, const char *second);
void device_sign(Device *d, size_t file);

/* Each makes the call and turns the loop until it is answered. */
InstallOutcome device_begin(Device *d);
InstallOutcome device_call(Device *d, void (*call)(InstallSession *s, InstallDoneFn done, void *userdata));
InstallOutcome device_roll_back(Device *d, FailureReason reason);
InstallOutcome device_open_pipe(Device *d, unsigned file, uint64_t offset);
/* Write() and then the bytes [from, to) of images[file]; the pipe is closed, and the loop turned until they have arrived. */
void device_send(Device *d, unsigned file, uint64_t from, uint64_t to);
/* Begin, all bytes, Verify, each with success. */
void device_install(Device *d);
void device_turn(Device *d, unsigned msec);
/* Turns the loop until d->answered. */
void device_wait_answered(Device *d);
/* Turns the loop until the state is there. */
void device_wait_for(Device *d, UpdateState state);
/* How often hook or boot script were called so: the text is in "hook.log", "boot.log", or any file. Waits until it is n. */
unsigned device_count_called(Device *d, const char *log, const char *text);
void device_wait_called(Device *d, const char *log, const char *text, unsigned n);
UpdateState device_state(Device *d);
FailureReason device_failure(Device *d);
/* Whether slot `name`, or the file at it, begins with the image. */
bool device_holds(Device *d, const char *name, unsigned file);
