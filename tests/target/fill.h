/* fill: bytes from a buffer into a writer, as they come from the data pipe in otad-installer. */
#pragma once

#include <string.h>

#include "folder.h"
#include "target/target.h"

static inline int fill(TargetWriter *writer, const void *data, size_t n_data, Failure *reterr)
{
        for (size_t at = 0, n; at < n_data; at += n) {
                void *room;
                int r;

                do
                        r = target_writer_room(writer, true, &room, &n, reterr);
                while (r == 0); /* something else has ended */
                if (r < 0)
                        return r;
                assert_true(n > 0);
                n = MIN2(n, n_data - at);
                memcpy(room, (const uint8_t *)data + at, n);
                r = target_writer_filled(writer, n, reterr);
                if (r < 0)
                        return r;
        }
        return 0;
}
