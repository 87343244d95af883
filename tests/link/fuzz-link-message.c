/* Hostile values for every message: the bytes say which and what; ASan and UBSan say what came of it. */
#include <string.h>

#include "message-pair.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A text of up to 2 KiB out of the input; sd-bus itself refuses what is not UTF-8. */
static const char *take_text(const uint8_t **data, size_t *size, char buffer[static 2048])
{
        size_t n = 0;

        if (*size > 1) {
                n = MIN2((size_t)(*data)[0] * 8, MIN2(*size - 1, (size_t)2047));
                memcpy(buffer, *data + 1, n);
                *data += n + 1;
                *size -= n + 1;
        }
        buffer[n] = '\0';
        return buffer;
}

static uint64_t take_number(const uint8_t **data, size_t *size)
{
        uint64_t number = 0;
        size_t n = MIN2(*size, sizeof(number));

        memcpy(&number, *data, n);
        *data += n;
        *size -= n;
        return number;
}

/* Appends one value of each type the signature names, containers as they come; stops at the first refusal. */
static void append_any(sd_bus_message *m, const uint8_t **data, size_t *size)
{
        char text[2048];

        for (unsigned i = 0; i < 64 && *size > 0; i++) {
                uint8_t op = **data;
                uint64_t number;

                (*data)++;
                (*size)--;
                switch (op % 10) {
                case 0:
                        (void)!sd_bus_message_append(m, "s", take_text(data, size, text));
                        break;
                case 1:
                        number = take_number(data, size);
                        (void)!sd_bus_message_append(m, "t", number);
                        break;
                case 2:
                        (void)!sd_bus_message_append(m, "u", (uint32_t)take_number(data, size));
                        break;
                case 3:
                        (void)!sd_bus_message_append(m, "b", op & 1);
                        break;
                case 4:
                        number = MIN2(*size, (size_t)op * 8);
                        if (sd_bus_message_append_array(m, 'y', *data, number) >= 0) {
                                *data += number;
                                *size -= number;
                        }
                        break;
                case 5:
                        (void)!sd_bus_message_open_container(m, 'a', op & 16 ? "(stsays)" : "(sstttt)");
                        break;
                case 6:
                        (void)!sd_bus_message_open_container(m, 'r', op & 16 ? "stsays" : "sstttt");
                        break;
                case 7:
                        (void)!sd_bus_message_open_container(m, 'a', op & 16 ? "s" : LINK_HISTORY_SIGNATURE);
                        break;
                case 8:
                        (void)!sd_bus_message_open_container(m, 'r', "sstsssssssttt");
                        break;
                default:
                        (void)!sd_bus_message_close_container(m);
                        break;
                }
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static LinkBegin begin;
        static LinkState state;
        static LinkRevert revert;
        LinkHistoryEntry *entries = NULL;
        size_t n_entries;
        MessagePair pair;
        LinkOffsets offsets;
        LinkProgress progress;
        Failure why;
        uint64_t offset;
        unsigned file;
        uint8_t which = size > 0 ? data[0] % 8 : 0;

        if (size > 0) {
                data++;
                size--;
        }
        pair_init(&pair);
        pair_begin(&pair);
        append_any(pair.m, &data, &size);
        /* Containers left open do not seal; that is no message then. */
        if (sd_bus_message_seal(pair.m, 1, 0) >= 0 && sd_bus_message_rewind(pair.m, true) >= 0)
                switch (which) {
                case 0:
                        (void)!link_begin_read(pair.m, &begin);
                        break;
                case 1:
                        (void)!link_state_read(pair.m, &state);
                        break;
                case 2:
                        (void)!link_offsets_read(pair.m, &offsets);
                        break;
                case 3:
                        (void)!link_progress_read(pair.m, &progress);
                        break;
                case 4:
                        (void)!link_roll_back_read(pair.m, &why);
                        break;
                case 6:
                        (void)!link_revert_read(pair.m, &revert);
                        break;
                case 7:
                        if (link_history_read(pair.m, &entries, &n_entries) >= 0)
                                free(entries);
                        break;
                default:
                        (void)!link_write_read(pair.m, &file, &offset);
                        break;
                }
        pair_done(&pair);
        return 0;
}
