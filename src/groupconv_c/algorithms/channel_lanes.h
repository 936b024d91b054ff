/* The three ways to have output channels in the lanes. */
#ifndef GC_CHANNEL_LANES_H
#define GC_CHANNEL_LANES_H

#include "../plan.h"

/* Whole groups of few channels side by side in a vector, depthwise among them, by square kernels. */
extern const gc_algorithm gc_channel_rolls;
/* The same by any kernel. */
extern const gc_algorithm gc_channel_runs;
/* A vector of channels of one group, inputs broadcast. */
extern const gc_algorithm gc_channel_tiles;

/* First member of both states. */
typedef struct gc_channel_lanes_state {
    const gc_algorithm *way;
} gc_channel_lanes_state;

gc_lane_epilogue gc_lane_epilogue_of(const gc_problem *p);

/* Whether the channels of an array lie side by side, as reals, all strides whole reals. */
int gc_lanes_in_memory(const gc_plan *plan, const ptrdiff_t strides[5], ptrdiff_t channels);

#endif
