/* What the plans of depthwise convolution by Fourier transforms of rows and their work share. */
#ifndef GC_DEPTHWISE_FOURIER_H
#define GC_DEPTHWISE_FOURIER_H

#include "fourier_tables.h"
#include "pack.h"
#include "weights.h"

typedef struct gc_fourier_depthwise {
    gc_axis axes[3];
    gc_planes planes; /* of one channel's box, where it is summed up directly */
    ptrdiff_t *taps;  /* of them, in bytes */
    gc_fourier_tables tables;
    ptrdiff_t outputs, columns; /* of a block along rows, and how many of those a row has */
    ptrdiff_t high, boxes;      /* rows of results of a box, and how many of those an image has */
    ptrdiff_t in_high;          /* rows of input that it reads, at most */
    ptrdiff_t slabs;            /* of rows of a box: a unit is one */
    ptrdiff_t vectors;          /* of channels */
    gc_weights raw;
    /* Reals of a vector of channels, prepared: its spectra, `kernel` rows at each frequency, then what a transform works
     * in. The weights themselves follow all vectors. */
    ptrdiff_t kernel, spectra, vector;
} gc_fourier_depthwise;

/* Bytes of each part of a thread's scratch memory, in this order. */
typedef struct gc_fourier_depthwise_sizes {
    size_t in, out, data, rows, planes, tile;
} gc_fourier_depthwise_sizes;

gc_fourier_depthwise_sizes gc_fourier_depthwise_scratch(const gc_plan *plan,
                                                        const gc_fourier_depthwise *s);
void gc_fourier_depthwise_work(const gc_run *run, void *scratch, ptrdiff_t first, ptrdiff_t last);

#endif
