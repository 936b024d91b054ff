/* Depthwise microkernels that read the caller's rows in place (contract: gc_depthwise_rows in
 * depthwise_contracts.h).
 *
 * Lanes are neighbouring columns of one channel. What lies outside of the input is loaded as zeros: columns
 * under a mask, rows by leaving the load out; both only in tiles at an edge. Zeros are multiplied like
 * other values, so that a weight that is not finite has its effect. */

/* The kernel columns s .. s + W - 1 of a tile of RB rows. W = 2 with stride S = 2, where they share the two
 * vectors that are loaded, even if the registers do not hold the weights of both: the order of adding is that of
 * all instruction sets. A loaded vector serves every output row that it touches. EDGE: columns and rows may lie
 * outside. */
GC_INLINE void ST(depthwise_columns)(const gc_depthwise_rows *a, const gc_depthwise_slab *slab,
                                     const gc_columns *columns, int s, V *acc, const int S,
                                     const int W, const int KR, const int RB, const int EDGE,
                                     const char *fetch) {
    const real *weight = (const real *)a->weight + slab->weight + s * a->weight_column;
    V w[2][GC_DEPTHWISE_KERNEL_ROWS];
    GC_UNROLL(8)
    for (int r = 0; r < KR; r++) {
        w[0][r] = OP(set1)(weight[r * a->weight_row]);
        if (W == 2) w[1][r] = OP(set1)(weight[r * a->weight_row + a->weight_column]);
    }
    const ptrdiff_t in_row = a->in_row;
    const element *p = (const element *)a->in + slab->in + S * columns->column + s * a->dilation;
    const M m0 = OP(mask)(columns->bits[S * s]), m1 = OP(mask)(columns->bits[S * s + S - 1]);
    const int first = slab->first, last = slab->last;
    GC_UNROLL(24)
    for (int i = 0; i < (RB - 1) * S + KR; i++) {
        V x0 = OP(set1)(0), x1 = x0;
        if (!EDGE) { /* held in registers: compilers would rather load once for each use */
            x0 = OP(hold)(ST(load)(p));
            if (S == 2) x1 = OP(hold)(ST(load)(p + LANES));
        } else if (i >= first && i < last) {
            x0 = ST(load_mask)(p, m0);
            if (S == 2) x1 = ST(load_mask)(p + LANES, m1);
        }
        if (fetch) __builtin_prefetch(fetch + 64 * i);
        GC_STEP(p, in_row);
        const V even = S == 2 ? OP(even_mixed)(x0, x1) : x0;
        const V odd = W == 2 ? OP(odd_mixed)(x0, x1) : even;
        GC_UNROLL(8)
        for (int j = 0; j < RB; j++) {
            const int r = i - S * j;
            if (r < 0 || r >= KR) continue;
            acc[j] = OP(fma)(even, w[0][r], acc[j]);
            if (W == 2) acc[j] = OP(fma)(odd, w[1][r], acc[j]);
        }
    }
}

GC_INLINE void ST(depthwise_rows_vector)(const gc_depthwise_rows *a, const gc_columns *columns,
                                         const int S, const int KR, const int RB, const int EDGE,
                                         const char *fetch) {
    V acc[GC_DEPTHWISE_ROWS];
    const V init = OP(set1)(*(const real *)a->init);
    GC_UNROLL(8)
    for (int j = 0; j < RB; j++) acc[j] = init;
    const gc_depthwise_slab *const end = a->slabs + a->nslabs;
    for (const gc_depthwise_slab *slab = a->slabs; slab < end; slab++) {
        for (int s = 0; s < a->taps;) {
            const int begins = S == 2 && slab == a->slabs && s == 0;
            const int alone = S == 1 || begins || s + 1 == a->taps;
            if (alone)
                ST(depthwise_columns)(a, slab, columns, s, acc, S, 1, KR, RB, EDGE,
                                      begins ? fetch : NULL);
            else
                ST(depthwise_columns)(a, slab, columns, s, acc, S, 2, KR, RB, EDGE, NULL);
            s += alone ? 1 : 2;
        }
    }
    if (S == 2) {
        GC_UNROLL(8)
        for (int j = 0; j < RB; j++) acc[j] = OP(unmix)(acc[j]);
    }
    const int stored = EDGE ? columns->stored : LANES;
    if (a->residual) {
        const element *residual = (const element *)a->residual + columns->column;
        const M m = OP(mask)(gc_window_bits(0, stored, LANES));
        GC_UNROLL(8)
        for (int j = 0; j < RB; j++)
            if (j < a->nrows) acc[j] += ST(load_mask)(residual + j * a->residual_row, m);
    }
    if (a->clamp) {
        const V low = OP(set1)((real)a->low), high = OP(set1)((real)a->high);
        GC_UNROLL(8)
        for (int j = 0; j < RB; j++) acc[j] = OP(min)(high, OP(max)(low, acc[j]));
    }
    element *out = (element *)a->out + columns->column;
    const ptrdiff_t out_row = a->out_row;
    if (a->nrows == RB && (stored == LANES || a->whole >= RB)) {
        GC_UNROLL(8)
        for (int j = 0; j < RB; j++) {
            ST(store)(out, acc[j]);
            GC_STEP(out, out_row);
        }
        return;
    }
    V results[GC_DEPTHWISE_ROWS];
    GC_UNROLL(8)
    for (int j = 0; j < RB; j++) results[j] = acc[j];
    for (int j = 0; j < a->nrows; j++)
        ST(store_first)(out + j * out_row, results[j], j < a->whole ? LANES : stored);
}

GC_INLINE void ST(depthwise_rows_body)(const gc_depthwise_rows *a, const int S, const int KR,
                                       const int RB) {
    const gc_columns *const end = a->columns + a->ncolumns;
    const char *fetch = a->fetch_bytes ? a->fetch : a->in,
               *fetch_out = a->fetch_bytes ? a->fetch_out : NULL;
    for (const gc_columns *columns = a->columns; columns < end; columns++) {
        if (S == 1) gc_fetch(fetch, a->fetch_bytes);
        if (S == 1 && KR == 1 && fetch_out) {
            gc_fetch(fetch_out, a->fetch_bytes);
            fetch_out += a->fetch_bytes;
        }
        if (a->edge || !columns->inside)
            ST(depthwise_rows_vector)(a, columns, S, KR, RB, 1, fetch);
        else
            ST(depthwise_rows_vector)(a, columns, S, KR, RB, 0, fetch);
        fetch += a->fetch_bytes;
    }
}

#define DEPTHWISE_ROWS_KERNEL(name, S, KR, RB)                                 \
    GC_NOINLINE void ST(depthwise_##name##S##KR)(const gc_depthwise_rows *a) { \
        ST(depthwise_rows_body)(a, S, KR, RB);                                 \
    }
#define DEPTHWISE_ROWS_KERNELS(name, S, RB) \
    DEPTHWISE_ROWS_KERNEL(name, S, 1, RB)   \
    DEPTHWISE_ROWS_KERNEL(name, S, 2, RB)   \
    DEPTHWISE_ROWS_KERNEL(name, S, 3, RB)   \
    DEPTHWISE_ROWS_KERNEL(name, S, 4, RB)   \
    DEPTHWISE_ROWS_KERNEL(name, S, 5, RB)   \
    DEPTHWISE_ROWS_KERNEL(name, S, 6, RB) DEPTHWISE_ROWS_KERNEL(name, S, 7, RB)
DEPTHWISE_ROWS_KERNELS(rows_, 1, 8)
DEPTHWISE_ROWS_KERNELS(few_, 1, 4)
DEPTHWISE_ROWS_KERNELS(rows_, 2, 8)
#define DEPTHWISE_ROWS_ENTRIES(name, S)                                                  \
    {ST(depthwise_##name##S##1), ST(depthwise_##name##S##2), ST(depthwise_##name##S##3), \
     ST(depthwise_##name##S##4), ST(depthwise_##name##S##5), ST(depthwise_##name##S##6), \
     ST(depthwise_##name##S##7)}
