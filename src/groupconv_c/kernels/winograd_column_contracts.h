/* Contracts of Winograd's F(4, 3), F(3, 4) and F(2, 5) down columns, whose lanes are positions of rows. All of them have
 * windows of 6 elements at the same points, so that outputs + taps = 7. */
#ifndef GC_WINOGRAD_COLUMN_CONTRACTS_H
#define GC_WINOGRAD_COLUMN_CONTRACTS_H

#include "contract_types.h"

enum { GC_COLUMN_WINDOW = 6, GC_COLUMN_TAPS = 5, GC_COLUMN_OUTPUTS = 4, GC_COLUMN_KINDS = 3 };

/* winograd_column_weights: vectors of weights, `taps` rows of a kernel at from + t*tap; element e goes to to + e*element. */
typedef struct gc_winograd_column_weights {
    const void *from;
    void *to;
    ptrdiff_t tap, element;
    int taps;
} gc_winograd_column_weights;

/* winograd_column_input: windows of `blocks` blocks of rows, n columns wide. Window b reads rows top + step*b .. + 5 of
 * the `height` rows that lie from_row bytes apart; others are zeros, and so are columns but first .. last - 1, the
 * first of which `from` points at. Element e of column i of window b goes to out[e*element + b*pitch + i], block
 * after block by whole vectors: what spills over the end of the last one are zeros. */
typedef struct gc_winograd_column_input {
    const void *from;
    void *out;
    ptrdiff_t from_row, top, step, height, first, last, n, blocks, pitch, element;
    ptrdiff_t ahead; /* bytes: how far before lines are written they are asked for */
} gc_winograd_column_input;

/* Lanes of a vector of flat positions that are results of one block, from row `row` of a box on: lane 0 lies in `column`,
 * `at` reals from the begin of results and residual. more: the next piece belongs to the same vector. */
typedef struct gc_column_piece {
    ptrdiff_t row, column, at;
    gc_lanes lanes;
    int more;
} gc_column_piece;

/* winograd_column_output[outputs - 2]: `channels` output channels by `vectors` vectors of flat positions. From products at
 * in[e*element + (k*vectors + v)*lanes ..] to results: row r of a piece, of which the first `height` of the box are there,
 * at
  *   out[piece.at + k*out_k + r*out_row ..] =
 *     clamp(sum of products + init[k] + residual[piece.at + k*residual_k + r*out_row ..])
 * Returns whether a sum is not finite, lanes that are no results included. */
typedef struct gc_winograd_column_output {
    const void *in, *init, *residual; /* residual NULL: none */
    void *out;
    const gc_column_piece *pieces; /* of all vectors, one after the other */
    ptrdiff_t element, height, out_k, out_row, residual_k;
    int channels, vectors, clamp;
    double low, high;
} gc_winograd_column_output;

#endif
