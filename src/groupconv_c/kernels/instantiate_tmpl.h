/* One arithmetic type of one instruction set: every shared body, then the table of them. */
#define OP(name) GC_CAT(GC_CAT(R, _), name)
#define V OP(v)
#define M OP(m)
#define LANES ((int)OP(lanes))

#include "tap_sum_tmpl.h"
#include "load_tmpl.h"
#include "activation_tmpl.h"
#include "finish_tmpl.h"
#include "depthwise_packed_tmpl.h"
#include "depthwise_weights_tmpl.h"
#define SR R
#define element real
#include "depthwise_in_place_tmpl.h"
#undef SR
#undef element
#if REAL_IS_FLOAT && defined(GC_MASKS_HALVES)
#define element uint16_t
#define SR f16
#include "depthwise_in_place_tmpl.h"
#undef SR
#define SR bf16
#include "depthwise_in_place_tmpl.h"
#undef SR
#undef element
#endif
#include "depthwise_spread_tmpl.h"
#include "tap_dot_tmpl.h"
#include "row_dot_tmpl.h"
#include "lane_dot_tmpl.h"
#include "turn_tmpl.h"
#include "winograd_tmpl.h"
#include "winograd_gradient_tmpl.h"
#include "fourier_tmpl.h"
#include "channel_lanes_tmpl.h"
#include "lane_tile_tmpl.h"
#include "lane_roll_tmpl.h"
#include "winograd_row_tmpl.h"
#include "winograd_column_tmpl.h"

static const gc_kernels OP(table) = {
    .isa = GC_STRING(GC_ISA_NAME),
    .real_size = sizeof(real),
    .lanes = LANES,
    .registers = vector_registers,
    .max_vb = {TAP_SUM_MAX_VB(1), TAP_SUM_MAX_VB(2), TAP_SUM_MAX_VB(3), TAP_SUM_MAX_VB(4),
               TAP_SUM_MAX_VB(5), TAP_SUM_MAX_VB(6), TAP_SUM_MAX_VB(7), TAP_SUM_MAX_VB(8)},
    .tap_sum = {TAP_SUM_ENTRIES(1), TAP_SUM_ENTRIES(2), TAP_SUM_ENTRIES(3), TAP_SUM_ENTRIES(4),
                TAP_SUM_ENTRIES(5), TAP_SUM_ENTRIES(6), TAP_SUM_ENTRIES(7), TAP_SUM_ENTRIES(8)},
    .load = OP(load_row),
    .pack_rows = OP(pack_rows),
    .pack_rows_by_2 = OP(pack_rows_by_2),
    .pack_rows_by_4 = OP(pack_rows_by_4),
    .zip = OP(zip),
    .finish = OP(finish),
    .depthwise_packed = OP(depthwise_packed),
    .depthwise_spread = OP(depthwise_spread),
#if !REAL_IS_FLOAT
    .in_place = {[GC_F64] = &f64_in_place},
#elif defined(GC_MASKS_HALVES)
    .in_place = {[GC_F32] = &f32_in_place, [GC_F16] = &f16_in_place, [GC_BF16] = &bf16_in_place},
#else
    .in_place = {[GC_F32] = &f32_in_place},
#endif
    .max_tb = {TAP_DOT_MAX_TB(1), TAP_DOT_MAX_TB(2), TAP_DOT_MAX_TB(3), TAP_DOT_MAX_TB(4)},
    .tap_dot = {TAP_DOT_ENTRIES(1), TAP_DOT_ENTRIES(2), TAP_DOT_ENTRIES(3), TAP_DOT_ENTRIES(4)},
    .max_row_dot = ROW_DOT_MAX,
    .row_dot = {{ROW_DOT_ENTRIES(1, 1), ROW_DOT_ENTRIES(1, 2), ROW_DOT_ENTRIES(1, 3)},
                {ROW_DOT_ENTRIES(2, 1), ROW_DOT_ENTRIES(2, 2), ROW_DOT_ENTRIES(2, 3)}},
    .turn = OP(turn),
    .turn_finish = OP(turn_finish),
    .max_lane_dot_tb = {LANE_DOT_MAX_TB(1), LANE_DOT_MAX_TB(2)},
    .lane_dot = {LANE_DOT_ENTRIES(1), LANE_DOT_ENTRIES(2), LANE_DOT_ENTRIES(3), LANE_DOT_ENTRIES(4),
                 LANE_DOT_ENTRIES(5), LANE_DOT_ENTRIES(6), LANE_DOT_ENTRIES(7),
                 LANE_DOT_ENTRIES(8)},
    .winograd_weights = {OP(winograd_weights63), OP(winograd_weights65), OP(winograd_weights43)},
    .winograd_input = {OP(winograd_input46), OP(winograd_input26), OP(winograd_input24)},
    .winograd_output = {OP(winograd_output46), OP(winograd_output26), OP(winograd_output24)},
    .winograd_gradients = OP(winograd_gradients),
    .winograd_kernels = OP(winograd_kernels),
    .fourier_forth = OP(fourier_forth),
    .fourier_back = OP(fourier_back),
    .fourier_margin = FOURIER_ROWS - 1,
    .fourier_rows = OP(fourier_rows),
    .finite = OP(finite),
    .fourier_sum = {OP(fourier_sum1), OP(fourier_sum2), OP(fourier_sum3), OP(fourier_sum4)},
    .lane_pack = OP(lane_pack),
    .lane_run_columns = {7, 8, LANE_RUN_MAX >= 14 ? 14 : 0, LANE_RUN_MAX >= 16 ? 16 : 0},
    .lane_run = {LANE_RUN_ENTRIES(7), LANE_RUN_ENTRIES(8), LANE_RUN_ENTRIES(14),
                 LANE_RUN_ENTRIES(16)},
    .lane_roll = {{{LANE_ROLL_ENTRY(3, ROLL_ROWS(3)), LANE_ROLL_ENTRY(3_spread, ROLL_ROWS(3))},
                   {LANE_ROLL_ENTRY(3_by_2, ROLL_ROWS(3)),
                    LANE_ROLL_ENTRY(3_spread_by_2, ROLL_ROWS(3))}},
                  {{LANE_ROLL_ENTRY(5, ROLL_ROWS(5))}, {LANE_ROLL_ENTRY(5_by_2, ROLL_ROWS(5))}},
                  {{LANE_ROLL_ENTRY(7, ROLL_ROWS(7))}, {LANE_ROLL_ENTRY(7_by_2, ROLL_ROWS(7))}}},
    .lane_roll_dilated = LANE_ROLL_ENTRY(3_dilated, ROLL_ROWS(5)),
    .max_lane_positions = {LANE_TILE_MAX(1), LANE_TILE_MAX(2)},
    .lane_tile = {LANE_TILE_ENTRIES(1), LANE_TILE_ENTRIES(2), LANE_TILE_ENTRIES(3),
                  LANE_TILE_ENTRIES(4), LANE_TILE_ENTRIES(5), LANE_TILE_ENTRIES(6),
                  LANE_TILE_ENTRIES(7), LANE_TILE_ENTRIES(8)},
    .lane_place_count = {LANE_PLACES(1), LANE_PLACES(2), LANE_PLACES(3)},
    .lane_places = {OP(lane_places_1), OP(lane_places_2), OP(lane_places_3)},
    .lane_products = {{LANE_PRODUCTS_OF_1(LANE_PRODUCTS_ENTRY)},
                      {LANE_PRODUCTS_OF_2(LANE_PRODUCTS_ENTRY)},
                      {LANE_PRODUCTS_OF_3(LANE_PRODUCTS_ENTRY)}},
#ifdef GC_REPEATS_LANES
    .lane_shared_products = {{LANE_PRODUCTS_OF_1(LANE_PAIR_PRODUCTS_ENTRY)},
                             {LANE_PRODUCTS_OF_1(LANE_QUAD_PRODUCTS_ENTRY)}},
#endif
    .winograd_row_weights = OP(winograd_row_weights),
    .winograd_row_input = OP(winograd_row_input),
    .winograd_row_output = OP(winograd_row_output),
    .winograd_column_weights = OP(winograd_column_weights),
    .winograd_column_input = OP(winograd_column_input),
    .winograd_column_output = {OP(winograd_column_output_2), OP(winograd_column_output_3),
                               OP(winograd_column_output_4)},
};

const gc_kernels *const GC_CAT(GC_CAT(GC_CAT(gc_kernels_, GC_ISA_NAME), _), R) = &OP(table);

#undef TAP_SUM_MAX_VB
#undef TAP_SUM
#undef TAP_SUM_ROW
#undef TAP_SUM_ENTRY
#undef TAP_SUM_ENTRIES
#undef TAP_DOT_MAX_TB
#undef TAP_DOT
#undef TAP_DOT_ROW
#undef TAP_DOT_ENTRY
#undef TAP_DOT_ENTRIES
#undef ROW_DOT_MAX
#undef ROW_DOT
#undef ROW_DOT_ROW
#undef ROW_DOT_ENTRY
#undef ROW_DOT_ENTRIES
#undef LANE_DOT_MAX_TB
#undef LANE_DOT
#undef LANE_DOT_ROW
#undef LANE_DOT_ENTRIES
#undef ROLLING_PLAIN
#undef LANE_RUN
#undef LANE_RUN_MAX
#undef LANE_RUN_ENTRIES
#undef ROLL_ROWS
#undef LANE_ROLL_ENTRY
#undef LANE_TILE_MAX
#undef LANE_TILE
#undef LANE_TILE_ROW
#undef LANE_TILE_ENTRIES
#undef LANE_PLACES
#undef LANE_PLACES_KERNEL
#undef LANE_PRODUCTS
#undef LANE_PRODUCTS_FIT
#undef LANE_PRODUCTS_ENTRY
#undef LANE_SHARED_PRODUCTS
#undef LANE_SHARED_PRODUCTS_FIT
#undef LANE_PAIR_PRODUCTS
#undef LANE_QUAD_PRODUCTS
#undef LANE_SHARED_PRODUCTS_ENTRY
#undef LANE_PAIR_PRODUCTS_ENTRY
#undef LANE_QUAD_PRODUCTS_ENTRY
#undef LANE_PRODUCTS_OF_1
#undef LANE_PRODUCTS_OF_2
#undef LANE_PRODUCTS_OF_3
#undef OP
#undef V
#undef M
#undef LANES
