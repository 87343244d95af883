/*
 * check: what `otactl check` looks at, one line each: ok, warn, or FAIL and the remedy.
 */
#pragma once

#include <stdio.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "base/cleanup.h"
#include "command.h"
#include "transport/identity.h"

enum { CHECK_GROUPS_MAX = 64 };

/* The user that otad runs as: what it must be able to read is judged by owner, group and mode. */
typedef struct CheckUser {
        bool known;
        const char *name; /* borrowed from the config */
        uid_t uid;
        gid_t gid; /* its first group, which secrets may be given to */
        gid_t groups[CHECK_GROUPS_MAX];
        int n_groups;
} CheckUser;

typedef struct Check {
        const Options *options;
        const Config *config;
        CheckUser user;
        FILE *file;
        bool connected; /* otad says that it is */
        unsigned n_failed;
        unsigned n_warned;
} Check;

typedef enum CheckVerdict { CHECK_OK, CHECK_WARN, CHECK_FAIL } CheckVerdict;

/* Prints "VERDICT  SUBJECT: what; remedy". Control characters are escaped. `remedy` NULL: none is needed. */
_printf_(5, 6) void check_say(Check *check, CheckVerdict verdict, const char *subject, const char *remedy,
                              const char *format, ...);

/* `wanted`: 4 read, 2 write, 1 execute or search. True where the user is not known. Folders above are not looked at. */
bool check_user_may(const CheckUser *user, const struct stat *st, unsigned wanted);
/* What cannot be seen as this user is no fault, if root would see it. */
CheckVerdict check_verdict_for(int error);
/* Certificate and key as otad uses them: what only its group may read is read by us, too. Borrowed from the config. */
IdentityParams check_identity_params(const Check *check);
/* Run as root, and so writable for nobody else; executable. False: it said why not. */
bool check_program(Check *check, const char *subject, const char *path);

void check_tls(Check *check);     /* CA, certificate, key, proxy */
void check_trust(Check *check);   /* clock, trust store */
void check_targets(Check *check); /* devices, folders, boot scripts */
void check_system(Check *check);  /* user, folders, hook */
void check_units(Check *check);   /* systemd's units, where this configuration is theirs */
void check_running(Check *check); /* otad, otad-installer */
void check_broker(Check *check);  /* name, TCP, TLS; needless where otad is connected */
