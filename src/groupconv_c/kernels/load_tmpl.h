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
    real *to = a->to[0];
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

/* Vector number i of a row whose elements first..last-1 exist; zeros elsewhere. */
GC_INLINE V OP(load_between)(const real *from, ptrdiff_t at, ptrdiff_t first, ptrdiff_t last) {
    if (at >= first && at + LANES <= last) return OP(load)(from + at);
    return OP(load_mask)(from + at, OP(mask)(gc_window_bits(first - at, last - at, LANES)));
}

static void OP(pack_rows_by_2)(const gc_rows *a) {
    for (ptrdiff_t j = 0; j < a->rows; j++) {
        const real *const from = (const real *)((const char *)a->from + j * a->from_row);
        real *const to0 = (real *)a->to[0] + j * a->pitch, *const to1 = (real *)a->to[1] + j * a->pitch;
        for (ptrdiff_t i = 0; i < a->n; i += LANES) {
            const V x = OP(load_between)(from, 2 * i, a->first, a->last);
            const V y = OP(load_between)(from, 2 * i + LANES, a->first, a->last);
            const M m = OP(mask)(gc_window_bits(0, a->n - i, LANES));
            OP(store_mask)(to0 + i, OP(even)(x, y), m);
            OP(store_mask)(to1 + i, OP(odd)(x, y), m);
        }
    }
}

static void OP(pack_rows_by_4)(const gc_rows *a) {
    for (ptrdiff_t j = 0; j < a->rows; j++) {
        const real *const from = (const real *)((const char *)a->from + j * a->from_row);
        const ptrdiff_t row = j * a->pitch;
        for (ptrdiff_t i = 0; i < a->n; i += LANES) {
            V x[4];
            GC_UNROLL(4)
            for (int p = 0; p < 4; p++)
                x[p] = OP(load_between)(from, 4 * i + p * LANES, a->first, a->last);
            const V even0 = OP(even)(x[0], x[1]), even1 = OP(even)(x[2], x[3]);
            const V odd0 = OP(odd)(x[0], x[1]), odd1 = OP(odd)(x[2], x[3]);
            const M m = OP(mask)(gc_window_bits(0, a->n - i, LANES));
            OP(store_mask)((real *)a->to[0] + row + i, OP(even)(even0, even1), m);
            OP(store_mask)((real *)a->to[1] + row + i, OP(even)(odd0, odd1), m);
            OP(store_mask)((real *)a->to[2] + row + i, OP(odd)(even0, even1), m);
            OP(store_mask)((real *)a->to[3] + row + i, OP(odd)(odd0, odd1), m);
        }
    }
}
