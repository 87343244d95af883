/*
 * record: what otad-installer must still know about an update after a power cut.
 *
 * A plain value, kept in one file of the installer's state directory (base/record.h: whole, or known to be damaged). It
 * holds no hash state and no verdict on bytes: what lies on a target is read again before it is trusted. Every text and
 * number is checked on reading as if a stranger had written it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/failure.h"
#include "base/signature-algorithm.h"
#include "base/update-state.h"

enum {
        INSTALL_FILES_MAX = 10,
        INSTALL_SESSION_MAX = 88,
        INSTALL_JOB_ID_MAX = 64,
        INSTALL_NAME_MAX = 64, /* of a target, a slot */
        INSTALL_CERT_MAX = 255,
        INSTALL_VERSION_MAX = 128,
        INSTALL_BOOT_ID_MAX = 64,
        INSTALL_SHA256_HEX = 64,
};

/* One file as it was asked for. */
typedef struct InstallFile {
        char target[INSTALL_NAME_MAX + 1];
        uint64_t size_bytes;
        SignatureAlgorithm algorithm;
        uint8_t signature[SIGNATURE_MAX_BYTES];
        size_t n_signature; /* 0 exactly where the algorithm is NONE */
        char cert[INSTALL_CERT_MAX + 1];
} InstallFile;

/* One update as it was asked for. */
typedef struct InstallRequest {
        char session[INSTALL_SESSION_MAX + 1];
        char job_id[INSTALL_JOB_ID_MAX + 1];
        uint64_t attempt;
        size_t n_files;
        InstallFile files[INSTALL_FILES_MAX];
} InstallRequest;

typedef struct InstallFileRecord {
        char slot[INSTALL_NAME_MAX + 1];     /* ab: the one written; "" for a file */
        char old_slot[INSTALL_NAME_MAX + 1]; /* ab: the one that ran at Begin, and that a rollback returns to */
        uint64_t durable_bytes;
        char previous_version[INSTALL_VERSION_MAX + 1]; /* "" where it could not be read or there is no rule */
        char sha256[INSTALL_SHA256_HEX + 1];            /* for hooks and people; nothing relies on it */
} InstallFileRecord;

typedef struct InstallRecord {
        InstallRequest request;
        InstallFileRecord files[INSTALL_FILES_MAX]; /* n_files as in the request */
        UpdateState state;                          /* never ACCEPTED or SUSPENDED: those are otad's */
        Failure failure;
        char version[INSTALL_VERSION_MAX + 1]; /* the new one, once it was seen running */
        uint64_t began_wall_usec;              /* for a person */
        bool begun;                            /* pre-install hooks ran, slots are marked bad */
        bool post_installed;                   /* post-install hooks ran */
        bool primary_asked;                    /* the boot loader may have been told to boot the new slot */
        bool activated;                        /* everything is switched */
        char boot_id[INSTALL_BOOT_ID_MAX + 1]; /* the boot in which the present state was entered, or last counted */
        uint64_t reboot_asked_usec; /* CLOCK_BOOTTIME in that boot; 0: the reboot hook has not ended well */
        uint64_t test_began_usec;   /* CLOCK_BOOTTIME in that boot */
        unsigned n_boots;           /* testing: starts in the new software; rolling back: in vain */
        bool tested;                /* version rule and selftest hooks passed in that boot */
        bool undone;                /* rolling back: the rollback hooks ran */
        bool reverts;               /* back to what was committed before: nothing is written or read */
} InstallRecord;

#define INSTALL_RECORD_NAME "session"

/* Whole or not at all, synced. */
_must_use_ int install_record_save(const InstallRecord *record, int dir_fd);
/* -ENOENT: no session. -EBADMSG: damaged, or out of bounds; put aside as "session.damaged". */
_must_use_ int install_record_load(int dir_fd, InstallRecord *ret);
_must_use_ int install_record_remove(int dir_fd);

/* The pure half of loading, for tests and the fuzzer: the bytes of the file. -EBADMSG. */
_must_use_ int install_record_parse(const char *text, size_t n_text, InstallRecord *ret);

/* -EBADMSG where a name, a size or a count is out of bounds. */
_must_use_ int install_request_check(const InstallRequest *request);
bool install_request_is_same(const InstallRequest *a, const InstallRequest *b);
