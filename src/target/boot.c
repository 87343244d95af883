#include "target/boot.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "target/process.h"

enum {
        OUTPUT_MAX_BYTES = 256, /* a slot name or a word, with blanks */
        SHOWN_MAX = 80,         /* of an answer we did not expect */
};

typedef enum Verb {
        VERB_GET_PRIMARY,
        VERB_SET_PRIMARY,
        VERB_GET_STATE,
        VERB_SET_STATE,
        VERB_GET_CURRENT,
} Verb;

static const char *const verb_words[] = {
        [VERB_GET_PRIMARY] = "get-primary", [VERB_SET_PRIMARY] = "set-primary", [VERB_GET_STATE] = "get-state",
        [VERB_SET_STATE] = "set-state",     [VERB_GET_CURRENT] = "get-current",
};
static const char *const state_words[] = {"bad", "good"};

struct BootCall {
        sd_event *event;
        char *path;
        char *slots[BOOT_N_SLOTS];
        uint64_t timeout_usec;

        Verb verb;  /* what runs now */
        int slot;   /* argument of the verbs that have one */
        int wanted; /* what the answer must be; -1: any. After set-*: what was set */
        Process *process;

        BootDoneFn on_done;
        void *userdata;
};

static int run(BootCall *call);

/* Trims blanks and line ends. True where one word is left. */
static bool trim(const ProcessResult *result, char answer[static OUTPUT_MAX_BYTES + 1])
{
        const char *start = result->output, *stop = result->output + result->n_output;

        while (start < stop && strchr(" \t\r\n", *start))
                start++;
        while (stop > start && strchr(" \t\r\n", stop[-1]))
                stop--;
        memcpy(answer, start, (size_t)(stop - start));
        answer[stop - start] = 0;
        return !result->output_cut && strcspn(answer, " \t\r\n") == (size_t)(stop - start);
}

/* "get-state B", for a person. */
static const char *describe(const BootCall *call, char *buffer, size_t buffer_size)
{
        bool has_slot =
                call->verb == VERB_SET_PRIMARY || call->verb == VERB_GET_STATE || call->verb == VERB_SET_STATE;

        (void)snprintf(buffer, buffer_size, "boot script %s %s%s%s%s%s", call->path, verb_words[call->verb],
                       has_slot ? " " : "", has_slot ? call->slots[call->slot] : "",
                       call->verb == VERB_SET_STATE ? " " : "",
                       call->verb == VERB_SET_STATE ? state_words[call->wanted] : "");
        return buffer;
}

static int find_word(const char *const *words, const char *word)
{
        for (int i = 0; i < 2; i++)
                if (strcmp(words[i], word) == 0)
                        return i;
        return -ENOENT;
}

/* The index of the word printed, compared with what it must be. */
static int judge_answer(const BootCall *call, const ProcessResult *result, Failure *reterr)
{
        const char *const *words = call->verb == VERB_GET_STATE ? state_words : (const char *const *)call->slots;
        char what[512], answer[OUTPUT_MAX_BYTES + 1], shown[SHOWN_MAX];
        bool is_word;
        int index;

        describe(call, what, sizeof(what));
        is_word = trim(result, answer);
        text_escape(shown, sizeof(shown), answer, sizeof(answer), false);
        index = is_word ? find_word(words, answer) : -ENOENT;
        if (index < 0)
                return fail(reterr, FAILURE_BOOT_SCRIPT, EPROTO, "%s printed \"%s\", expected \"%s\" or \"%s\"", what,
                            shown, words[0], words[1]);
        if (call->wanted >= 0 && index != call->wanted)
                return fail(reterr, FAILURE_BOOT_SCRIPT, EPROTO,
                            "%s says \"%s\" after it was set to \"%s\": the setting did not take", what, words[index],
                            words[call->wanted]);
        return index;
}

static int judge(const BootCall *call, const ProcessResult *result, Failure *reterr)
{
        char what[512], ended[PROCESS_END_TEXT_MAX];

        if (result->end != PROCESS_EXITED || result->code != 0)
                return fail(reterr, FAILURE_BOOT_SCRIPT, EIO, "%s %s%s%s", describe(call, what, sizeof(what)),
                            process_end_format(ended, result), result->last_line[0] ? ": " : "", result->last_line);
        if (call->verb == VERB_SET_PRIMARY || call->verb == VERB_SET_STATE)
                return 0;
        return judge_answer(call, result, reterr);
}

static void on_process_done(Process *process _unused_, const ProcessResult *result, void *userdata)
{
        BootCall *call = userdata;
        Failure failure = {};
        int r;

        r = judge(call, result, &failure);
        if (r >= 0 && (call->verb == VERB_SET_PRIMARY || call->verb == VERB_SET_STATE)) {
                char what[512];

                call->verb = call->verb == VERB_SET_PRIMARY ? VERB_GET_PRIMARY : VERB_GET_STATE;
                call->process = process_free(call->process);
                r = run(call);
                if (r >= 0)
                        return;
                r = fail(&failure, FAILURE_BOOT_SCRIPT, -r, "%s could not be started: %s",
                         describe(call, what, sizeof(what)), strerror(-r));
        }
        call->on_done(call, r, r < 0 ? &failure : NULL, call->userdata);
}

static int run(BootCall *call)
{
        const char *argv[5] = {call->path, verb_words[call->verb]};
        char name[32];

        if (call->verb == VERB_SET_PRIMARY || call->verb == VERB_GET_STATE || call->verb == VERB_SET_STATE)
                argv[2] = call->slots[call->slot];
        if (call->verb == VERB_SET_STATE)
                argv[3] = state_words[call->wanted];
        (void)snprintf(name, sizeof(name), "boot %s", verb_words[call->verb]);
        return process_start(call->event,
                             &(ProcessParams){
                                     .name = name,
                                     .argv = argv,
                                     .max_output_bytes = OUTPUT_MAX_BYTES,
                                     .timeout_usec = call->timeout_usec,
                             },
                             on_process_done, call, &call->process);
}

static int start(sd_event *event, const BootScript *script, Verb verb, int slot, int wanted, BootDoneFn on_done,
                 void *userdata, BootCall **ret)
{
        _cleanup_(boot_call_freep) BootCall *call = NULL;
        int r;

        if (!script->path || !script->path[0] || slot < 0 || slot >= BOOT_N_SLOTS)
                return -EINVAL;
        call = calloc(1, sizeof(*call));
        if (!call)
                return -ENOMEM;
        call->event = sd_event_ref(event);
        call->timeout_usec = script->timeout_usec;
        call->verb = verb;
        call->slot = slot;
        call->wanted = wanted;
        call->on_done = on_done;
        call->userdata = userdata;
        call->path = strdup(script->path);
        for (size_t i = 0; i < BOOT_N_SLOTS; i++)
                call->slots[i] = strdup(script->slots[i]);
        if (!call->path || !call->slots[0] || !call->slots[1])
                return -ENOMEM;
        r = run(call);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(call);
        return 0;
}

int boot_get_primary(sd_event *event, const BootScript *script, BootDoneFn on_done, void *userdata, BootCall **ret)
{
        return start(event, script, VERB_GET_PRIMARY, 0, -1, on_done, userdata, ret);
}

int boot_get_current(sd_event *event, const BootScript *script, BootDoneFn on_done, void *userdata, BootCall **ret)
{
        return start(event, script, VERB_GET_CURRENT, 0, -1, on_done, userdata, ret);
}

int boot_get_state(sd_event *event, const BootScript *script, int slot, BootDoneFn on_done, void *userdata,
                   BootCall **ret)
{
        return start(event, script, VERB_GET_STATE, slot, -1, on_done, userdata, ret);
}

int boot_set_primary(sd_event *event, const BootScript *script, int slot, BootDoneFn on_done, void *userdata,
                     BootCall **ret)
{
        return start(event, script, VERB_SET_PRIMARY, slot, slot, on_done, userdata, ret);
}

int boot_set_state(sd_event *event, const BootScript *script, int slot, bool good, BootDoneFn on_done, void *userdata,
                   BootCall **ret)
{
        return start(event, script, VERB_SET_STATE, slot, good ? 1 : 0, on_done, userdata, ret);
}

BootCall *boot_call_free(BootCall *call)
{
        if (!call)
                return NULL;
        process_free(call->process);
        for (size_t i = 0; i < BOOT_N_SLOTS; i++)
                free(call->slots[i]);
        free(call->path);
        sd_event_unref(call->event);
        free(call);
        return NULL;
}
