/* Contracts of tap sums, of what packs their planes and of what finishes their results. */
#ifndef GC_TAP_SUM_CONTRACTS_H
#define GC_TAP_SUM_CONTRACTS_H

#include "contract_types.h"

/* tap_sum[KB-1][VB-1]: KB output channels x VB vectors of positions.
 *   out[k][p] = clamp(init[k] + sum over t < ntaps of weight[t + k*weight_k] * (plane + taps[t])[p]
 *                     + residual[k][p])
 * where taps are in bytes.
 * lanes == NULL: all lanes are stored, vector after vector. Otherwise the chosen lanes of each
 * vector are stored side by side and nothing else is touched, but for what spills. ntaps may be 0.
 * Meanwhile fetch_step bytes of `fetch`, which is read later, are asked for with each tap; NULL: nothing. */
typedef struct gc_tap_sum {
    const void *plane;
    const void *weight;
    const ptrdiff_t *taps;
    ptrdiff_t ntaps;
    ptrdiff_t weight_k;
    const char *fetch;
    ptrdiff_t fetch_step;
    const void *init;
    void *out;
    ptrdiff_t out_k;
    const void *residual; /* NULL: none; laid out as the stored output */
    ptrdiff_t residual_k;
    ptrdiff_t
        residual_next; /* bytes from it to what a later tile reads of it, which is asked for */
    const gc_lanes *lanes;
    int far; /* what lies behind the results, where later ones go, is asked for */
    int clamp;
    double low, high;
} gc_tap_sum;

typedef void gc_tap_sum_fn(const gc_tap_sum *);

/* Bias is in the accumulators already; a run of n results of one output channel is finished here:
 * residual, activation, conversion, any stride. Strides in bytes. */
typedef struct gc_finish {
    const void *from; /* n contiguous reals */
    void *to;
    ptrdiff_t to_stride;
    const void *residual; /* NULL: none */
    ptrdiff_t residual_stride;
    ptrdiff_t n;
    gc_dtype dtype;
    gc_activation activation;
    double parameter;
} gc_finish;

/* Rows of padded planes. pack_rows: element i of row j of the one plane becomes
 * from[j*from_row + (i - first)*stride] for first <= i < last and zero for the others up to n.
 * pack_rows_by_2 and _by_4 read contiguous reals and fill 2 or 4 planes: with u = 2i + p or 4i + p,
 * element i of to[p] is from[j*from_row + u*sizeof(real)] for first <= u < last, else zero. */
typedef struct gc_rows {
    void *to[4];
    const void *from;
    ptrdiff_t pitch, rows, n;
    ptrdiff_t from_row, stride; /* bytes */
    ptrdiff_t first, last;
    ptrdiff_t ahead; /* bytes: how far before lines are written they are asked for */
    gc_dtype dtype;
} gc_rows;

#endif
