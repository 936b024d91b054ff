/* Sums of a weight gradient on their way to the output. Where the batch is cut into chunks, the chunks' sums
 * wait in the memory that threads share and are added in order. */
#ifndef GC_WEIGHT_SUMS_H
#define GC_WEIGHT_SUMS_H

#include "../plan.h"

/* What was summed up: output channels k0 .. k1 - 1 of a group by its input channels c0 .. c1 - 1. */
typedef struct gc_weight_part {
    ptrdiff_t group, k0, k1, c0, c1, chunk;
} gc_weight_part;

/* How those that have output channels in the lanes cut a gradient: a unit is a slab of a group's output channels by
 * one of its input channels, over a chunk of the batch. */
typedef struct gc_weight_slabs {
    ptrdiff_t k, c, chunks;
    ptrdiff_t most_k, most_c; /* channels of a slab */
} gc_weight_slabs;

gc_weight_slabs gc_weight_slabs_of(const gc_problem *p);
ptrdiff_t gc_weight_units(const gc_problem *p, const gc_weight_slabs *slabs);
gc_weight_part gc_weight_part_of(const gc_problem *p, const gc_weight_slabs *slabs, ptrdiff_t unit);

ptrdiff_t gc_weight_count(const gc_problem *p);
/* Has the plan share and combine the sums of so many chunks. */
void gc_weight_sums_share(gc_plan *plan, ptrdiff_t chunks);
/* sums[k - k0][c - c0][kernel position] */
void gc_weight_sums_put(const gc_run *run, ptrdiff_t chunks, const gc_weight_part *part,
                        const char *sums);
/* The same from sums[tap][row], in whose rows the output channels lie; a tap is (c - c0, kernel position). `turned` is
 * room for as many. */
void gc_weight_sums_put_lanes(const gc_run *run, ptrdiff_t chunks, const gc_weight_part *part,
                              const char *sums, ptrdiff_t row, char *turned);
/* Adds the chunks of output channels first..last-1 and stores them. */
void gc_weight_sums_combine(const gc_run *run, ptrdiff_t chunks, ptrdiff_t first, ptrdiff_t last);

#endif
