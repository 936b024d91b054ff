/* The last step of results that the microkernel did not store itself (contract: gc_finish). */

#if REAL_IS_FLOAT
/* n < 16 of them, in as few pieces as there are bits in n. */
GC_INLINE void OP(copy_halves)(char *to, const uint16_t *from, int n) {
    GC_UNROLL(4)
    for (int piece = 8; piece > 0; piece /= 2) {
        if (!(n & piece)) continue;
        memcpy(to, from, (size_t)piece * sizeof *from);
        to += piece * (int)sizeof *from;
        from += piece;
    }
}
#endif

GC_INLINE void OP(store_converted)(char *to, ptrdiff_t stride, V x, int n, gc_dtype dtype) {
#if REAL_IS_FLOAT
    if (dtype == GC_F16 || dtype == GC_BF16) {
        uint16_t half[16]; /* as many as pieces are copied from */
        if (dtype == GC_F16)
            f16_store(half, x);
        else
            bf16_store(half, x);
        if (stride == (ptrdiff_t)sizeof *half) {
            OP(copy_halves)(to, half, n);
            return;
        }
        for (int i = 0; i < n; i++, to += stride) memcpy(to, &half[i], sizeof *half);
        return;
    }
#else
    (void)dtype;
#endif
    real results[LANES];
    OP(store)(results, x);
    for (int i = 0; i < n; i++, to += stride) memcpy(to, &results[i], sizeof(real));
}

/* Contiguous reals all of them. */
GC_INLINE void OP(finish_plain)(const gc_finish *f, const gc_activation kind) {
    const real *from = f->from, *residual = f->residual;
    const real parameter = (real)f->parameter;
    real *to = f->to;
    ptrdiff_t i = 0;
    for (; i + LANES <= f->n; i += LANES) {
        V x = OP(load)(from + i);
        if (residual) x += OP(load)(residual + i);
        OP(store)(to + i, OP(activate)(x, kind, parameter));
    }
    if (i == f->n) return;
    const M m = OP(mask)(gc_window_bits(0, f->n - i, LANES));
    V x = OP(load_mask)(from + i, m);
    if (residual) x += OP(load_mask)(residual + i, m);
    OP(store_first)(to + i, OP(activate)(x, kind, parameter), f->n - i);
}

#if REAL_IS_FLOAT
/* Whole vectors of contiguous halves; how many elements that were. */
GC_INLINE ptrdiff_t OP(finish_halves)(const gc_finish *f, const gc_activation kind,
                                      const gc_dtype dtype) {
    const real *from = f->from;
    const uint16_t *residual = f->residual;
    uint16_t *to = f->to;
    ptrdiff_t i = 0;
    for (; i + LANES <= f->n; i += LANES) {
        V x = OP(load)(from + i);
        if (residual) x += dtype == GC_F16 ? f16_load(residual + i) : bf16_load(residual + i);
        x = OP(activate)(x, kind, (real)f->parameter);
        if (dtype == GC_F16)
            f16_store(to + i, x);
        else
            bf16_store(to + i, x);
    }
    return i;
}
#endif

GC_INLINE void OP(finish_run)(const gc_finish *f, const gc_activation kind) {
    const real *from = f->from;
    char *to = f->to;
    const char *residual = f->residual;
    const int plain = f->dtype == GC_F32 || f->dtype == GC_F64;
    const ptrdiff_t size = plain ? (ptrdiff_t)sizeof(real) : 2;
    if (plain && f->to_stride == size && (residual == NULL || f->residual_stride == size)) {
        OP(finish_plain)(f, kind);
        return;
    }
    ptrdiff_t i = 0;
#if REAL_IS_FLOAT
    if (!plain && f->to_stride == size && (residual == NULL || f->residual_stride == size)) {
        i = f->dtype == GC_F16 ? OP(finish_halves)(f, kind, GC_F16)
                               : OP(finish_halves)(f, kind, GC_BF16);
        from += i;
        to += i * size;
        if (residual) residual += i * size;
    }
#endif
    for (; i < f->n; i += LANES, from += LANES) {
        const int n = f->n - i < LANES ? (int)(f->n - i) : LANES;
        const M m = OP(mask)(gc_window_bits(0, n, LANES));
        V x = n == LANES ? OP(load)(from) : OP(load_mask)(from, m);
        if (residual && plain && f->residual_stride == size) {
            x += OP(load_mask)((const real *)residual, m);
            residual += n * size;
        } else if (residual) {
            real added[LANES];
            OP(load_row)(added, residual, f->residual_stride, n, f->dtype);
            x += OP(load_mask)(added, m);
            residual += n * f->residual_stride;
        }
        x = OP(activate)(x, kind, (real)f->parameter);
        if (plain && f->to_stride == size) {
            OP(store_first)((real *)to, x, n);
#if REAL_IS_FLOAT
        } else if (n == LANES && f->dtype == GC_F16 && f->to_stride == size) {
            f16_store((uint16_t *)to, x);
        } else if (n == LANES && f->dtype == GC_BF16 && f->to_stride == size) {
            bf16_store((uint16_t *)to, x);
#endif
        } else {
            OP(store_converted)(to, f->to_stride, x, n, f->dtype);
        }
        to += n * f->to_stride;
    }
}

static void OP(finish)(const gc_finish *f) {
    switch (f->activation) {
        case GC_IDENTITY:
            OP(finish_run)(f, GC_IDENTITY);
            break;
        case GC_RELU:
            OP(finish_run)(f, GC_RELU);
            break;
        case GC_RELU6:
            OP(finish_run)(f, GC_RELU6);
            break;
        case GC_LEAKY_RELU:
            OP(finish_run)(f, GC_LEAKY_RELU);
            break;
        case GC_SIGMOID:
            OP(finish_run)(f, GC_SIGMOID);
            break;
        case GC_TANH:
            OP(finish_run)(f, GC_TANH);
            break;
        case GC_SILU:
            OP(finish_run)(f, GC_SILU);
            break;
        case GC_HARDSIGMOID:
            OP(finish_run)(f, GC_HARDSIGMOID);
            break;
        case GC_HARDSWISH:
            OP(finish_run)(f, GC_HARDSWISH);
            break;
        case GC_GELU:
            OP(finish_run)(f, GC_GELU);
            break;
    }
}

static void OP(zip)(void *to, const void *even, const void *odd, ptrdiff_t n) {
    real *out = to;
    for (ptrdiff_t i = 0; i < n; i += 2 * LANES, out += 2 * LANES) {
        const V a = OP(load)((const real *)even + i / 2), b = OP(load)((const real *)odd + i / 2);
        const V low = OP(zip_low)(a, b), high = OP(zip_high)(a, b);
        const ptrdiff_t left = n - i;
        OP(store_first)(out, low, gc_smaller(left, LANES));
        if (left > LANES) OP(store_first)(out + LANES, high, gc_smaller(left - LANES, LANES));
    }
}
