/*
 * What a hook or a boot script prints, in pieces of any size: as lines in the log, as the last word, and as an answer.
 * The boot script's file is taken in whole, for what judges an answer is its own.
 */
#include <stdlib.h>

#include "base/log.h"

#include "../../src/target/boot.c"
#include "line-log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_data);

static void feed_lines(const char *data, size_t n_data)
{
        LineLog log = {.name = "fuzz"};
        char last[PROCESS_LAST_LINE_MAX];
        size_t piece = n_data > 0 ? 1 + (size_t)(uint8_t)data[0] : 1;

        for (size_t at = 0; at < n_data; at += piece)
                line_log_feed(&log, data + at, MIN2(piece, n_data - at));
        line_log_finish(&log);
        line_log_last(&log, last, sizeof(last));
        if (!utf8_is_valid(last, strlen(last)))
                abort();
        for (const char *c = last; *c; c++)
                if ((unsigned char)*c < 0x20 || *c == 0x7f)
                        abort();
}

static void judge_all(const char *data, size_t n_data)
{
        char output[OUTPUT_MAX_BYTES + 1] = "";
        ProcessResult result = {
                .end = PROCESS_EXITED, .last_line = "", .output = output, .output_cut = n_data > OUTPUT_MAX_BYTES};
        BootCall call = {.path = (char *)"/boot", .slots = {(char *)"A", (char *)"B"}};
        Failure failure;

        result.n_output = MIN2(n_data, (size_t)OUTPUT_MAX_BYTES);
        memcpy(output, data, result.n_output);
        for (Verb verb = VERB_GET_PRIMARY; verb <= VERB_GET_CURRENT; verb++)
                for (call.wanted = -1; call.wanted < 2; call.wanted++) {
                        int r;

                        call.verb = verb;
                        if (verb == VERB_SET_STATE && call.wanted < 0)
                                continue;
                        failure.reason = FAILURE_NONE;
                        r = judge(&call, &result, &failure);
                        if (r > 1 || (r < 0) != failure_is_set(&failure))
                                abort();
                }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_data)
{
        static bool quiet;

        if (!quiet)
                log_set_max_level(-1);
        quiet = true;
        feed_lines((const char *)data, n_data);
        judge_all((const char *)data, n_data);
        return 0;
}
