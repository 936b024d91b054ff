/* Contracts of microkernels whose lanes are output channels. */
#ifndef GC_CHANNEL_LANES_CONTRACTS_H
#define GC_CHANNEL_LANES_CONTRACTS_H

#include "contract_types.h"

/* Lanes over output channels. What becomes of a vector of results: residual, then activation. */
typedef struct gc_lane_epilogue {
    int clamp; /* the activation is max(low, min(high, x)) */
    double low, high;
    gc_activation activation;
    double parameter;
} gc_lane_epilogue;

/* turn_finish: results with channels side by side at each position, to where positions are side by side:
 *   to[i*to_step + r] = activation(from[r*from_step + i] + residual[i*residual_step + r])
 * for positions r < rows <= lanes and channels i < n. */
typedef struct gc_turn_finish {
    const void *from, *residual;
    void *to;
    ptrdiff_t from_step, to_step, residual_step, rows, n;
    gc_lane_epilogue epilogue;
} gc_turn_finish;

/* lane_pack: columns of one input row side by side, for several vectors of channels.
 *   to[v*to_vector + u*lanes + k] = from[v*from_vector + u*step + k]
 * for first <= u < last and channels v*from_vector + k < exist, else 0; u < n. */
typedef struct gc_lane_pack {
    const void *from;
    void *to;
    ptrdiff_t vectors, from_vector, to_vector, exist;
    ptrdiff_t step, first, last, n;
    ptrdiff_t ahead; /* reals to what will be packed next */
} gc_lane_pack;

enum { GC_MAX_LANE_COLUMNS = 16, GC_LANE_RUN_WIDTHS = 4 };

/* lane_run[i][S][spread]: n outputs along a row, one vector of output channels, P = lane_run_columns[i] (0:
 * not for these registers) outputs at once.
 *   out[j*out_step + k] = activation(init[k] + residual[j*residual_step + k] + sum over rows r, channels c,
 *       taps t of weight[((r*channels + c)*taps + t)*lanes + k]
 *       * rows[r][(j*stride + t*dilation)*lanes + index[c*lanes + k]])
 * S = 1, 2: the stride, with dilation 1; S = 0: any. spread 0: one channel, index is k. n is rounded up to whole tiles in reading. The first
 * `stored` lanes are stored. */
typedef struct gc_lane_run {
    const void *const *rows;
    ptrdiff_t nrows;
    const int32_t *index;
    ptrdiff_t taps, stride, dilation;
    int channels;
    const void *weight, *init, *residual; /* residual NULL: none */
    void *out;
    ptrdiff_t n, out_step, residual_step;
    int stored;
    gc_lane_epilogue epilogue;
} gc_lane_run;

typedef void gc_lane_run_fn(const gc_lane_run *);

enum { GC_ROLL_ROWS = 4, GC_ROLL_KERNEL = 7, GC_ROLL_KERNELS = 3 };

/* lane_roll[(K-3)/2][S-1][spread]: rows of n outputs, one vector of output channels; kernels of K x K, stride S,
 * weights as lane_run has them. `step` is 1; lane_roll_dilated is for K = 3, S = 1, no spread, and step 2.
 *   out[j*out_row + i*out_step + k] = activation(init[k] + residual[j*residual_row + i*residual_step + k]
 *       + sum over columns t, channels c, rows r of weight[((r*channels + c)*K + t)*lanes + k]
 *       * in[(j*S + r)*row + (i*S + t*step)*column + index[c*lanes + k]])
 * for j < rows. Input rows whose bit of `present` is not set, and columns that are not first .. last - 1, are
 * zeros and not read. `exist` channels are read, `stored` ones written. What lies `ahead` reals from the last
 * rows of a window, `residual_ahead` from a residual and `out_ahead` from a result is asked for. */
typedef struct gc_lane_roll {
    const void *in;
    ptrdiff_t row, column, first, last;
    uint32_t present;
    int padding; /* columns of zeros count: a weight is not finite */
    const int32_t *index;
    int rows, channels, exist, stored;
    const void *weight, *init, *residual; /* residual NULL: none */
    void *out;
    ptrdiff_t n, out_row, out_step, residual_row, residual_step;
    ptrdiff_t ahead, residual_ahead, out_ahead;
    gc_lane_epilogue epilogue; /* not a clamp: low and high are infinite */
} gc_lane_roll;

typedef void gc_lane_roll_fn(const gc_lane_roll *);

typedef struct gc_lane_roll_kernels {
    int rows;                            /* the most of the first two */
    gc_lane_roll_fn *whole, *part, *one; /* whole vectors, any; any of one row */
} gc_lane_roll_kernels;

enum {
    GC_MAX_LANE_POSITIONS = 8,
    GC_MAX_LANE_RUN_VB = 2, /* vectors of a tile of runs */
    GC_MAX_LANE_PLACES = 8,
    GC_MAX_LANE_VB = 3, /* of a tile of places */
};

/* Memory that is needed soon, to be asked for: `left` times as much as a position's vectors, `step` bytes apart. */
typedef struct gc_lane_soon {
    const char *at;
    ptrdiff_t step, left;
    int written;
} gc_lane_soon;

/* lane_tile[G-1][VB-1][RUNS-1]: RUNS runs of G positions x VB vectors of output channels of one group.
 *   out[i*out_step + k] = activation(init[k] + residual[(i - first)*residual_step + k] + sum over taps t,
 *       channels c of weight[(t*channels + c)*VB*lanes + k] * in[taps[t] + c*channel + i*step])
 * lane_places[VB-1]: one run of P = lane_place_count[VB-1] positions (0: not for these registers), wherever
 * they are read: place[i] for in + i*step.
 * Of each run the positions first .. first + count - 1 are stored, the first of them at out. Of the
 * last vector the first `last` lanes are stored. With each channel, lane_tile asks for some of what is needed soon,
 * in the order of the list, and for later_step bytes from `later` on (NULL: nothing). */
typedef struct gc_lane_tile {
    struct {
        const void *in, *residual; /* residual NULL: none */
        void *out;
        int first, count;
    } run[2];
    const void *place[GC_MAX_LANE_PLACES];
    gc_lane_soon soon[2];
    const void *later;
    ptrdiff_t later_step;
    ptrdiff_t channel, step, out_step, residual_step;
    const ptrdiff_t *taps;
    ptrdiff_t ntaps, channels;
    const void *weight, *init;
    int last;
    gc_lane_epilogue epilogue;
} gc_lane_tile;

typedef void gc_lane_tile_fn(const gc_lane_tile *);

#endif
