/* The microkernel of the weight gradient with output channels in the lanes (contract: gc_lane_dot in
 * kernels.h): an outer product for each position, of broadcast inputs and vectors of gradients. */

GC_INLINE void OP(lane_dot_body)(const int TB, const int VB, const gc_lane_dot *a) {
    V acc[GC_MAX_LANE_DOT_TB][GC_MAX_LANE_DOT_VB];
    const real *x[GC_MAX_LANE_DOT_TB];
    GC_UNROLL(8)
    for (int t = 0; t < TB; t++) {
        x[t] = (const real *)a->plane + a->taps[t];
        GC_UNROLL(2)
        for (int v = 0; v < VB; v++) acc[t][v] = OP(set1)(0);
    }
    const real *g = a->grad;
    for (ptrdiff_t y = 0; y < a->rows; y++) {
        const ptrdiff_t end = y * a->pitch + a->columns;
        for (ptrdiff_t i = y * a->pitch; i < end; i++, g += VB * LANES) {
            V gv[GC_MAX_LANE_DOT_VB];
            GC_UNROLL(2)
            for (int v = 0; v < VB; v++) gv[v] = OP(load)(g + v * LANES);
            GC_UNROLL(8)
            for (int t = 0; t < TB; t++) {
                const V xt = OP(set1)(x[t][i]);
                GC_UNROLL(2)
                for (int v = 0; v < VB; v++) acc[t][v] = OP(fma)(xt, gv[v], acc[t][v]);
            }
        }
    }
    real *sums = a->sums;
    GC_UNROLL(8)
    for (int t = 0; t < TB; t++, sums += a->sums_t) GC_UNROLL(2)
    for (int v = 0; v < VB; v++)
        OP(store)(sums + v * LANES, OP(load)(sums + v * LANES) + acc[t][v]);
}

GC_INLINE void OP(turn_columns)(const gc_turn *a, ptrdiff_t i, const int WHOLE) {
    const ptrdiff_t count = WHOLE ? LANES : gc_smaller(a->n - i, LANES);
    const M m = OP(mask)(gc_window_bits(0, count, LANES));
    V x[LANES];
    GC_UNROLL(16)
    for (int r = 0; r < LANES; r++) {
        const real *from = (const real *)a->from + r * a->from_step + i;
        if (WHOLE)
            x[r] = OP(load)(from);
        else
            x[r] = r < a->rows ? OP(load_mask)(from, m) : OP(set1)(0);
    }
    OP(turn_square)(x);
    real *to = (real *)a->to + i * a->to_step;
    if (WHOLE) {
        GC_UNROLL(16)
        for (int r = 0; r < LANES; r++) OP(store)(to + r * a->to_step, x[r]);
    } else {
        const ptrdiff_t stored = a->only_rows ? a->rows : LANES;
        for (ptrdiff_t r = 0; r < count; r++) OP(store_first)(to + r * a->to_step, x[r], stored);
    }
}

static void OP(turn)(const gc_turn *a) {
    ptrdiff_t i = 0;
    if (a->rows == LANES)
        for (; i + LANES <= a->n; i += LANES) OP(turn_columns)(a, i, 1);
    for (; i < a->n; i += LANES) OP(turn_columns)(a, i, 0);
}

/* As many taps as leave registers for the gradients and one input. */
#define LANE_DOT_MAX_TB(VB)                                    \
    ((vector_registers - 1 - (VB)) / (VB) < GC_MAX_LANE_DOT_TB \
         ? (vector_registers - 1 - (VB)) / (VB)                \
         : GC_MAX_LANE_DOT_TB)
#define LANE_DOT(TB, VB)                                                           \
    GC_NOINLINE void GC_CAT(OP(lane_dot_), GC_CAT(TB, VB))(const gc_lane_dot *a) { \
        if (TB <= LANE_DOT_MAX_TB(VB)) OP(lane_dot_body)(TB, VB, a);               \
    }
#define LANE_DOT_ROW(TB) LANE_DOT(TB, 1) LANE_DOT(TB, 2)
LANE_DOT_ROW(1)
LANE_DOT_ROW(2)
LANE_DOT_ROW(3)
LANE_DOT_ROW(4)
LANE_DOT_ROW(5)
LANE_DOT_ROW(6)
LANE_DOT_ROW(7)
LANE_DOT_ROW(8)
#define LANE_DOT_ENTRIES(TB) {OP(lane_dot_##TB##1), OP(lane_dot_##TB##2)}
