/* Contracts of the weight gradients' microkernels: dot products of planes, rows and lanes. */
#ifndef GC_GRADIENT_CONTRACTS_H
#define GC_GRADIENT_CONTRACTS_H

#include "contract_types.h"

enum { GC_MAX_DOT_KB = 4, GC_MAX_DOT_TB = 8 };

/* tap_dot[KB-1][TB-1]: gradients of KB output channels by TB taps.
 *   sums[k*sums_k + t] += sum over p of grad[k*grad_k + p] * plane[taps[t] + p]
 * over the lanes bits[v] of each vector v of `vectors`. */
typedef struct gc_tap_dot {
    const void *plane;
    const ptrdiff_t *taps;
    const void *grad;
    ptrdiff_t grad_k;
    const uint32_t *bits;
    ptrdiff_t vectors;
    void *sums;
    ptrdiff_t sums_k;
    const char *fetch; /* memory that is read next, so many bytes with each vector */
    ptrdiff_t fetch_bytes;
} gc_tap_dot;

typedef void gc_tap_dot_fn(const gc_tap_dot *);

enum { GC_MAX_ROW_DOT_ROWS = 3, GC_MAX_ROW_DOT_COLUMNS = 8 };

/* row_dot[S-1][I-1][J-1]: gradients by I kernel rows x J kernel columns of two channels' rows that are read in
 * place, stride S; NULL where I*J is more than max_row_dot. Adds to a vector of sums for each tap, whose lanes
 * together are
 *   sums[i*sums_row + j*lanes ..] += sum over rows y and columns q of
 *       grad[y*grad_row + q] * in[y*in_row + i*tap_row + j*dilation + S*q]
 * Of a row of input the elements first .. last - 1 exist, counted from `in`; the others are zeros. dilation is
 * 1 with stride 2. With several kernel rows, dilation 1 and in_row == S*tap_row, it takes those rows of input only that exist,
 * above .. below - 1 of those that lie tap_row apart from `in` on; otherwise all do. */
typedef struct gc_row_dot {
    const void *in, *grad;
    ptrdiff_t in_row, tap_row, grad_row, rows, columns, dilation;
    ptrdiff_t first, last, above, below;
    ptrdiff_t inside, outside; /* vectors inside .. outside - 1 read only what exists */
    void *sums;
    ptrdiff_t sums_row;
    const char *fetch
        [2]; /* memory that is read next, so many bytes with each vector: fetch_first of the first */
    ptrdiff_t fetch_first, fetch_bytes;
} gc_row_dot;

typedef void gc_row_dot_fn(const gc_row_dot *);

enum { GC_MAX_LANE_DOT_TB = 8, GC_MAX_LANE_DOT_VB = 2 };

/* lane_dot[TB-1][VB-1]: gradients of VB vectors of output channels by TB taps.
 *   sums[t*sums_t + k] += sum over rows y and columns x of
 *       grad[(y*columns + x)*VB*lanes + k] * plane[taps[t] + y*pitch + x] */
typedef struct gc_lane_dot {
    const void *plane;
    const ptrdiff_t *taps;
    const void *grad;
    ptrdiff_t rows, columns, pitch;
    void *sums;
    ptrdiff_t sums_t;
} gc_lane_dot;

typedef void gc_lane_dot_fn(const gc_lane_dot *);

#endif
