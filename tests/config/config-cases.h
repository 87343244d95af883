/*
 * config-cases: texts that must be refused, and the whole message that must say why. The file's name is "x".
 */
#pragma once

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "config/config.h"
#include "unit.h"

typedef struct ConfigCase {
        const char *text;
        const char *message;
} ConfigCase;

static inline void check_config_case(const ConfigCase *one, size_t n_text)
{
        _cleanup_(config_freep) Config *config = NULL;
        _cleanup_free_ char *message = NULL;
        int r = config_parse(one->text, n_text, "x", &config, &message);

        if (r != -EINVAL || !message || strcmp(message, one->message) != 0)
                fail_msg("%d \"%s\" instead of \"%s\" for\n%s", r, message ? message : "", one->message, one->text);
        assert_null(config);
}

static inline void check_config_cases(const ConfigCase *cases, size_t n_cases)
{
        for (size_t i = 0; i < n_cases; i++)
                check_config_case(&cases[i], strlen(cases[i].text));
}
