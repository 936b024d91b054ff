/* What the plans of Winograd's method along rows (winograd_row.c) and their work (winograd_row_work.c) share. */
#ifndef GC_WINOGRAD_ROW_H
#define GC_WINOGRAD_ROW_H

#include "channel_box.h"
#include "channel_lanes.h"
#include "channel_results.h"
#include "channel_weights.h"

/* Where windows are read: the caller's array; squares of vectors of it, turned; a padded and packed box. */
typedef enum gc_row_source {
    GC_ROW_IN_PLACE,
    GC_ROW_TURNED,
    GC_ROW_PACKED,
} gc_row_source;

/* A tile of products of some vectors, and positions whose products wait for each other: whole tiles. */
typedef struct gc_row_products {
    const gc_lane_products_tile *tile;
    ptrdiff_t held;
} gc_row_products;

typedef struct gc_winograd_row {
    ptrdiff_t pad_before[3]; /* of the forward convolution that a transposed one is */
    int share;               /* groups of a vector: 1, 2 or 4 */
    int32_t order[GC_MAX_LANES], back[GC_MAX_LANES]; /* of its lanes, where there are several */
    ptrdiff_t groups, in, out;                       /* units of so many groups; their channels */
    gc_row_source source;
    gc_channel_box box;      /* of results that are computed again, too */
    int plain, joined;       /* the microkernel stores results; rows follow each other */
    ptrdiff_t tiles;         /* of a row: positions of products */
    ptrdiff_t element, tile; /* reals of an element of a window, all its channels; of a window */
    int turns;              /* depths follow each other: windows of one take the place of another */
    ptrdiff_t ntaps, *taps; /* kernel rows of all depths, for each first place */
    ptrdiff_t *direct_taps; /* kernel positions, in the packed box */
    ptrdiff_t boxes, rows, in_rows; /* per depth; rows of the largest box, and of its windows */
    ptrdiff_t vectors, blocks, vb;  /* of output channels of a group */
    gc_row_products products[GC_MAX_LANE_VB];
    gc_lane_epilogue epilogue;
} gc_winograd_row;

/* Bytes of each part of a thread's scratch memory, in this order. Spill: windows behind the last, which are read. */
typedef struct gc_winograd_row_sizes {
    size_t windows, spill, products, results, input;
} gc_winograd_row_sizes;

gc_winograd_row_sizes gc_winograd_row_scratch(const gc_plan *plan, const gc_winograd_row *s);

/* Prepared weights, in reals of a lane: of an element of the window, of all of them, and the weights themselves, from
 * which results that are not finite are computed. */
static inline ptrdiff_t gc_winograd_row_taps(const gc_plan *plan, const gc_winograd_row *s) {
    return s->ntaps * plan->problem.in_per_group;
}
static inline ptrdiff_t gc_winograd_row_transformed(const gc_plan *plan, const gc_winograd_row *s) {
    return GC_ROW_WINDOW * gc_winograd_row_taps(plan, s);
}
static inline ptrdiff_t gc_winograd_row_raw(const gc_plan *plan, const gc_winograd_row *s) {
    return GC_ROW_TAPS * gc_winograd_row_taps(plan, s);
}
/* Reals of a unit's groups: U[block][element][tap][channel][vector of the block][lane], then W[vector][kernel position]
 * [channel][lane]. */
static inline ptrdiff_t gc_winograd_row_group(const gc_plan *plan, const gc_winograd_row *s) {
    return s->vectors * plan->kernels->lanes *
           (gc_winograd_row_transformed(plan, s) + gc_winograd_row_raw(plan, s));
}

/* Where a box is in the output. */
typedef struct gc_winograd_row_place {
    ptrdiff_t n, g, depth, first, last;
} gc_winograd_row_place;

/* Of box i of all, in the order of work: boxes of one depth follow each other, or depths of one box if they take turns. */
static inline gc_winograd_row_place gc_winograd_row_at(const gc_plan *plan,
                                                       const gc_winograd_row *s, ptrdiff_t i) {
    const gc_problem *p = &plan->problem;
    const ptrdiff_t deep = p->out_size[0], image = i / (deep * s->boxes),
                    at = i % (deep * s->boxes);
    const ptrdiff_t box = s->turns ? at / deep : at % s->boxes;
    return (gc_winograd_row_place){
        .n = image / s->groups,
        .g = image % s->groups,
        .depth = s->turns ? at % deep : at / s->boxes,
        .first = gc_cut(p->out_size[1], s->boxes, box),
        .last = gc_cut(p->out_size[1], s->boxes, box + 1),
    };
}

/* Output channels of unit g: the last one may have a group less. */
static inline ptrdiff_t gc_winograd_row_out(const gc_plan *plan, const gc_winograd_row *s,
                                            ptrdiff_t g) {
    return gc_min(s->out, plan->problem.groups * plan->problem.out_per_group - g * s->out);
}

void gc_winograd_row_work(const gc_run *run, void *scratch, ptrdiff_t first, ptrdiff_t last);

#endif
