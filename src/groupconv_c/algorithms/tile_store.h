/* Where tiles of results go, for algorithms whose positions are flattened rows.
 *
 * A run is `rows` rows of `pitch` flat positions of which the first `columns` are results. When the
 * output is plain rows the microkernel stores by lanes; otherwise it leaves a tile in scratch and
 * gc_tile_finish takes it to its place. */
#ifndef GC_TILE_STORE_H
#define GC_TILE_STORE_H

#include "../plan.h"

/* lanes[v], start[v] of each vector of a run: which lanes are results, how many came before. */
typedef struct gc_run_lanes {
    ptrdiff_t vectors, stored;
    gc_lanes *lanes;
    ptrdiff_t *start;
} gc_run_lanes;

gc_status gc_run_lanes_create(gc_run_lanes *run, ptrdiff_t rows, ptrdiff_t pitch, ptrdiff_t columns,
                              int lanes);
void gc_run_lanes_destroy(gc_run_lanes *run);
/* The lanes of vector v when the run ends after `flat` positions, `stored` of them results. */
gc_lanes gc_run_lanes_cut(const gc_run_lanes *run, ptrdiff_t v, ptrdiff_t flat, ptrdiff_t stored,
                          int lanes);

/* An output run in bytes: element (row, column) of channel k is at
 * base + k*channel + row*row_stride + column*column_stride; residual likewise. */
typedef struct gc_target {
    char *base;
    ptrdiff_t channel, row, column;
    const char *residual;
    ptrdiff_t residual_channel, residual_row, residual_column;
} gc_target;

/* Tile of kb channels x n flat positions from flat position `first`; channels `tile_k` reals apart. */
void gc_tile_finish(const gc_plan *plan, const gc_target *target, const void *tile,
                    ptrdiff_t tile_k, int kb, ptrdiff_t first, ptrdiff_t n, ptrdiff_t pitch,
                    ptrdiff_t columns);

/* Whether an activation is a clamp that the microkernel applies, and its bounds. */
int gc_activation_clamp(gc_activation activation, double *low, double *high);

/* Why microkernels that read and write arrays in place do not take a plan's halves, or NULL: they round results, so
 * that nothing may follow. */
const char *gc_refuse_halves_in_place(const gc_plan *plan);

/* Cuts `total` into ceil(total / most) nearly equal tiles: the size of the one that starts at `at`. */
static inline int gc_even_tile(ptrdiff_t total, ptrdiff_t at, ptrdiff_t most) {
    const ptrdiff_t left = total - at;
    return (int)gc_ceil_div(left, gc_ceil_div(left, most));
}

/* Output channels per tile that waste the least, for runs of `vectors` vectors. */
int gc_choose_kb(const gc_kernels *kernels, ptrdiff_t channels, ptrdiff_t vectors,
                 double *cycles_per_tap);

#endif
