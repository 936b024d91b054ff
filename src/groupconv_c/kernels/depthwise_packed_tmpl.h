/* Depthwise microkernels over packed planes (contract: gc_depthwise in depthwise_contracts.h).
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

GC_INLINE void OP(depthwise_vector)(const int RB, const gc_depthwise *a, ptrdiff_t row,
                                    ptrdiff_t v) {
    V acc[GC_DEPTHWISE_ROWS];
    const V init = OP(set1)(*(const real *)a->init);
    GC_UNROLL(8)
    for (int j = 0; j < RB; j++) acc[j] = init;

    const ptrdiff_t *const columns = a->columns;
    const ptrdiff_t pitch = a->pitch, step = a->weight_column;
    const real *const plane = (const real *)a->plane + row * pitch + v * LANES;
    const gc_depthwise_chunk *const end = a->chunks + a->nchunks;
    for (const gc_depthwise_chunk *chunk = a->chunks; chunk < end; chunk++) {
        const real *const weight = (const real *)a->weight + chunk->weight;
        const real *const base = plane + chunk->plane;
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

    const ptrdiff_t out_row = a->out_row, left = a->nrows - row;
    real *out = (real *)a->out + row * out_row + v * LANES;
    const int stored = v == a->vectors - 1 ? a->stored : LANES;
    const int last = v == a->vectors - 1 ? a->last : LANES;
    if (a->residual) {
        const real *residual = (const real *)a->residual + row * a->residual_row + v * LANES;
        GC_UNROLL(8)
        for (int j = 0; j < RB; j++)
            if (j < left)
                acc[j] += OP(load_mask)(
                    residual + j * a->residual_row,
                    OP(mask)(gc_window_bits(0, j == left - 1 ? last : stored, LANES)));
    }
    if (a->clamp) {
        const V low = OP(set1)((real)a->low), high = OP(set1)((real)a->high);
        GC_UNROLL(8)
        for (int j = 0; j < RB; j++) acc[j] = OP(min)(high, OP(max)(low, acc[j]));
    }
    if (left >= RB && stored == LANES && (left > RB || last == LANES)) {
        GC_UNROLL(8)
        for (int j = 0; j < RB; j++) {
            OP(store)(out, acc[j]);
            GC_STEP(out, out_row);
        }
        return;
    }
    V results[GC_DEPTHWISE_ROWS];
    GC_UNROLL(8)
    for (int j = 0; j < RB; j++) results[j] = acc[j];
    const int nrows = (int)gc_smaller(left, RB);
    for (int j = 0; j < nrows; j++)
        OP(store_first)(out + j * out_row, results[j], j == left - 1 ? last : stored);
}

GC_NOINLINE void OP(depthwise_packed_8)(const gc_depthwise *a, ptrdiff_t row) {
    for (ptrdiff_t v = 0; v < a->vectors; v++) OP(depthwise_vector)(8, a, row, v);
}
GC_NOINLINE void OP(depthwise_packed_4)(const gc_depthwise *a, ptrdiff_t row) {
    for (ptrdiff_t v = 0; v < a->vectors; v++) OP(depthwise_vector)(4, a, row, v);
}
static void OP(depthwise_packed)(const gc_depthwise *a) {
    ptrdiff_t row = 0;
    for (; a->nrows - row > 4; row += 8) OP(depthwise_packed_8)(a, row);
    if (row < a->nrows) OP(depthwise_packed_4)(a, row);
}
#undef DEPTHWISE_CHUNK
