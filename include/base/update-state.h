/*
 * update-state: the words for where an update stands.
 *
 * The same words are seen in otactl, in the cloud (statusDetails `phase`), on the link and in both processes'
 * records. The table of transitions is in docs/architecture.md; engine/update and install/session hold it as
 * code.
 */
#pragma once

typedef enum UpdateState {
        UPDATE_STATE_IDLE,
        UPDATE_STATE_ACCEPTED, /* job claimed in the cloud, targets not yet touched */
        UPDATE_STATE_DOWNLOADING,
        UPDATE_STATE_SUSPENDED,  /* waits for the broker, the installer or an operator; keeps its bytes */
        UPDATE_STATE_VERIFYING,  /* all bytes of all files lie on their targets */
        UPDATE_STATE_INSTALLED,  /* every signature good; nothing activated */
        UPDATE_STATE_ACTIVATING, /* targets are being switched, a reboot may be due */
        UPDATE_STATE_TESTING,    /* the new software runs, on trial */
        UPDATE_STATE_COMMITTED,
        UPDATE_STATE_ROLLING_BACK,
        UPDATE_STATE_ROLLED_BACK, /* also an update abandoned before anything was activated */
        _UPDATE_STATE_MAX,
} UpdateState;

const char *update_state_to_string(UpdateState state); /* "rolling-back" */
int update_state_from_string(const char *word);        /* -EINVAL where unknown */
