/* What the plans of channel tiles (channel_tiles.c) and their work (channel_tiles_work.c) share. */
#ifndef GC_CHANNEL_TILES_H
#define GC_CHANNEL_TILES_H

#include "channel_box.h"
#include "channel_lanes.h"
#include "channel_results.h"

typedef struct gc_channel_tiles_state {
    gc_channel_lanes_state common;
    int in_place, plain; /* reads the caller's array; the microkernel stores results */
    int by_runs;         /* boxes are some runs, not whole rows */
    gc_channel_box box;
    ptrdiff_t out[3];                 /* positions, flattened where memory allows */
    ptrdiff_t in_row, in_column;      /* bytes between positions of a depth, in place or packed */
    ptrdiff_t *taps, ntaps, channels; /* `channels` weights follow each other at each tap */
    ptrdiff_t piece;                  /* input channels before the next kernel position */
    int places;                       /* a tile is some positions anywhere; a run is one */
    ptrdiff_t g, runs;                /* positions of a run; runs of a row */
    ptrdiff_t held;                   /* runs whose results wait for each other */
    int joined;                       /* rows follow each other in output and residual */
    ptrdiff_t boxes, rows;            /* per depth; output rows of the largest box (packed) */
    ptrdiff_t vectors, blocks, vb;    /* of output channels of a group */
    int blocks_first;                 /* a block's boxes follow each other, not a box's blocks */
    gc_lane_epilogue epilogue;
} gc_channel_tiles_state;

/* Things that boxes of a depth are cut from: runs, or whole rows. */
static inline ptrdiff_t gc_channel_tiles_cuts(const gc_channel_tiles_state *s) {
    return gc_max(s->by_runs ? s->out[1] * s->runs : s->out[1], 1);
}

/* Where a unit is: of a slice, which is one depth of one group of one image. */
typedef struct gc_channel_tiles_unit {
    ptrdiff_t slice, box, block;
} gc_channel_tiles_unit;

static inline gc_channel_tiles_unit gc_channel_tiles_unit_at(const gc_channel_tiles_state *s,
                                                             ptrdiff_t unit) {
    const ptrdiff_t i = unit % (s->boxes * s->blocks);
    gc_channel_tiles_unit at = {unit / (s->boxes * s->blocks), i / s->blocks, i % s->blocks};
    if (s->blocks_first) {
        at.box = i % s->boxes;
        at.block = i / s->boxes;
    }
    return at;
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
    const ptrdiff_t reals =
        s->box.planes ? p->in_per_group * s->box.channel : p->kernel[0] * s->box.slice;
    return gc_round_up((size_t)reals * plan->kernels->real_size, 64);
}

/* Results that wait for each other. */
static inline size_t gc_channel_tiles_tile(const gc_plan *plan, const gc_channel_tiles_state *s) {
    if (s->plain) return 0;
    return gc_round_up(
        (size_t)(s->held * s->g * s->vb * plan->kernels->lanes) * plan->kernels->real_size, 64);
}

void gc_channel_tiles_work(const gc_run *run, void *scratch, ptrdiff_t first, ptrdiff_t last);

#endif
