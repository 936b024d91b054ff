/* Depthwise microkernels for maps whose rows fit a vector (contract: small_maps in depthwise_contracts.h).
 *
 * A vector holds BY rows of a map, 1 or 2, which lie one behind the other. The vector that begins with an input row is
 * loaded once and turned round for each kernel column, with zeros where that leaves a row; ceil(K / BY) partial sums
 * roll along, as in depthwise_rolling_tmpl.h. */
typedef struct ST(small_state) {
    ptrdiff_t width, height, fetch, fetch_out;
    uint32_t rows, first; /* lanes of a vector's rows, of its first row */
    M columns[GC_DEPTHWISE_KERNEL_ROWS];
    OP(x) from[GC_DEPTHWISE_KERNEL_ROWS];
    V low, high;
} ST(small_state);

/* A channel's arrays and kernel: its first weights, in registers, and all of them. */
typedef struct ST(small_channel) {
    const element *in, *residual;
    const real *weight;
    element *out;
    V held[9], bias;
} ST(small_channel);

GC_INLINE ST(small_state)
    ST(small_start)(const gc_small_maps *a, const int K, const int BY, const int SIDE) {
    const ptrdiff_t width = SIDE ? SIDE : a->width;
    ST(small_state)
    s = {
        .width = width,
        .height = SIDE ? SIDE : a->height,
        .fetch = a->fetch,
        .fetch_out = a->fetch_out,
        .rows = gc_window_bits(0, BY * width, LANES),
        .first = gc_window_bits(0, width, LANES),
        .low = OP(set1)((real)a->low),
        .high = OP(set1)((real)a->high),
    };
    GC_UNROLL(8)
    for (int t = 0; t < K; t++) {
        const int by = t - K / 2; /* output column q reads input column q + by */
        uint32_t bits = 0;
        int32_t from[GC_MAX_LANES];
        for (int i = 0; i < BY; i++)
            bits |= gc_window_bits(i * width + (by < 0 ? -by : 0),
                                   (i + 1) * width - (by > 0 ? by : 0), LANES);
        for (int l = 0; l < LANES; l++) from[l] = (l + by + LANES) % LANES;
        s.columns[t] = OP(mask)(bits);
        s.from[t] = OP(index)(from);
    }
    return s;
}

/* Lanes of the vector from input row i on that lie in the map. */
GC_INLINE uint32_t ST(small_there)(const ST(small_state) * s, ptrdiff_t i, const int BY) {
    uint32_t bits = s->rows;
    if (BY > 1 && i < 0) bits &= ~s->first;
    if (BY > 1 && i == s->height - 1) bits = s->first;
    if (i <= -BY || i >= s->height) bits = 0;
    return bits;
}

/* Adds the vector from input row i on: to sum m its products with kernel row PH + BY*m. */
GC_INLINE void ST(small_row)(const ST(small_state) * s, const ST(small_channel) * c, V *acc,
                             ptrdiff_t i, const int PH, const int K, const int BY) {
    const element *p = c->in + i * s->width;
    const V x0 = ST(load_mask)(p, OP(mask)(ST(small_there)(s, i, BY)));
    __builtin_prefetch((const char *)p + s->fetch);
    GC_UNROLL(8)
    for (int t = 0; t < K; t++) {
        V x = x0;
        if (t != K / 2) x = OP(keep)(OP(spread)(x0, s->from[t]), s->columns[t]);
        GC_UNROLL(8)
        for (int m = 0; PH + BY * m < K; m++) {
            const int w = (PH + BY * m) * K + t;
            acc[m] = OP(fma)(x, K == 3 ? c->held[w] : OP(set1)(c->weight[w]), acc[m]);
        }
    }
}

GC_INLINE void ST(small_store)(const ST(small_state) * s, const ST(small_channel) * c,
                               ptrdiff_t row, V y, const int BY) {
    const ptrdiff_t left = (s->height - row) * s->width, at = row * s->width;
    element *const out = c->out + at;
    __builtin_prefetch((const char *)out + s->fetch_out);
    if (c->residual) {
        const uint32_t bits = BY > 1 && left == s->width ? s->first : s->rows;
        y += ST(load_mask)(c->residual + at, OP(mask)(bits));
    }
    y = OP(min)(s->high, OP(max)(s->low, y));
    if (left >= LANES) /* what spills is stored later */
        ST(store)(out, y);
    else
        ST(store_first)(out, y, gc_smaller(left, BY * s->width));
}

/* Step t: sums that have met all of their rows are stored. STRICT: products with the zeros around are not 0. */
GC_INLINE void ST(small_step)(const ST(small_state) * s, const ST(small_channel) * c, V *acc,
                              ptrdiff_t t, const int K, const int BY, const int STRICT) {
    const int sums = (K + BY - 1) / BY;
    const ptrdiff_t i = BY * t - K / 2;
    if (STRICT || (i > -BY && i < s->height)) ST(small_row)(s, c, acc, i, 0, K, BY);
    if (t >= sums - 1) ST(small_store)(s, c, BY * (t - sums + 1), acc[sums - 1], BY);
    if (BY > 1 && (STRICT || i + 1 < s->height)) ST(small_row)(s, c, acc, i + 1, 1, K, BY);
    GC_UNROLL(8)
    for (int m = sums - 1; m > 0; m--) acc[m] = acc[m - 1];
    acc[0] = c->bias;
}

/* Of SIDE x SIDE positions, of any size if that is 0. */
GC_INLINE void ST(small_map)(const ST(small_state) * s, const ST(small_channel) * c, const int K,
                             const int BY, const int SIDE, const int STRICT) {
    const int sums = (K + BY - 1) / BY;
    const ptrdiff_t first = STRICT ? 0 : (K / 2 - BY + 1) / BY,
                    steps = (s->height + BY - 1) / BY + sums - 1;
    V acc[GC_DEPTHWISE_KERNEL_ROWS];
    GC_UNROLL(8)
    for (int m = 0; m < sums; m++) acc[m] = c->bias;
    if (SIDE) {
        const int end = (SIDE + BY - 1) / BY + sums - 1;
        GC_UNROLL(20)
        for (int t = (int)first; t < end; t++) ST(small_step)(s, c, acc, t, K, BY, STRICT);
    } else {
        for (ptrdiff_t t = first; t < steps; t++) ST(small_step)(s, c, acc, t, K, BY, STRICT);
    }
}

/* From channel n on, until one whose weights are not finite; STRICT: one, which leaves out no product. The next. */
GC_INLINE ptrdiff_t ST(small_channels)(const gc_small_maps *a, ptrdiff_t n, const int K,
                                       const int BY, const int SIDE, const int STRICT) {
    const ST(small_state) s = ST(small_start)(a, K, BY, SIDE);
    const real *weight = (const real *)a->weight + n * a->weight_channel, *init = a->init;
    const int held = K == 3 ? K * K : 0;
    const int mirrored = a->weight_row == -K && a->weight_column == -1;
    real copy[GC_DEPTHWISE_KERNEL_ROWS * GC_DEPTHWISE_KERNEL_ROWS];
    ST(small_channel)
    c = {
        .in = (const element *)a->in + n * a->in_channel,
        .residual = a->residual ? (const element *)a->residual + n * a->residual_channel : NULL,
        .out = (element *)a->out + n * a->out_channel,
    };
    for (const ptrdiff_t last = STRICT ? n + 1 : a->nchannels; n < last; n++) {
        c.weight = OP(plain_kernel)(weight, a->weight_row, a->weight_column, copy, K);
        const real *const whole = mirrored ? weight - K * K + 1 : c.weight;
        if (!STRICT && OP(has_nan)(OP(plain_zeros)(whole, K))) break;
        c.bias = OP(set1)(init[n]);
        GC_UNROLL(9)
        for (int i = 0; i < held; i++) c.held[i] = OP(hold)(OP(set1)(c.weight[i]));
        ST(small_map)(&s, &c, K, BY, SIDE, STRICT);
        weight += a->weight_channel;
        c.in += a->in_channel;
        c.out += a->out_channel;
        if (c.residual) c.residual += a->residual_channel;
    }
    return n;
}

/* Maps whose loops over rows are unrolled: with 16 lanes the 14 x 14 and 7 x 7 of networks' last layers. */
#define SMALL_SIDE(BY) ((LANES - LANES / 8) / (BY))

/* small_maps_<K><BY>: small_square_<K><BY>, small_any_<K><BY> and, one by one, small_strict_<K><BY>. */
#define SMALL_CHANNELS(NAME, K, BY, SIDE, STRICT)                                           \
    GC_NOINLINE ptrdiff_t ST(small_##NAME##_##K##BY)(const gc_small_maps *a, ptrdiff_t n) { \
        return ST(small_channels)(a, n, K, BY, SIDE, STRICT);                               \
    }
#define SMALL_MAPS_BY(K, BY)                                                           \
    SMALL_CHANNELS(square, K, BY, SMALL_SIDE(BY), 0)                                   \
    SMALL_CHANNELS(any, K, BY, 0, 0)                                                   \
    SMALL_CHANNELS(strict, K, BY, 0, 1)                                                \
    static void ST(small_maps_##K##BY)(const gc_small_maps *a) {                       \
        const int square = a->width == SMALL_SIDE(BY) && a->height == SMALL_SIDE(BY);  \
        for (ptrdiff_t n = 0; n < a->nchannels;) {                                     \
            n = square ? ST(small_square_##K##BY)(a, n) : ST(small_any_##K##BY)(a, n); \
            if (n < a->nchannels) n = ST(small_strict_##K##BY)(a, n);                  \
        }                                                                              \
    }
#define SMALL_MAPS(K)                                        \
    SMALL_MAPS_BY(K, 1)                                      \
    SMALL_MAPS_BY(K, 2)                                      \
    static void ST(small_maps_##K)(const gc_small_maps *a) { \
        if (2 * a->width <= LANES)                           \
            ST(small_maps_##K##2)(a);                        \
        else                                                 \
            ST(small_maps_##K##1)(a);                        \
    }
SMALL_MAPS(3)
SMALL_MAPS(5)
SMALL_MAPS(7)
#undef SMALL_MAPS
#undef SMALL_MAPS_BY
#undef SMALL_CHANNELS
#undef SMALL_SIDE
