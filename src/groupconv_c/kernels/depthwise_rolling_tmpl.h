/* Depthwise microkernels that roll down columns of vectors (contract: rolling in depthwise_contracts.h).
 *
 * Lanes are neighbouring output columns of one channel. An input row is loaded once and serves every output
 * row that it touches: with stride S, ceil(K / S) partial sums roll along. A turn is as many steps of S input
 * rows, after which each sum is where it was, so that none moves to another register. What lies outside of
 * the input is as in depthwise_rows_tmpl.h. EDGE 1: columns are masked; 2: and results stored in part. MORE:
 * there is a residual or a clamp. */
/* Kernels whose steps are too short to ask for memory in each: turns are not. */
#define ROLLING_SMALL(K) ((K) == 3)

/* Asks for as much as some steps read, or write, from where `at` has got to; for nothing if that is NULL. */
GC_INLINE void ST(rolling_ask)(const char **at, const int vectors) {
    const int size = LANES * (int)sizeof(element);
    if (*at == NULL) return;
    GC_UNROLL(16)
    for (int i = 0; i < vectors; i++) __builtin_prefetch(*at + i * size);
    GC_STEP(*at, vectors * size);
}

/* NC vectors of columns side by side, 1 or 2. D sets of sums: with rows a dilation of D apart, those of each remainder
 * by D roll on their own, in turn. */
GC_INLINE void ST(rolling_columns)(const gc_rolling *a, ptrdiff_t column,
                                   const OP(rolling_kernel) * k, const int K, const int S,
                                   const int D, const int NC, const int EDGE, const int MORE,
                                   const int DEEP) {
    const int sums = (K + S - 1) / S, begun = (sums - 1) * D; /* steps before the first result */
    const int often = !ROLLING_SMALL(K);
    const char *fetch = a->fetch_bytes ? a->fetch + column * a->fetch_bytes : NULL;
    const char *fetch_out = a->fetch_out_bytes ? a->fetch_out + column * a->fetch_out_bytes : NULL;
    ST(rolling_state) s = ST(rolling_start)(a, a->columns + column, k, K, S, NC, EDGE, DEEP);
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
                ST(rolling_any_row)(&s, k->zero, own, row >= above && row < below, 0, K, S, NC,
                                    EDGE, DEEP);
                if (t + d >= begun) ST(rolling_store)(&s, own + sums - 1, sums, S, NC, EDGE, MORE);
                if (often) {
                    ST(rolling_ask)(&fetch, NC * S * S);
                    ST(rolling_ask)(&fetch_out, NC);
                }
                if (S == 2 && t + 1 < steps)
                    ST(rolling_any_row)(&s, k->zero, own, row + 1 >= above && row + 1 < below, 1, K,
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
                    ST(rolling_row)(&s, own, u, 0, K, S, NC, EDGE, DEEP);
                    ST(rolling_store)(&s, own + (2 * sums - 1 - u) % sums, sums, S, NC, 0, MORE);
                    if (S == 2) ST(rolling_row)(&s, own, u, 1, K, S, NC, EDGE, DEEP);
                    if (often) {
                        ST(rolling_ask)(&fetch, NC * S * S);
                        ST(rolling_ask)(&fetch_out, NC);
                    }
                }
            }
            if (EDGE == 2) s.whole -= D * sums;
            if (!often) {
                ST(rolling_ask)(&fetch, NC * D * sums * S * S);
                ST(rolling_ask)(&fetch_out, NC * D * sums);
            }
        }
    }
}

/* The same for maps of ROWS rows of stride 1, padded by half of the kernel: in the last layers of networks loops
 * take longer than sums. Of results stored in part only the last row is. */
GC_INLINE void ST(rolling_low)(const gc_rolling *a, ptrdiff_t column, const OP(rolling_kernel) * k,
                               const int K, const int ROWS, const int EDGE, const int MORE) {
    ST(rolling_state) s = ST(rolling_start)(a, a->columns + column, k, K, 1, 1, EDGE, 0);
    V acc[GC_DEPTHWISE_KERNEL_ROWS];
    const int steps = ROWS + K - 1;
    s.whole = 0;
    GC_UNROLL(8)
    for (int m = 0; m < K; m++) acc[m] = s.bias;
    GC_UNROLL(20)
    for (int t = 0; t < steps; t++) {
        const int u = t % K;
        if (t >= K / 2 && t < ROWS + K / 2)
            ST(rolling_row)(&s, acc, u, 0, K, 1, 1, EDGE, 0);
        else
            acc[(K - u) % K] = s.bias;
        if (t >= K - 1)
            ST(rolling_store)(&s, acc + (2 * K - 1 - u) % K, K, 1, 1, t == steps - 1 ? EDGE : 0,
                              MORE);
    }
}

/* Rows of a map that rolling_low is for, or 0. */
GC_INLINE ptrdiff_t ST(rolling_low_rows)(const gc_rolling *a, int k) {
    const ptrdiff_t rows = a->out_height;
    if (a->above != k / 2 || a->height != rows || (rows != 7 && rows != 14)) return 0;
    return a->columns->stored < LANES && a->whole != rows - 1 ? 0 : rows;
}

/* What is read and written next, before column i of a map of few turns: others ask for it a little at a time. */
GC_INLINE void ST(rolling_fetch)(const gc_rolling *a, ptrdiff_t i) {
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
/* A large kernel's sums are long chains of additions, each of which waits for the one before: those of two vectors
 * of columns fill each other's gaps, where there are registers for both. Then a last vector, alone, counts as an edge
 * wherever it is. */
#define ROLLING_PAIRED(K, KIND) ((K) > 3 && (KIND) == 0 && vector_registers >= 32)
#define ROLLING_COLUMNS(K, S, KIND, EDGE, MORE)                                                   \
    ROLLING_CALL_##K##KIND void ST(rolling_##K##S##KIND##EDGE##MORE)(                             \
        const gc_rolling *a, ptrdiff_t column, const OP(rolling_kernel) * k) {                    \
        if (EDGE || !ROLLING_PAIRED(K, KIND))                                                     \
            ST(rolling_columns)(a, column, k, K, S, KIND == 2 ? 2 : 1, 1, EDGE, MORE, KIND == 1); \
    }
#define ROLLING_PAIR(K, S, KIND, MORE)                                                          \
    GC_NOINLINE void ST(rolling_pair_##K##S##KIND##MORE)(const gc_rolling *a, ptrdiff_t column, \
                                                         const OP(rolling_kernel) * k) {        \
        if (ROLLING_PAIRED(K, KIND)) ST(rolling_columns)(a, column, k, K, S, 1, 2, 1, MORE, 0); \
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
    GC_NOINLINE void ST(rolling_##K##S##KIND)(const gc_rolling *a) {                          \
        V w[(KIND == 1 ? GC_ROLLING_DEPTHS : 1) * (K) * (K)], zero[K];                        \
        const OP(rolling_kernel) k = OP(rolling_weights)(a, w, zero, K, KIND == 1);           \
        const int more = a->clamp || a->residual;                                             \
        for (ptrdiff_t i = 0; i < a->ncolumns; i++) {                                         \
            const int edge = a->columns[i].stored < LANES                                     \
                                 ? 2                                                          \
                                 : ROLLING_PAIRED(K, KIND) || !a->columns[i].inside;          \
            if (ROLLING_PAIRED(K, KIND) && i + 1 < a->ncolumns) {                             \
                (more ? ST(rolling_pair_##K##S##KIND##1) : ST(rolling_pair_##K##S##KIND##0))( \
                    a, i++, &k);                                                              \
                continue;                                                                     \
            }                                                                                 \
            if (ROLLING_SMALL(K) && a->out_height < 3 * (K)) ST(rolling_fetch)(a, i);         \
            if (edge == 0 && !more)                                                           \
                ST(rolling_##K##S##KIND##00)(a, i, &k);                                       \
            else if (edge == 0)                                                               \
                ST(rolling_##K##S##KIND##01)(a, i, &k);                                       \
            else if (edge == 1 && !more)                                                      \
                ST(rolling_##K##S##KIND##10)(a, i, &k);                                       \
            else if (edge == 1)                                                               \
                ST(rolling_##K##S##KIND##11)(a, i, &k);                                       \
            else if (!more)                                                                   \
                ST(rolling_##K##S##KIND##20)(a, i, &k);                                       \
            else                                                                              \
                ST(rolling_##K##S##KIND##21)(a, i, &k);                                       \
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
    ROLLING_CALL_##K##0 void ST(rolling_low_##K##ROWS##EDGE##MORE)(            \
        const gc_rolling *a, ptrdiff_t column, const OP(rolling_kernel) * k) { \
        ST(rolling_low)(a, column, k, K, ROWS, EDGE, MORE);                    \
    }
#define ROLLING_LOW(K, ROWS)                                                         \
    ROLLING_LOW_COLUMNS(K, ROWS, 1, 0)                                               \
    ROLLING_LOW_COLUMNS(K, ROWS, 1, 1)                                               \
    ROLLING_LOW_COLUMNS(K, ROWS, 2, 0)                                               \
    ROLLING_LOW_COLUMNS(K, ROWS, 2, 1)                                               \
    GC_NOINLINE void ST(rolling_low_##K##ROWS)(const gc_rolling *a) {                \
        V w[(K) * (K)], zero[K];                                                     \
        const OP(rolling_kernel) k = OP(rolling_weights)(a, w, zero, K, 0);          \
        const int part = a->columns->stored < LANES, more = a->clamp || a->residual; \
        if (k.zero) {                                                                \
            ST(rolling_##K##10)(a);                                                  \
            return;                                                                  \
        }                                                                            \
        for (ptrdiff_t i = 0; i < a->ncolumns; i++) {                                \
            ST(rolling_fetch)(a, i);                                                 \
            if (part && !more)                                                       \
                ST(rolling_low_##K##ROWS##20)(a, i, &k);                             \
            else if (part)                                                           \
                ST(rolling_low_##K##ROWS##21)(a, i, &k);                             \
            else if (!more)                                                          \
                ST(rolling_low_##K##ROWS##10)(a, i, &k);                             \
            else                                                                     \
                ST(rolling_low_##K##ROWS##11)(a, i, &k);                             \
        }                                                                            \
    }
/* Whichever a map of stride 1 without depths wants. */
#define ROLLING_ANY(K)                                     \
    ROLLING_LOW(K, 7)                                      \
    ROLLING_LOW(K, 14)                                     \
    static void ST(rolling_any_##K)(const gc_rolling *a) { \
        const ptrdiff_t rows = ST(rolling_low_rows)(a, K); \
        if (rows == 7)                                     \
            ST(rolling_low_##K##7)(a);                     \
        else if (rows == 14)                               \
            ST(rolling_low_##K##14)(a);                    \
        else                                               \
            ST(rolling_##K##10)(a);                        \
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
