/* Results of some vectors of output channels of one group, the channels of a position side by side: to their place,
 * or first into a tile, from which they are taken there. */
#ifndef GC_CHANNEL_RESULTS_H
#define GC_CHANNEL_RESULTS_H

#include "../plan.h"

typedef struct gc_channel_results {
    const gc_run *run;
    ptrdiff_t n, depth;        /* image and depth of the output */
    ptrdiff_t k, channels;     /* the first output channel, and how many */
    ptrdiff_t wide;            /* positions of a row */
    int joined;                /* rows follow each other in output and residual */
    ptrdiff_t step;            /* bytes of a position in the tile */
    int turned;                /* squares of vectors are turned on their way */
    gc_lane_epilogue epilogue; /* of theirs, where there is a residual */
} gc_channel_results;

/* Whether rows of `wide` positions follow each other in output and residual. */
int gc_channel_results_joined(const gc_problem *p, ptrdiff_t wide);
/* Whether results that wait in a tile are turned. */
int gc_channel_results_turn(const gc_plan *plan, ptrdiff_t channels);

char *gc_channel_results_output(const gc_channel_results *r, ptrdiff_t row, ptrdiff_t column);
/* NULL: there is none. */
const char *gc_channel_results_residual(const gc_channel_results *r, ptrdiff_t row,
                                        ptrdiff_t column);

/* Whether results are finished on their way from the tile: unless they are turned as they are. */
int gc_channel_results_late(const gc_channel_results *r);
/* What a microkernel does to results that wait in a tile: everything, or nothing, if that is done later. */
gc_lane_epilogue gc_channel_results_before(const gc_channel_results *r);

/* Positions first .. last - 1 of a depth, from the tile to their place. */
void gc_channel_results_store(const gc_channel_results *r, ptrdiff_t first, ptrdiff_t last,
                              char *tile);

#endif
