/*
 * cleanup: scope-owned resources and the few macros every room uses.
 *
 * A variable marked _cleanup_(fn) is released when its scope ends; TAKE_PTR and TAKE_FD hand it on instead.
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(fn)        __attribute__((cleanup(fn)))
#define _must_use_           __attribute__((warn_unused_result))
#define _printf_(fmt, first) __attribute__((format(printf, fmt, first)))
#define _unused_             __attribute__((unused))

#define ELEMENTSOF(array) (sizeof(array) / sizeof((array)[0]))
#define MIN2(a, b)        ((a) < (b) ? (a) : (b))
#define MAX2(a, b)        ((a) > (b) ? (a) : (b))

#define TAKE_PTR(ptr)                           \
        ({                                      \
                __typeof__(ptr) taken_ = (ptr); \
                (ptr) = NULL;                   \
                taken_;                         \
        })
#define TAKE_FD(fd)                \
        ({                         \
                int taken_ = (fd); \
                (fd) = -1;         \
                taken_;            \
        })

/* Defines fnp(), for _cleanup_(fnp), from a fn() that takes NULL. */
#define DEFINE_CLEANUP(type, fn)               \
        static inline void fn##p(type *object) \
        {                                      \
                fn(*object);                   \
        }                                      \
        struct cleanup_needs_a_semicolon_

static inline void freep(void *pointer_to_pointer)
{
        free(*(void **)pointer_to_pointer);
}

/* Closes and forgets; errno is kept, a descriptor below zero is fine. Returns -1. */
int close_fd(int fd);

static inline void close_fdp(int *fd)
{
        close_fd(*fd);
}

static inline void fclosep(FILE **file)
{
        if (*file)
                fclose(*file);
}

#define _cleanup_free_   _cleanup_(freep)
#define _cleanup_close_  _cleanup_(close_fdp)
#define _cleanup_fclose_ _cleanup_(fclosep)
