/* Depthwise transposed convolution of stride 2 (contract: gc_depthwise_up in depthwise_contracts.h).
 *
 * Lanes are every other output column. A pair of output rows reads the same input rows, and its even and odd
 * columns nearly the same vectors of them: each is loaded once, and the sums of even and odd columns are
 * interleaved when they are stored. Results are so stored in the order of memory. K: the kernel is K x K;
 * 0: of any size. EDGE: columns and rows may lie outside or not be stored. MORE: there is a residual or
 * a clamp. */
typedef struct ST(up_pair) {
    const element *in; /* the last input row that is read */
    unsigned there;    /* bit t: the row t rows above it is */
    element *out[2];   /* NULL: not to be stored */
    const element *residual[2];
} ST(up_pair);

GC_INLINE ST(up_pair) ST(up_pair_at)(const gc_depthwise_up *a, ptrdiff_t j) {
    ST(up_pair) pair = {.in = (const element *)a->in + j * a->in_row};
    for (int t = 0; 2 * t < a->kernel_rows; t++)
        if (j - t >= 0 && j - t < a->in_height) pair.there |= 1u << t;
    for (int i = 0; i < 2; i++) {
        const ptrdiff_t row = 2 * j + i - a->pad;
        if (row < 0 || row >= a->out_height) continue;
        pair.out[i] = (element *)a->out + row * a->out_row;
        if (a->residual) pair.residual[i] = (const element *)a->residual + row * a->residual_row;
    }
    return pair;
}

/* A kernel's weights; the first ones also in registers. */
typedef struct ST(up_weights) {
    const V *all;
    V held[GC_DEPTHWISE_UP_KERNEL * GC_DEPTHWISE_UP_KERNEL];
} ST(up_weights);

/* How many, beside sums, inputs and the bias. */
GC_INLINE int ST(up_held)(const int K) {
    const int room = vector_registers - 10;
    return K * K < room ? K * K : room;
}

GC_INLINE V ST(up_load)(const element *p, const gc_columns *columns, int i, const int EDGE) {
    return EDGE ? ST(load_mask)(p, OP(mask)(columns->bits[i])) : OP(hold)(ST(load)(p));
}

/* acc[i][q]: of row i of the pair and the columns of parity q. */
GC_INLINE void ST(up_square)(const gc_depthwise_up *a, const ST(up_pair) * pair,
                             const ST(up_weights) * w, const gc_columns *columns, V acc[2][2],
                             const int K, const int ODD, const int EDGE) {
    const int reads = (K + 1) / 2 > K / 2 + ODD ? (K + 1) / 2 : K / 2 + ODD;
    const element *p = pair->in + columns->column + ODD;
    GC_UNROLL(4)
    for (int t = 0; t < (K + 1) / 2; t++) {
        V x[GC_DEPTHWISE_UP_KERNEL / 2 + 1];
        GC_UNROLL(5)
        for (int i = 0; i < reads; i++)
            x[i] =
                !EDGE || pair->there >> t & 1 ? ST(up_load)(p - i, columns, i, EDGE) : OP(set1)(0);
        GC_STEP(p, -a->in_row);
        GC_UNROLL(16)
        for (int i = 0; i < 2 * K; i++) {
            const int r = 2 * t + i / K, s = i % K;
            if (r >= K) continue;
            V *const sum = &acc[r % 2][(s + ODD) % 2];
            const int at = r * K + s;
            *sum = OP(fma)(x[s / 2 + s % 2 * ODD], at < ST(up_held)(K) ? w->held[at] : w->all[at],
                           *sum);
        }
    }
}

GC_INLINE void ST(up_any)(const gc_depthwise_up *a, const ST(up_pair) * pair,
                          const ST(up_weights) * w, const gc_columns *columns, V acc[2][2],
                          const int ODD, const int EDGE) {
    const ptrdiff_t rows = a->kernel_rows, width = a->kernel_columns;
    const V *row = w->all;
    for (ptrdiff_t r = 0; r < rows; r += 2, row += 2 * width) {
        if (EDGE && !(pair->there >> r / 2 & 1)) continue;
        const element *p = pair->in + columns->column - r / 2 * a->in_row;
        const V *below = r + 1 < rows ? row + width : NULL;
        for (ptrdiff_t s = 0; s < width; s++) { /* two, whose parities the compiler knows */
            V x = ST(up_load)(p + ODD - s / 2, columns, (int)(s / 2), EDGE);
            acc[0][ODD] = OP(fma)(x, row[s], acc[0][ODD]);
            if (below) acc[1][ODD] = OP(fma)(x, below[s], acc[1][ODD]);
            if (++s == width) break;
            if (ODD) x = ST(up_load)(p - s / 2, columns, (int)(s / 2) + 1, EDGE);
            acc[0][1 - ODD] = OP(fma)(x, row[s], acc[0][1 - ODD]);
            if (below) acc[1][1 - ODD] = OP(fma)(x, below[s], acc[1][1 - ODD]);
        }
    }
}

GC_INLINE void ST(up_store)(const gc_depthwise_up *a, const gc_columns *columns, element *out,
                            const element *residual, V even, V odd, const int EDGE,
                            const int MORE) {
    V y[2] = {OP(zip_low)(even, odd), OP(zip_high)(even, odd)};
    const ptrdiff_t column = 2 * columns->column;
    GC_UNROLL(2)
    for (int half = 0; half < 2; half++) {
        const ptrdiff_t at = column + half * LANES;
        const ptrdiff_t n = EDGE ? gc_smaller(columns->stored - half * LANES, LANES) : LANES;
        if (EDGE && n <= 0) return;
        if (MORE && residual)
            y[half] += ST(load_mask)(residual + at, OP(mask)(gc_window_bits(0, n, LANES)));
        if (MORE && a->clamp)
            y[half] = OP(min)(OP(set1)((real)a->high), OP(max)(OP(set1)((real)a->low), y[half]));
        if (EDGE && n < LANES)
            ST(store_first)(out + at, y[half], n);
        else
            ST(store)(out + at, y[half]);
    }
}

GC_INLINE void ST(up_vector)(const gc_depthwise_up *a, const ST(up_pair) * pair,
                             const ST(up_weights) * w, const gc_columns *columns, V init,
                             const int K, const int ODD, const int EDGE, const int MORE) {
    V acc[2][2] = {{init, init}, {init, init}};
    if (K)
        ST(up_square)(a, pair, w, columns, acc, K, ODD, EDGE);
    else
        ST(up_any)(a, pair, w, columns, acc, ODD, EDGE);
    GC_UNROLL(2)
    for (int i = 0; i < 2; i++)
        if (!EDGE || pair->out[i])
            ST(up_store)(a, columns, pair->out[i], pair->residual[i], acc[i][0], acc[i][1], EDGE,
                         MORE);
}

GC_INLINE void ST(up_pairs)(const gc_depthwise_up *a, const ST(up_weights) * w, const int K,
                            const int ODD, const int MORE) {
    const unsigned all = (1u << (a->kernel_rows + 1) / 2) - 1;
    const V init = OP(set1)(*(const real *)a->init);
    const char *fetch = a->fetch;
    for (ptrdiff_t j = a->first; j < a->last; j++, fetch += a->fetch_bytes) {
        const ST(up_pair) pair = ST(up_pair_at)(a, j);
        const int whole = pair.there == all && pair.out[0] && pair.out[1];
        const gc_columns *const end = a->columns + a->ncolumns;
        gc_fetch(fetch, a->fetch_bytes);
        const char *written =
            (const char *)((const element *)a->out + (2 * j - a->pad) * a->out_row);
        for (const gc_columns *c = a->columns; c < end; c++) {
            const element *ahead =
                (const element *)(written + GC_DEPTHWISE_UP_AHEAD) + 2 * c->column;
            if (a->asks) {
                gc_fetch((const char *)ahead, 2 * LANES * (ptrdiff_t)sizeof(element));
                gc_fetch((const char *)(ahead + a->out_row),
                         2 * LANES * (ptrdiff_t)sizeof(element));
            }
            if (whole && c->inside)
                ST(up_vector)(a, &pair, w, c, init, K, ODD, 0, MORE);
            else
                ST(up_vector)(a, &pair, w, c, init, K, ODD, 1, MORE);
        }
    }
}

GC_INLINE void ST(up_body)(const gc_depthwise_up *a, const int K, const int ODD) {
    const ptrdiff_t rows = K ? K : a->kernel_rows, columns = K ? K : a->kernel_columns;
    V all[GC_DEPTHWISE_UP_KERNEL * GC_DEPTHWISE_UP_KERNEL];
    ST(up_weights) w = {.all = all};
    const real *row = a->weight;
    for (ptrdiff_t r = 0; r < rows; r++, row += a->weight_row)
        for (ptrdiff_t s = 0; s < columns; s++)
            all[r * columns + s] = OP(set1)(row[s * a->weight_column]);
    __asm__("" : "+r"(w.all) : : "memory"); /* compilers would rather keep copies of them */
    GC_UNROLL(64)
    for (int i = 0; i < ST(up_held)(K); i++) w.held[i] = OP(hold)(w.all[i]);
    if (a->clamp || a->residual)
        ST(up_pairs)(a, &w, K, ODD, 1);
    else
        ST(up_pairs)(a, &w, K, ODD, 0);
}

#define DEPTHWISE_UP(K, ODD) \
    GC_NOINLINE void ST(depthwise_up_##K##ODD)(const gc_depthwise_up *a) { ST(up_body)(a, K, ODD); }
DEPTHWISE_UP(0, 0)
DEPTHWISE_UP(0, 1)
DEPTHWISE_UP(2, 0)
DEPTHWISE_UP(2, 1)
DEPTHWISE_UP(3, 0)
DEPTHWISE_UP(3, 1)
DEPTHWISE_UP(4, 0)
DEPTHWISE_UP(4, 1)
DEPTHWISE_UP(5, 0)
DEPTHWISE_UP(5, 1)
DEPTHWISE_UP(6, 0)
DEPTHWISE_UP(6, 1)
DEPTHWISE_UP(7, 0)
DEPTHWISE_UP(7, 1)
DEPTHWISE_UP(8, 0)
DEPTHWISE_UP(8, 1)
#undef DEPTHWISE_UP
#define DEPTHWISE_UP_ENTRIES(ODD)                                               \
    {ST(depthwise_up_0##ODD), ST(depthwise_up_2##ODD), ST(depthwise_up_3##ODD), \
     ST(depthwise_up_4##ODD), ST(depthwise_up_5##ODD), ST(depthwise_up_6##ODD), \
     ST(depthwise_up_7##ODD), ST(depthwise_up_8##ODD)}
