/* One input row of a column of vectors that rolls (depthwise_rolling_tmpl.h): its loads, its products, and the results
 * that it finishes.
 *
 * Sums, weights and what else stays from row to row are in registers, or in a rolling_state that compilers keep there. */
enum { ST(rolling_most) = GC_DEPTHWISE_KERNEL_ROWS * GC_DEPTHWISE_KERNEL_ROWS };

typedef struct ST(rolling_state) {
    const element *p, *residual;
    element *out;
    ptrdiff_t in_row, out_row, residual_row, residual_next, dilation;
    ptrdiff_t next; /* columns to the vector beside */
    V bias, low, high;
    V held[ST(rolling_most)]; /* the first weights, in registers */
    const V *weights;
    const real *plain;
    const ptrdiff_t *slabs, *end; /* the kernel's depths, if it has some */
    M masks[2][GC_DEPTHWISE_KERNEL_ROWS + 1], m;
    int stored, whole; /* `whole` rows more are stored as whole vectors */
} ST(rolling_state);

/* How many weights the registers hold beside sums and inputs; those of a small kernel without depths are the
 * compiler's. */
GC_INLINE int ST(rolling_held)(const int K, const int S, const int NC, const int DEEP) {
    const int room = NC == 1 ? vector_registers - K / S - S - 3
                             : vector_registers - 2 * ((K + S - 1) / S) - 2 * S - 4;
    return K == 3 && !DEEP ? 0 : room < 0 ? 0 : room < K * K ? room : K * K;
}

GC_INLINE V ST(rolling_load)(const ST(rolling_state) * s, const element *p, int mask, const int c,
                             const int EDGE) {
    return EDGE ? ST(load_mask)(p, s->masks[c][mask]) : OP(hold)(ST(load)(p));
}

/* With stride 2, lane q of kernel column t's input is p[t + 2*q]; what columns share is kept from one to the next. */
#ifdef GC_SHIFTS_VECTORS
/* Columns K/2 and K/2 + 1 are the even and odd elements of two vectors, the others those moved by one lane and filled
 * up with an element beside them. */
GC_INLINE V ST(rolling_by_2)(const ST(rolling_state) * s, const element *p, const int t,
                             const int K, const int c, const int EDGE, V *kept) {
    const int middle = K / 2;
    if (t == 0) {
        const V x0 = ST(rolling_load)(s, p + middle, 0, c, EDGE);
        const V x1 = ST(rolling_load)(s, p + middle + LANES, 1, c, EDGE);
        kept[0] = OP(even)(x0, x1);
        kept[1] = OP(odd)(x0, x1);
    }
    const V own = kept[(t + middle) % 2];
    if (t < middle) {
        const V left =
            EDGE ? ST(load_mask)(p + t - (LANES - 1), s->masks[c][2 + t]) : ST(load_one)(p + t);
        return OP(shifted)(left, own, LANES - 1);
    }
    if (t < middle + 2) return own;
    const element *const right = p + t + 2 * (LANES - 1);
    return OP(shifted)(
        own, EDGE ? ST(load_mask)(right, s->masks[c][2 + middle]) : ST(load_one)(right), 1);
}

/* Bits of mask i. */
GC_INLINE uint32_t ST(rolling_bits)(const uint32_t *bits, int i, const int K) {
    const int middle = K / 2;
    if (i < 2) return bits[2 * middle + i];
    return i < 2 + middle ? (bits[2 * (i - 2)] & 1) << (LANES - 1)
                          : bits[2 * (K - 1) + 1] >> (LANES - 2) & 1;
}
#else
/* Columns 1 and 2, 3 and 4 and so on are the even and odd elements of the same two vectors. */
GC_INLINE V ST(rolling_by_2)(const ST(rolling_state) * s, const element *p, const int t,
                             const int K, const int c, const int EDGE, V *kept) {
    (void)K;
    if (t > 0 && t % 2 == 0) return kept[0];
    const int mask = t == 0 ? 0 : t + 1;
    const V x0 = ST(rolling_load)(s, p + t, mask, c, EDGE);
    const V x1 = ST(rolling_load)(s, p + t + LANES, mask + 1, c, EDGE);
    if (t > 0) kept[0] = OP(odd_mixed)(x0, x1);
    return OP(even_mixed)(x0, x1);
}

/* Bits of mask i: those of columns 0, 1, 3, 5. */
GC_INLINE uint32_t ST(rolling_bits)(const uint32_t *bits, int i, const int K) {
    (void)K;
    return bits[i < 2 ? i : i / 2 * 4 - 2 + i % 2];
}
#endif

/* The input row at p, of phase PH (its number modulo S). Sum m takes its products with kernel row PH + S*m; it
 * is acc[(m - u) % sums] in step u of a turn. The first `held` weights are in registers; below 0: of a later depth,
 * whose sums go on instead of beginning with the bias. */
GC_INLINE void ST(rolling_taps)(const ST(rolling_state) * s, const element *p, const V *weights,
                                V *acc, const int u, const int PH, const int K, const int S,
                                const int NC, const int EDGE, const int held) {
    const int sums = (K + S - 1) / S;
    V kept[2][2];
    GC_UNROLL(8)
    for (int t = 0; t < K; t++) {
        V x[2];
        GC_UNROLL(2)
        for (int c = 0; c < NC; c++) {
            const element *q = p + c * S * s->next;
            x[c] = S == 1 ? ST(rolling_load)(s, q + t * s->dilation, t, c, EDGE)
                          : ST(rolling_by_2)(s, q, t, K, c, EDGE, kept[c]);
        }
        GC_UNROLL(8)
        for (int m = 0; m < sums; m++) {
            const int r = PH + S * m, i = r * K + t, at = (m + sums - u) % sums;
            if (r >= K) continue;
            V w = i < held ? s->held[i] : ROLLING_PLAIN(K) ? OP(set1)(s->plain[i]) : weights[i];
            if (NC > 1 && i >= held && ROLLING_PLAIN(K)) w = OP(hold)(w);
            GC_UNROLL(2)
            for (int c = 0; c < NC; c++)
                acc[c * sums + at] =
                    OP(fma)(x[c], w, held >= 0 && i == 0 ? s->bias : acc[c * sums + at]);
        }
    }
}

GC_INLINE void ST(rolling_row)(ST(rolling_state) * s, V *acc, const int u, const int PH,
                               const int K, const int S, const int NC, const int EDGE,
                               const int DEEP) {
    const V *w = s->weights;
    ST(rolling_taps)(s, s->p + (DEEP ? *s->slabs : 0), w, acc, u, PH, K, S, NC, EDGE,
                     ST(rolling_held)(K, S, NC, DEEP));
    for (const ptrdiff_t *slab = s->slabs + 1; DEEP && slab < s->end; slab++) {
        w += K * K;
        ST(rolling_taps)(s, s->p + *slab, w, acc, u, PH, K, S, NC, EDGE, -1);
    }
    GC_STEP(s->p, s->in_row);
}

/* finished[0] and, of the vector beside, finished[every]. */
GC_INLINE void ST(rolling_store)(ST(rolling_state) * s, const V *finished, const int every,
                                 const int S, const int NC, const int EDGE, const int MORE) {
    GC_UNROLL(2)
    for (int c = 0; c < NC; c++) {
        V y = finished[c * every];
        element *const out = s->out + c * s->next;
        if (S == 2) y = OP(unmix)(y);
        if (MORE && s->residual) {
            const element *const residual = s->residual + c * s->next;
            y += EDGE < 2 ? ST(load)(residual) : ST(load_mask)(residual, s->m);
            __builtin_prefetch((const char *)residual + s->residual_next);
        }
        if (MORE) y = OP(min)(s->high, OP(max)(s->low, y));
        if (EDGE == 2)
            ST(store_first)(out, y, s->whole-- > 0 ? LANES : s->stored);
        else
            ST(store)(out, y);
    }
    if (MORE && s->residual) s->residual += s->residual_row;
    GC_STEP(s->out, s->out_row);
}

/* A row of phase PH which may be missing: then it is zeros. */
GC_INLINE void ST(rolling_any_row)(ST(rolling_state) * s, const V *zero, V *acc, int there,
                                   const int PH, const int K, const int S, const int NC,
                                   const int EDGE, const int DEEP) {
    if (there) {
        ST(rolling_row)(s, acc, 0, PH, K, S, NC, EDGE, DEEP);
        return;
    }
    const int sums = (K + S - 1) / S;
    GC_UNROLL(8)
    for (int m = 0; m < sums; m++) {
        const int r = PH + S * m;
        GC_UNROLL(2)
        for (int c = 0; c < NC; c++) {
            V *const sum = acc + c * sums + m;
            if (r == 0) *sum = s->bias;
            if (r < K && zero) *sum += zero[r];
        }
    }
}

GC_INLINE ST(rolling_state)
    ST(rolling_start)(const gc_rolling *a, const gc_columns *columns, const OP(rolling_kernel) * k,
                      const int K, const int S, const int NC, const int EDGE, const int DEEP) {
    const int masks = S == 1 ? K : K + 1, held = ST(rolling_held)(K, S, NC, DEEP);
    const int stored = EDGE == 2 ? columns->stored : LANES;
    ST(rolling_state)
    s = {
        .p = (const element *)a->in + S * columns->column,
        .residual = a->residual ? (const element *)a->residual + columns->column : NULL,
        .out = (element *)a->out + columns->column,
        .in_row = a->in_row,
        .out_row = a->out_row,
        .residual_row = a->residual_row,
        .residual_next = a->residual_next,
        .dilation = K == 3 && S == 1 ? a->dilation : 1,
        .next = NC > 1 ? columns[1].column - columns[0].column : 0,
        .bias = k->bias,
        .low = OP(set1)((real)a->low),
        .high = OP(set1)((real)a->high),
        .weights = k->weights,
        .plain = k->plain,
        .slabs = k->slabs,
        .end = k->slabs + k->depths,
        .m = OP(mask)(gc_window_bits(0, stored, LANES)),
        .stored = stored,
        .whole = (int)a->whole,
    };
    GC_UNROLL(2)
    for (int c = 0; c < NC; c++) {
        GC_UNROLL(8)
        for (int i = 0; i < masks; i++)
            s.masks[c][i] =
                OP(mask)(S == 1 ? columns[c].bits[i] : ST(rolling_bits)(columns[c].bits, i, K));
    }
    GC_UNROLL(49)
    for (int i = 0; i < held; i++)
        s.held[i] = OP(hold)(ROLLING_PLAIN(K) ? OP(set1)(k->plain[i]) : k->weights[i]);
    return s;
}
