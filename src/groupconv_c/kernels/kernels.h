/* The kernel table: what one instruction set offers for one arithmetic type (float or double).
 *
 * Kernels know pointers, strides, counts and clamps; padding, groups, threads and memory belong to
 * the loops around them. Tile sizes travel beside the pointers. What each kernel computes is its
 * contract, in the header of its family. `real` there is the arithmetic type; offsets and strides
 * count reals unless they say bytes. No pointer needs an alignment of its own.
 */
#ifndef GC_KERNELS_H
#define GC_KERNELS_H

#include "channel_lanes_contracts.h"
#include "depthwise_contracts.h"
#include "gradient_contracts.h"
#include "tap_sum_contracts.h"
#include "transform_contracts.h"
#include "winograd_column_contracts.h"
#include "winograd_row_contracts.h"

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
    const gc_in_place_kernels *in_place[GC_STORAGE_TYPES]; /* by gc_dtype; NULL: none */
    int max_tb[GC_MAX_DOT_KB];
    gc_tap_dot_fn *tap_dot[GC_MAX_DOT_KB][GC_MAX_DOT_TB];
    int max_row_dot;
    gc_row_dot_fn *row_dot[2][GC_MAX_ROW_DOT_ROWS][GC_MAX_ROW_DOT_COLUMNS];
    void (*turn)(const gc_turn *);
    void (*turn_finish)(const gc_turn_finish *);
    int max_lane_dot_tb[GC_MAX_LANE_DOT_VB];
    gc_lane_dot_fn *lane_dot[GC_MAX_LANE_DOT_TB][GC_MAX_LANE_DOT_VB];
    void (*winograd_weights[GC_WINOGRAD_KINDS])(const gc_winograd_weights *);
    void (*winograd_input[GC_WINOGRAD_KINDS])(const gc_winograd_input *);
    int (*winograd_output[GC_WINOGRAD_KINDS])(const gc_winograd_output *);
    void (*winograd_gradients)(const gc_winograd_gradients *);
    int (*winograd_kernels)(const gc_winograd_kernels *);
    void (*fourier_forth)(const gc_fourier *);
    void (*fourier_back)(const gc_fourier *);
    int fourier_margin;
    void (*fourier_rows)(const gc_fourier_rows *);
    int (*finite)(const void *from, ptrdiff_t vectors); /* whether all of their elements are */
    void (*fourier_sum[GC_MAX_FOURIER_BLOCKS])(const gc_fourier_sum *);
    void (*lane_pack)(const gc_lane_pack *);
    int lane_run_columns[GC_LANE_RUN_WIDTHS];
    gc_lane_run_fn *lane_run[GC_LANE_RUN_WIDTHS][3][2];
    gc_lane_roll_kernels lane_roll[GC_ROLL_KERNELS][2][2], lane_roll_dilated;
    int max_lane_positions[GC_MAX_LANE_RUN_VB], lane_place_count[GC_MAX_LANE_VB];
    gc_lane_tile_fn *lane_tile[GC_MAX_LANE_POSITIONS][GC_MAX_LANE_RUN_VB][2];
    gc_lane_tile_fn *lane_places[GC_MAX_LANE_VB];
    gc_lane_products_tile lane_products[GC_MAX_LANE_VB][GC_LANE_PRODUCT_TILES];
    gc_lane_products_tile lane_shared_products[GC_LANE_SHARES][GC_LANE_PRODUCT_TILES];
    void (*winograd_row_weights)(const gc_winograd_row_weights *);
    void (*winograd_row_input)(const gc_winograd_row_input *);
    int (*winograd_row_output)(const gc_winograd_row_output *);
    void (*winograd_column_weights)(const gc_winograd_column_weights *);
    void (*winograd_column_input)(const gc_winograd_column_input *);
    int (*winograd_column_output[GC_COLUMN_KINDS])(const gc_winograd_column_output *);
} gc_kernels;

#endif
