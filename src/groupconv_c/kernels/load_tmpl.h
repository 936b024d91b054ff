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

static void OP(deinterleave)(void *restrict to0_, void *restrict to1_, const void *restrict from_,
                             ptrdiff_t n) {
    real *to0 = to0_, *to1 = to1_;
    const real *from = from_;
    ptrdiff_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        const V a = OP(load)(from + 2 * i), b = OP(load)(from + 2 * i + LANES);
        OP(store)(to0 + i, OP(even)(a, b));
        OP(store)(to1 + i, OP(odd)(a, b));
    }
    if (i < n) {
        const ptrdiff_t rest = 2 * (n - i);
        const V a = OP(load_mask)(from + 2 * i, OP(mask)(gc_window_bits(0, rest, LANES)));
        const V b = rest <= LANES ? a
                                  : OP(load_mask)(from + 2 * i + LANES,
                                                  OP(mask)(gc_window_bits(0, rest - LANES, LANES)));
        const M m = OP(mask)(gc_window_bits(0, n - i, LANES));
        OP(store_mask)(to0 + i, OP(even)(a, b), m);
        OP(store_mask)(to1 + i, OP(odd)(a, b), m);
    }
}
