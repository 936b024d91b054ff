/* Contracts of Winograd's F(4, 3) along rows, whose lanes are channels. */
#ifndef GC_WINOGRAD_ROW_CONTRACTS_H
#define GC_WINOGRAD_ROW_CONTRACTS_H

#include "channel_lanes_contracts.h"

enum { GC_ROW_OUTPUTS = 4, GC_ROW_TAPS = 3, GC_ROW_WINDOW = 6 };

/* Where several groups share a vector, their channels take turns in its lanes between the transforms. `order`: the lane that
 * each lane comes from; NULL: itself.
 *
 * winograd_row_weights: kernel rows of a vector of output channels: tap t of row i is the vector at from + t*tap +
 * i*lanes. Element e of the transformed row goes to to + e*element + i*row. */
typedef struct gc_winograd_row_weights {
    const void *from;
    void *to;
    ptrdiff_t rows, tap, element, row;
    const int32_t *order;
} gc_winograd_row_weights;

/* winograd_row_input: windows of the tiles of one row. Window t begins in column first + 4*t; column u is the channels
 * from + u*step .. , zeros outside of 0 .. columns - 1. Element e of tile t goes to out + e*element + t*tile, in whole
 * vectors, in `order` if there is one vector. */
typedef struct gc_winograd_row_input {
    const void *from;
    void *out;
    ptrdiff_t step, first, columns, tiles, channels, element, tile;
    const int32_t *order;
} gc_winograd_row_input;

enum { GC_LANE_PRODUCT_TILES = 8, GC_LANE_SHARES = 2 };

/* lane_products[VB-1]: tiles of several sizes, the largest first, `positions` 0 where registers do not suffice. P positions x VB
 * vectors of output channels:
 *   out[(i*VB + v)*lanes + l] = sum over taps t, channels c of weight[((t*channels + c)*VB + v)*lanes + l]
 *                               * in[taps[t] + i*step + c]
 * lane_shared_products[0], [1]: the same for VB = 1 and S = 2 or 4 groups, with in[taps[t] + i*step + S*c + l%S]. */
typedef struct gc_lane_products {
    const void *in, *weight;
    void *out;
    const ptrdiff_t *taps;
    ptrdiff_t ntaps, channels, step;
} gc_lane_products;

typedef struct gc_lane_products_tile {
    int positions;
    void (*sum)(const gc_lane_products *);
} gc_lane_products_tile;

/* winograd_row_output: tiles of one row, `vectors` of channels. From products at in + e*element + (t*vectors + v)*lanes
 * to `count` results, result j at out + j*out_step, the first `last` lanes of the last vector:
 *   activation(sum of the tile's products + init + residual[j*residual_step ..])
 * of which the products are in `order`, if there is one vector, and `back` undoes it. Returns whether a sum is not
 * finite. */
typedef struct gc_winograd_row_output {
    const void *in, *init, *residual; /* residual NULL: none */
    void *out;
    ptrdiff_t element, count, out_step, residual_step;
    int vectors, last;
    const int32_t *order, *back;
    gc_lane_epilogue epilogue;
} gc_winograd_row_output;

#endif
