/*
 * A library as no compiler makes it any more: an address in pages that are not to be written, which the loader has to
 * correct in there (DT_TEXTREL).
 */
#include <stdint.h>

const uintptr_t *moved_text_find(void);

extern const uintptr_t moved_text_address __attribute__((visibility("hidden")));
__asm__(".pushsection .rodata.moved, \"a\"\n"
        ".balign 8\n"
        ".globl moved_text_address\n"
        ".hidden moved_text_address\n"
        "moved_text_address: .dc.a moved_text_find\n"
        ".popsection\n");

/* Where its own address stands. */
const uintptr_t *moved_text_find(void)
{
        return &moved_text_address;
}
