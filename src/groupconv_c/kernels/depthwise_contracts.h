/* Contracts of the depthwise microkernels, over packed planes and over rows in place. */
#ifndef GC_DEPTHWISE_CONTRACTS_H
#define GC_DEPTHWISE_CONTRACTS_H

#include "contract_types.h"

/* Some rows of a depthwise kernel over some of its columns: kernel columns first..last-1 and `rows`
 * (1..8) kernel rows, the first of which reads the plane from `plane` on. */
typedef struct gc_depthwise_chunk {
    ptrdiff_t plane, weight, weight_row;
    ptrdiff_t first, last;
    int rows;
} gc_depthwise_chunk;

/* depthwise_packed: `nrows` output rows x `vectors` vectors of columns of one channel.
 *   out[j][q] = clamp(init + sum over chunks, their rows r and columns s of
 *       weight[chunk.weight + r*chunk.weight_row + s*weight_column]
 *       * plane[chunk.plane + (j + r)*pitch + columns[s] + q] + residual[j][q])
 * Of the last vector the first `stored` lanes are stored, in the last row `last`. Rows are computed in tiles of
 * 8 and 4: so many behind the last one are read. */
typedef struct gc_depthwise {
    const void *plane;
    const gc_depthwise_chunk *chunks;
    ptrdiff_t nchunks, pitch, vectors;
    const ptrdiff_t *columns;
    const void *weight;
    ptrdiff_t weight_column;
    const void *init;
    void *out;
    const void *residual; /* NULL: none */
    ptrdiff_t out_row, residual_row;
    ptrdiff_t nrows;
    int stored, last;
    int clamp;
    double low, high;
} gc_depthwise;

/* Output columns column .. column + lanes - 1 of rows that are read in place; the first `stored` lanes are
 * results. Kernel column s reads the lanes bits[s] of a vector of input, with stride 2 those of two
 * neighbouring vectors: bits[2*s], bits[2*s + 1]. */
typedef struct gc_columns {
    ptrdiff_t column;
    const uint32_t *bits;
    int inside; /* all lanes are read */
    int stored;
} gc_columns;

/* One depth of a kernel: where its input rows and weights begin; rows first .. last - 1 are there, the
 * others are zeros. */
typedef struct gc_depthwise_slab {
    ptrdiff_t in, weight;
    int there; /* the algorithm's */
    int first, last;
} gc_depthwise_slab;

enum { GC_DEPTHWISE_KERNEL_ROWS = 7, GC_ROLLING_KERNELS = 3, GC_ROLLING_DEPTHS = 7 };

/* in_place.rolling[S-1][K/2-1]: some output rows of one channel of a depthwise K x K (3, 5, and with stride 1 also 7) of
 * stride S, read in place. Kernel rows are one in_row apart, kernel columns `dilation`, which is 1 but for the
 * 3 x 3 of stride 1. Output row i reads input rows S*i - above .. S*i - above + K - 1 of `height`, from `in`
 * on; the others are zeros. Vectors of columns may overlap. Rows below `whole` are stored as whole vectors:
 * what spills is stored later.
 * rolling_deep[S-1]: the same with a kernel of at most 7 depths x 3 x 3, listed in slabs (else NULL).
 * rolling_dilated: kernels of 3 x 3 whose rows are 2 apart, stride 1: in[(j + 2*r)*in_row ..]. */
typedef struct gc_rolling {
    const void *in, *weight, *init,
        *residual; /* in: where kernel column 0 of output column 0 reads */
    void *out;
    ptrdiff_t in_row, out_row, residual_row, weight_row, weight_column;
    ptrdiff_t height, out_height, above, whole, ncolumns, dilation;
    const gc_columns *columns;
    const gc_depthwise_slab *slabs;
    ptrdiff_t nslabs;
    const char *fetch; /* memory that is read next, so many bytes with each vector of columns */
    ptrdiff_t fetch_bytes;
    const char *fetch_out; /* memory that is written next */
    ptrdiff_t fetch_out_bytes;
    /* rows in the order of memory: bytes from what is read, written, to what is asked for; 0: nothing is */
    ptrdiff_t in_ahead, out_ahead;
    ptrdiff_t
        residual_next; /* bytes from the residual to the one that is read next, which is asked for */
    int clamp;
    double low, high;
} gc_rolling;

typedef void gc_rolling_fn(const gc_rolling *);

/* in_place.small_maps[K/2-1]: channels of a depthwise K x K (3, 5, 7) of stride 1 with K/2 zeros around maps whose rows are
 * contiguous and no wider than a vector.
 *   out[c][y][x] = clamp(init[c] + sum over r, s of weight[c*weight_channel + r*weight_row + s*weight_column]
 *       * in[c*in_channel + (y + r - K/2)*width + x + s - K/2] + residual[c][y][x])
 * Memory `fetch` bytes behind what is read and `fetch_out` bytes behind what is written is asked for. NULL where vectors
 * cannot be shifted. */
typedef struct gc_small_maps {
    const void *in, *weight, *init, *residual; /* residual NULL: none */
    void *out;
    ptrdiff_t in_channel, out_channel, residual_channel, weight_channel, nchannels;
    ptrdiff_t weight_row, weight_column, height, width;
    ptrdiff_t fetch, fetch_out;
    double low, high;
} gc_small_maps;

typedef void gc_small_maps_fn(const gc_small_maps *);

/* in_place.rows[S-1][KR-1], in_place.few[KR-1] of stride 1: RB output rows of one channel, read in place, of
 * stride S and KR kernel rows.
 *   out[j][q] = clamp(init + sum over slabs, kernel rows r and columns s of
 *       weight[slab.weight + r*weight_row + s*weight_column]
 *       * in[slab.in + (S*j + r)*in_row + S*q + s*dilation] + residual[j][q])
 * RB is 8, of the few 4; nrows of them are stored. Rows below `whole` are stored as whole vectors: what
 * spills is stored later. dilation is 1 with stride 2. */
typedef struct gc_depthwise_rows {
    const void *in;
    ptrdiff_t in_row, ncolumns, nslabs;
    const gc_columns *columns;
    const gc_depthwise_slab *slabs;
    const void *weight;
    ptrdiff_t weight_row, weight_column, dilation;
    int taps; /* kernel columns */
    int edge; /* a row read for some slab is not there */
    const void *init, *residual;
    void *out;
    ptrdiff_t out_row, residual_row;
    int nrows, whole;
    const char *fetch; /* memory that is read next, so many bytes with each vector of columns */
    ptrdiff_t fetch_bytes;
    const char *fetch_out; /* written next, as many bytes; of one kernel row, stride 1 */
    int clamp;
    double low, high;
} gc_depthwise_rows;

typedef void gc_depthwise_rows_fn(const gc_depthwise_rows *);

/* in_place.line: rows[0][0] where all 8 rows are stored and lie a vector apart in one row, with dilation
 * 1, nothing outside and no residual. NULL: that one is as fast. */

/* AHEAD: so many bytes behind what is stored, memory is asked for. No multiple of a page: lines at such distances
 * compete for the same places of a cache. */
enum { GC_DEPTHWISE_UP_KERNEL = 8, GC_DEPTHWISE_UP_AHEAD = 15 * 1024 };

/* in_place.up[odd][K-1] for a kernel of K x K, 2 <= K <= 8, and [odd][0] for any of 2 to 8 rows and columns: output
 * rows of one channel of a depthwise transposed convolution of stride 2, `odd` if its padding of columns is.
 * Output rows 2*j - pad and 2*j + 1 - pad are pair j, of first .. last - 1; those of `out_height` are stored.
 *   out[2*j + P - pad][2*(column + q) + Q] = clamp(init + residual there + sum over r = P, P+2, ... and
 *       s = Q+odd modulo 2, +2, ... of weight[r*weight_row + s*weight_column]
 *       * in[j - r/2][column + q + (Q & odd) - s/2])
 * where rows that are not among in_height are zeros. columns.bits[i] is of the columns from
 * column + odd - i on; columns.stored counts results of two vectors. */
typedef struct gc_depthwise_up {
    const void *in, *weight, *init, *residual; /* in: where column 0 of row 0 reads */
    void *out;
    ptrdiff_t in_row, out_row, residual_row, weight_row, weight_column;
    ptrdiff_t in_height, out_height, pad, first, last, ncolumns;
    ptrdiff_t kernel_rows, kernel_columns;
    const gc_columns *columns;
    const char *fetch; /* memory that is read next, so many bytes with each pair */
    ptrdiff_t fetch_bytes;
    int asks; /* for output rows, GC_DEPTHWISE_UP_AHEAD bytes ahead */
    int clamp;
    double low, high;
} gc_depthwise_up;

typedef void gc_depthwise_up_fn(const gc_depthwise_up *);

/* What is above from in_place.rolling on. Inputs, outputs and residuals are of one storage type, whose elements offsets
 * and strides of them count; weights and biases are reals. */
typedef struct gc_in_place_kernels {
    gc_rolling_fn *rolling[2][GC_ROLLING_KERNELS], *rolling_deep[2], *rolling_dilated;
    gc_small_maps_fn *small_maps[GC_ROLLING_KERNELS];
    gc_depthwise_rows_fn *rows[2][GC_DEPTHWISE_KERNEL_ROWS], *few[GC_DEPTHWISE_KERNEL_ROWS], *line;
    gc_depthwise_up_fn *up[2][GC_DEPTHWISE_UP_KERNEL];
} gc_in_place_kernels;

enum { GC_MAX_SPREAD_TAPS = GC_MAX_LANES / 2 };

/* depthwise_spread: n outputs of one channel of a transposed convolution, at most a vector of weights. Lane l of
 * vector v of a period of `stride` vectors is, with e = (v*taps + t)*lanes + l,
 *   clamp(init + sum over t < taps of weight[weight_index[e]] * in[input[v*taps + t] + input_index[e]])
 * and the next period reads a vector further on. */
typedef struct gc_spread {
    const void *in, *weight, *init;
    void *out;
    const ptrdiff_t *input;
    const int32_t *input_index, *weight_index;
    ptrdiff_t kernel, stride, taps, n;
    int clamp;
    double low, high;
} gc_spread;

#endif
