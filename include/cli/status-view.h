/*
 * status-view: otad's status (agent/status-json.h), read from its JSON and laid out for a person.
 *
 * Who answers on the socket parses the internet, and who asks is often root at a terminal: so every text is bounded and
 * its control characters are escaped when it is read.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/cleanup.h"

enum {
        STATUS_VIEW_JSON_MAX = 256 * 1024,
        STATUS_VIEW_TARGETS_MAX = 16,
        STATUS_VIEW_CERTIFICATES_MAX = 64,
        STATUS_VIEW_TEXT_MAX = 1024
};

typedef struct StatusViewTarget {
        char target[80];
        char slot[80];
        uint64_t size;
        uint64_t written;
        uint64_t durable;
        uint64_t verified;
} StatusViewTarget;

typedef struct StatusViewCertificate {
        char kind[16];
        char file[256];
        char ends[40];
        int64_t days_left; /* negative: it has ended */
} StatusViewCertificate;

/* Texts are "" and numbers 0 where the status has null. */
typedef struct StatusView {
        char otad[64];
        char thing[160];
        char state[32];
        bool connected;
        bool suspended;
        bool reboot_needed;
        char job[80];
        uint64_t attempt;
        char local[96]; /* session of an update that is no job's */
        StatusViewTarget targets[STATUS_VIEW_TARGETS_MAX];
        size_t n_targets;
        struct {
                char protocol[16]; /* "": nothing is downloaded */
                uint64_t percent;
                uint64_t held;
                uint64_t total;
                uint64_t bytes_per_second;
                uint64_t retries;
        } download;
        struct {
                char error[64];
                char detail[STATUS_VIEW_TEXT_MAX];
        } failure;
        struct {
                char reason[STATUS_VIEW_TEXT_MAX];
                bool retries;
                uint64_t retry_seconds;
        } waiting;
        char running[160];
        char previous[160];
        bool testing;
        uint64_t selftest_seconds_left;
        uint64_t unsent_final_statuses;
        StatusViewCertificate certificates[STATUS_VIEW_CERTIFICATES_MAX]; /* those that end soon */
        size_t n_certificates;
        struct {
                char job[80]; /* "": none */
                uint64_t attempt;
                char status[32];
                char error[64];
                char detail[STATUS_VIEW_TEXT_MAX];
                char when[40];
        } last;
        char next[STATUS_VIEW_TEXT_MAX + 256];
} StatusView;

/* -EBADMSG: not the object it should be, longer than STATUS_VIEW_JSON_MAX, or of a schema this otactl does not know. */
_must_use_ int status_view_parse(const char *text, StatusView *ret);

/* A few aligned lines; the last one says what happens next. */
void status_view_print(const StatusView *view, FILE *file);

/* One line of at most `width` columns without its line end: the bar, or what is done now. Returns `text`. */
const char *status_view_progress(const StatusView *view, unsigned width, char *text, size_t text_size);

/* True: another update has ended since `before`. */
bool status_view_has_ended(const StatusView *before, const StatusView *now);
