/* A record whose checksum is right and whose fields are hostile: "name=value" lines become a sealed file first. */
#include <string.h>

#include "base/record.h"
#include "install/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static InstallRecord out;
        _cleanup_(record_freep) Record *record = record_new();
        _cleanup_free_ char *text = strndup((const char *)data, size), *sealed = NULL;
        char *rest = text, *line;
        size_t n;

        if (!record || !text)
                return 0;
        (void)!install_record_parse((const char *)data, size, &out);
        while ((line = strsep(&rest, "\n"))) {
                char *value = strchr(line, '=');

                if (!value)
                        continue;
                *value++ = '\0';
                (void)!record_set(record, line, value);
        }
        if (record_format(record, &sealed, &n) >= 0)
                (void)!install_record_parse(sealed, n, &out);
        return 0;
}
