/* Reading storage into contiguous reals: the pack step's row copies. Rows are short, so they are
 * copied by inline vectors; a tail is loaded under a mask. */

GC_INLINE void OP(copy)(real *restrict to, const real *restrict from, ptrdiff_t n) {
    ptrdiff_t i = 0;
    for (; i + LANES <= n; i += LANES) OP(store)(to + i, OP(load)(from + i));
    if (i < n) {
        const M m = OP(mask)(gc_window_bits(0, n - i, LANES));
        OP(store_mask)(to + i, OP(load_mask)(from + i, m), m);
    }
}

#if REAL_IS_FLOAT
#define LOAD_HALF(type)                                                                         \
    static void OP(load_row_##type)(float *restrict to, const char *from, ptrdiff_t stride,     \
                                    ptrdiff_t n) {                                              \
        ptrdiff_t i = 0;                                                                        \
        if (stride == 2) {                                                                      \
            for (; i + LANES <= n; i += LANES)                                                  \
                OP(store)(to + i, OP(load_##type)((const uint16_t *)(from + 2 * i)));           \
        }                                                                                       \
        for (; i < n; i++) {                                                                    \
            uint16_t h;                                                                         \
            memcpy(&h, from + i * stride, sizeof h);                                            \
            to[i] = gc_from_##type(h);                                                          \
        }                                                                                       \
    }
LOAD_HALF(f16)
LOAD_HALF(bf16)
#undef LOAD_HALF
#endif

static void OP(load_row)(void *restrict to_, const void *restrict from_, ptrdiff_t stride,
                         ptrdiff_t n, gc_dtype dtype) {
    real *to = to_;
    const char *from = from_;
#if REAL_IS_FLOAT
    if (dtype == GC_F16) {
        OP(load_row_f16)(to, from, stride, n);
        return;
    }
    if (dtype == GC_BF16) {
        OP(load_row_bf16)(to, from, stride, n);
        return;
    }
#else
    (void)dtype;
#endif
    if (stride == (ptrdiff_t)sizeof(real)) {
        OP(copy)(to, (const real *)from, n);
        return;
    }
    for (ptrdiff_t i = 0; i < n; i++) memcpy(to + i, from + i * stride, sizeof(real));
}

/* One padded row of reals that lie side by side: edges come as zero lanes of masked loads. */
GC_INLINE void OP(pack_row)(real *restrict to, const real *restrict from, ptrdiff_t first,
                            ptrdiff_t last, ptrdiff_t n) {
    from -= first; /* lane i of the row is from[i] where first <= i < last */
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        V x;
        if (i >= first && i + LANES <= last)
            x = OP(load)(from + i);
        else
            x = OP(load_mask)(from + i, OP(mask)(gc_window_bits(first - i, last - i, LANES)));
        if (i + LANES <= n)
            OP(store)(to + i, x);
        else
            OP(store_mask)(to + i, x, OP(mask)(gc_window_bits(0, n - i, LANES)));
    }
}

static void OP(pack_rows)(const gc_rows *a) {
    const char *from = a->from;
    real *to = a->to;
    if (a->stride == (ptrdiff_t)sizeof(real) && (a->dtype == GC_F32 || a->dtype == GC_F64)) {
        for (ptrdiff_t j = 0; j < a->rows; j++, to += a->pitch, from += a->from_row)
            OP(pack_row)(to, (const real *)from, a->first, a->last, a->n);
        return;
    }
    for (ptrdiff_t j = 0; j < a->rows; j++, to += a->pitch, from += a->from_row) {
        for (ptrdiff_t i = 0; i < a->first; i++) to[i] = 0;
        OP(load_row)(to + a->first, from, a->stride, a->last - a->first, a->dtype);
        for (ptrdiff_t i = a->last; i < a->n; i++) to[i] = 0;
    }
}

static void OP(pack_rows_by_2)(const gc_rows *a) {
    for (ptrdiff_t j = 0; j < a->rows; j++) {
        real *const to0 = (real *)a->to + j * a->pitch, *const to1 = (real *)a->to1 + j * a->pitch;
        /* element i of the planes is from[2*i], from[2*i + 1] */
        const real *const from =
            (const real *)((const char *)a->from + j * a->from_row) - 2 * a->first;
        const ptrdiff_t low = gc_larger(a->first, a->first1), high = gc_smaller(a->last, a->last1);
        for (ptrdiff_t i = 0; i < a->n; i += LANES) {
            const ptrdiff_t end = a->n - i;
            V x, y;
            if (i >= low && i + LANES <= high) {
                x = OP(load)(from + 2 * i);
                y = OP(load)(from + 2 * i + LANES);
            } else {
                const ptrdiff_t first = gc_smaller(2 * a->first, 2 * a->first1 + 1) - 2 * i;
                const ptrdiff_t last = gc_larger(2 * a->last - 1, 2 * a->last1) - 2 * i;
                x = OP(load_mask)(from + 2 * i, OP(mask)(gc_window_bits(first, last, LANES)));
                y = OP(load_mask)(from + 2 * i + LANES,
                                  OP(mask)(gc_window_bits(first - LANES, last - LANES, LANES)));
            }
            const M m = OP(mask)(gc_window_bits(0, end, LANES));
            OP(store_mask)(to0 + i, OP(even)(x, y), m);
            OP(store_mask)(to1 + i, OP(odd)(x, y), m);
        }
    }
}
