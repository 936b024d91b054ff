/* The microkernel of the weight gradient (contract: gc_tap_dot in gradient_contracts.h): products of planes are
 * summed over positions in the lanes, and the lanes at the end. */

GC_INLINE void OP(tap_dot_body)(const int KB, const int TB, const gc_tap_dot *a) {
    V acc[GC_MAX_DOT_KB][GC_MAX_DOT_TB];
    GC_UNROLL(4)
    for (int k = 0; k < KB; k++) GC_UNROLL(8)
    for (int t = 0; t < TB; t++) acc[k][t] = OP(set1)(0);
    const real *x[GC_MAX_DOT_TB];
    GC_UNROLL(8)
    for (int t = 0; t < TB; t++) x[t] = (const real *)a->plane + a->taps[t];
    const real *g = a->grad;
    const ptrdiff_t grad_k = a->grad_k, fetch_bytes = a->fetch_bytes;
    const char *fetch = a->fetch;
    for (ptrdiff_t v = 0; v < a->vectors; v++) {
        const M m = OP(mask)(a->bits[v]);
        gc_fetch(fetch, fetch_bytes);
        fetch += fetch_bytes;
        V gk[GC_MAX_DOT_KB];
        GC_UNROLL(4)
        for (int k = 0; k < KB; k++) gk[k] = OP(load_mask)(g + k * grad_k + v * LANES, m);
        GC_UNROLL(8)
        for (int t = 0; t < TB; t++) {
            const V xt = OP(load_mask)(x[t] + v * LANES, m);
            GC_UNROLL(4)
            for (int k = 0; k < KB; k++) acc[k][t] = OP(fma)(gk[k], xt, acc[k][t]);
        }
    }
    real *sums = a->sums;
    GC_UNROLL(4)
    for (int k = 0; k < KB; k++) GC_UNROLL(8)
    for (int t = 0; t < TB; t++) sums[k * a->sums_k + t] += OP(sum)(acc[k][t]);
}

/* As many taps as leave registers for KB gradients and one input. */
#define TAP_DOT_MAX_TB(KB)                                                                       \
    ((vector_registers - 1 - (KB)) / (KB) < GC_MAX_DOT_TB ? (vector_registers - 1 - (KB)) / (KB) \
                                                          : GC_MAX_DOT_TB)
#define TAP_DOT(KB, TB)                                                          \
    GC_NOINLINE void GC_CAT(OP(tap_dot_), GC_CAT(KB, TB))(const gc_tap_dot *a) { \
        if (TB <= TAP_DOT_MAX_TB(KB)) OP(tap_dot_body)(KB, TB, a);               \
    }
#define TAP_DOT_ROW(KB) \
    TAP_DOT(KB, 1)      \
    TAP_DOT(KB, 2)      \
    TAP_DOT(KB, 3) TAP_DOT(KB, 4) TAP_DOT(KB, 5) TAP_DOT(KB, 6) TAP_DOT(KB, 7) TAP_DOT(KB, 8)
TAP_DOT_ROW(1)
TAP_DOT_ROW(2)
TAP_DOT_ROW(3)
TAP_DOT_ROW(4)
#define TAP_DOT_ENTRY(KB, TB) \
    (TB <= TAP_DOT_MAX_TB(KB) ? GC_CAT(OP(tap_dot_), GC_CAT(KB, TB)) : NULL)
#define TAP_DOT_ENTRIES(KB)                                                                  \
    {TAP_DOT_ENTRY(KB, 1), TAP_DOT_ENTRY(KB, 2), TAP_DOT_ENTRY(KB, 3), TAP_DOT_ENTRY(KB, 4), \
     TAP_DOT_ENTRY(KB, 5), TAP_DOT_ENTRY(KB, 6), TAP_DOT_ENTRY(KB, 7), TAP_DOT_ENTRY(KB, 8)}
