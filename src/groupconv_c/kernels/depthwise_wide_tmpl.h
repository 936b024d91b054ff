/* Depthwise 3 x 3 kernels, several vectors of columns side by side (contract: rolling in depthwise_contracts.h).
 *
 * Going down one vector of columns after another takes a plane's lines in an order that hardware does not foresee, and
 * more than once if they do not stay in the first-level cache. Here up to WIDE_MOST vectors go down together, so that
 * memory is read and written in its order. What neighbours in a row share is loaded once and moved by a lane. A kernel
 * with depths (DEEP) has more weights than registers hold: each that is loaded serves all vectors, whose sums, three long
 * chains each, fill each other's gaps. Products are added in the order of rolling_columns. */
#ifdef GC_SHIFTS_VECTORS
#define WIDE_MOST 4

typedef struct ST(wide_state) {
    const element *p, *residual;
    element *out;
    ptrdiff_t in_row, out_row, residual_row;
    ptrdiff_t last;          /* columns to the last vector, which may overlap the one before */
    V w[9], bias, low, high; /* w: without depths */
    M left;                  /* of the element beside the first vector, in the last lane */
    M ends[2]; /* of the last vector's inputs; stride 1: of the element behind, in lane 0 */
} ST(wide_state);

/* The inputs x of the three kernel columns for vector c of a row; p: where kernel column 0 of the first vector reads.
 * `beside`: the elements before the vector's, of which it takes the last; `own`, of stride 1: its own. Both become those
 * of the next vector. */
GC_INLINE void ST(wide_inputs)(const ST(wide_state) * s, const element *p, V *beside, V *own, V *x,
                               const int c, const int S, const int NC) {
    const int last = c == NC - 1;
    const element *const q = p + S * (last ? s->last : c * LANES);
    if (last) *beside = ST(load_one)(q);
    if (S == 1) {
        const element *const after = q + 1 + LANES;
        V next;
        if (last) {
            *own = OP(hold)(ST(load)(q + 1));
            next = ST(load_mask)(after, s->ends[0]);
        } else {
            next = c == NC - 2 ? ST(load_one)(after) : OP(hold)(ST(load)(after));
        }
        x[1] = *own;
        x[2] = OP(shifted)(*own, next, 1);
        x[0] = OP(shifted)(*beside, x[1], LANES - 1);
        *beside = *own;
        *own = next;
        return;
    }
    const V x0 = last ? ST(load_mask)(q + 1, s->ends[0]) : OP(hold)(ST(load)(q + 1));
    const V x1 =
        last ? ST(load_mask)(q + 1 + LANES, s->ends[1]) : OP(hold)(ST(load)(q + 1 + LANES));
    x[1] = OP(even)(x0, x1);
    x[2] = OP(odd)(x0, x1);
    x[0] = OP(shifted)(*beside, x[2], LANES - 1);
    *beside = x[2];
}

/* The input row at p, of phase PH (its number modulo S): sum m takes its products with kernel row PH + S*m. */
GC_INLINE void ST(wide_row)(const ST(wide_state) * s, const element *p, V sums[3][WIDE_MOST],
                            const int PH, const int S, const int NC) {
    V beside = ST(load_mask)(p - (LANES - 1), s->left), own = beside;
    if (S == 1) own = OP(hold)(ST(load)(p + 1));
    GC_UNROLL(4)
    for (int c = 0; c < NC; c++) {
        V x[3];
        ST(wide_inputs)(s, p, &beside, &own, x, c, S, NC);
        GC_UNROLL(3)
        for (int t = 0; t < 3; t++) {
            GC_UNROLL(3)
            for (int m = 0; m < 3; m++) {
                const int r = PH + S * m;
                if (r >= 3) continue;
                sums[m][c] =
                    OP(fma)(x[t], s->w[3 * r + t], r == 0 && t == 0 ? s->bias : sums[m][c]);
            }
        }
    }
}

/* The same of one depth; the sums have the bias already. */
GC_INLINE void ST(wide_depth_row)(const ST(wide_state) * s, const element *p, const V *weights,
                                  V sums[3][WIDE_MOST], const int PH, const int S, const int NC) {
    V beside = ST(load_mask)(p - (LANES - 1), s->left), own = beside;
    if (S == 1) own = OP(hold)(ST(load)(p + 1));
    V x[WIDE_MOST][3];
    GC_UNROLL(4)
    for (int c = 0; c < NC; c++) ST(wide_inputs)(s, p, &beside, &own, x[c], c, S, NC);
    GC_UNROLL(3)
    for (int t = 0; t < 3; t++) {
        GC_UNROLL(3)
        for (int m = 0; m < 3; m++) {
            const int r = PH + S * m;
            if (r >= 3) continue;
            const V w = OP(hold)(weights[3 * r + t]);
            GC_UNROLL(4)
            for (int c = 0; c < NC; c++) sums[m][c] = OP(fma)(x[c][t], w, sums[m][c]);
        }
    }
}

/* The row `s` has got to, of all depths. */
GC_INLINE void ST(wide_rows)(const ST(wide_state) * s, const OP(rolling_kernel) * k,
                             V sums[3][WIDE_MOST], const int PH, const int S, const int NC,
                             const int DEEP) {
    if (!DEEP) {
        ST(wide_row)(s, s->p, sums, PH, S, NC);
        return;
    }
    const V *weights = k->weights;
    for (ptrdiff_t d = 0; d < k->depths; d++, weights += 9)
        ST(wide_depth_row)(s, s->p + k->slabs[d], weights, sums, PH, S, NC);
}

GC_INLINE void ST(wide_store)(ST(wide_state) * s, const V *done, const int NC, const int MORE) {
    GC_UNROLL(4)
    for (int c = 0; c < NC; c++) {
        const ptrdiff_t at = c < NC - 1 ? c * LANES : s->last;
        V y = done[c];
        if (MORE && s->residual) y += ST(load)(s->residual + at);
        if (MORE) y = OP(min)(s->high, OP(max)(s->low, y));
        ST(store)(s->out + at, y);
    }
    s->out += s->out_row;
    if (MORE && s->residual) s->residual += s->residual_row;
}

GC_INLINE ST(wide_state)
    ST(wide_start)(const gc_rolling *a, const gc_columns *columns, const OP(rolling_kernel) * k,
                   const int S, const int NC, const int DEEP) {
    const ptrdiff_t column = columns->column;
    const uint32_t *ends = columns[NC - 1].bits;
    ST(wide_state)
    s = {
        .p = (const element *)a->in + S * column - a->above * a->in_row,
        .residual = a->residual ? (const element *)a->residual + column : NULL,
        .out = (element *)a->out + column,
        .in_row = a->in_row,
        .out_row = a->out_row,
        .residual_row = a->residual_row,
        .last = columns[NC - 1].column - column,
        .bias = k->bias,
        .low = OP(set1)((real)a->low),
        .high = OP(set1)((real)a->high),
        .left = OP(mask)((columns->bits[0] & 1) << (LANES - 1)),
        .ends = {OP(mask)(S == 1 ? ends[2] >> (LANES - 1) : ends[2]),
                 OP(mask)(S == 1 ? 0 : ends[3])},
    };
    if (!DEEP) {
        GC_UNROLL(9)
        for (int i = 0; i < 9; i++) s.w[i] = OP(hold)(k->weights[i]);
    }
    return s;
}

/* NC vectors from `first` on. */
GC_INLINE void ST(wide_columns)(const gc_rolling *a, ptrdiff_t first, const OP(rolling_kernel) * k,
                                const int S, const int NC, const int MORE, const int DEEP) {
    const int begun = (3 + S - 1) / S - 1; /* sums that wait for later rows */
    ST(wide_state) s = ST(wide_start)(a, a->columns + first, k, S, NC, DEEP);
    const ptrdiff_t above = a->above, below = above + a->height, steps = a->out_height + begun;
    const char *fetch = a->fetch_bytes ? a->fetch + first * a->fetch_bytes : NULL;
    const char *fetch_out = a->fetch_out_bytes ? a->fetch_out + first * a->fetch_out_bytes : NULL;
    V sums[3][WIDE_MOST];
    GC_UNROLL(4)
    for (int c = 0; c < NC; c++) sums[0][c] = sums[1][c] = s.bias;
    for (ptrdiff_t t = 0; t < steps; t++) {
        const ptrdiff_t row = S * t;
        GC_UNROLL(4)
        for (int c = 0; c < NC; c++) {
            if (S == 1) sums[2][c] = sums[1][c];
            sums[1][c] = sums[0][c];
            sums[0][c] = s.bias;
        }
        if (row >= above && row < below) ST(wide_rows)(&s, k, sums, 0, S, NC, DEEP);
        if (t >= begun) ST(wide_store)(&s, sums[begun], NC, MORE);
        if (DEEP) { /* the order of slices is not that of memory */
            ST(rolling_ask)(&fetch, NC * S * S);
            ST(rolling_ask)(&fetch_out, NC);
        } else if (a->in_ahead) {
            const char *in = (const char *)s.p + a->in_ahead;
            const char *out = (const char *)s.out + a->out_ahead;
            ST(rolling_ask)(&in, NC * S * S);
            ST(rolling_ask)(&out, NC);
        }
        s.p += s.in_row;
        if (S == 1) continue;
        if (row + 1 >= above && row + 1 < below) ST(wide_rows)(&s, k, sums, 1, S, NC, DEEP);
        s.p += s.in_row;
    }
}

/* Whether vectors of columns are read whole, but for the elements beside the first and the last, and the rest of the
 * last. Sums of two vectors of stride 1 wait for each other, which takes longer than memory if planes are small. */
GC_INLINE int ST(wide_fits)(const gc_rolling *a, const int S, const int DEEP) {
    const uint32_t all = gc_window_bits(0, LANES, LANES);
    const gc_columns *const last = a->columns + a->ncolumns - 1;
    const ptrdiff_t bytes = a->height * a->in_row * (ptrdiff_t)sizeof(element);
    if (a->ncolumns < (S == 1 && !DEEP && bytes < 8 * 1024 ? 3 : 2) || a->dilation != 1) return 0;
    for (const gc_columns *c = a->columns; c < last; c++)
        if (c->bits[S] != all || c->bits[S + 1] != all) return 0;
    return last->bits[0] & 1 && (S == 2 || last->bits[1] == all);
}

#define WIDE_COLUMNS(S, NC, DEEP)                                                 \
    GC_NOINLINE void ST(wide_##S##NC##DEEP)(const gc_rolling *a, ptrdiff_t first, \
                                            const OP(rolling_kernel) * k) {       \
        if (a->clamp || a->residual)                                              \
            ST(wide_columns)(a, first, k, S, NC, 1, DEEP);                        \
        else                                                                      \
            ST(wide_columns)(a, first, k, S, NC, 0, DEEP);                        \
    }
/* rolling_wide_<S><DEEP>: returns 0, and does nothing, where it is not for a map. */
#define ROLLING_WIDE(S, DEEP)                                                                   \
    WIDE_COLUMNS(S, 2, DEEP)                                                                    \
    WIDE_COLUMNS(S, 3, DEEP)                                                                    \
    WIDE_COLUMNS(S, 4, DEEP)                                                                    \
    static int ST(rolling_wide_##S##DEEP)(const gc_rolling *a) {                                \
        V w[(DEEP ? GC_ROLLING_DEPTHS : 1) * 9], zero[3];                                       \
        if (!ST(wide_fits)(a, S, DEEP)) return 0;                                               \
        const OP(rolling_kernel) k = OP(rolling_weights)(a, w, zero, 3, DEEP);                  \
        if (k.zero) return 0;                                                                   \
        for (ptrdiff_t i = 0, n; i < a->ncolumns; i += n) {                                     \
            const ptrdiff_t left = a->ncolumns - i, parts = (left + WIDE_MOST - 1) / WIDE_MOST; \
            n = (left + parts - 1) / parts;                                                     \
            (n == 2   ? ST(wide_##S##2##DEEP)                                                   \
             : n == 3 ? ST(wide_##S##3##DEEP)                                                   \
                      : ST(wide_##S##4##DEEP))(a, i, &k);                                       \
        }                                                                                       \
        return 1;                                                                               \
    }
ROLLING_WIDE(1, 0)
ROLLING_WIDE(2, 0)
ROLLING_WIDE(1, 1)
ROLLING_WIDE(2, 1)
#undef ROLLING_WIDE
#undef WIDE_COLUMNS
#undef WIDE_MOST
#endif

/* Whichever a map wants of a kernel of 3 x 3: wide, or one vector of columns after another. */
static void ST(rolling_3_by_1)(const gc_rolling *a) {
#ifdef GC_SHIFTS_VECTORS
    if (ST(rolling_low_rows)(a, 3) == 0 && ST(rolling_wide_10)(a)) return;
#endif
    ST(rolling_any_3)(a);
}

static void ST(rolling_3_by_2)(const gc_rolling *a) {
#ifdef GC_SHIFTS_VECTORS
    if (ST(rolling_wide_20)(a)) return;
#endif
    ST(rolling_320)(a);
}

/* The same of a kernel with depths. */
static void ST(rolling_deep_3_by_1)(const gc_rolling *a) {
#ifdef GC_SHIFTS_VECTORS
    if (ST(rolling_wide_11)(a)) return;
#endif
    ST(rolling_311)(a);
}

static void ST(rolling_deep_3_by_2)(const gc_rolling *a) {
#ifdef GC_SHIFTS_VECTORS
    if (ST(rolling_wide_21)(a)) return;
#endif
    ST(rolling_321)(a);
}
