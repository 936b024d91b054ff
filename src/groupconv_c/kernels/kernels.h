/* The kernel table: what one instruction set offers for one arithmetic type (float or double).
 *
 * Kernels know pointers, strides, counts and clamps; padding, groups, threads and memory belong to
 * the loops around them. Tile sizes travel beside the pointers. `real` below is the arithmetic type;
 * offsets and strides count reals unless they say bytes. No pointer needs an alignment of its own.
 */
#ifndef GC_KERNELS_H
#define GC_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "../groupconv.h"

enum { GC_MAX_KB = 8, GC_MAX_VB = 8, GC_MAX_LANES = 16, GC_DEPTHWISE_ROWS = 8 };

/* One term of a tap sum: where its input vector and its weights lie. */
typedef struct gc_tap {
    ptrdiff_t plane, weight;
} gc_tap;

/* Lanes of one output vector that are results; the others fell into the gaps between rows. */
typedef struct gc_lanes {
    uint32_t bits;
    uint32_t count;
} gc_lanes;

/* tap_sum[KB-1][VB-1]: KB output channels x VB vectors of positions.
 *   out[k][p] = clamp(init[k] + sum over taps t of weight[t.weight + k*weight_k] * plane[t.plane + p]
 *                     + residual[k][p])
 * lanes == NULL: all lanes are stored, vector after vector. Otherwise the chosen lanes of each
 * vector are stored side by side and nothing else is touched. ntaps may be 0. */
typedef struct gc_tap_sum {
    const void *plane;
    const void *weight;
    const gc_tap *taps;
    ptrdiff_t ntaps;
    ptrdiff_t weight_k;
    const void *init;
    void *out;
    ptrdiff_t out_k;
    const void *residual; /* NULL: none; laid out as the stored output */
    ptrdiff_t residual_k;
    const gc_lanes *lanes;
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

typedef struct gc_kernels {
    const char *isa;
    size_t real_size;
    int lanes;
    int registers; /* of one vector each */
    int max_vb[GC_MAX_KB];
    gc_tap_sum_fn *tap_sum[GC_MAX_KB][GC_MAX_VB];
    /* Converts n elements of storage type `dtype`, `stride` bytes apart, to contiguous reals. */
    void (*load)(void *to, const void *from, ptrdiff_t stride, ptrdiff_t n, gc_dtype dtype);
    /* to0[i], to1[i] = from[2i], from[2i+1] for i < n. */
    void (*deinterleave)(void *to0, void *to1, const void *from, ptrdiff_t n);
    void (*finish)(const gc_finish *);
} gc_kernels;

#endif
