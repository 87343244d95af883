/*
 * local-session: how a session of otad-installer that no job stands behind is named.
 *
 * "local#" and a word: "local#install-1f0c..." (otactl install), "local#rollback-1f0c..." (otactl rollback). A job's is
 * "JOBID#NUMBER", so a word that does not begin with a digit keeps the two apart, whatever a job is called.
 */
#pragma once

#include <stdbool.h>
#include <string.h>

#define LOCAL_SESSION_PREFIX "local#"
#define LOCAL_SESSION_JOB_ID "local" /* what hooks see in OTAD_JOB_ID */

static inline bool session_is_local(const char *session)
{
        size_t n = strlen(LOCAL_SESSION_PREFIX);

        return strncmp(session, LOCAL_SESSION_PREFIX, n) == 0 && session[n] >= 'a' && session[n] <= 'z';
}
