/* Reals that follow each other, put apart. */
#ifndef GC_SCATTER_H
#define GC_SCATTER_H

#include <stddef.h>

/* to[i*apart] = from[i] for i < n, of reals of `size` bytes. */
static inline void gc_scatter(char *to, ptrdiff_t apart, const char *from, ptrdiff_t n,
                              ptrdiff_t size) {
    if (size == 4)
        for (ptrdiff_t i = 0; i < n; i++) ((float *)to)[i * apart] = ((const float *)from)[i];
    else
        for (ptrdiff_t i = 0; i < n; i++) ((double *)to)[i * apart] = ((const double *)from)[i];
}

#endif
