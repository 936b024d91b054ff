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

/* Lanes of one output vector that are results; the others fell into the gaps between rows. */
typedef struct gc_lanes {
    uint32_t bits;
    uint16_t count;
    uint16_t spill; /* whole vectors may be loaded and stored: what lies behind is stored later */
} gc_lanes;

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

/* rolling[S-1][K/2-1]: some output rows of one channel of a depthwise K x K (3, 5, and with stride 1 also 7) of
 * stride S, read in place. Kernel rows are one in_row apart, kernel columns `dilation`, which is 1 but for the
 * 3 x 3 of stride 1. Output row i reads input rows S*i - above .. S*i - above + K - 1 of `height`, from `in`
 * on; the others are zeros. Vectors of columns may overlap. Rows below `whole` are stored as whole vectors:
 * what spills is stored later.
 * rolling_deep[S-1]: the same with a kernel of at most 7 depths x 3 x 3, listed in slabs (else NULL). */
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
    int clamp;
    double low, high;
} gc_rolling;

typedef void gc_rolling_fn(const gc_rolling *);

/* depthwise_rows[S-1][KR-1], depthwise_few[KR-1] of stride 1: RB output rows of one channel, read in place, of
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

enum { GC_DEPTHWISE_UP_ROWS = 4 };

/* depthwise_up[KR-1]: at most 4 output rows of a depthwise transposed convolution of stride 2, which read KR
 * input rows each. even and odd are those of the output columns, each a depthwise_rows of stride 1 over its
 * own part of the kernel; of odd, only what belongs to the input and the weights counts. Output column
 * 2*(columns.column + q) comes from lane q of even, the next one from odd. Of the two vectors columns.stored
 * lanes are results. even.fetch is read next. */
typedef struct gc_depthwise_up {
    gc_depthwise_rows even, odd;
    void *next; /* the output rows that are written next, as far apart */
} gc_depthwise_up;

typedef void gc_depthwise_up_fn(const gc_depthwise_up *);

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
 * 1 with stride 2. With stride 1, several kernel rows and in_row == tap_row, it takes those rows of input only that
 * exist, above .. below - 1 of them from `in`; otherwise all do. */
typedef struct gc_row_dot {
    const void *in, *grad;
    ptrdiff_t in_row, tap_row, grad_row, rows, columns, dilation;
    ptrdiff_t first, last, above, below;
    ptrdiff_t inside, outside; /* vectors inside .. outside - 1 read only what exists */
    void *sums;
    ptrdiff_t sums_row;
    const char *fetch; /* memory that is read next, so many bytes with each vector */
    ptrdiff_t fetch_bytes;
} gc_row_dot;

typedef void gc_row_dot_fn(const gc_row_dot *);

/* fourier_forth, fourier_back: the spectra of 2*half real elements of a vector of sequences, and back. data[i*lanes
 * + l] is element i of sequence l, and scratch of fourier_forth. The spectra are at the frequencies 0 .. half:
 *   spectrum[f*bin + l], and imaginary reals behind it its imaginary part,
 *     = 2*scale * sum over i of data[i*lanes + l] * exp(-2*pi*i*f/(2*half) sqrt(-1))
 * fourier_back gives 2*half times what fourier_forth with a scale of 1/2 started from. half is a power of two; fours
 * is the power of four that is half or half of half. turns: exp(-2*pi*j*k/half sqrt(-1)) for k = 1, 2, 3 of each
 * j < half/4; half_turns: exp(-2*pi*f/(2*half) sqrt(-1)) for f <= half/2. Frequency f of the complex sequence comes
 * out as number place[f]. */
typedef struct gc_fourier {
    void *data, *spectrum;
    ptrdiff_t half, fours, bin, imaginary;
    double scale;
    const void *turns, *half_turns;
    const int32_t *place;
} gc_fourier;

enum { GC_MAX_FOURIER_BLOCKS = 4 };

/* fourier_sum[B-1]: complex sums for a vector of output channels and B blocks, at each of `bins` frequencies:
 *   y[f*y_bin + 2*lanes*b ..] = sum over channels c of weight[(f*channels + c)*2*lanes ..]
 *                               * x[f*x_bin + b*x_block + c]
 * where a vector of imaginary parts follows that of real ones; those of x are x_imaginary reals behind. */
typedef struct gc_fourier_sum {
    const void *weight, *x;
    void *y;
    ptrdiff_t bins, channels, x_bin, x_block, x_imaginary, y_bin;
} gc_fourier_sum;

/* winograd_weights[kind]: the kernels of one output channel over `channels` input channels, taps x taps
 * reals each, one after the other; `mirror` turns them by half a turn. Element e of the transformed kernel
 * of channel c goes to to[e*step + c]. */
typedef struct gc_winograd_weights {
    const void *from;
    void *to;
    ptrdiff_t channels, step;
    int mirror;
} gc_winograd_weights;

/* winograd_input[window == 6 ? 1 : 0]: one channel. Element (i, j) of the windows of vector v of flat
 * tiles is planes[offsets[i*window + j] + v*lanes]; the transformed ones go, only the chosen lanes, side
 * by side, to out[(i*window + j)*out_step ..]. */
typedef struct gc_winograd_input {
    const void *planes;
    const ptrdiff_t *offsets;
    const gc_lanes *lanes;
    ptrdiff_t vectors, out_step;
    void *out;
} gc_winograd_input;

/* winograd_output: one channel. From products in[(i*window + j)*in_step + tile] to m rows of m*lanes*
 * vectors results, row r at out + r*out_row, tiles side by side. Returns whether a result is not finite,
 * the last vector's lanes outside last_bits not counted. */
typedef struct gc_winograd_output {
    const void *in, *init;
    ptrdiff_t in_step, vectors, out_row;
    uint32_t last_bits;
    void *out;
} gc_winograd_output;

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

/* turn: channels side by side at each position. to[i*to_step + r] = from[r*from_step + i] for r < rows, and
 * 0 for rows <= r < lanes; i < n. only_rows: r < rows, and nothing else is touched. */
typedef struct gc_turn {
    const void *from;
    void *to;
    ptrdiff_t from_step, to_step, rows, n;
    int only_rows;
} gc_turn;

typedef struct gc_winograd_kind {
    int outputs, taps, window; /* along each dimension; window = outputs + taps - 1 */
} gc_winograd_kind;
enum { GC_WINOGRAD_43, GC_WINOGRAD_25, GC_WINOGRAD_23, GC_WINOGRAD_KINDS };

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
    gc_dtype dtype;
} gc_rows;

/* Lanes over output channels. What becomes of a vector of results: residual, then activation. */
typedef struct gc_lane_epilogue {
    int clamp; /* the activation is max(low, min(high, x)) */
    double low, high;
    gc_activation activation;
    double parameter;
} gc_lane_epilogue;

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

enum { GC_MAX_LANE_POSITIONS = 8, GC_MAX_LANE_VB = 2 };

/* lane_tile[G-1][VB-1][RUNS-1]: RUNS runs of G positions x VB vectors of output channels of one group.
 *   out[i*out_step + k] = activation(init[k] + residual[(i - first)*residual_step + k] + sum over taps t,
 *       channels c of weight[(t*channels + c)*VB*lanes + k] * in[taps[t] + c + i*step])
 * Of each run the positions first .. first + count - 1 are stored, the first of them at out. Of the
 * last vector the first `last` lanes are stored. */
typedef struct gc_lane_tile {
    struct {
        const void *in, *residual; /* residual NULL: none */
        void *out;
        int first, count;
    } run[2];
    ptrdiff_t step, out_step, residual_step;
    const ptrdiff_t *taps;
    ptrdiff_t ntaps, channels;
    const void *weight, *init;
    int last;
    gc_lane_epilogue epilogue;
} gc_lane_tile;

typedef void gc_lane_tile_fn(const gc_lane_tile *);

typedef struct gc_kernels {
    const char *isa;
    size_t real_size;
    int lanes;
    int registers; /* of one vector each */
    int max_vb[GC_MAX_KB];
    gc_tap_sum_fn *tap_sum[GC_MAX_KB][GC_MAX_VB];
    /* Converts n elements of storage type `dtype`, `stride` bytes apart, to contiguous reals. */
    void (*load)(void *to, const void *from, ptrdiff_t stride, ptrdiff_t n, gc_dtype dtype);
    void (*pack_rows)(const gc_rows *);
    void (*pack_rows_by_2)(const gc_rows *);
    void (*pack_rows_by_4)(const gc_rows *);
    /* Both in turn, n in all: to[2i], to[2i + 1] = even[i], odd[i]. Whole vectors are read. */
    void (*zip)(void *to, const void *even, const void *odd, ptrdiff_t n);
    void (*finish)(const gc_finish *);
    void (*depthwise_packed)(const gc_depthwise *);
    void (*depthwise_spread)(const gc_spread *);
    gc_depthwise_rows_fn *depthwise_rows[2][GC_DEPTHWISE_KERNEL_ROWS];
    gc_depthwise_rows_fn *depthwise_few[GC_DEPTHWISE_KERNEL_ROWS];
    gc_depthwise_up_fn *depthwise_up[GC_DEPTHWISE_UP_ROWS];
    gc_rolling_fn *rolling[2][GC_ROLLING_KERNELS], *rolling_deep[2];
    int max_tb[GC_MAX_DOT_KB];
    gc_tap_dot_fn *tap_dot[GC_MAX_DOT_KB][GC_MAX_DOT_TB];
    int max_row_dot;
    gc_row_dot_fn *row_dot[2][GC_MAX_ROW_DOT_ROWS][GC_MAX_ROW_DOT_COLUMNS];
    void (*turn)(const gc_turn *);
    int max_lane_dot_tb[GC_MAX_LANE_DOT_VB];
    gc_lane_dot_fn *lane_dot[GC_MAX_LANE_DOT_TB][GC_MAX_LANE_DOT_VB];
    void (*winograd_weights[GC_WINOGRAD_KINDS])(const gc_winograd_weights *);
    void (*winograd_input[2])(const gc_winograd_input *);
    int (*winograd_output[GC_WINOGRAD_KINDS])(const gc_winograd_output *);
    void (*fourier_forth)(const gc_fourier *);
    void (*fourier_back)(const gc_fourier *);
    void (*fourier_sum[GC_MAX_FOURIER_BLOCKS])(const gc_fourier_sum *);
    void (*lane_pack)(const gc_lane_pack *);
    int lane_run_columns[GC_LANE_RUN_WIDTHS];
    gc_lane_run_fn *lane_run[GC_LANE_RUN_WIDTHS][3][2];
    int max_lane_positions[GC_MAX_LANE_VB];
    gc_lane_tile_fn *lane_tile[GC_MAX_LANE_POSITIONS][GC_MAX_LANE_VB][2];
} gc_kernels;

#endif
