/*
 * config-table: every key once. The loader, its messages and the reference are made from these tables.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/config.h"

typedef enum ConfigKind {
        CONFIG_KIND_BOOL,
        CONFIG_KIND_NUMBER,
        CONFIG_KIND_SECONDS,      /* kept as microseconds */
        CONFIG_KIND_MILLISECONDS, /* kept as microseconds */
        CONFIG_KIND_BYTES,
        CONFIG_KIND_TEXT,
        CONFIG_KIND_PATH,
        CONFIG_KIND_MODE,    /* permission bits, written as octal digits in a string */
        CONFIG_KIND_WORD,    /* one value of an enum */
        CONFIG_KIND_WORDS,   /* a ConfigWords */
        CONFIG_KIND_WINDOWS, /* a Schedule */
        CONFIG_KIND_LIST,    /* groups, each with the keys of a table of their own */
        _CONFIG_KIND_MAX,
} ConfigKind;

typedef struct ConfigWord {
        const char *word; /* NULL ends an array of them */
        int value;
} ConfigWord;

typedef struct ConfigTable ConfigTable;

typedef struct ConfigKey {
        const char *path; /* below the table's root: "broker.port" */
        ConfigKind kind;
        bool required;
        bool may_be_empty; /* paths: "" stands for none */
        bool may_hold_secret;
        size_t offset; /* of the field in the table's struct, and its size */
        size_t size;
        /* Numbers: the least and the greatest, in the unit of the file. Texts: bytes. Lists: elements. */
        uint64_t min;
        uint64_t max;
        /* As a person would write it, without quotes; words with a space between. NULL: there is none. */
        const char *fallback;
        const char *allowed;                  /* texts: what is_allowed() asks for, in words */
        bool (*is_allowed)(const char *text); /* texts: over and above valid UTF-8 without control characters */
        const ConfigWord *words;
        const ConfigTable *table; /* lists: of one element, and where their number goes */
        size_t n_offset;
        const char *only_for; /* the `type` this key belongs to; NULL: any */
        const char *doc;
} ConfigKey;

struct ConfigTable {
        const char *path; /* "" for the whole file, "targets[].slots[]" */
        const ConfigKey *keys;
        size_t n_keys;
        size_t element_bytes;
};

enum {
        CONFIG_KEYS_MAX = 128, /* in one table */
        CONFIG_PATH_MAX = 256, /* of a key's full path in a message, cut beyond */
        CONFIG_ALLOWED_MAX = 512,
};

extern const ConfigTable config_table;

const char *config_kind_to_string(ConfigKind kind); /* "seconds" */
/* What may be written for this key: "a number from 1 to 65535". Returns `text`. */
const char *config_key_allowed(const ConfigKey *key, char text[static CONFIG_ALLOWED_MAX]);
/* NULL where there is none. */
const ConfigWord *config_word_find(const ConfigWord *words, const char *word, size_t n_word);
