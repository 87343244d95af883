/* A configuration: written by root, but a typing error in it must cost a message and nothing else. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "config/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_data);
const char *__lsan_default_suppressions(void);

/* libconfig 1.5 forgets the text of a string that the file ends in; we read one file, once. */
const char *__lsan_default_suppressions(void)
{
        return "leak:libconfig.so";
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_data)
{
        _cleanup_(config_freep) Config *config = NULL;
        _cleanup_free_ char *message = NULL, *path = strndup((const char *)data, n_data);
        int r;

        if (!path)
                return 0;
        r = config_parse((const char *)data, n_data, "fuzz.conf", &config, &message);
        if (r < 0) {
                if (r != -ENOMEM && (!message || strchr(message, '\n') || !utf8_is_valid(message, strlen(message))))
                        abort();
                return 0;
        }
        (void)config_match_target(config, path);
        (void)config_match_target(config, "rootfs.img");
        for (size_t i = 0; i < config->n_targets; i++)
                for (size_t k = 0; k < i; k++)
                        if (strcmp(config->targets[k].name, config->targets[i].name) == 0)
                                abort();
        return 0;
}
