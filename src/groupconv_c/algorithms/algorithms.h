/* Every algorithm: one file, one line here, one line in algorithms.c. */
#ifndef GC_ALGORITHMS_H
#define GC_ALGORITHMS_H

#include "../plan.h"

extern const gc_algorithm gc_channel_lanes;
extern const gc_algorithm gc_depthwise_converted;
extern const gc_algorithm gc_converted;
extern const gc_algorithm gc_lanes_converted;
extern const gc_algorithm gc_depthwise_fourier;
extern const gc_algorithm gc_depthwise_in_place;
extern const gc_algorithm gc_depthwise_line;
extern const gc_algorithm gc_depthwise_packed;
extern const gc_algorithm gc_depthwise_spread;
extern const gc_algorithm gc_depthwise_transposed;
extern const gc_algorithm gc_direct;
extern const gc_algorithm gc_fourier_1d;
extern const gc_algorithm gc_grad_weight_lanes;
extern const gc_algorithm gc_grad_weight_planes;
extern const gc_algorithm gc_grad_weight_rows;
extern const gc_algorithm gc_grad_weight_winograd;
extern const gc_algorithm gc_pointwise;
extern const gc_algorithm gc_reference;
extern const gc_algorithm gc_winograd_1x4;
extern const gc_algorithm gc_winograd_2x1;
extern const gc_algorithm gc_winograd_2x2;
extern const gc_algorithm gc_winograd_2x2_5x5;
extern const gc_algorithm gc_winograd_3x1;
extern const gc_algorithm gc_winograd_4x1;
extern const gc_algorithm gc_winograd_4x4;
extern const gc_algorithm gc_winograd_4x4_up2;

/* Kinds of prepared weights; plans of one problem family may share those of one kind. */
enum {
    GC_KEY_CONVERTED = 1,
    GC_KEY_WINOGRAD,
    GC_KEY_LANE_RUNS = 16,
    GC_KEY_LANE_TILES,
    GC_KEY_PASSES,
    GC_KEY_FOURIER,
    GC_KEY_FOURIER_ROWS,
    GC_KEY_WINOGRAD_ROW,
    GC_KEY_WINOGRAD_COLUMN
};

/* Seconds of a cycle in predictions; only ratios decide. */
#define GC_CYCLE (1 / 3.0e9)

/* Seconds to prepare weights at so many cycles for each of what they become. */
static inline double gc_prepare_seconds(const gc_plan *plan, double cycles) {
    const double weights = (double)plan->prepared_size / (double)plan->kernels->real_size;
    return weights * cycles * GC_CYCLE;
}

#endif
