/*
 * memory: what only a program's start needed is not kept mapped.
 *
 * Loading, relocating and setting up libraries touches most of their pages once, and with each the kernel maps its
 * neighbours. These pages are clean copies of files: dropped from our page tables they stay in the page cache for as long
 * as the kernel has room, and what is wanted again comes from there by a minor fault, or else from the file, as everything
 * does that the kernel itself has taken away. So a call changes nothing but what is counted as ours and the time that the
 * next steps take. It costs some 200 to 400 us, so it has no place in a hot path.
 *
 * Left alone is what is ours alone: each segment that may be written, in which RELRO lies, and objects with text
 * relocations. A debugger's breakpoints are not: they are written into the code's pages and are gone with them.
 *
 * Source: madvise(2), MADV_DONTNEED; ELF gABI, "Program Header" and "Dynamic Section".
 */
#pragma once

/* Also gives back what is free at the end of the heap. */
void memory_give_back(void);
