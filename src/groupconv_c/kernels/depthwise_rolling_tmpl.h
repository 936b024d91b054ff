/* Depthwise microkernels that roll down columns of vectors (contract: rolling in depthwise_contracts.h).
 *
 * Lanes are neighbouring output columns of one channel. An input row is loaded once and serves every output
 * row that it touches: with stride S, ceil(K / S) partial sums roll along. A turn is as many steps of S input
 * rows, after which each sum is where it was, so that none moves to another register. What lies outside of
 * the input is as in depthwise_rows_tmpl.h. EDGE 1: columns are masked; 2: and results stored in part. MORE:
 * there is a residual or a clamp. */
enum { OP(rolling_most) = GC_DEPTHWISE_KERNEL_ROWS * GC_DEPTHWISE_KERNEL_ROWS };

typedef struct OP(rolling_state) {
    const real *p, *residual;
    real *out;
    ptrdiff_t in_row, out_row, residual_row, residual_next, dilation;
    ptrdiff_t next; /* columns to the vector beside */
    V bias, low, high;
    V held[OP(rolling_most)]; /* the first weights, in registers */
    const V *weights;
    const real *plain;
    const ptrdiff_t *slabs, *end; /* the kernel's depths, if it has some */
    M masks[2][GC_DEPTHWISE_KERNEL_ROWS + 1], m;
    int stored, whole; /* `whole` rows more are stored as whole vectors */
} OP(rolling_state);

/* How many weights the registers hold beside sums and inputs; those of a small kernel without depths are the
 * compiler's. */
GC_INLINE int OP(rolling_held)(const int K, const int S, const int NC, const int DEEP) {
    const int room = NC == 1 ? vector_registers - K / S - S - 3
                             : vector_registers - 2 * ((K + S - 1) / S) - 2 * S - 4;
    return K == 3 && !DEEP ? 0 : room < 0 ? 0 : room < K * K ? room : K * K;
}

GC_INLINE V OP(rolling_load)(const OP(rolling_state) * s, const real *p, int mask, const int c,
                             const int EDGE) {
    return EDGE ? OP(load_mask)(p, s->masks[c][mask]) : OP(hold)(OP(load)(p));
}

/* With stride 2, lane q of kernel column t's input is p[t + 2*q]; what columns share is kept from one to the next. */
#ifdef GC_SHIFTS_VECTORS
/* Columns K/2 and K/2 + 1 are the even and odd elements of two vectors, the others those moved by one lane and filled
 * up with an element beside them. */
GC_INLINE V OP(rolling_by_2)(const OP(rolling_state) * s, const real *p, const int t, const int K,
                             const int c, const int EDGE, V *kept) {
    const int middle = K / 2;
    if (t == 0) {
        const V x0 = OP(rolling_load)(s, p + middle, 0, c, EDGE);
        const V x1 = OP(rolling_load)(s, p + middle + LANES, 1, c, EDGE);
        kept[0] = OP(even)(x0, x1);
        kept[1] = OP(odd)(x0, x1);
    }
    const V own = kept[(t + middle) % 2];
    if (t < middle) {
        const V left =
            EDGE ? OP(load_mask)(p + t - (LANES - 1), s->masks[c][2 + t]) : OP(set1)(p[t]);
        return OP(shifted)(left, own, LANES - 1);
    }
    if (t < middle + 2) return own;
    const real *const right = p + t + 2 * (LANES - 1);
    return OP(shifted)(own, EDGE ? OP(load_mask)(right, s->masks[c][2 + middle]) : OP(set1)(*right),
                       1);
}

/* Bits of mask i. */
GC_INLINE uint32_t OP(rolling_bits)(const uint32_t *bits, int i, const int K) {
    const int middle = K / 2;
    if (i < 2) return bits[2 * middle + i];
    return i < 2 + middle ? (bits[2 * (i - 2)] & 1) << (LANES - 1)
                          : bits[2 * (K - 1) + 1] >> (LANES - 2) & 1;
}
#else
/* Columns 1 and 2, 3 and 4 and so on are the even and odd elements of the same two vectors. */
GC_INLINE V OP(rolling_by_2)(const OP(rolling_state) * s, const real *p, const int t, const int K,
                             const int c, const int EDGE, V *kept) {
    (void)K;
    if (t > 0 && t % 2 == 0) return kept[0];
    const int mask = t == 0 ? 0 : t + 1;
    const V x0 = OP(rolling_load)(s, p + t, mask, c, EDGE);
    const V x1 = OP(rolling_load)(s, p + t + LANES, mask + 1, c, EDGE);
    if (t > 0) kept[0] = OP(odd_mixed)(x0, x1);
    return OP(even_mixed)(x0, x1);
}

/* Bits of mask i: those of columns 0, 1, 3, 5. */
GC_INLINE uint32_t OP(rolling_bits)(const uint32_t *bits, int i, const int K) {
    (void)K;
    return bits[i < 2 ? i : i / 2 * 4 - 2 + i % 2];
}
#endif

/* The input row at p, of phase PH (its number modulo S). Sum m takes its products with kernel row PH + S*m; it
 * is acc[(m - u) % sums] in step u of a turn. The first `held` weights are in registers; below 0: of a later depth,
 * whose sums go on instead of beginning with the bias. */
GC_INLINE void OP(rolling_taps)(const OP(rolling_state) * s, const real *p, const V *weights,
                                V *acc, const int u, const int PH, const int K, const int S,
                                const int NC, const int EDGE, const int held) {
    const int sums = (K + S - 1) / S;
    V kept[2][2];
    GC_UNROLL(8)
    for (int t = 0; t < K; t++) {
        V x[2];
        GC_UNROLL(2)
        for (int c = 0; c < NC; c++) {
            const real *q = p + c * S * s->next;
            x[c] = S == 1 ? OP(rolling_load)(s, q + t * s->dilation, t, c, EDGE)
                          : OP(rolling_by_2)(s, q, t, K, c, EDGE, kept[c]);
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

GC_INLINE void OP(rolling_row)(OP(rolling_state) * s, V *acc, const int u, const int PH,
                               const int K, const int S, const int NC, const int EDGE,
                               const int DEEP) {
    const V *w = s->weights;
    OP(rolling_taps)(s, s->p + (DEEP ? *s->slabs : 0), w, acc, u, PH, K, S, NC, EDGE,
                     OP(rolling_held)(K, S, NC, DEEP));
    for (const ptrdiff_t *slab = s->slabs + 1; DEEP && slab < s->end; slab++) {
        w += K * K;
        OP(rolling_taps)(s, s->p + *slab, w, acc, u, PH, K, S, NC, EDGE, -1);
    }
    GC_STEP(s->p, s->in_row);
}

/* finished[0] and, of the vector beside, finished[every]. */
GC_INLINE void OP(rolling_store)(OP(rolling_state) * s, const V *finished, const int every,
                                 const int S, const int NC, const int EDGE, const int MORE) {
    GC_UNROLL(2)
    for (int c = 0; c < NC; c++) {
        V y = finished[c * every];
        real *const out = s->out + c * s->next;
        if (S == 2) y = OP(unmix)(y);
        if (MORE && s->residual) {
            const real *const residual = s->residual + c * s->next;
            y += EDGE < 2 ? OP(load)(residual) : OP(load_mask)(residual, s->m);
            __builtin_prefetch((const char *)residual + s->residual_next);
        }
        if (MORE) y = OP(min)(s->high, OP(max)(s->low, y));
        if (EDGE == 2)
            OP(store_first)(out, y, s->whole-- > 0 ? LANES : s->stored);
        else
            OP(store)(out, y);
    }
    if (MORE && s->residual) s->residual += s->residual_row;
    GC_STEP(s->out, s->out_row);
}

/* A row of phase PH which may be missing: then it is zeros. */
GC_INLINE void OP(rolling_any_row)(OP(rolling_state) * s, const V *zero, V *acc, int there,
                                   const int PH, const int K, const int S, const int NC,
                                   const int EDGE, const int DEEP) {
    if (there) {
        OP(rolling_row)(s, acc, 0, PH, K, S, NC, EDGE, DEEP);
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

GC_INLINE OP(rolling_state)
    OP(rolling_start)(const gc_rolling *a, const gc_columns *columns, const OP(rolling_kernel) * k,
                      const int K, const int S, const int NC, const int EDGE, const int DEEP) {
    const int masks = S == 1 ? K : K + 1, held = OP(rolling_held)(K, S, NC, DEEP);
    const int stored = EDGE == 2 ? columns->stored : LANES;
    OP(rolling_state)
    s = {
        .p = (const real *)a->in + S * columns->column,
        .residual = a->residual ? (const real *)a->residual + columns->column : NULL,
        .out = (real *)a->out + columns->column,
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
                OP(mask)(S == 1 ? columns[c].bits[i] : OP(rolling_bits)(columns[c].bits, i, K));
    }
    GC_UNROLL(49)
    for (int i = 0; i < held; i++)
        s.held[i] = OP(hold)(ROLLING_PLAIN(K) ? OP(set1)(k->plain[i]) : k->weights[i]);
    return s;
}

/* Kernels whose steps are too short to ask for memory in each: turns are not. */
#define ROLLING_SMALL(K) ((K) == 3)

/* Asks for as much as some steps read, or write, from where `at` has got to; for nothing if that is NULL. */
GC_INLINE void OP(rolling_ask)(const char **at, const int vectors, const int second) {
    if (*at == NULL) return;
    if (second) {
        GC_UNROLL(16)
        for (int i = 0; i < vectors; i++) __builtin_prefetch(*at + i * sizeof(V), 0, 2);
    } else {
        GC_UNROLL(16)
        for (int i = 0; i < vectors; i++) __builtin_prefetch(*at + i * sizeof(V));
    }
    GC_STEP(*at, vectors * sizeof(V));
}

/* NC vectors of columns side by side, 1 or 2. D sets of sums: with rows a dilation of D apart, those of each remainder
 * by D roll on their own, in turn. */
GC_INLINE void OP(rolling_columns)(const gc_rolling *a, ptrdiff_t column,
                                   const OP(rolling_kernel) * k, const int K, const int S,
                                   const int D, const int NC, const int EDGE, const int MORE,
                                   const int DEEP) {
    const int sums = (K + S - 1) / S, begun = (sums - 1) * D; /* steps before the first result */
    const int often = !ROLLING_SMALL(K);
    const char *fetch = a->fetch_bytes ? a->fetch + column * a->fetch_bytes : NULL;
    const char *fetch_out = a->fetch_out_bytes ? a->fetch_out + column * a->fetch_out_bytes : NULL;
    OP(rolling_state) s = OP(rolling_start)(a, a->columns + column, k, K, S, NC, EDGE, DEEP);
    V acc[2 * GC_DEPTHWISE_KERNEL_ROWS];
    GC_UNROLL(14)
    for (int m = 0; m < D * NC * sums; m++) acc[m] = s.bias;
    const ptrdiff_t steps = a->out_height + begun; /* the last one has a row of phase 0 only */
    const ptrdiff_t above = a->above, below = above + (DEEP && k->depths == 0 ? 0 : a->height);
    const ptrdiff_t whole = gc_smaller(steps - (S - 1), below / S); /* steps before are */
    ptrdiff_t t = 0, next = gc_smaller(gc_larger(begun, (above + S - 1) / S), steps);
    for (;; next = steps) {
        for (; t < next; t += D) {
            GC_UNROLL(2)
            for (int d = 0; d < D; d++) {
                const ptrdiff_t row = S * (t + d);
                V *const own = acc + d * NC * sums;
                if (D > 1 && t + d >= steps) break;
                OP(rolling_any_row)(&s, k->zero, own, row >= above && row < below, 0, K, S, NC,
                                    EDGE, DEEP);
                if (t + d >= begun) OP(rolling_store)(&s, own + sums - 1, sums, S, NC, EDGE, MORE);
                if (often) {
                    OP(rolling_ask)(&fetch, NC * S * S, 0);
                    OP(rolling_ask)(&fetch_out, NC, 0);
                }
                if (S == 2 && t + 1 < steps)
                    OP(rolling_any_row)(&s, k->zero, own, row + 1 >= above && row + 1 < below, 1, K,
                                        S, NC, EDGE, DEEP);
                GC_UNROLL(14)
                for (int m = NC * sums - 1; m > 0; m--) own[m] = own[m - 1];
            }
        }
        if (t >= steps) break;
        for (; t + D * sums <= whole && (EDGE < 2 || s.whole >= D * sums); t += D * sums) {
            GC_UNROLL(8)
            for (int u = 0; u < sums; u++) {
                GC_UNROLL(2)
                for (int d = 0; d < D; d++) {
                    V *const own = acc + d * NC * sums;
                    OP(rolling_row)(&s, own, u, 0, K, S, NC, EDGE, DEEP);
                    OP(rolling_store)(&s, own + (2 * sums - 1 - u) % sums, sums, S, NC, 0, MORE);
                    if (S == 2) OP(rolling_row)(&s, own, u, 1, K, S, NC, EDGE, DEEP);
                    if (often) {
                        OP(rolling_ask)(&fetch, NC * S * S, 0);
                        OP(rolling_ask)(&fetch_out, NC, 0);
                    }
                }
            }
            if (EDGE == 2) s.whole -= D * sums;
            if (!often) {
                OP(rolling_ask)(&fetch, NC * D * sums * S * S, a->fetch_second);
                OP(rolling_ask)(&fetch_out, NC * D * sums, a->fetch_second);
            }
        }
    }
}

/* The same for maps of ROWS rows of stride 1, padded by half of the kernel: in the last layers of networks loops
 * take longer than sums. Of results stored in part only the last row is. */
GC_INLINE void OP(rolling_low)(const gc_rolling *a, ptrdiff_t column, const OP(rolling_kernel) * k,
                               const int K, const int ROWS, const int EDGE, const int MORE) {
    OP(rolling_state) s = OP(rolling_start)(a, a->columns + column, k, K, 1, 1, EDGE, 0);
    V acc[GC_DEPTHWISE_KERNEL_ROWS];
    const int steps = ROWS + K - 1;
    s.whole = 0;
    GC_UNROLL(8)
    for (int m = 0; m < K; m++) acc[m] = s.bias;
    GC_UNROLL(20)
    for (int t = 0; t < steps; t++) {
        const int u = t % K;
        if (t >= K / 2 && t < ROWS + K / 2)
            OP(rolling_row)(&s, acc, u, 0, K, 1, 1, EDGE, 0);
        else
            acc[(K - u) % K] = s.bias;
        if (t >= K - 1)
            OP(rolling_store)(&s, acc + (2 * K - 1 - u) % K, K, 1, 1, t == steps - 1 ? EDGE : 0,
                              MORE);
    }
}

/* Rows of a map that rolling_low is for, or 0. */
GC_INLINE ptrdiff_t OP(rolling_low_rows)(const gc_rolling *a, int k) {
    const ptrdiff_t rows = a->out_height;
    if (a->above != k / 2 || a->height != rows || (rows != 7 && rows != 14)) return 0;
    return a->columns->stored < LANES && a->whole != rows - 1 ? 0 : rows;
}

/* What is read and written next, before column i of a map of few turns: others ask for it a little at a time. */
GC_INLINE void OP(rolling_fetch)(const gc_rolling *a, ptrdiff_t i) {
    gc_fetch(a->fetch + i * a->fetch_bytes, a->fetch_bytes);
    gc_fetch(a->fetch_out + i * a->fetch_out_bytes, a->fetch_out_bytes);
}

/* rolling_<K><S><KIND>, and of its columns rolling_<K><S><KIND><EDGE><MORE> and, two vectors of columns side by side,
 * rolling_pair_<K><S><KIND><MORE>. KIND 1: kernels with depths; 2: rows a dilation of 2 apart.
 * A small kernel's weights stay in registers from one vector of columns to the next; each kind of a large one
 * is on its own, since compilers lose their way in all of them together. */
#define ROLLING_CALL_30 GC_INLINE
#define ROLLING_CALL_31 GC_NOINLINE
#define ROLLING_CALL_50 GC_NOINLINE
#define ROLLING_CALL_70 GC_NOINLINE
#define ROLLING_CALL_32 GC_INLINE
#define ROLLING_COLUMNS(K, S, KIND, EDGE, MORE)                                               \
    ROLLING_CALL_##K##KIND void OP(rolling_##K##S##KIND##EDGE##MORE)(                         \
        const gc_rolling *a, ptrdiff_t column, const OP(rolling_kernel) * k) {                \
        OP(rolling_columns)(a, column, k, K, S, KIND == 2 ? 2 : 1, 1, EDGE, MORE, KIND == 1); \
    }
/* A large kernel's sums are long chains of additions, each of which waits for the one before: those of two vectors
 * of columns fill each other's gaps, where there are registers for both. */
#define ROLLING_PAIRED(K, KIND) ((K) > 3 && (KIND) == 0 && vector_registers >= 32)
#define ROLLING_PAIR(K, S, KIND, MORE)                                                          \
    GC_NOINLINE void OP(rolling_pair_##K##S##KIND##MORE)(const gc_rolling *a, ptrdiff_t column, \
                                                         const OP(rolling_kernel) * k) {        \
        if (ROLLING_PAIRED(K, KIND)) OP(rolling_columns)(a, column, k, K, S, 1, 2, 1, MORE, 0); \
    }
#define ROLLING(K, S, KIND)                                                                   \
    ROLLING_COLUMNS(K, S, KIND, 0, 0)                                                         \
    ROLLING_COLUMNS(K, S, KIND, 0, 1)                                                         \
    ROLLING_COLUMNS(K, S, KIND, 1, 0)                                                         \
    ROLLING_COLUMNS(K, S, KIND, 1, 1)                                                         \
    ROLLING_COLUMNS(K, S, KIND, 2, 0)                                                         \
    ROLLING_COLUMNS(K, S, KIND, 2, 1)                                                         \
    ROLLING_PAIR(K, S, KIND, 0)                                                               \
    ROLLING_PAIR(K, S, KIND, 1)                                                               \
    GC_NOINLINE void OP(rolling_##K##S##KIND)(const gc_rolling *a) {                          \
        V w[(KIND == 1 ? GC_ROLLING_DEPTHS : 1) * (K) * (K)], zero[K];                        \
        const OP(rolling_kernel) k = OP(rolling_weights)(a, w, zero, K, KIND == 1);           \
        const int more = a->clamp || a->residual;                                             \
        for (ptrdiff_t i = 0; i < a->ncolumns; i++) {                                         \
            const int edge = a->columns[i].stored < LANES ? 2 : !a->columns[i].inside;        \
            if (ROLLING_PAIRED(K, KIND) && i + 1 < a->ncolumns) {                             \
                (more ? OP(rolling_pair_##K##S##KIND##1) : OP(rolling_pair_##K##S##KIND##0))( \
                    a, i++, &k);                                                              \
                continue;                                                                     \
            }                                                                                 \
            if (ROLLING_SMALL(K) && a->out_height < 3 * (K)) OP(rolling_fetch)(a, i);         \
            if (edge == 0 && !more)                                                           \
                OP(rolling_##K##S##KIND##00)(a, i, &k);                                       \
            else if (edge == 0)                                                               \
                OP(rolling_##K##S##KIND##01)(a, i, &k);                                       \
            else if (edge == 1 && !more)                                                      \
                OP(rolling_##K##S##KIND##10)(a, i, &k);                                       \
            else if (edge == 1)                                                               \
                OP(rolling_##K##S##KIND##11)(a, i, &k);                                       \
            else if (!more)                                                                   \
                OP(rolling_##K##S##KIND##20)(a, i, &k);                                       \
            else                                                                              \
                OP(rolling_##K##S##KIND##21)(a, i, &k);                                       \
        }                                                                                     \
    }
ROLLING(3, 1, 0)
ROLLING(5, 1, 0)
ROLLING(7, 1, 0)
ROLLING(3, 2, 0)
ROLLING(5, 2, 0)
ROLLING(3, 1, 1)
ROLLING(3, 2, 1)
ROLLING(3, 1, 2)
/* rolling_low_<K><ROWS>, and of its columns rolling_low_<K><ROWS><EDGE><MORE>. */
#define ROLLING_LOW_COLUMNS(K, ROWS, EDGE, MORE)                               \
    ROLLING_CALL_##K##0 void OP(rolling_low_##K##ROWS##EDGE##MORE)(            \
        const gc_rolling *a, ptrdiff_t column, const OP(rolling_kernel) * k) { \
        OP(rolling_low)(a, column, k, K, ROWS, EDGE, MORE);                    \
    }
#define ROLLING_LOW(K, ROWS)                                                         \
    ROLLING_LOW_COLUMNS(K, ROWS, 1, 0)                                               \
    ROLLING_LOW_COLUMNS(K, ROWS, 1, 1)                                               \
    ROLLING_LOW_COLUMNS(K, ROWS, 2, 0)                                               \
    ROLLING_LOW_COLUMNS(K, ROWS, 2, 1)                                               \
    GC_NOINLINE void OP(rolling_low_##K##ROWS)(const gc_rolling *a) {                \
        V w[(K) * (K)], zero[K];                                                     \
        const OP(rolling_kernel) k = OP(rolling_weights)(a, w, zero, K, 0);          \
        const int part = a->columns->stored < LANES, more = a->clamp || a->residual; \
        if (k.zero) {                                                                \
            OP(rolling_##K##10)(a);                                                  \
            return;                                                                  \
        }                                                                            \
        for (ptrdiff_t i = 0; i < a->ncolumns; i++) {                                \
            OP(rolling_fetch)(a, i);                                                 \
            if (part && !more)                                                       \
                OP(rolling_low_##K##ROWS##20)(a, i, &k);                             \
            else if (part)                                                           \
                OP(rolling_low_##K##ROWS##21)(a, i, &k);                             \
            else if (!more)                                                          \
                OP(rolling_low_##K##ROWS##10)(a, i, &k);                             \
            else                                                                     \
                OP(rolling_low_##K##ROWS##11)(a, i, &k);                             \
        }                                                                            \
    }
/* Whichever a map of stride 1 without depths wants. */
#define ROLLING_ANY(K)                                     \
    ROLLING_LOW(K, 7)                                      \
    ROLLING_LOW(K, 14)                                     \
    static void OP(rolling_any_##K)(const gc_rolling *a) { \
        const ptrdiff_t rows = OP(rolling_low_rows)(a, K); \
        if (rows == 7)                                     \
            OP(rolling_low_##K##7)(a);                     \
        else if (rows == 14)                               \
            OP(rolling_low_##K##14)(a);                    \
        else                                               \
            OP(rolling_##K##10)(a);                        \
    }
ROLLING_ANY(3)
ROLLING_ANY(5)
ROLLING_ANY(7)
#undef ROLLING_ANY
#undef ROLLING_LOW
#undef ROLLING_LOW_COLUMNS
#undef ROLLING
#undef ROLLING_SMALL
#undef ROLLING_PAIRED
#undef ROLLING_PAIR
#undef ROLLING_COLUMNS
#undef ROLLING_CALL_30
#undef ROLLING_CALL_31
#undef ROLLING_CALL_50
#undef ROLLING_CALL_70
#undef ROLLING_CALL_32
