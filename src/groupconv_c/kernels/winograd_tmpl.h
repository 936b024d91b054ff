/* Winograd's transforms (contracts: gc_winograd_input, gc_winograd_output in transform_contracts.h), after A. Lavin
 * and S. Gray, "Fast algorithms for convolutional neural networks", 2015. Lanes are tiles. The points
 * are 0, 1, -1, 2, -2, infinity for windows of 6, whether 4 outputs of a kernel of 3 or 2 of a kernel of 5, and
 * 0, 1, -1, infinity for windows of 4. */

typedef real OP(win_v) __attribute__((vector_size(sizeof(V))));
#define G OP(win_v)

/* b + k*a */
GC_INLINE G OP(plus)(G b, double k, G a) { return (G)OP(fma)(OP(set1)((real)k), (V)a, (V)b); }

GC_INLINE void OP(input6)(G *d) {
    const G a = OP(plus)(d[4], -4, d[2]), b = OP(plus)(d[3], -4, d[1]);
    const G c = d[4] - d[2], e = d[3] - d[1];
    const G first = OP(plus)(OP(plus)(d[4], -5, d[2]), 4, d[0]);
    const G last = OP(plus)(OP(plus)(d[5], -5, d[3]), 4, d[1]);
    d[0] = first;
    d[1] = a + b;
    d[2] = a - b;
    d[3] = OP(plus)(c, 2, e);
    d[4] = OP(plus)(c, -2, e);
    d[5] = last;
}

GC_INLINE void OP(input4)(G *d) {
    const G first = d[0] - d[2], second = d[1] + d[2], third = d[2] - d[1], fourth = d[1] - d[3];
    d[0] = first;
    d[1] = second;
    d[2] = third;
    d[3] = fourth;
}

/* One dimension of the kernel's transform: point j's row of G is its powers over the product of its
 * distances to the other points; the last row belongs to infinity. */
GC_INLINE void OP(kernel_6)(const G *w, const int taps, G *u) {
    const G zero = {0};
    const G w3 = taps > 3 ? w[3] : zero, w4 = taps > 4 ? w[4] : zero;
    const G even = w[0] + w[2] + w4, odd = w[1] + w3;
    const G even2 = w[0] + (real)4 * w[2] + (real)16 * w4, odd2 = (real)2 * w[1] + (real)8 * w3;
    u[0] = (real)0.25 * w[0];
    u[1] = (real)(-1.0 / 6) * (even + odd);
    u[2] = (real)(-1.0 / 6) * (even - odd);
    u[3] = (real)(1.0 / 24) * (even2 + odd2);
    u[4] = (real)(1.0 / 24) * (even2 - odd2);
    u[5] = w[taps - 1];
}

GC_INLINE void OP(kernel_4)(const G *w, const int taps, G *u) {
    (void)taps;
    u[0] = w[0];
    u[1] = (real)0.5 * (w[0] + w[1] + w[2]);
    u[2] = (real)0.5 * (w[0] - w[1] + w[2]);
    u[3] = w[2];
}

/* Lanes are input channels: the kernels of LANES of them are turned, but for few weights that a vector more
 * would turn. */
#define WINOGRAD_WEIGHTS(n, r)                                                                  \
    static void OP(winograd_weights##n##r)(const gc_winograd_weights *a) {                      \
        enum { whole = (r * r) % LANES <= 2 ? r * r / LANES * LANES : r * r };                  \
        real w[r * r][LANES];                                                                   \
        gc_turn turn = {a->from, w, r * r, LANES, LANES, whole, 0};                             \
        for (ptrdiff_t c = 0; c < a->channels; c += LANES) {                                    \
            const ptrdiff_t count = turn.rows = gc_smaller(a->channels - c, LANES);             \
            const real *from = turn.from;                                                       \
            OP(turn)(&turn);                                                                    \
            for (int t = whole; t < r * r; t++)                                                 \
                for (ptrdiff_t l = 0; l < LANES; l++)                                           \
                    w[t][l] = l < count ? from[l * r * r + t] : 0;                              \
            turn.from = from + r * r * LANES;                                                   \
            G half[n][r];                                                                       \
            for (int j = 0; j < r; j++) {                                                       \
                G column[r], u[n];                                                              \
                for (int i = 0; i < r; i++) {                                                   \
                    const int t = i * r + j;                                                    \
                    column[i] = (G)OP(load)(w[a->mirror ? r * r - 1 - t : t]);                  \
                }                                                                               \
                OP(kernel_##n)(column, r, u);                                                   \
                for (int i = 0; i < n; i++) half[i][j] = u[i];                                  \
            }                                                                                   \
            for (int i = 0; i < n; i++) {                                                       \
                G u[n];                                                                         \
                OP(kernel_##n)(half[i], r, u);                                                  \
                for (int j = 0; j < n; j++)                                                     \
                    OP(store_first)((real *)a->to + (i * n + j) * a->step + c, (V)u[j], count); \
            }                                                                                   \
        }                                                                                       \
    }
WINOGRAD_WEIGHTS(6, 3)
WINOGRAD_WEIGHTS(6, 5)
WINOGRAD_WEIGHTS(4, 3)
#undef WINOGRAD_WEIGHTS

/* 4 outputs from 6 products, 2 from 6, 2 from 4 */
GC_INLINE void OP(output46)(const G *m, G *y) {
    const G p = m[1] + m[2], q = m[1] - m[2], r = m[3] + m[4], s = m[3] - m[4];
    y[0] = m[0] + p + r;
    y[1] = OP(plus)(q, 2, s);
    y[2] = OP(plus)(p, 4, r);
    y[3] = OP(plus)(q + m[5], 8, s);
}

GC_INLINE void OP(output26)(const G *m, G *y) {
    y[0] = m[0] + (m[1] + m[2]) + (m[3] + m[4]);
    y[1] = OP(plus)((m[1] - m[2]) + m[5], 2, m[3] - m[4]);
}

GC_INLINE void OP(output24)(const G *m, G *y) {
    y[0] = m[0] + m[1] + m[2];
    y[1] = m[1] - m[2] - m[3];
}

#if REAL_IS_FLOAT
typedef int32_t OP(win_bits) __attribute__((vector_size(sizeof(V))));
#else
typedef int64_t OP(win_bits) __attribute__((vector_size(sizeof(V))));
#endif

/* A piece, ready to be loaded row after row. */
typedef struct OP(window_piece) {
    const char *at;
    ptrdiff_t row;
    M masks[GC_WINOGRAD_SHIFTS];
} OP(window_piece);

GC_INLINE OP(window_piece)
    OP(window_at)(const gc_winograd_input *a, const gc_winograd_piece *piece, const int shifts) {
    const ptrdiff_t row = a->first + piece->row;
    OP(window_piece)
    w = {.at = a->source + row * a->row_step + piece->column * (ptrdiff_t)sizeof(real), .row = row};
    GC_UNROLL(3)
    for (int h = 0; h < shifts; h++) w.masks[h] = OP(mask)(piece->bits[h]);
    return w;
}

/* Row i of the windows, of one of m vectors: x[h*m] from column h*m on. */
GC_INLINE void OP(window_load)(const OP(window_piece) * w, ptrdiff_t i, ptrdiff_t row_step,
                               ptrdiff_t height, V *x, const int shifts, const int m) {
    const int there = (size_t)(w->row + i) < (size_t)height;
    GC_UNROLL(3)
    for (int h = 0; h < shifts; h++)
        x[h * m] = there ? OP(load_mask)((const real *)(w->at + i * row_step) + h * m, w->masks[h])
                         : OP(set1)(0);
}

GC_INLINE void OP(window_merge)(V *x, const V *y, const int shifts, const int m) {
    GC_UNROLL(3)
    for (int h = 0; h < shifts; h++)
        x[h * m] = (V)((OP(win_bits))x[h * m] | (OP(win_bits))y[h * m]);
}

/* m outputs, windows of n */
#define WINOGRAD_INPUT(m, n)                                                                   \
    static void OP(winograd_input##m##n)(const gc_winograd_input *a) {                         \
        enum { shifts = (n + m - 1) / m };                                                     \
        const ptrdiff_t row_step = a->row_step, height = a->height, out_step = a->out_step;    \
        real *out = a->out;                                                                    \
        const gc_winograd_piece *piece = a->pieces;                                            \
        for (ptrdiff_t v = 0; v < a->vectors; v++, out += LANES, piece += m * a->parts) {      \
            G t[n][n];                                                                         \
            OP(window_piece) w[m];                                                             \
            GC_UNROLL(4)                                                                       \
            for (int q = 0; q < m; q++) w[q] = OP(window_at)(a, piece + q * a->parts, shifts); \
            for (ptrdiff_t i = 0; i < n; i++) {                                                \
                V x[shifts * m], y[shifts * m];                                                \
                GC_UNROLL(4)                                                                   \
                for (int q = 0; q < m; q++) {                                                  \
                    OP(window_load)(&w[q], i, row_step, height, x + q, shifts, m);             \
                    for (const gc_winograd_piece *p = piece + q * a->parts; p->more;) {        \
                        const OP(window_piece) rest = OP(window_at)(a, ++p, shifts);           \
                        OP(window_load)(&rest, i, row_step, height, y + q, shifts, m);         \
                        OP(window_merge)(x + q, y + q, shifts, m);                             \
                    }                                                                          \
                }                                                                              \
                GC_UNROLL(3)                                                                   \
                for (int h = 0; h < shifts; h++) OP(split_##m)(x + h * m);                     \
                GC_UNROLL(6)                                                                   \
                for (int j = 0; j < n; j++) t[i][j] = (G)x[j];                                 \
                OP(input##n)(t[i]);                                                            \
            }                                                                                  \
            GC_UNROLL(6)                                                                       \
            for (int j = 0; j < n; j++) {                                                      \
                G d[n];                                                                        \
                GC_UNROLL(6)                                                                   \
                for (int i = 0; i < n; i++) d[i] = t[i][j];                                    \
                OP(input##n)(d);                                                               \
                GC_UNROLL(6)                                                                   \
                for (int i = 0; i < n; i++) OP(store)(out + (i * n + j) * out_step, (V)d[i]);  \
            }                                                                                  \
        }                                                                                      \
    }
WINOGRAD_INPUT(4, 6)
WINOGRAD_INPUT(2, 6)
WINOGRAD_INPUT(2, 4)
#undef WINOGRAD_INPUT

/* Tiles of m outputs side by side: lane l of y[j] becomes element m*l + j. */
GC_INLINE void OP(interleave4)(real *to, const G *y) {
    const V a0 = OP(zip_low)((V)y[0], (V)y[2]), a1 = OP(zip_high)((V)y[0], (V)y[2]);
    const V b0 = OP(zip_low)((V)y[1], (V)y[3]), b1 = OP(zip_high)((V)y[1], (V)y[3]);
    OP(store)(to, OP(zip_low)(a0, b0));
    OP(store)(to + LANES, OP(zip_high)(a0, b0));
    OP(store)(to + 2 * LANES, OP(zip_low)(a1, b1));
    OP(store)(to + 3 * LANES, OP(zip_high)(a1, b1));
}

GC_INLINE void OP(interleave2)(real *to, const G *y) {
    OP(store)(to, OP(zip_low)((V)y[0], (V)y[1]));
    OP(store)(to + LANES, OP(zip_high)((V)y[0], (V)y[1]));
}

/* x * 0 is zero for finite x only, so the sum tells whether all valid outputs are finite. */
#define WINOGRAD_OUTPUT(m, n)                                                                  \
    static int OP(winograd_output##m##n)(const gc_winograd_output *a) {                        \
        const G bias = (G)OP(set1)(*(const real *)a->init);                                    \
        real *out = a->out;                                                                    \
        V bad = OP(set1)(0);                                                                   \
        for (ptrdiff_t v = 0; v < a->vectors; v++, out += m * LANES) {                         \
            const real *in = (const real *)a->in + v * LANES;                                  \
            G t[m][n], sum = {0};                                                              \
            GC_UNROLL(6)                                                                       \
            for (int j = 0; j < n; j++) {                                                      \
                G d[n], y[m];                                                                  \
                GC_UNROLL(6)                                                                   \
                for (int i = 0; i < n; i++) d[i] = (G)OP(load)(in + (i * n + j) * a->in_step); \
                OP(output##m##n)(d, y);                                                        \
                GC_UNROLL(4)                                                                   \
                for (int i = 0; i < m; i++) t[i][j] = y[i];                                    \
            }                                                                                  \
            GC_UNROLL(4)                                                                       \
            for (int i = 0; i < m; i++) {                                                      \
                G y[m];                                                                        \
                OP(output##m##n)(t[i], y);                                                     \
                GC_UNROLL(4)                                                                   \
                for (int j = 0; j < m; j++) {                                                  \
                    y[j] += bias;                                                              \
                    sum = OP(plus)(sum, 0, y[j]);                                              \
                }                                                                              \
                OP(interleave##m)(out + i * a->out_row, y);                                    \
            }                                                                                  \
            real sums[LANES];                                                                  \
            if (v + 1 == a->vectors) { /* lanes behind the last tile do not count */           \
                OP(store)(sums, (V)sum);                                                       \
                sum = (G)OP(load_mask)(sums, OP(mask)(a->last_bits));                          \
            }                                                                                  \
            bad = (V)((G)bad + sum);                                                           \
        }                                                                                      \
        return OP(sum)(bad) != 0;                                                              \
    }
WINOGRAD_OUTPUT(4, 6)
WINOGRAD_OUTPUT(2, 6)
WINOGRAD_OUTPUT(2, 4)
#undef WINOGRAD_OUTPUT
