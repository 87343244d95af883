#include "base/update-state.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"

static const char *const words[_UPDATE_STATE_MAX] = {
        [UPDATE_STATE_IDLE] = "idle",
        [UPDATE_STATE_ACCEPTED] = "accepted",
        [UPDATE_STATE_DOWNLOADING] = "downloading",
        [UPDATE_STATE_SUSPENDED] = "suspended",
        [UPDATE_STATE_VERIFYING] = "verifying",
        [UPDATE_STATE_INSTALLED] = "installed",
        [UPDATE_STATE_ACTIVATING] = "activating",
        [UPDATE_STATE_TESTING] = "testing",
        [UPDATE_STATE_COMMITTED] = "committed",
        [UPDATE_STATE_ROLLING_BACK] = "rolling-back",
        [UPDATE_STATE_ROLLED_BACK] = "rolled-back",
};

const char *update_state_to_string(UpdateState state)
{
        assert(state >= 0 && state < _UPDATE_STATE_MAX);
        return words[state];
}

int update_state_from_string(const char *word)
{
        for (size_t i = 0; i < ELEMENTSOF(words); i++)
                if (strcmp(words[i], word) == 0)
                        return (int)i;
        return -EINVAL;
}
