/* Planes that a weight gradient reads next, to be fetched while products are summed up. */
#ifndef GC_AHEAD_H
#define GC_AHEAD_H

#include "../plan.h"

/* Inputs, then output gradients; `rate` bytes of them with each vector of a dot product. */
typedef struct gc_ahead {
    const char *next[2];
    ptrdiff_t left[2];
    ptrdiff_t rate;
} gc_ahead;

/* `inputs` channels of image n from channel c on, and `outputs` of its gradients from channel k on (both counted
 * over all groups), to be spread over `passes` passes over a plane of gradients; nothing where their planes do
 * not follow each other in memory. */
gc_ahead gc_ahead_planes(const gc_plan *plan, const gc_arrays *arrays, ptrdiff_t n, ptrdiff_t c,
                         ptrdiff_t inputs, ptrdiff_t k, ptrdiff_t outputs, ptrdiff_t passes);

/* Takes so many vectors' bytes of both, one after the other; how many for each, 0 when nothing is left. */
ptrdiff_t gc_ahead_skip(gc_ahead *ahead, ptrdiff_t vectors);

/* Where to fetch from, so many *bytes with each of `vectors` vectors. */
const char *gc_ahead_take(gc_ahead *ahead, ptrdiff_t vectors, ptrdiff_t *bytes);

#endif
