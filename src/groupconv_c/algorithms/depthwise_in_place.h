/* What plans of depthwise convolutions in place (depthwise_in_place.c) and their work
 * (depthwise_in_place_work.c) share. */
#ifndef GC_DEPTHWISE_IN_PLACE_H
#define GC_DEPTHWISE_IN_PLACE_H

#include "../plan.h"
#include "weights.h"

/* Some rows of a band: the first one's places in the slice, from its row 0. */
typedef struct gc_in_place_tile {
    ptrdiff_t in, out, residual; /* elements */
    int nrows, few, edge, whole;
    int first, last; /* input rows that are there */
} gc_in_place_tile;

/* Rows of a band that roll together, the dilation apart. */
typedef struct gc_in_place_class {
    ptrdiff_t first, out_height, whole; /* output rows */
    ptrdiff_t above, down, height;      /* input rows: missing ones, the first one, how many */
} gc_in_place_class;

typedef struct gc_in_place {
    ptrdiff_t pad[3];        /* as a forward convolution has them */
    const gc_kernels *table; /* the microkernels' */
    int channelwise;
    gc_weights weights;
    ptrdiff_t weight_origin, weight_step[3];
    gc_columns *columns;
    uint32_t *bits;
    ptrdiff_t ncolumns;
    ptrdiff_t bands;
    gc_rolling_fn *roll;              /* NULL: tiles */
    gc_small_maps_fn *small;          /* of channelwise plans; NULL: rolling */
    gc_in_place_class *classes;       /* [band][class], where it rolls */
    gc_in_place_tile *tiles;          /* of all bands */
    ptrdiff_t *band_tile;             /* the first tile of each band */
    gc_depthwise_rows_fn *kernels[2]; /* of tiles of all rows, of few */
    int activate;                     /* after the microkernel, which clamps only */
    double low, high;
} gc_in_place;

/* Rows of a band first .. last - 1 that may be stored whole where a vector is wider than a row. */
static inline ptrdiff_t gc_in_place_whole_rows(const gc_plan *plan, ptrdiff_t first,
                                               ptrdiff_t last) {
    const gc_in_place *s = plan->state;
    const ptrdiff_t wide = gc_max(plan->problem.out_size[2], 1), lanes = s->table->lanes;
    return gc_max(last - first - (gc_ceil_div(gc_max(lanes, wide), wide) - 1), 0);
}

/* Output rows that a microkernel is given are so far apart. */
static inline ptrdiff_t gc_in_place_row_step(const gc_plan *plan) {
    const gc_problem *p = &plan->problem;
    const gc_in_place *s = plan->state;
    if (s->roll && s->roll == s->table->in_place[p->dtype]->rolling_dilated) return 1;
    return p->stride[1] == 1 && p->kernel[1] > 1 ? p->dilation[1] : 1;
}

void gc_in_place_work(const gc_run *run, void *scratch, ptrdiff_t first, ptrdiff_t last);

#endif
