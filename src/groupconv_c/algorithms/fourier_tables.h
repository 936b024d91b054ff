/* Tables of a Fourier transform of so many points, which the kernels read. */
#ifndef GC_FOURIER_TABLES_H
#define GC_FOURIER_TABLES_H

#include "../plan.h"

typedef struct gc_fourier_tables {
    ptrdiff_t points, half, fours; /* see gc_fourier in transform_contracts.h */
    void *turns, *half_turns;
    int32_t *place;
} gc_fourier_tables;

gc_status gc_fourier_tables_create(gc_fourier_tables *t, ptrdiff_t points,
                                   const gc_kernels *kernels);
void gc_fourier_tables_destroy(gc_fourier_tables *t);
/* The transform between `data` and `spectrum`, whose frequencies lie `bin` reals apart. */
gc_fourier gc_fourier_transform(const gc_fourier_tables *t, void *data, void *spectrum,
                                ptrdiff_t bin, ptrdiff_t imaginary);
/* Cycles of one transform of a vector of sequences, forth or back, and of turning it. */
double gc_fourier_cycles(const gc_fourier_tables *t);

#endif
