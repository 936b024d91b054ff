/* What the plans of channel tiles (channel_tiles.c) and their work (channel_tiles_work.c) share. */
#ifndef GC_CHANNEL_TILES_H
#define GC_CHANNEL_TILES_H

#include "channel_lanes.h"
#include "geometry.h"

typedef struct gc_channel_tiles_state {
    gc_channel_lanes_state common;
    int in_place, plain;         /* reads the caller's array; the microkernel stores results */
    int by_runs;                 /* boxes are some runs, not whole rows */
    gc_axis axes[3];             /* sizes and padding mode only */
    ptrdiff_t out[3];            /* positions, flattened where memory allows */
    ptrdiff_t in_row, in_column; /* bytes between positions of a depth, in place or packed */
    int planes;                  /* positions of a channel are side by side, not channels */
    ptrdiff_t channel;           /* reals between channels */
    ptrdiff_t pitch, columns, row,
        slice; /* packed: reals of a position; its row's positions; reals */
    struct {
        ptrdiff_t end, source; /* the column after its last; where its first is read, or -1 */
    } *pieces;                 /* of a padded row, whose sources follow each other */
    ptrdiff_t npieces;
    ptrdiff_t *taps, ntaps, channels; /* `channels` weights follow each other at each tap */
    ptrdiff_t piece;                  /* input channels before the next kernel position */
    int places;                       /* a tile is some positions anywhere; a run is one */
    ptrdiff_t g, runs;                /* positions of a run; runs of a row */
    ptrdiff_t held;                   /* runs whose results wait for each other */
    int joined;                       /* rows follow each other in output and residual */
    ptrdiff_t boxes, rows;            /* per depth; output rows of the largest box (packed) */
    ptrdiff_t vectors, blocks, vb;    /* of output channels of a group */
    gc_lane_epilogue epilogue;
} gc_channel_tiles_state;

/* Where an axis of padded input ends for `count` outputs. */
static inline ptrdiff_t gc_channel_tiles_reach(const gc_problem *p, int axis, ptrdiff_t count) {
    return (count - 1) * p->stride[axis] + (p->kernel[axis] - 1) * p->dilation[axis] + 1;
}

/* Things that boxes of a depth are cut from: runs, or whole rows. */
static inline ptrdiff_t gc_channel_tiles_cuts(const gc_channel_tiles_state *s) {
    return gc_max(s->by_runs ? s->out[1] * s->runs : s->out[1], 1);
}

/* Weights of a lane. */
static inline ptrdiff_t gc_channel_tiles_weights(const gc_problem *p) {
    return p->kernel[0] * p->kernel[1] * p->kernel[2] * p->in_per_group;
}

/* Vectors of block b of a group. */
static inline ptrdiff_t gc_channel_tiles_vectors(const gc_channel_tiles_state *s, ptrdiff_t b) {
    return gc_cut(s->vectors, s->blocks, b + 1) - gc_cut(s->vectors, s->blocks, b);
}

static inline size_t gc_channel_tiles_packed(const gc_plan *plan, const gc_channel_tiles_state *s) {
    const gc_problem *p = &plan->problem;
    if (s->in_place) return 0;
    const ptrdiff_t reals = s->planes ? p->in_per_group * s->channel : p->kernel[0] * s->slice;
    return gc_round_up((size_t)reals * plan->kernels->real_size, 64);
}

/* Whether positions follow each other where channels should, in whole vectors: then squares of vectors are turned. */
static inline int gc_channel_tiles_turns(const gc_plan *plan, const ptrdiff_t *strides,
                                         ptrdiff_t channels) {
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size;
    return plan->storage_size == size && strides[4] == size && strides[1] % size == 0 &&
           channels % plan->kernels->lanes == 0;
}

/* Results that wait for each other. */
static inline size_t gc_channel_tiles_tile(const gc_plan *plan, const gc_channel_tiles_state *s) {
    if (s->plain) return 0;
    return gc_round_up(
        (size_t)(s->held * s->g * s->vb * plan->kernels->lanes) * plan->kernels->real_size, 64);
}

void gc_channel_tiles_work(const gc_run *run, void *scratch, ptrdiff_t first, ptrdiff_t last);

#endif
