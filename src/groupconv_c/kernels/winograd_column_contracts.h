/* Contracts of Winograd's F(4, 3) down columns, whose lanes are positions of rows. The numbers of outputs, taps and
 * elements of a window are those of F(4, 3) along rows. */
#ifndef GC_WINOGRAD_COLUMN_CONTRACTS_H
#define GC_WINOGRAD_COLUMN_CONTRACTS_H

#include "contract_types.h"

/* winograd_column_input: windows of `blocks` blocks of 4 rows, n columns wide. Window b reads rows top + 4*b .. + 5 of
 * the `height` rows that lie from_row bytes apart; others are zeros, and so are columns but first .. last - 1, the
 * first of which `from` points at. Element e of column i of window b goes to out[e*element + b*pitch + i], block
 * after block by whole vectors: what spills over the end of the last one are zeros. */
typedef struct gc_winograd_column_input {
    const void *from;
    void *out;
    ptrdiff_t from_row, top, height, first, last, n, blocks, pitch, element;
} gc_winograd_column_input;

/* Lanes of a vector of flat positions that lie in one block: lane 0 is in `column` of its rows. more: the next piece
 * belongs to the same vector. */
typedef struct gc_column_piece {
    ptrdiff_t block, column;
    gc_lanes lanes;
    int more;
} gc_column_piece;

/* winograd_column_output: `channels` output channels by `vectors` vectors of flat positions. From products at
 * in[e*element + (k*vectors + v)*lanes ..] to the results of 4 rows of each block, of which the first `height` rows are
 * there; row r at
 *   out[k*out_k + r*out_row + column] = clamp(sum of products + init[k] + residual[k*residual_k + r*residual_row + column])
 * Returns whether a sum is not finite, lanes that are no results included. */
typedef struct gc_winograd_column_output {
    const void *in, *init, *residual; /* residual NULL: none */
    void *out;
    const gc_column_piece *pieces; /* of all vectors, one after the other */
    ptrdiff_t element, height, out_k, out_row, residual_k, residual_row;
    int channels, vectors, clamp;
    double low, high;
} gc_winograd_column_output;

#endif
