#include "tile_store.h"

#include <math.h>
#include <stdlib.h>

gc_status gc_run_lanes_create(gc_run_lanes *run, ptrdiff_t rows, ptrdiff_t pitch, ptrdiff_t columns,
                              int lanes) {
    const ptrdiff_t flat = rows > 0 && columns > 0 ? (rows - 1) * pitch + columns : 0;
    run->vectors = gc_ceil_div(flat, lanes);
    run->lanes = malloc((size_t)(run->vectors + 1) * sizeof *run->lanes);
    run->start = malloc((size_t)(run->vectors + 1) * sizeof *run->start);
    if (run->lanes == NULL || run->start == NULL) return GC_ERROR_MEMORY;
    run->stored = gc_max(rows * columns, 0);
    ptrdiff_t stored = 0;
    for (ptrdiff_t v = 0; v < run->vectors; v++) {
        gc_lanes l = {0};
        for (int i = 0; i < lanes; i++) {
            const ptrdiff_t f = v * lanes + i;
            if (f < flat && f % pitch < columns) {
                l.bits |= 1u << i;
                l.count++;
            }
        }
        l.spill = stored + lanes <= run->stored;
        run->lanes[v] = l;
        run->start[v] = stored;
        stored += l.count;
    }
    return GC_OK;
}

void gc_run_lanes_destroy(gc_run_lanes *run) {
    free(run->lanes);
    free(run->start);
    run->lanes = NULL;
    run->start = NULL;
}

gc_lanes gc_run_lanes_cut(const gc_run_lanes *run, ptrdiff_t v, ptrdiff_t flat, ptrdiff_t stored,
                          int lanes) {
    gc_lanes l = run->lanes[v];
    const ptrdiff_t left = flat - v * lanes;
    if (left < lanes) {
        l.bits &= (1u << left) - 1;
        l.count = (uint16_t)__builtin_popcount(l.bits);
    }
    l.spill = run->start[v] + lanes <= stored;
    return l;
}

void gc_tile_finish(const gc_plan *plan, const gc_target *t, const void *tile, ptrdiff_t tile_k,
                    int kb, ptrdiff_t first, ptrdiff_t n, ptrdiff_t pitch, ptrdiff_t columns) {
    const ptrdiff_t size = (ptrdiff_t)plan->kernels->real_size;
    gc_finish f = {
        .to_stride = t->column,
        .residual_stride = t->residual_column,
        .dtype = plan->problem.dtype,
        .activation = plan->problem.activation,
        .parameter = plan->problem.activation_parameter,
    };
    ptrdiff_t row = first / pitch, column = first % pitch, at = 0;
    while (at < n) {
        const ptrdiff_t take = gc_min(n - at, gc_max(columns - column, 0));
        for (int k = 0; k < kb && take > 0; k++) {
            f.from = (const char *)tile + (k * tile_k + at) * size;
            f.to = t->base + k * t->channel + row * t->row + column * t->column;
            if (t->residual)
                f.residual = t->residual + k * t->residual_channel + row * t->residual_row +
                             column * t->residual_column;
            f.n = take;
            plan->kernels->finish(&f);
        }
        at += gc_max(pitch - column, take);
        column = 0;
        row++;
    }
}

int gc_activation_clamp(gc_activation activation, double *low, double *high) {
    *low = activation == GC_IDENTITY ? -INFINITY : 0;
    *high = activation == GC_RELU6 ? 6 : INFINITY;
    return activation == GC_IDENTITY || activation == GC_RELU || activation == GC_RELU6;
}

const char *gc_refuse_halves_in_place(const gc_plan *plan) {
    double low, high;
    if (gc_stores_reals(plan)) return NULL;
    if (plan->kernels->in_place[plan->problem.dtype] == NULL)
        return "this instruction set has no microkernels for rows of float16 and bfloat16";
    if (!gc_activation_clamp(plan->problem.activation, &low, &high))
        return "results of float16 and bfloat16 are rounded before its activation";
    return NULL;
}

/* Cycles per tap of one tile: its multiply-adds, or two loads a cycle; four cycles from an accumulator to
 * itself. Loads of shifted vectors mostly cross a cache line and count twice; some come from the
 * second-level cache. */
static double tile_cycles(int kb, int vb, double each) {
    const double arithmetic = kb * vb * each, loads = (kb + (0.6 + 2 * each) * vb) / 2;
    return fmax(fmax(arithmetic, loads), 4) + 0.3 + 0.1 * vb;
}

int gc_choose_kb(const gc_kernels *kernels, ptrdiff_t channels, ptrdiff_t vectors,
                 double *cycles_per_tap) {
    const double each = gc_vector_cycles(kernels);
    int best = 1;
    double best_cycles = INFINITY;
    for (int most = 1; most <= GC_MAX_KB && most <= channels; most++) {
        double cycles = 0;
        const int kb = gc_even_tile(channels, 0, most);
        const ptrdiff_t blocks = gc_ceil_div(channels, most);
        ptrdiff_t sum_vb = 0;
        for (ptrdiff_t v = 0; v < vectors;) {
            const int vb = gc_even_tile(vectors, v, kernels->max_vb[kb - 1]);
            cycles += tile_cycles(kb, vb, each);
            v += vb;
            sum_vb += vb;
            if (v > 64 * GC_MAX_VB) { /* long runs: the rest is like the start */
                cycles *= (double)vectors / (double)sum_vb;
                break;
            }
        }
        cycles *= (double)blocks;
        if (cycles < best_cycles * 0.999) {
            best_cycles = cycles;
            best = most;
        }
    }
    if (cycles_per_tap) *cycles_per_tap = best_cycles;
    return best;
}
