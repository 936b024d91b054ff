/* The microkernel of the weight gradient with output channels in the lanes (contract: gc_lane_dot in
 * gradient_contracts.h): an outer product for each position, of broadcast inputs and vectors of gradients. */

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
