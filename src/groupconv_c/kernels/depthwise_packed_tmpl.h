/* Depthwise microkernels over packed planes (contract: gc_depthwise in kernels.h).
 *
 * Lanes are neighbouring columns of one channel. A loaded vector serves every output row of the tile
 * that it touches; one column of the kernel's weights is held in registers at a time. */

#define DEPTHWISE_CHUNK(RC)                                                              \
    case RC:                                                                             \
        for (ptrdiff_t s = chunk->first; s < chunk->last; s++) {                         \
            V w[GC_DEPTHWISE_ROWS];                                                      \
            GC_UNROLL(8)                                                                 \
            for (int r = 0; r < RC; r++)                                                 \
                w[r] = OP(set1)(weight[r * chunk->weight_row + s * step]);               \
            const real *p = base + columns[s];                                           \
            GC_UNROLL(16)                                                                \
            for (int i = 0; i < RB + RC - 1; i++) {                                      \
                const V x = OP(load)(p);                                                 \
                p += pitch;                                                              \
                GC_UNROLL(8)                                                             \
                for (int j = 0; j < RB; j++)                                             \
                    if (i - j >= 0 && i - j < RC) acc[j] = OP(fma)(w[i - j], x, acc[j]); \
            }                                                                            \
        }                                                                                \
        break;

GC_INLINE void OP(depthwise_vector)(const int RB, const gc_depthwise *a, ptrdiff_t v) {
    V acc[GC_DEPTHWISE_ROWS];
    const V init = OP(set1)(*(const real *)a->init);
    GC_UNROLL(8)
    for (int j = 0; j < RB; j++) acc[j] = init;

    const ptrdiff_t *const columns = a->columns;
    const ptrdiff_t pitch = a->pitch, step = a->weight_column;
    const gc_depthwise_chunk *const end = a->chunks + a->nchunks;
    for (const gc_depthwise_chunk *chunk = a->chunks; chunk < end; chunk++) {
        const real *const weight = (const real *)a->weight + chunk->weight;
        const real *const base = (const real *)a->plane + v * LANES + chunk->plane;
        switch (chunk->rows) {
            DEPTHWISE_CHUNK(1)
            DEPTHWISE_CHUNK(2)
            DEPTHWISE_CHUNK(3)
            DEPTHWISE_CHUNK(4)
            DEPTHWISE_CHUNK(5)
            DEPTHWISE_CHUNK(6)
            DEPTHWISE_CHUNK(7)
            DEPTHWISE_CHUNK(8)
        }
    }

    real *out = (real *)a->out + v * LANES;
    const V low = OP(set1)((real)a->low), high = OP(set1)((real)a->high);
    const int stored = v == a->vectors - 1 ? a->stored : LANES;
    const int last = v == a->vectors - 1 ? a->last : LANES;
    GC_UNROLL(8)
    for (int j = 0; j < RB; j++) {
        if (j >= a->nrows) break;
        const int n = j == a->nrows - 1 ? last : stored;
        V y = acc[j];
        if (a->residual)
            y += OP(load_mask)((const real *)a->residual + v * LANES + j * a->residual_row,
                               OP(mask)(gc_window_bits(0, n, LANES)));
        if (a->clamp) y = OP(min)(high, OP(max)(low, y));
        OP(store_first)(out + j * a->out_row, y, n);
    }
}

GC_NOINLINE void OP(depthwise_8)(const gc_depthwise *a) {
    for (ptrdiff_t v = 0; v < a->vectors; v++) OP(depthwise_vector)(8, a, v);
}
GC_NOINLINE void OP(depthwise_4)(const gc_depthwise *a) {
    for (ptrdiff_t v = 0; v < a->vectors; v++) OP(depthwise_vector)(4, a, v);
}
#undef DEPTHWISE_CHUNK
