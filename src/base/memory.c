#include "base/memory.h"

#include <link.h>
#include <malloc.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"

enum { SEGMENTS_MAX = 8 }; /* read-only ones of an object; linkers make three */

typedef ElfW(Phdr) Segment;
typedef ElfW(Dyn) DynamicEntry;

typedef struct Range {
        uintptr_t start, end; /* whole pages */
} Range;

static Range segment_pages(const struct dl_phdr_info *object, const Segment *segment, uintptr_t page)
{
        uintptr_t first = object->dlpi_addr + segment->p_vaddr;

        return (Range){.start = first & ~(page - 1), .end = (first + segment->p_memsz + page - 1) & ~(page - 1)};
}

static bool has_text_relocations(const struct dl_phdr_info *object)
{
        for (size_t i = 0; i < object->dlpi_phnum; i++) {
                const Segment *segment = &object->dlpi_phdr[i];

                if (segment->p_type != PT_DYNAMIC)
                        continue;
                for (const DynamicEntry *entry = (const void *)(object->dlpi_addr + segment->p_vaddr);
                     entry->d_tag != DT_NULL; entry++)
                        if (entry->d_tag == DT_TEXTREL ||
                            (entry->d_tag == DT_FLAGS && (entry->d_un.d_val & DF_TEXTREL)))
                                return true;
        }
        return false;
}

/* A page of which a writable segment has a part is that segment's. */
static bool is_written(const struct dl_phdr_info *object, const Range *range, uintptr_t page)
{
        for (size_t i = 0; i < object->dlpi_phnum; i++) {
                const Segment *segment = &object->dlpi_phdr[i];
                Range other = segment_pages(object, segment, page);

                if (segment->p_type == PT_LOAD && (segment->p_flags & PF_W) && other.start < range->end &&
                    range->start < other.end)
                        return true;
        }
        return false;
}

static int give_back_object(struct dl_phdr_info *object, size_t n_object, void *userdata)
{
        uintptr_t page = *(const uintptr_t *)userdata;
        Range ranges[SEGMENTS_MAX];
        size_t n = 0;

        if (has_text_relocations(object))
                return 0;
        /* All are found before any is dropped: the headers lie in the first of them. */
        for (size_t i = 0; i < object->dlpi_phnum && n < ELEMENTSOF(ranges); i++) {
                const Segment *segment = &object->dlpi_phdr[i];

                if (segment->p_type != PT_LOAD || (segment->p_flags & PF_W))
                        continue;
                ranges[n] = segment_pages(object, segment, page);
                if (!is_written(object, &ranges[n], page))
                        n++;
        }
        for (size_t i = 0; i < n; i++)
                (void)madvise((void *)ranges[i].start, ranges[i].end - ranges[i].start, MADV_DONTNEED);
        return 0;
}

/* Errors are of no importance: locked pages stay, and so does what is no file. */
void memory_give_back(void)
{
        uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);

        (void)malloc_trim(0);
        (void)dl_iterate_phdr(give_back_object, &page);
}
