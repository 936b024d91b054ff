/* Depthwise convolution along rows that are read in place (contract: depthwise_line in depthwise_contracts.h).
 *
 * Neighbouring kernel positions read vectors that are a lane apart, and most of such loads cross cache lines. Here
 * the vectors of a tile are loaded once for as many positions as there are lanes, and shifted. */
GC_INLINE void ST(line_positions)(const gc_depthwise_rows *a, const element *p, ptrdiff_t first,
                                  V *acc) {
    const ptrdiff_t left = a->taps - first;
    const real *weight = (const real *)a->weight + first * a->weight_column;
    V x[GC_DEPTHWISE_ROWS + 1];
    GC_UNROLL(8)
    for (int j = 0; j < GC_DEPTHWISE_ROWS; j++) x[j] = ST(load)(p + first + j * LANES);
    x[GC_DEPTHWISE_ROWS] = ST(load_mask)(p + first + GC_DEPTHWISE_ROWS * LANES,
                                         OP(mask)(gc_window_bits(0, left - 1, LANES)));
    GC_UNROLL(16)
    for (int s = 0; s < LANES; s++) {
        if (s == left) return;
        const V w = OP(set1)(weight[s * a->weight_column]);
        GC_UNROLL(8)
        for (int j = 0; j < GC_DEPTHWISE_ROWS; j++)
            acc[j] = OP(fma)(OP(shifted)(x[j], x[j + 1], s), w, acc[j]);
    }
}

GC_NOINLINE void ST(depthwise_line)(const gc_depthwise_rows *a) {
    const V init = OP(set1)(*(const real *)a->init);
    const V low = OP(set1)((real)a->low), high = OP(set1)((real)a->high);
    const gc_columns *const end = a->columns + a->ncolumns;
    const char *fetch = a->fetch_bytes ? a->fetch : a->in,
               *fetch_out = a->fetch_bytes ? a->fetch_out : a->in;
    for (const gc_columns *columns = a->columns; columns < end; columns++) {
        const element *p = (const element *)a->in + columns->column;
        element *out = (element *)a->out + columns->column;
        V acc[GC_DEPTHWISE_ROWS];
        gc_fetch(fetch, a->fetch_bytes);
        gc_fetch(fetch_out, a->fetch_bytes);
        fetch += a->fetch_bytes;
        fetch_out += a->fetch_bytes;
        GC_UNROLL(8)
        for (int j = 0; j < GC_DEPTHWISE_ROWS; j++) acc[j] = init;
        for (ptrdiff_t t = 0; t < a->taps; t += LANES) ST(line_positions)(a, p, t, acc);
        GC_UNROLL(8)
        for (int j = 0; j < GC_DEPTHWISE_ROWS; j++) {
            if (a->clamp) acc[j] = OP(min)(high, OP(max)(low, acc[j]));
            ST(store)(out + j * LANES, acc[j]);
        }
    }
}
