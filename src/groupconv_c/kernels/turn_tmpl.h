/* Squares of vectors, turned (contract: gc_turn in transform_contracts.h). */

/* A square of rows `step` apart, turned: x[i] has their elements i. Missing rows and elements are zeros. */
GC_INLINE void OP(turn_load)(const real *from, ptrdiff_t step, ptrdiff_t rows, ptrdiff_t elements,
                             V *x, const int WHOLE) {
    const M m = OP(mask)(gc_window_bits(0, elements, LANES));
    GC_UNROLL(16)
    for (int r = 0; r < LANES; r++) {
        if (WHOLE)
            x[r] = OP(load)(from + r * step);
        else
            x[r] = r < rows ? OP(load_mask)(from + r * step, m) : OP(set1)(0);
    }
    OP(turn_square)(x);
}

GC_INLINE void OP(turn_columns)(const gc_turn *a, ptrdiff_t i, const int WHOLE) {
    const ptrdiff_t count = WHOLE ? LANES : gc_smaller(a->n - i, LANES);
    V x[LANES];
    OP(turn_load)((const real *)a->from + i, a->from_step, a->rows, count, x, WHOLE);
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
