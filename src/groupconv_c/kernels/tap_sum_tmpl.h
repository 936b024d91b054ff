/* The microkernel of every tap-sum algorithm (contract: gc_tap_sum in tap_sum_contracts.h).
 *
 * Lanes are neighbouring positions; weights are broadcast. KB, VB are constants once inlined, so the
 * accumulators stay in registers. Taps are added in the order of the list, whatever the tile. */

/* Channel k's weight, in few registers: an address is a base and a row's step times 1, 2 or 4. Compilers would
 * rather keep a pointer for each channel. */
GC_INLINE const char *OP(tap_sum_weight)(const char *w, const char *w3, ptrdiff_t row,
                                         ptrdiff_t row3, const int k) {
    switch (k) {
        case 0:
            return w;
        case 1:
            return w + row;
        case 2:
            return w + 2 * row;
        case 3:
            return w3;
        case 4:
            return w + 4 * row;
        case 5:
            return w3 + 2 * row;
        case 6:
            return w3 + row3;
        default:
            return w3 + 4 * row;
    }
}

/* Residual, clamp and store of a tile's sums. */
GC_INLINE void OP(tap_sum_results)(const int KB, const int VB, const gc_tap_sum *a,
                                   V acc[GC_MAX_KB][GC_MAX_VB]) {
    const gc_lanes *const lanes = a->lanes;
    if (a->residual) {
        const real *residual = a->residual;
        GC_UNROLL(8)
        for (int v = 0; v < VB; v++) {
            const int partial = lanes && lanes[v].count < LANES;
            GC_UNROLL(8)
            for (int k = 0; k < KB; k++) {
                const real *from = residual + k * a->residual_k;
                acc[k][v] += partial ? OP(load_lanes)(from, lanes[v]) : OP(load)(from);
                __builtin_prefetch((const char *)from + a->residual_next);
            }
            residual += lanes ? (ptrdiff_t)lanes[v].count : LANES;
        }
    }
    if (a->clamp) {
        const V low = OP(set1)((real)a->low), high = OP(set1)((real)a->high);
        GC_UNROLL(8)
        for (int k = 0; k < KB; k++) GC_UNROLL(8)
        for (int v = 0; v < VB; v++) acc[k][v] = OP(min)(high, OP(max)(low, acc[k][v]));
    }
    real *out = a->out;
    GC_UNROLL(8)
    for (int v = 0; v < VB; v++) {
        if (lanes && lanes[v].count < LANES) {
            GC_UNROLL(8)
            for (int k = 0; k < KB; k++) OP(store_lanes)(out + k * a->out_k, acc[k][v], lanes[v]);
        } else {
            GC_UNROLL(8)
            for (int k = 0; k < KB; k++) OP(store)(out + k * a->out_k, acc[k][v]);
        }
        out += lanes ? (ptrdiff_t)lanes[v].count : LANES;
    }
    if (a->far) { /* lines that the next tile of these channels writes */
        GC_UNROLL(8)
        for (int k = 0; k < KB; k++) GC_UNROLL(8)
        for (int v = 0; v < VB; v++) __builtin_prefetch(out + k * a->out_k + v * LANES, 1);
    }
}

#ifdef GC_SHIFTS_VECTORS
/* Two taps side by side, from p on, of one channel, whose tiles are bound by loads: the second shifts what the first
 * has loaded. */
GC_INLINE void OP(tap_sum_pair)(const int VB, const real *p, const real *w, V *acc) {
    const V w0 = OP(set1)(w[0]), w1 = OP(set1)(w[1]);
    V x = OP(hold)(OP(load)(p));
    GC_UNROLL(8)
    for (int v = 0; v < VB; v++) {
        const real *at = p + (v + 1) * LANES;
        const V next = v + 1 < VB ? OP(hold)(OP(load)(at)) : OP(set1)(*at);
        acc[v] = OP(fma)(w0, x, acc[v]);
        acc[v] = OP(fma)(w1, OP(shifted)(x, next, 1), acc[v]);
        x = next;
    }
}
#endif

GC_INLINE void OP(tap_sum_body)(const int KB, const int VB, const gc_tap_sum *a) {
    V acc[GC_MAX_KB][GC_MAX_VB];
    const real *const init = a->init;
    GC_UNROLL(8)
    for (int k = 0; k < KB; k++) GC_UNROLL(8)
    for (int v = 0; v < VB; v++) acc[k][v] = OP(set1)(init[k]);

    const ptrdiff_t row = a->weight_k * (ptrdiff_t)sizeof(real), row3 = 3 * row;
    const char *const plane = a->plane, *w = a->weight, *w3 = w + row3,
                      *fetch = a->fetch ? a->fetch : w;
    const ptrdiff_t fetch_step = a->fetch ? a->fetch_step : 0;
    const ptrdiff_t *const end = a->taps + a->ntaps;
    GC_UNROLL(2)
    for (const ptrdiff_t *tap = a->taps; tap < end; tap++) {
        const real *p = (const real *)(plane + *tap);
        V x[GC_MAX_VB];
#ifdef GC_SHIFTS_VECTORS
        if (KB == 1 && VB > 2 && tap + 1 < end && tap[1] == *tap + (ptrdiff_t)sizeof(real)) {
            OP(tap_sum_pair)(VB, p, (const real *)w, acc[0]);
            GC_STEP(w, 2 * sizeof(real));
            tap++;
            for (int i = 0; i < 2; i++) {
                __builtin_prefetch(fetch);
                GC_STEP(fetch, fetch_step);
            }
            continue;
        }
#endif
        GC_UNROLL(8)
        for (int v = 0; v < VB; v++) x[v] = OP(load)(p + v * LANES);
        GC_UNROLL(8)
        for (int k = 0; k < KB; k++) {
            const V s = OP(set1)(*(const real *)OP(tap_sum_weight)(w, w3, row, row3, k));
            GC_UNROLL(8)
            for (int v = 0; v < VB; v++) acc[k][v] = OP(fma)(s, x[v], acc[k][v]);
        }
        GC_STEP(w, sizeof(real));
        if (KB > 3) GC_STEP(w3, sizeof(real));
        __builtin_prefetch(fetch);
        GC_STEP(fetch, fetch_step);
    }

    OP(tap_sum_results)(KB, VB, a, acc);
}

/* The widest tile of KB channels whose accumulators, inputs and one weight fit the registers. */
#define TAP_SUM_MAX_VB(KB) \
    ((vector_registers - 1) / ((KB) + 1) < 8 ? (vector_registers - 1) / ((KB) + 1) : 8)

#define TAP_SUM(KB, VB)                                                          \
    GC_NOINLINE void GC_CAT(OP(tap_sum_), GC_CAT(KB, VB))(const gc_tap_sum *a) { \
        if (VB <= TAP_SUM_MAX_VB(KB)) OP(tap_sum_body)(KB, VB, a);               \
    }
#define TAP_SUM_ROW(KB) \
    TAP_SUM(KB, 1)      \
    TAP_SUM(KB, 2)      \
    TAP_SUM(KB, 3) TAP_SUM(KB, 4) TAP_SUM(KB, 5) TAP_SUM(KB, 6) TAP_SUM(KB, 7) TAP_SUM(KB, 8)
TAP_SUM_ROW(1)
TAP_SUM_ROW(2)
TAP_SUM_ROW(3)
TAP_SUM_ROW(4)
TAP_SUM_ROW(5)
TAP_SUM_ROW(6)
TAP_SUM_ROW(7)
TAP_SUM_ROW(8)

#define TAP_SUM_ENTRY(KB, VB) \
    (VB <= TAP_SUM_MAX_VB(KB) ? GC_CAT(OP(tap_sum_), GC_CAT(KB, VB)) : NULL)
#define TAP_SUM_ENTRIES(KB)                                                                  \
    {TAP_SUM_ENTRY(KB, 1), TAP_SUM_ENTRY(KB, 2), TAP_SUM_ENTRY(KB, 3), TAP_SUM_ENTRY(KB, 4), \
     TAP_SUM_ENTRY(KB, 5), TAP_SUM_ENTRY(KB, 6), TAP_SUM_ENTRY(KB, 7), TAP_SUM_ENTRY(KB, 8)}
