/* Depthwise microkernels (contracts: gc_depthwise, gc_rolling in kernels.h).
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

/* 3x3, stride 1: one column of vectors at a time, top to bottom, three partial rows rolling along. A
 * row above or below the input adds its products with zero: 0, or NaN where a weight is not finite. */
typedef struct OP(rolling_state) {
    V a0, a1; /* the two output rows begun */
    const real *p;
    real *out;
    const real *residual;
} OP(rolling_state);

GC_INLINE void OP(rolling_store)(const gc_rolling *a, OP(rolling_state) * s, int stored) {
    V y = s->a0;
    if (a->residual) {
        y += OP(load_mask)(s->residual, OP(mask)(gc_window_bits(0, stored, LANES)));
        s->residual += a->residual_row;
    }
    if (a->clamp) y = OP(min)(OP(set1)((real)a->high), OP(max)(OP(set1)((real)a->low), y));
    OP(store_first)(s->out, y, stored);
    s->out += a->out_row;
}

GC_INLINE void OP(rolling_row)(OP(rolling_state) * s, const V *w, V bias, M m0, M m1, M m2,
                               ptrdiff_t in_row, V *a2, const int EDGE) {
    const V x0 = EDGE ? OP(load_mask)(s->p, m0) : OP(load)(s->p);
    const V x1 = EDGE ? OP(load_mask)(s->p + 1, m1) : OP(load)(s->p + 1);
    const V x2 = EDGE ? OP(load_mask)(s->p + 2, m2) : OP(load)(s->p + 2);
    s->p += in_row;
    s->a0 = OP(fma)(x0, w[6], s->a0);
    s->a1 = OP(fma)(x0, w[3], s->a1);
    *a2 = OP(fma)(x0, w[0], bias);
    s->a0 = OP(fma)(x1, w[7], s->a0);
    s->a1 = OP(fma)(x1, w[4], s->a1);
    *a2 = OP(fma)(x1, w[1], *a2);
    s->a0 = OP(fma)(x2, w[8], s->a0);
    s->a1 = OP(fma)(x2, w[5], s->a1);
    *a2 = OP(fma)(x2, w[2], *a2);
}

GC_INLINE void OP(rolling_column)(const gc_rolling *a, const gc_rolling_vector *vector, const V *w,
                                  const V *zero, V bias, const int EDGE) {
    const M m0 = OP(mask)(vector->bits[0]), m1 = OP(mask)(vector->bits[1]);
    const M m2 = OP(mask)(vector->bits[2]);
    const int stored = EDGE ? vector->stored : LANES;
    const ptrdiff_t column = vector->column;
    OP(rolling_state) s = {bias, bias, NULL, (real *)a->out + column, NULL};
    s.p = (const real *)a->in + column - a->left - gc_smaller(a->above, 0) * a->in_row;
    if (a->residual) s.residual = (const real *)a->residual + column;
    const ptrdiff_t steps = a->out_height + 2;
    const ptrdiff_t inside = gc_smaller(steps, a->height + a->above);
    ptrdiff_t i = 0;
    V a2;
#define ROLLING_NEXT                              \
    if (i >= 2) OP(rolling_store)(a, &s, stored); \
    s.a0 = s.a1;                                  \
    s.a1 = a2
    for (; i < gc_smaller(a->above, steps); i++) {
        s.a0 += zero[2];
        s.a1 += zero[1];
        a2 = bias + zero[0];
        ROLLING_NEXT;
    }
    for (; i < inside; i++) {
        OP(rolling_row)(&s, w, bias, m0, m1, m2, a->in_row, &a2, EDGE);
        ROLLING_NEXT;
    }
    for (; i < steps; i++) {
        s.a0 += zero[2];
        s.a1 += zero[1];
        a2 = bias + zero[0];
        ROLLING_NEXT;
    }
#undef ROLLING_NEXT
}

/* Two channels side by side in one vector, each in half of the lanes: for maps at most half a vector
 * wide. The second channel's pointers are moved back by half a vector. */
static void OP(rolling3x3_pair)(const gc_rolling *a, const gc_rolling *b) {
    enum { half = (int)sizeof(V) / (int)sizeof(real) / 2 };
    const uint32_t upper = ((1u << half) - 1) << half;
    V w[9], zero[3];
    for (int r = 0; r < 3; r++) {
        const real *x = (const real *)a->weight + r * a->weight_row;
        const real *y = (const real *)b->weight + r * b->weight_row;
        for (int s = 0; s < 3; s++, x += a->weight_column, y += b->weight_column)
            w[3 * r + s] = OP(set2)(*x, *y);
        zero[r] = OP(fma)(w[3 * r], OP(set1)(0), OP(set1)(0));
        zero[r] = OP(fma)(w[3 * r + 1], OP(set1)(0), zero[r]);
        zero[r] = OP(fma)(w[3 * r + 2], OP(set1)(0), zero[r]);
    }
    const V bias = OP(set2)(*(const real *)a->init, *(const real *)b->init);
    const V low = OP(set1)((real)a->low), high = OP(set1)((real)a->high);
    M lower_in[3], upper_in[3];
    for (int s = 0; s < 3; s++) {
        lower_in[s] = OP(mask)(a->vectors->bits[s] & ~upper);
        upper_in[s] = OP(mask)((a->vectors->bits[s] << half) & upper);
    }
    const int stored = a->vectors->stored;
    const uint32_t bits = gc_window_bits(0, stored, LANES);
    const M lower_out = OP(mask)(bits), upper_out = OP(mask)(bits << half);
    const ptrdiff_t start = -a->left - gc_smaller(a->above, 0) * a->in_row;
    const real *p = (const real *)a->in + start, *q = (const real *)b->in + start - half;
    real *to = (real *)a->out, *to2 = b->out;
    const real *residual = a->residual, *residual2 = b->residual;
    V a0 = bias, a1 = bias, a2;
    const ptrdiff_t steps = a->out_height + 2, inside = gc_smaller(steps, a->height + a->above);
    for (ptrdiff_t i = 0; i < steps; i++) {
        if (i >= a->above && i < inside) {
            V x[3];
            GC_UNROLL(3)
            for (int s = 0; s < 3; s++)
                x[s] = OP(load_mask)(p + s, lower_in[s]) + OP(load_mask)(q + s, upper_in[s]);
            p += a->in_row;
            q += a->in_row;
            a2 = bias;
            GC_UNROLL(3)
            for (int s = 0; s < 3; s++) {
                a0 = OP(fma)(x[s], w[6 + s], a0);
                a1 = OP(fma)(x[s], w[3 + s], a1);
                a2 = OP(fma)(x[s], w[s], a2);
            }
        } else {
            a0 += zero[2];
            a1 += zero[1];
            a2 = bias + zero[0];
        }
        if (i >= 2) {
            V y = a0;
            if (residual) {
                y +=
                    OP(load_mask)(residual, lower_out) + OP(load_mask)(residual2 - half, upper_out);
                residual += a->residual_row;
                residual2 += a->residual_row;
            }
            if (a->clamp) y = OP(min)(high, OP(max)(low, y));
            OP(store_first)(to, y, stored);
            OP(store_first)(to2, OP(high)(y), stored);
            to += a->out_row;
            to2 += a->out_row;
        }
        a0 = a1;
        a1 = a2;
    }
}

static void OP(rolling3x3)(const gc_rolling *a) {
    const uint32_t all = (uint32_t)((1ull << LANES) - 1);
    V w[9], zero[3];
    GC_UNROLL(3)
    for (int r = 0; r < 3; r++) {
        const real *row = (const real *)a->weight + r * a->weight_row;
        const real w0 = row[0], w1 = row[a->weight_column], w2 = row[2 * a->weight_column];
        w[3 * r] = OP(set1)(w0);
        w[3 * r + 1] = OP(set1)(w1);
        w[3 * r + 2] = OP(set1)(w2);
        zero[r] = OP(set1)(0 * w0 + 0 * w1 + 0 * w2);
    }
    const V bias = OP(set1)(*(const real *)a->init);
    const gc_rolling_vector *const end = a->vectors + a->nvectors;
    for (const gc_rolling_vector *v = a->vectors; v < end; v++) {
        if ((v->bits[0] & v->bits[1] & v->bits[2]) == all)
            OP(rolling_column)(a, v, w, zero, bias, 0);
        else
            OP(rolling_column)(a, v, w, zero, bias, 1);
    }
}
