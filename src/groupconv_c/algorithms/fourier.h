/* What the plans of convolution by Fourier transforms (fourier.c) and their work (fourier_work.c) share. */
#ifndef GC_FOURIER_H
#define GC_FOURIER_H

#include "../plan.h"
#include "fourier_tables.h"
#include "pack.h"
#include "weights.h"

typedef struct gc_fourier_state {
    gc_axis axes[3];
    gc_planes planes; /* a row of each input channel, of the blocks that are transformed together */
    gc_fourier_tables tables;
    ptrdiff_t outputs, blocks; /* outputs of a block; blocks of a row */
    ptrdiff_t together, boxes; /* blocks of a unit, and how many such a row has */
    ptrdiff_t most;            /* blocks whose units a thread joins, at most */
    ptrdiff_t in_vectors, out_vectors, kslabs;
    ptrdiff_t bin;     /* reals between frequencies of the inputs' spectra */
    ptrdiff_t *offset; /* of each kernel position in a row */
    ptrdiff_t *taps;   /* one per input channel and kernel position, in bytes, for direct sums */
    gc_weights raw;
    /* Reals of a vector of output channels, prepared: their spectra, then what a transform works in; of a group, the
     * vectors and then the weights themselves, from which direct sums are made. */
    ptrdiff_t spectra, vector, group;
} gc_fourier_state;

/* Bytes of each part of a thread's scratch memory, in this order. */
typedef struct gc_fourier_sizes {
    size_t planes, in, out, data, row, tile, raw, spectra;
} gc_fourier_sizes;

gc_fourier_sizes gc_fourier_scratch(const gc_plan *plan, const gc_fourier_state *s);

/* Spectra of the kernels of `count` output channels, at most a vector of them, from their weights as reals:
 * s->vector reals. */
void gc_fourier_weights(const gc_plan *plan, const char *raw, ptrdiff_t count, char *to);
void gc_fourier_work(const gc_run *run, void *scratch, ptrdiff_t first, ptrdiff_t last);

#endif
