/* What plans of direct convolutions (direct.c) and their work (direct_work.c) share. */
#ifndef GC_DIRECT_H
#define GC_DIRECT_H

#include "../plan.h"
#include "pack.h"
#include "tile_store.h"
#include "weights.h"

typedef struct gc_direct_pass {
    const gc_axis_pass *axis[3];
    ptrdiff_t *taps;         /* in bytes */
    ptrdiff_t ntaps, weight; /* the first tap's weight */
    gc_run_lanes lanes;
} gc_direct_pass;

typedef struct gc_direct_state {
    gc_axis axes[3];
    gc_planes planes;
    ptrdiff_t boxes[3]; /* number of boxes along each dimension */
    ptrdiff_t npasses;
    gc_direct_pass *passes;
    gc_weights weights;
    ptrdiff_t ordered; /* weights in an order of their own so far */
    int kb;
    ptrdiff_t kblocks;
    ptrdiff_t parts;            /* of a block's vectors, a unit each */
    int activate, lanes_stored; /* after the microkernel, which clamps only; it stores by lanes */
    int zipped;                 /* pairs of passes go to their rows without another copy */
    int in_place;               /* a group's input is laid out as its planes would be */
    int far;                    /* results are asked for: stores would wait for their lines */
    double low, high;
} gc_direct_state;

/* Passes that are computed together: two of stride 2 along the width make whole rows. */
static inline ptrdiff_t gc_direct_joined(const gc_direct_state *s) {
    return s->axes[2].npasses == 2 ? 2 : 1;
}

void gc_direct_work(const gc_run *run, void *scratch, ptrdiff_t first, ptrdiff_t last);

#endif
