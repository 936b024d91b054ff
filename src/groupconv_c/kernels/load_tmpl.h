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

/* Columns of vectors are the outer loop of all that follows, so that masks are made once: rows come
 * from the first-level cache either way. Edges are the zero lanes of masked loads. */
static void OP(pack_contiguous)(const gc_rows *a) {
    for (ptrdiff_t i = 0; i < a->n; i += LANES) {
        /* lane l is element i + l of the row: from[i + l - first] where that exists */
        const real *from = (const real *)a->from + i - a->first;
        real *to = (real *)a->to[0] + i;
        const ptrdiff_t step = a->from_row;
        if (i >= a->first && i + LANES <= a->last && i + LANES <= a->n) {
            for (ptrdiff_t j = 0; j < a->rows; j++, to += a->pitch) {
                OP(store)(to, OP(load)(from));
                from = (const real *)((const char *)from + step);
            }
            continue;
        }
        const M in = OP(mask)(gc_window_bits(a->first - i, a->last - i, LANES));
        const M out = OP(mask)(gc_window_bits(0, a->n - i, LANES));
        for (ptrdiff_t j = 0; j < a->rows; j++, to += a->pitch) {
            OP(store_mask)(to, OP(load_mask)(from, in), out);
            from = (const real *)((const char *)from + step);
        }
    }
}

static void OP(pack_rows)(const gc_rows *a) {
    const char *from = a->from;
    real *to = a->to[0];
    if (a->stride == (ptrdiff_t)sizeof(real) && (a->dtype == GC_F32 || a->dtype == GC_F64)) {
        OP(pack_contiguous)(a);
        return;
    }
    for (ptrdiff_t j = 0; j < a->rows; j++, to += a->pitch, from += a->from_row) {
        for (ptrdiff_t i = 0; i < a->first; i++) to[i] = 0;
        OP(load_row)(to + a->first, from, a->stride, a->last - a->first, a->dtype);
        for (ptrdiff_t i = a->last; i < a->n; i++) to[i] = 0;
    }
}

#define PACK_BY(N)                                                                                \
    static void OP(pack_rows_by_##N)(const gc_rows *a) {                                          \
        for (ptrdiff_t i = 0; i < a->n; i += LANES) {                                             \
            const real *from = (const real *)a->from + N * i;                                     \
            const int whole = N * i >= a->first && N * (i + LANES) <= a->last;                    \
            const M out = OP(mask)(gc_window_bits(0, a->n - i, LANES));                           \
            M in[N];                                                                              \
            for (int p = 0; p < N; p++)                                                           \
                in[p] = OP(mask)(gc_window_bits(a->first - N * i - p * LANES,                     \
                                                a->last - N * i - p * LANES, LANES));             \
            for (ptrdiff_t j = 0; j < a->rows; j++) {                                             \
                V x[N];                                                                           \
                GC_UNROLL(4)                                                                      \
                for (int p = 0; p < N; p++)                                                       \
                    x[p] = whole ? OP(load)(from + p * LANES)                                     \
                                 : OP(load_mask)(from + p * LANES, in[p]);                        \
                OP(split_##N)(x);                                                                 \
                GC_UNROLL(4)                                                                      \
                for (int p = 0; p < N; p++)                                                       \
                    OP(store_mask)((real *)a->to[p] + j * a->pitch + i, x[p], out);               \
                from = (const real *)((const char *)from + a->from_row);                          \
            }                                                                                     \
        }                                                                                         \
    }

/* Elements of n vectors by their residue modulo n. */
GC_INLINE void OP(split_2)(V *x) {
    const V even = OP(even)(x[0], x[1]);
    x[1] = OP(odd)(x[0], x[1]);
    x[0] = even;
}

GC_INLINE void OP(split_4)(V *x) {
    const V even0 = OP(even)(x[0], x[1]), even1 = OP(even)(x[2], x[3]);
    const V odd0 = OP(odd)(x[0], x[1]), odd1 = OP(odd)(x[2], x[3]);
    x[0] = OP(even)(even0, even1);
    x[1] = OP(even)(odd0, odd1);
    x[2] = OP(odd)(even0, even1);
    x[3] = OP(odd)(odd0, odd1);
}

PACK_BY(2)
PACK_BY(4)
#undef PACK_BY
