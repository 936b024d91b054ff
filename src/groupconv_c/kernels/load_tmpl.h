/* Reading storage into contiguous reals: the pack step's row copies. Rows are short, so they are
 * copied by inline vectors; a tail is loaded under a mask. */

GC_INLINE void OP(copy)(real *restrict to, const real *restrict from, ptrdiff_t n) {
    ptrdiff_t i = 0;
    for (; i + LANES <= n; i += LANES) OP(store)(to + i, OP(load)(from + i));
    if (i < n) {
        const M m = OP(mask)(gc_window_bits(0, n - i, LANES));
        OP(store_first)(to + i, OP(load_mask)(from + i, m), n - i);
    }
}

#if REAL_IS_FLOAT
#define LOAD_HALF(type)                                                                     \
    static void OP(load_row_##type)(float *restrict to, const char *from, ptrdiff_t stride, \
                                    ptrdiff_t n) {                                          \
        ptrdiff_t i = 0;                                                                    \
        if (stride == 2) {                                                                  \
            for (; i + LANES <= n; i += LANES)                                              \
                OP(store)(to + i, OP(load_##type)((const uint16_t *)(from + 2 * i)));       \
        }                                                                                   \
        for (; i < n; i++) {                                                                \
            uint16_t h;                                                                     \
            memcpy(&h, from + i * stride, sizeof h);                                        \
            to[i] = gc_from_##type(h);                                                      \
        }                                                                                   \
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

/* Rows go from start to end, as memory likes it; only vectors at the edges are masked, and the masks are
 * made once. Vectors whole .. wholes - 1 of a row lie inside the source. */
typedef struct OP(row_edges) {
    ptrdiff_t vectors, whole, wholes;
} OP(row_edges);

GC_INLINE OP(row_edges)
    OP(find_edges)(ptrdiff_t first, ptrdiff_t last, ptrdiff_t n, ptrdiff_t width) {
    OP(row_edges) e = {(n + LANES - 1) / LANES, 0, 0};
    if (first > 0) e.whole = (first + width - 1) / width;
    e.wholes = gc_larger(gc_smaller(last / width, n / LANES), e.whole);
    e.whole = gc_smaller(e.whole, e.vectors);
    e.wholes = gc_smaller(e.wholes, e.vectors);
    return e;
}

GC_INLINE void OP(pack_contiguous_edge)(real *to, const real *from, const gc_rows *a, ptrdiff_t v) {
    const ptrdiff_t i = v * LANES;
    const M in = OP(mask)(gc_window_bits(a->first - i, a->last - i, LANES));
    const M out = OP(mask)(gc_window_bits(0, a->n - i, LANES));
    OP(merge)(to + i, OP(load_mask)(from + i, in), out);
}

static void OP(pack_contiguous)(const gc_rows *a) {
    const OP(row_edges) e = OP(find_edges)(a->first, a->last, a->n, LANES);
    const real *from =
        (const real *)a->from - a->first; /* lane l of vector v is from[v*LANES + l] */
    real *to = a->to[0];
    for (ptrdiff_t j = 0; j < a->rows; j++, to += a->pitch) {
        for (ptrdiff_t v = 0; v < e.whole; v++) OP(pack_contiguous_edge)(to, from, a, v);
        for (ptrdiff_t v = e.whole; v < e.wholes; v++)
            OP(store)(to + v * LANES, OP(load)(from + v * LANES));
        for (ptrdiff_t v = e.wholes; v < e.vectors; v++) OP(pack_contiguous_edge)(to, from, a, v);
        from = (const real *)((const char *)from + a->from_row);
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

#define PACK_BY(N)                                                                                 \
    GC_INLINE void OP(pack_by_##N)(const gc_rows *a, const real *from, ptrdiff_t j, ptrdiff_t v,   \
                                   const int EDGE) {                                               \
        const ptrdiff_t i = v * LANES;                                                             \
        const M out = OP(mask)(gc_window_bits(0, a->n - i, LANES));                                \
        V x[N];                                                                                    \
        GC_UNROLL(4)                                                                               \
        for (int p = 0; p < N; p++) {                                                              \
            const ptrdiff_t at = N * i + p * LANES;                                                \
            x[p] =                                                                                 \
                EDGE ? OP(load_mask)(from + at,                                                    \
                                     OP(mask)(gc_window_bits(a->first - at, a->last - at, LANES))) \
                     : OP(load)(from + at);                                                        \
        }                                                                                          \
        OP(split_##N)(x);                                                                          \
        GC_UNROLL(4)                                                                               \
        for (int p = 0; p < N; p++) {                                                              \
            real *to = (real *)a->to[p] + j * a->pitch + i;                                        \
            if (EDGE)                                                                              \
                OP(merge)(to, x[p], out);                                                          \
            else                                                                                   \
                OP(store)(to, x[p]);                                                               \
        }                                                                                          \
    }                                                                                              \
    static void OP(pack_rows_by_##N)(const gc_rows *a) {                                           \
        const OP(row_edges) e = OP(find_edges)(a->first, a->last, a->n, N * LANES);                \
        const real *from = a->from;                                                                \
        for (ptrdiff_t j = 0; j < a->rows; j++) {                                                  \
            for (ptrdiff_t v = 0; v < e.whole; v++) OP(pack_by_##N)(a, from, j, v, 1);             \
            for (ptrdiff_t v = e.whole; v < e.wholes; v++) OP(pack_by_##N)(a, from, j, v, 0);      \
            for (ptrdiff_t v = e.wholes; v < e.vectors; v++) OP(pack_by_##N)(a, from, j, v, 1);    \
            from = (const real *)((const char *)from + a->from_row);                               \
        }                                                                                          \
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
