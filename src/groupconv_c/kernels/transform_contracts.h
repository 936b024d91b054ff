/* Contracts of what rearranges and transforms: turned squares, Winograd, Fourier. */
#ifndef GC_TRANSFORM_CONTRACTS_H
#define GC_TRANSFORM_CONTRACTS_H

#include "contract_types.h"

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

/* fourier_rows: a vector of channels, each convolved with a kernel of its own: complex sums over the kernel's rows, at
 * each of `bins` frequencies:
 *   y[f*y_bin + r*2*lanes ..] = sum over i < taps of weight[f*w_bin + (margin + i)*2*lanes ..] * x[f*x_bin + q*2*lanes ..]
 * with q = shift + r + i, for r < rows; those with q outside of 0 .. height - 1 count nothing. A vector of imaginary
 * parts follows that of real ones. `margin`, of fourier_margin, is rows of zeros before and behind the kernel. */
typedef struct gc_fourier_rows {
    const void *weight, *x;
    void *y;
    ptrdiff_t bins, taps, w_bin, x_bin, y_bin, rows, height, shift;
} gc_fourier_rows;

/* winograd_weights[kind]: the kernels of one output channel over `channels` input channels, taps x taps
 * reals each, one after the other; `mirror` turns them by half a turn. Element e of the transformed kernel
 * of channel c goes to to[e*step + c]. */
typedef struct gc_winograd_weights {
    const void *from;
    void *to;
    ptrdiff_t channels, step;
    int mirror;
} gc_winograd_weights;

/* Tiles lie side by side in rows of m columns each; m vectors read those of a vector of tiles. A part of one of
 * them that lies in one row of the source: lane 0 is element `column` of row `row` + i of the windows, from the box's
 * first. bits[h]: lanes that are there, of columns h*m further on. more: the next one belongs to the same vector. */
enum { GC_WINOGRAD_SHIFTS = 3 };
typedef struct gc_winograd_piece {
    ptrdiff_t row, column;
    uint32_t bits[GC_WINOGRAD_SHIFTS];
    int more;
} gc_winograd_piece;

/* winograd_input[kind]: one channel. Windows of tiles are read from `height` rows that lie row_step bytes apart from
 * `source` on, the box's windows beginning in row `first`; rows outside are zeros. pieces[(v*m + q)*parts ..] are those
 * of vector q of tiles v*lanes .. . Transformed windows go to out[(i*window + j)*out_step + tile]. */
typedef struct gc_winograd_input {
    const char *source;
    ptrdiff_t row_step, first, height;
    const gc_winograd_piece *pieces;
    ptrdiff_t parts, vectors, out_step;
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

/* winograd_gradients: a row of tiles of output gradients, taken to the points of F(4x4, 3x3); a vector of channels.
 * Position (i, j) of the row of tiles is the vector at from + i*row + j*step, for i < rows <= 4 and j < columns; those
 * beyond are zeros. Point (i, j) of tile t goes to the vector at out + (6*i + j)*out_step + t*step. */
typedef struct gc_winograd_gradients {
    const void *from;
    ptrdiff_t row, step, rows, columns;
    void *out;
    ptrdiff_t out_step;
} gc_winograd_gradients;

/* winograd_kernels: one input channel by `vectors` vectors of output channels. From sums of products over tiles, at
 * point (i, j) in[(6*i + j)*in_step ..], to the kernel's gradient at (i, j) out[(3*i + j)*out_step ..]. Returns whether
 * one is not finite. */
typedef struct gc_winograd_kernels {
    const void *in;
    void *out;
    ptrdiff_t in_step, out_step, vectors;
} gc_winograd_kernels;

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

#endif
