/*
 * begin-same: whether a Begin() came through whole.
 */
#pragma once

#include <string.h>

#include "link/link-message.h"

static inline bool begin_is_same(const LinkBegin *a, const LinkBegin *b)
{
        if (strcmp(a->session, b->session) != 0 || strcmp(a->job_id, b->job_id) != 0 || a->attempt != b->attempt ||
            a->n_files != b->n_files)
                return false;
        for (size_t i = 0; i < a->n_files; i++) {
                const LinkFile *f = &a->files[i], *g = &b->files[i];

                if (strcmp(f->target, g->target) != 0 || f->size_bytes != g->size_bytes ||
                    f->algorithm != g->algorithm || f->n_signature != g->n_signature ||
                    memcmp(f->signature, g->signature, f->n_signature) != 0 || strcmp(f->cert, g->cert) != 0)
                        return false;
        }
        return true;
}
