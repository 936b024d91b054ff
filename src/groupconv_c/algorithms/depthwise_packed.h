/* What plans of packed depthwise convolutions (depthwise_packed.c) and their work (depthwise_packed_work.c)
 * share. */
#ifndef GC_DEPTHWISE_PACKED_H
#define GC_DEPTHWISE_PACKED_H

#include "../plan.h"
#include "pack.h"
#include "weights.h"

/* The taps of one pass along each dimension. */
typedef struct gc_packed_pass {
    gc_depthwise_chunk *chunks;
    ptrdiff_t nchunks;
    ptrdiff_t *columns; /* offset of each kernel column */
    ptrdiff_t weight_column;
} gc_packed_pass;

/* Some rows of one output channel: of one pass along depth and height, all passes along width. */
typedef struct gc_packed_tile {
    ptrdiff_t pass;                  /* the first along the width */
    ptrdiff_t row, nrows;            /* in positions of the pass; nrows rows, `classes` apart */
    ptrdiff_t plane;                 /* bytes from the planes' start */
    ptrdiff_t out, residual;         /* bytes from the channel's start */
    ptrdiff_t out_row, residual_row; /* bytes between rows */
    int stored, last;                /* lanes stored of the last vector, and of its last row */
} gc_packed_tile;

typedef struct gc_packed_depthwise {
    int fold;
    gc_axis axes[3];
    gc_planes planes;
    gc_weights weights;
    gc_packed_pass *passes; /* [depth][row][column] */
    ptrdiff_t npasses;
    ptrdiff_t vectors; /* of columns */
    ptrdiff_t rows;    /* output rows of a pass as the tiles see them (folded: vectors) */
    ptrdiff_t classes; /* rows a dilation apart form a class; its rows share loads */
    ptrdiff_t tile_rows;
    ptrdiff_t tiles; /* of one channel */
    gc_packed_tile *places;
    int clamp, plain; /* the microkernel clamps; it stores itself */
    int scattered;    /* several passes along one row of reals */
    double low, high;
} gc_packed_depthwise;

/* Bytes of a channel's planes, and behind them of the results that wait for their places. */
size_t gc_packed_planes_bytes(const gc_plan *plan, const gc_packed_depthwise *s);
size_t gc_packed_tiles_bytes(const gc_plan *plan, const gc_packed_depthwise *s);
void gc_packed_work(const gc_run *run, void *scratch, ptrdiff_t first, ptrdiff_t last);

#endif
