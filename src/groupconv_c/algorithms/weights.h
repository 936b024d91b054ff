/* Weights as broadcast streams: in place where those of an output channel lie one after the other as reals,
 * otherwise prepared so, in the order of the kernel or in one of the algorithm's own. */
#ifndef GC_WEIGHTS_H
#define GC_WEIGHTS_H

#include "../plan.h"

typedef struct gc_weights {
    int in_place;
    ptrdiff_t k, c, d, h, w; /* reals between output channels, input channels, kernel positions */
    ptrdiff_t per_k;         /* reals of one output channel, which follow each other */
    ptrdiff_t k_bytes, c_bytes, group_bytes; /* of the caller's array */
    ptrdiff_t
        *order; /* own order: bytes from an output channel's begin to each of its per_k weights */
} gc_weights;

/* Weights are rarely in a near cache when a layer's turn comes: cycles until so many bytes are there. */
static inline double gc_weights_cycles(double bytes) { return bytes / 6; }

void gc_weights_create(gc_weights *weights, const gc_plan *plan);
/* Has them converted even where they could be read in place. */
void gc_weights_convert(gc_weights *weights);
/* Has them prepared in an order of the algorithm's own: it fills weights->order. */
gc_status gc_weights_reorder(gc_weights *weights);
void gc_weights_destroy(gc_weights *weights);
static inline ptrdiff_t gc_weights_tap(const gc_weights *s, ptrdiff_t c, ptrdiff_t d, ptrdiff_t h,
                                       ptrdiff_t w) {
    return c * s->c + d * s->d + h * s->h + w * s->w;
}
/* What preparing them, if so, means for the plan: sizes, units, key, predicted seconds. */
void gc_weights_plan(const gc_weights *weights, gc_plan *plan);
/* Copies output channels first..last-1, counted over all groups, as reals in the prepared order. */
void gc_weights_copy(const gc_weights *weights, const gc_plan *plan, const void *weight, char *to,
                     ptrdiff_t first, ptrdiff_t last);
/* The same to their places among all prepared ones. */
void gc_weights_prepare(const gc_weights *weights, const gc_plan *plan, const void *weight,
                        void *prepared, ptrdiff_t first, ptrdiff_t last);
/* Bytes between groups, in place or prepared. */
ptrdiff_t gc_weights_group_step(const gc_weights *weights, const gc_plan *plan);
/* Where output channel k of group g begins. */
const char *gc_weights_at(const gc_weights *weights, const gc_plan *plan, const gc_run *run,
                          ptrdiff_t g, ptrdiff_t k);

#endif
