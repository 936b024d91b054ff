/* Vectors that hold whole groups of few channels side by side, as channels_last memory has them. */
#ifndef GC_LANE_VECTORS_H
#define GC_LANE_VECTORS_H

#include "../plan.h"

typedef struct gc_lane_vectors {
    ptrdiff_t groups, n; /* groups of a vector; vectors */
    int spread;          /* lanes are not channels as they lie: lane k of channel c reads */
    int32_t *index;      /* index[c*lanes + k] */
    ptrdiff_t taps;      /* of all input channels of a group */
    ptrdiff_t bytes;     /* of a vector's prepared weights */
} gc_lane_vectors;

/* Why groups or memory do not suit, or NULL. */
const char *gc_lane_vectors_refuse(const gc_plan *plan);
gc_status gc_lane_vectors_create(gc_lane_vectors *vectors, const gc_plan *plan);
void gc_lane_vectors_destroy(gc_lane_vectors *vectors);

/* Weights are prepared as W[vector][kernel row][channel][kernel column][lane], and beside those of a vector
 * whether they are finite. */
void gc_lane_vectors_plan(const gc_lane_vectors *vectors, gc_plan *plan);
void gc_lane_vectors_prepare(const gc_lane_vectors *vectors, const gc_plan *plan,
                             const void *weight, void *prepared, ptrdiff_t first, ptrdiff_t last);
int gc_lane_vectors_finite(const gc_lane_vectors *vectors, const gc_run *run, ptrdiff_t v);

#endif
